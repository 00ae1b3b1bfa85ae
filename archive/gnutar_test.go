//go:build linux

package archive_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/coffer-backup/coffer/archive"
	"github.com/coffer-backup/coffer/archive/archivetest"
	"github.com/coffer-backup/coffer/internal/need"
)

func gnuTar(t *testing.T, stdin []byte, args ...string) []byte {
	t.Helper()
	version, _ := exec.Command("tar", "--version").Output()
	need.That(t, strings.Contains(string(version), "GNU tar"), "needs GNU tar: apt-get install tar")
	cmd := exec.Command("tar", args...)
	cmd.Stdin = bytes.NewReader(stdin)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil || stderr.Len() > 0 {
		t.Errorf("tar %q: %v: %s", args, err, stderr.Bytes())
	}
	return out
}

func TestGNUTarReads(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	archivetest.Populate(t, from)
	t.Cleanup(func() { os.Chmod(to+from+"/readonly", 0o755) })
	s, _ := create(t, nil, from)
	gnuTar(t, s.Bytes(), "-x", "-f-", "-p", "-C", to, "--xattrs", "--xattrs-include=*", "--warning=no-timestamp", "--delay-directory-restore")
	for _, line := range archivetest.Diff(from, to+from) {
		if !strings.HasSuffix(line, "bytes more") { // tar restores no holes that are stored as zeros
			t.Error(line)
		}
	}
}

func TestGNUTarWrites(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	archivetest.Populate(t, from)
	stream := gnuTar(t, nil, "-c", "-f-", "--format=pax", "-C", from, "--xattrs", "--xattrs-include=*", "system")
	extract(t, bytes.NewReader(stream), to, nil)
	noDiff(t, from+"/system", to+"/system")
	// What Create does not write is refused.
	for _, opts := range [][]string{{"--format=gnu"}, {"--format=v7"}, {"--format=pax", "--sparse"}, {"--format=pax", "--pax-option=globexthdr.x=y,comment=z"}, {"--format=pax", "--pax-option=comment:=z"}} {
		stream := gnuTar(t, nil, append(opts, "-c", "-f-", "-C", from, "docs/sparse")...)
		if _, err := archive.Check(t.Context(), bytes.NewReader(stream)); !errors.Is(err, archive.ErrUnsafe) {
			t.Errorf("%q: %v", opts, err)
		}
	}
}
