//go:build linux || darwin

package durable

import (
	"os"

	"golang.org/x/sys/unix"
)

const (
	renamesOpenFiles = true
	syncsDirs        = true
	workingDir       = unix.AT_FDCWD
)

// Lock marks a temporary file as one of a living process, so that no Create takes
// it for a leftover: the kernel drops the lock with the process. It reports whether
// the file system has locks; where it has none, nothing is removed.
func Lock(f *os.File) bool {
	return RetryEINTR(func() error { return unix.Flock(int(f.Fd()), unix.LOCK_EX) }) == nil
}

// removeIfDead removes the temporary file name in dir unless a process holds it.
// What has another name too is not locked as such, and opening a device can have
// effects: both stay.
func removeIfDead(dir *os.File, name string) {
	at := int(dir.Fd())
	var st unix.Stat_t
	err := unix.Fstatat(at, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || st.Nlink != 1 {
		return
	}
	fd, err := unix.Openat(at, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	if RetryEINTR(func() error { return unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) }) == nil {
		_ = unix.Unlinkat(at, name, 0)
	}
}

// RetryEINTR repeats a call that a signal interrupted.
func RetryEINTR(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}
