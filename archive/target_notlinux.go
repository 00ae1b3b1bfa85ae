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
