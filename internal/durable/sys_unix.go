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

// removeIfDead removes the temporary file at path unless a process holds it.
func removeIfDead(path string) {
	// Whoever may write to the directory may have put a link or a FIFO here.
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return
	}
	if RetryEINTR(func() error { return unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) }) == nil {
		_ = os.Remove(path)
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
