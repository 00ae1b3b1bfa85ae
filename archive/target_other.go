//go:build !linux && !darwin

package archive

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"time"
)

const openFlags = 0

// setTime sets the modification time of name, or of d itself for ".". Links keep
// the time of their making.
func (d *targetDir) setTime(name string, _ *os.File, t time.Time) error {
	if fi, err := d.root.Lstat(name); err == nil && fi.Mode()&fs.ModeSymlink != 0 {
		return nil
	}
	return d.root.Chtimes(name, time.Time{}, t)
}

// hold does nothing on systems without locks, where nothing is reaped.
func hold(*os.File) (release func(), ok bool) { return func() {}, true }

// linkFrom makes name in d another name of base in from. Here a link that takes
// the place of a directory at that moment is followed, within the target.
func (x *extractor) linkFrom(from *targetDir, base string, d *targetDir, name string) error {
	return x.stack[0].root.Link(path.Join(from.path, base), path.Join(d.path, name))
}

func xattrStored(string) bool { return true }

func setXattr(*os.File, string, string) error { return errors.ErrUnsupported }

func hasDefaultACL(*os.File) bool { return false }

func removeACLs(*os.File) error { return nil }
