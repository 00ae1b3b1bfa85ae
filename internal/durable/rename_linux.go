package durable

import "golang.org/x/sys/unix"

// RenameNoReplace renames from to to, both relative to the directory dirfd, and
// fails with an error that wraps fs.ErrExist if there is a to. It wraps
// errors.ErrUnsupported where the system or the file system has no such call.
func RenameNoReplace(dirfd int, from, to string) error {
	err := RetryEINTR(func() error { return unix.Renameat2(dirfd, from, dirfd, to, unix.RENAME_NOREPLACE) })
	if err == unix.EINVAL { // the file system does not know the flag
		return unix.ENOTSUP
	}
	return err
}
