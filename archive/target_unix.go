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

// hold locks a new file, also when it is closed, until release is called: what is
// not locked is reaped. It reports false if that happened already.
func hold(f *os.File) (release func(), ok bool) {
	nothing := func() {}
	if !durable.Lock(f) {
		return nothing, true // nor can others lock it, to remove it
	}
	fd := int(f.Fd())
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err == nil && st.Nlink == 0 {
		return nil, false
	}
	lock, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nothing, true // until it is closed, then
	}
	return func() { unix.Close(lock) }, true
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
