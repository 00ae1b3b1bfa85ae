package durable

import "golang.org/x/sys/unix"

// RenameNoReplace renames from to to, both relative to the directory dirfd, and
// fails with an error that wraps fs.ErrExist if there is a to. It wraps
// errors.ErrUnsupported where the system or the file system has no such call.
func RenameNoReplace(dirfd int, from, to string) error {
	return RetryEINTR(func() error { return unix.RenameatxNp(dirfd, from, dirfd, to, unix.RENAME_EXCL) })
}
