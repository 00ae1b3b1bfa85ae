//go:build !linux

package archive

import (
	"archive/tar"
	"errors"
	"runtime"
)

// mknod fails: this system has no call that makes such files relative to an open
// directory.
func (d *targetDir) mknod(string, *tar.Header) error { return errors.ErrUnsupported }

// rename gives old its name. Without replace, free found that name free, and a file
// that got it since is lost: this system has no call to prevent that.
func (d *targetDir) rename(old, name string, _ bool) error { return d.root.Rename(old, name) }

// syncEach: no call flushes all.
const syncEach = true

// sync flushes d, which Windows cannot do with directories.
func (d *targetDir) sync() error {
	if runtime.GOOS == "windows" {
		return nil
	}
	f, err := d.handle()
	if err != nil {
		return err
	}
	return f.Sync()
}
