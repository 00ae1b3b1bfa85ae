//go:build linux || darwin

package archive_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"

	"github.com/coffer-backup/coffer/archive"
	"github.com/coffer-backup/coffer/internal/durable"
	"github.com/coffer-backup/coffer/internal/need"
)

// What a restore that died left behind is removed by the next one that comes by, and
// nothing else is.
func TestLeftovers(t *testing.T) {
	work := t.TempDir()
	target := work + "/target"
	for _, name := range []string{
		"out/.coffer-tmp-1", // behind a link that is no directory of the target
		"target/.coffer-tmp-1", "target/d/.coffer-tmp-1", "target/d/.coffer-tmp-2", "target/d/other",
		"target/d/.coffer-tmp-live", "target/d/.coffer-tmp-dir/f", "target/d/same",
		"target/elsewhere/.coffer-tmp-1", // where no entry goes
	} {
		write(t, work+"/"+name, "half")
	}
	live, err := os.Open(target + "/d/.coffer-tmp-live")
	if err != nil {
		t.Fatal(err)
	}
	defer live.Close()
	need.That(t, durable.Lock(live), "needs a file system with locks")
	if err := errors.Join(
		os.Symlink(target+"/d/other", target+"/d/.coffer-tmp-link"),
		os.Symlink("../out", target+"/l"),
		syscall.Mkfifo(target+"/d/.coffer-tmp-fifo", 0o600),
		os.Link(target+"/d/same", target+"/d/.coffer-tmp-same"),
	); err != nil {
		t.Fatal(err)
	}
	// The archive has such names itself, and comes back to a directory.
	stream := tarOf(t, file("d/.coffer-tmp-2"), file("f"), file("d/g"), file("made/.coffer-tmp-1"), file("h"), file("made/g"), file("l/x"))
	var w warnings
	report, err := archive.Extract(t.Context(), bytes.NewReader(stream), target, &archive.ExtractOptions{AllowNonEmpty: true, OnWarning: w.add})
	if !errors.Is(err, archive.ErrIncomplete) || report.Failed != 1 || w[0].Path != "l/x" {
		t.Errorf("%v, %v", err, w)
	}
	got := append(tree(t, target), tree(t, work+"/out")...)
	want := []string{"d", "d/.coffer-tmp-2", "d/.coffer-tmp-dir", "d/.coffer-tmp-dir/f", "d/.coffer-tmp-fifo", "d/.coffer-tmp-link", "d/.coffer-tmp-live",
		"d/.coffer-tmp-same", "d/g", "d/other", "d/same", "elsewhere", "elsewhere/.coffer-tmp-1", "f", "h", "l", "made", "made/.coffer-tmp-1", "made/g", ".coffer-tmp-1"}
	if !slices.Equal(got, want) {
		t.Errorf("there is\n%q, want\n%q", got, want)
	}
}

// Two restores into one directory do not take each other's temporary files away.
func TestRestoresAtOnce(t *testing.T) {
	target := t.TempDir()
	var restores sync.WaitGroup
	for n := range 4 {
		name := fmt.Sprint("d/", n)
		stream := tarOf(t, file(name+"a"), file(name+"b"), file(name+"c"))
		restores.Go(func() {
			for range 50 {
				if _, err := archive.Extract(t.Context(), bytes.NewReader(stream), target, &archive.ExtractOptions{AllowNonEmpty: true}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	restores.Wait()
}
