//go:build linux || darwin

package archivetest_test

import (
	"errors"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/coffer-backup/coffer/archive/archivetest"
)

var old = time.Unix(1_000_000, 1)

func TestDiffSeesEveryDifference(t *testing.T) {
	for name, change := range map[string]func(dir string) error{
		"nothing": func(dir string) error { return nil },
		"content": func(dir string) error {
			return edit(dir+"/docs/page", func(f *os.File) error { _, err := f.WriteAt([]byte{0}, 99); return err })
		},
		"size": func(dir string) error {
			return edit(dir+"/docs/page", func(f *os.File) error { return f.Truncate(4000) })
		},
		"mode":      func(dir string) error { return os.Chmod(dir+"/docs/page", 0o600) },
		"dir mode":  func(dir string) error { return os.Chmod(dir+"/docs/deep", 0o700) },
		"time":      func(dir string) error { return os.Chtimes(dir+"/empty", old, old) },
		"dir time":  func(dir string) error { return os.Chtimes(dir+"/empty dir", old, old) },
		"link time": func(dir string) error { return unix.Lutimes(dir+"/links/dangling", []unix.Timeval{{}, {Sec: 9}}) },
		"missing":   func(dir string) error { return os.Remove(dir + "/docs/one byte") },
		"new":       func(dir string) error { return os.WriteFile(dir+"/docs/new", nil, 0o600) },
		"target": func(dir string) error {
			return errors.Join(os.Remove(dir+"/links/self"), os.Symlink("x", dir+"/links/self"))
		},
		"type":     func(dir string) error { return errors.Join(os.Remove(dir+"/empty"), os.Mkdir(dir+"/empty", 0o644)) },
		"unlinked": func(dir string) error { return os.Remove(dir + "/links/page") },
		"room": func(dir string) error {
			return edit(dir+"/docs/sparse", func(f *os.File) error { _, err := f.WriteAt(make([]byte, 1<<20), 0); return err })
		},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := t.TempDir(), t.TempDir()
			archivetest.Populate(t, a)
			archivetest.Populate(t, b)
			if err := change(b); err != nil {
				t.Fatal(err)
			}
			if diff := archivetest.Diff(a, b); (diff == nil) != (name == "nothing") {
				t.Errorf("%q", diff)
			}
		})
	}
}

// edit changes a file's content and keeps its time.
func edit(name string, change func(*os.File) error) error {
	fi, err := os.Stat(name)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	return errors.Join(change(f), f.Close(), os.Chtimes(name, time.Time{}, fi.ModTime()))
}
