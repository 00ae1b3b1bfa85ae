//go:build !linux && !darwin

package archivetest

import (
	"io/fs"
	"os"
	"testing"
	"time"
)

func (c *comparison) system(string, fs.FileInfo, fs.FileInfo) {}

func xattrs(*os.File) []string { return nil }

func populateSystem(testing.TB, *os.Root) {}

func setTime(r *os.Root, name string, sec, nsec int64) error {
	if fi, err := r.Lstat(name); err == nil && fi.Mode()&fs.ModeSymlink != 0 {
		return nil
	}
	return r.Chtimes(name, time.Time{}, time.Unix(sec, nsec))
}
