//go:build linux || darwin

package archive_test

import (
	"bytes"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/coffer-backup/coffer/archive"
	"github.com/coffer-backup/coffer/archive/archivetest"
)

// drawName draws the last part of a name: any bytes that a system allows.
func drawName(t *rapid.T) string {
	return rapid.Custom(func(t *rapid.T) string {
		b := rapid.SliceOfN(rapid.Byte(), 1, 255).Draw(t, "bytes")
		return string(bytes.ReplaceAll(bytes.ReplaceAll(b, []byte{0}, []byte("0")), []byte("/"), []byte("%")))
	}).Filter(func(s string) bool {
		return s != "." && s != ".." && (runtime.GOOS == "linux" || utf8.ValidString(s))
	}).Draw(t, "name")
}

// drawContent draws runs of zeros and of data around the size of a block.
func drawContent(t *rapid.T) []byte {
	var b []byte
	for range rapid.IntRange(0, 6).Draw(t, "runs") {
		n := rapid.SampledFrom([]int{1, 100, 511, 512, 4095, 4096, 4097, 8192, 20000}).Draw(t, "length")
		b = append(b, bytes.Repeat([]byte{rapid.SampledFrom([]byte{0, 0, 'x'}).Draw(t, "byte")}, n)...)
	}
	return b
}

// drawTree fills dir, and returns the names in it that are no directories.
func drawTree(t *rapid.T, dir *os.Root, depth int) {
	ok := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	var files []string
	for range rapid.IntRange(0, 6).Draw(t, "entries") {
		name := drawName(t)
		if _, err := dir.Lstat(name); err == nil {
			continue
		}
		mode := fs.FileMode(rapid.IntRange(0, 0o777).Draw(t, "mode")) | 0o400
		mtime := time.Unix(rapid.Int64Range(-1<<31, 1<<31-1).Draw(t, "sec"), rapid.Int64Range(0, 999_999_999).Draw(t, "nsec"))
		switch kind := rapid.SampledFrom([]string{"file", "file", "dir", "symlink", "hard link"}).Draw(t, "kind"); {
		case kind == "dir" && depth > 0:
			ok(dir.Mkdir(name, 0o700))
			sub, err := dir.OpenRoot(name)
			ok(err)
			drawTree(t, sub, depth-1)
			sub.Close()
			ok(dir.Chmod(name, mode|0o700))
			ok(dir.Chtimes(name, mtime, mtime))
		case kind == "symlink":
			ok(dir.Symlink(drawName(t), name))
			files = append(files, name)
		case kind == "hard link" && len(files) > 0:
			ok(dir.Link(rapid.SampledFrom(files).Draw(t, "to"), name))
		default:
			ok(dir.WriteFile(name, drawContent(t), 0o600))
			ok(dir.Chmod(name, mode))
			ok(dir.Chtimes(name, mtime, mtime))
			files = append(files, name)
		}
	}
}

func TestAnyTree(t *testing.T) {
	work := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp(work, "tree")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		root, err := os.OpenRoot(dir)
		if err != nil {
			t.Fatal(err)
		}
		drawTree(t, root, 3)
		root.Close()
		s := &memSink{}
		created, err := archive.Create(t.Context(), s, []string{dir}, nil)
		if err != nil || created.Warnings != 0 {
			t.Fatal(created, err)
		}
		extracted, err := archive.Extract(t.Context(), &s.Buffer, dir+"/out", nil)
		if err != nil || *extracted != *created {
			t.Fatal(created, extracted, err)
		}
		if err := os.Rename(dir+"/out", dir+".out"); err != nil { // below dir it would be compared too
			t.Fatal(err)
		}
		defer os.RemoveAll(dir + ".out")
		restored := dir + ".out/" + strings.TrimPrefix(dir, "/")
		if err := os.Chtimes(dir, time.Time{}, someTime); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(restored, time.Time{}, someTime); err != nil {
			t.Fatal(err)
		}
		if diff := archivetest.Diff(dir, restored); diff != nil {
			t.Fatal(strings.Join(diff, "\n"))
		}
	})
}
