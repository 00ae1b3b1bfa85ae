//go:build !linux

package archive

import (
	"archive/tar"
	"errors"
)

// mknod fails: this system has no call that makes such files relative to an open
// directory.
func (d *targetDir) mknod(string, *tar.Header) error { return errors.ErrUnsupported }
