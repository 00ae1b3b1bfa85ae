//go:build !linux && !darwin

package archive

import (
	"errors"
	"io/fs"
	"os"
	"time"
)

const openFlags = 0

// setTime sets the modification time of name, or of d itself for ".". Links keep
// the time of their making.
func (d *targetDir) setTime(name string, t time.Time) error {
	if fi, err := d.root.Lstat(name); err == nil && fi.Mode()&fs.ModeSymlink != 0 {
		return nil
	}
	return d.root.Chtimes(name, time.Time{}, t)
}

// sync does nothing: most systems beside Unix cannot sync a directory.
func (d *targetDir) sync() error { return nil }

func xattrStored(string) bool { return true }

func setXattr(*os.File, string, string) error { return errors.ErrUnsupported }
