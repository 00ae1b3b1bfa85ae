package archive

import (
	"archive/tar"

	"golang.org/x/sys/unix"
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
	return retry(func() error { return unix.Mknodat(int(f.Fd()), name, mode, int(dev)) })
}
