//go:build linux || darwin

package archive

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coffer-backup/coffer/format"
)

type discard struct{ bytes.Buffer }

func (*discard) AddCatalogEntry(format.CatalogEntry) error { return nil }

func newCreator(sink *discard) *creator {
	out := &countWriter{ctx: context.Background(), w: sink}
	return &creator{
		out: out, tar: tar.NewWriter(out), sink: sink, report: &Report{},
		linked: map[inode]*linkedFile{}, users: map[int]string{}, groups: map[int]string{},
	}
}

// What archive/tar cannot write costs the attribute or the entry, not the archive.
func TestUnwritableMetadata(t *testing.T) {
	sink := &discard{}
	c := newCreator(sink)
	attrs := map[string]string{}
	for i := range 40 {
		attrs[fmt.Sprintf("user.%02d", i)] = strings.Repeat("v", 60_000)
	}
	n := &node{name: "big", st: fileStat{typ: tar.TypeReg, mtime: time.Unix(1, 1)}}
	if ok, err := c.writeHeader(n, c.header(n, attrs)); !ok || err != nil || c.report.Warnings == 0 {
		t.Errorf("%v %v %+v", ok, err, c.report)
	}
	n = &node{name: "far", st: fileStat{typ: tar.TypeChar, major: 1 << 30}}
	if ok, err := c.writeHeader(n, c.header(n, nil)); ok || err != nil {
		t.Errorf("an impossible device: %v %v", ok, err)
	}
	n = &node{name: "last", st: fileStat{typ: tar.TypeDir, mtime: time.Time{}}}
	if ok, err := c.writeHeader(n, c.header(n, nil)); !ok || err != nil {
		t.Errorf("%v %v", ok, err)
	}
	if err := c.tar.Close(); err != nil {
		t.Fatal(err)
	}
	report, err := Check(t.Context(), sink)
	if err != nil || report.Entries != 2 || report.Catalog != c.digest.Sum() {
		t.Errorf("%+v, %v", report, err)
	}
}

func TestXattrKeys(t *testing.T) {
	for _, key := range []string{"user.plain", "user.a=b", "user.%", "user.%3D", "user.%253D", "user.=%=\xff"} {
		escaped := escapeXattr.Replace(key)
		if strings.Contains(escaped, "=") || unescapeXattr.Replace(escaped) != key {
			t.Errorf("%q became %q, then %q", key, escaped, unescapeXattr.Replace(escaped))
		}
	}
}

// A file may become a FIFO between lstat and open, and opening that could wait
// for ever.
func TestOpenFileDoesNotWait(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := syscall.Mkfifo("fifo", 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("fifo", "link"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := workingDir.openFile("fifo"); !errors.Is(err, errReplaced) {
		t.Errorf("FIFO: %v", err)
	}
	if _, _, err := workingDir.openFile("link"); !errors.Is(err, syscall.ELOOP) {
		t.Errorf("link: %v", err)
	}
}

// Hard links are forgotten when the last is met, so the table does not grow with
// the tree.
func TestLinkTableShrinks(t *testing.T) {
	t.Chdir(t.TempDir())
	for i := range 10 {
		name := fmt.Sprint("file", i)
		if err := errors.Join(os.WriteFile(name, nil, 0o600), os.Link(name, name+" again")); err != nil {
			t.Fatal(err)
		}
	}
	c := newCreator(&discard{})
	c.buf = make([]byte, chunkSize)
	if err := c.run([]string{"."}); err != nil || c.report.Entries != 21 || len(c.linked) != 0 {
		t.Errorf("%v, %+v, %d left", err, c.report, len(c.linked))
	}
}

func TestSaturatedNano(t *testing.T) {
	for _, tt := range []struct {
		t    time.Time
		want int64
	}{
		{time.Unix(0, 0), 0}, {time.Unix(-1, 999), -1e9 + 999}, {time.Unix(4e9, 1), 4e18 + 1},
		{time.Unix(1<<40, 0), 1<<63 - 1}, {time.Unix(-1<<40, 0), -1 << 63},
	} {
		if got := saturatedNano(tt.t); got != tt.want {
			t.Errorf("%v: %d, want %d", tt.t, got, tt.want)
		}
	}
}

func TestRun(t *testing.T) {
	z, x := make([]byte, holeSize), bytes.Repeat([]byte{1}, holeSize)
	for _, tt := range []struct {
		b    []byte
		n    int
		hole bool
	}{
		{z, holeSize, true}, {x, holeSize, false}, {z[:holeSize-1], holeSize - 1, false},
		{append(bytes.Clone(z), x...), holeSize, true}, {append(bytes.Clone(x), z...), holeSize, false},
		{append(append(bytes.Clone(z), z...), 0), 2 * holeSize, true}, {append(bytes.Clone(x), 0, 0), holeSize + 2, false},
	} {
		if n, hole := run(tt.b); n != tt.n || hole != tt.hole {
			t.Errorf("%d bytes: %d %v, want %d %v", len(tt.b), n, hole, tt.n, tt.hole)
		}
	}
}
