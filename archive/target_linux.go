package archive

import (
	"archive/tar"

	"golang.org/x/sys/unix"

	"github.com/coffer-backup/coffer/internal/durable"
)

// mknod makes the FIFO or device of h, for nobody but its owner as yet.
func (d *targetDir) mknod(name string, h *tar.Header) error {
	f, err := d.handle()
	if err != nil {
		return err
	}
	mode := uint32(0o600)
	switch h.Typeflag {
	case tar.TypeFifo:
		mode |= unix.S_IFIFO
	case tar.TypeChar:
		mode |= unix.S_IFCHR
	case tar.TypeBlock:
		mode |= unix.S_IFBLK
	}
	dev := unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor))
	return durable.RetryEINTR(func() error { return unix.Mknodat(int(f.Fd()), name, mode, int(dev)) })
}

// syncEach: one call flushes a whole file system, and costs far less than one for
// each file.
const syncEach = false

// sync flushes the file system that d is on.
func (d *targetDir) sync() error {
	f, err := d.handle()
	if err != nil {
		return err
	}
	return unix.Syncfs(int(f.Fd()))
}
