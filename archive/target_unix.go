//go:build linux || darwin

package archive

import (
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/coffer-backup/coffer/internal/durable"
)

// setTime sets the modification time of f, or if that is nil or the system cannot,
// of name, "." for d itself. Links are not followed. The access time, which
// archives do not keep, becomes the same.
func (d *targetDir) setTime(name string, f *os.File, t time.Time) error {
	ts, err := unix.TimeToTimespec(t)
	if err != nil {
		return err
	}
	times := []unix.Timespec{ts, ts}
	if f != nil && emptyPath != 0 {
		err := durable.RetryEINTR(func() error { return unix.UtimesNanoAt(int(f.Fd()), "", times, emptyPath) })
		if err != unix.EINVAL { // Linux before 5.8
			return err
		}
	}
	dir, err := d.handle()
	if err != nil {
		return err
	}
	return durable.RetryEINTR(func() error {
		return unix.UtimesNanoAt(int(dir.Fd()), name, times, unix.AT_SYMLINK_NOFOLLOW)
	})
}

// linkFrom makes name in d another name of base in from, which may be a link.
func (x *extractor) linkFrom(from *targetDir, base string, d *targetDir, name string) error {
	f, err := from.handle()
	if err != nil {
		return err
	}
	to, err := d.handle()
	if err != nil {
		return err
	}
	return durable.RetryEINTR(func() error { return unix.Linkat(int(f.Fd()), base, int(to.Fd()), name, 0) })
}
