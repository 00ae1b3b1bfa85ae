//go:build linux || darwin

package archive

import (
	"time"

	"golang.org/x/sys/unix"
)

// setTime sets the modification time of name, or of d itself for ".". Links are
// not followed. The access time, which archives do not keep, becomes the same.
func (d *targetDir) setTime(name string, t time.Time) error {
	f, err := d.handle()
	if err != nil {
		return err
	}
	ts, err := unix.TimeToTimespec(t)
	if err != nil {
		return err
	}
	return retry(func() error {
		return unix.UtimesNanoAt(int(f.Fd()), name, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
	})
}

func (d *targetDir) sync() error {
	f, err := d.handle()
	if err != nil {
		return err
	}
	return f.Sync()
}
