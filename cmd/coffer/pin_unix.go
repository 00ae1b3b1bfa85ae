//go:build unix

package main

import (
	"errors"

	"golang.org/x/sys/unix"
)

// checkInherited fails if the process did not get fd from its parent. What a Go process
// opens itself, as the runtime does before main, is closed by exec, and what it is given
// is not.
func checkInherited(fd int) error {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	if err != nil || flags&unix.FD_CLOEXEC != 0 {
		return errors.New("there is no such descriptor: redirect it, as in 3<pinfile")
	}
	return nil
}
