//go:build linux || darwin

package archive

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
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
	for tr := tar.NewReader(bytes.NewReader(sink.Bytes())); ; {
		h, err := tr.Next()
		if err != nil || h.Name == "last/" && h.ModTime.UTC().Year() != 1 {
			if err != io.EOF {
				t.Errorf("%v, %+v", err, h)
			}
			break
		}
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

// The number of an inode that was removed can be that of another file.
func TestLinkOfReusedInode(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := errors.Join(os.WriteFile("new", []byte("new"), 0o600), os.Link("new", "new again")); err != nil {
		t.Fatal(err)
	}
	st, err := workingDir.lstat("new")
	if err != nil {
		t.Fatal(err)
	}
	for what, old := range map[string]linkedFile{
		"type":  {typ: tar.TypeFifo, size: 3, mtime: st.mtime},
		"size":  {typ: tar.TypeReg, size: 4, mtime: st.mtime},
		"mtime": {typ: tar.TypeReg, size: 3, mtime: st.mtime.Add(-1)},
	} {
		old.name, old.left = "old", 1
		sink := &discard{}
		c := newCreator(sink)
		c.buf = make([]byte, chunkSize)
		c.linked[st.inode] = &old
		if err := c.run([]string{"."}); err != nil || c.report.Bytes != 3 || strings.Contains(sink.String(), "old") {
			t.Errorf("other %s: %v, %+v", what, err, c.report)
		}
	}
}

func TestTooManyEntries(t *testing.T) {
	t.Chdir(t.TempDir())
	for i := range 5 {
		if err := os.WriteFile(fmt.Sprint(i), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	sink := &discard{}
	c := newCreator(sink)
	c.buf = make([]byte, chunkSize)
	c.report.Entries = MaxEntries - 3
	if err := c.run([]string{"."}); err != nil || c.report.Warnings != 1 || !errors.Is(c.first, ErrLimit) || c.report.Entries != MaxEntries {
		t.Errorf("%v, %+v, %v", err, c.report, c.first)
	}
	if report, err := Check(t.Context(), sink); err != nil || report.Entries != 3 {
		t.Errorf("%v, %+v", err, report)
	}
}

func openTest(t *testing.T) *targetDir {
	d, err := openTarget(t.TempDir(), true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.close)
	return d
}

func TestOpenNeedsDirectory(t *testing.T) {
	d := openTest(t)
	dir := d.root.Name()
	if err := errors.Join(os.Mkdir(dir+"/d", 0o755), os.Symlink("d", dir+"/link"), syscall.Mkfifo(dir+"/fifo", 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"link", "fifo"} {
		if _, err := d.open(name); !errors.Is(err, errNotDir) {
			t.Errorf("%s: %v", name, err)
		}
	}
	in, err := d.open("d")
	if err != nil {
		t.Fatal(err)
	}
	in.close()
}

// Attributes of nested directories wait in memory until all is in them.
func TestHeldAttributes(t *testing.T) {
	var warning *EntryError
	x := &extractor{reader: &reader{report: &Report{}}}
	x.OnWarning = func(e *EntryError) { warning = e }
	attrs := func(size int) *attributes {
		return &attributes{name: "d/", xattrs: map[string]string{"user.x": strings.Repeat("v", size)}}
	}
	d := &targetDir{}
	for range 3 { // each takes the place of the one before
		x.hold(d, attrs(maxHeld/2))
	}
	if warning != nil || d.attrs.xattrs == nil {
		t.Errorf("%v, %d bytes are held", warning, x.held)
	}
	more := &targetDir{}
	x.hold(more, attrs(maxHeld/2))
	if warning == nil || !errors.Is(warning, ErrLimit) || more.attrs == nil || more.attrs.xattrs != nil || x.held > maxHeld {
		t.Errorf("%v, %d bytes are held", warning, x.held)
	}
}

func TestRenameDoesNotReplace(t *testing.T) {
	d := openTest(t)
	if err := errors.Join(d.root.WriteFile("new", []byte("new"), 0o600), d.root.WriteFile("mine", []byte("mine"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := d.rename("new", "mine", false); !errors.Is(err, fs.ErrExist) {
		t.Error(err)
	}
	if b, err := d.root.ReadFile("mine"); string(b) != "mine" {
		t.Errorf("%q, %v", b, err)
	}
	if err := d.rename("new", "mine", true); err != nil {
		t.Error(err)
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
