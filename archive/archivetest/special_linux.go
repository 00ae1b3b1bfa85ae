package archivetest

import (
	"testing"

	"golang.org/x/sys/unix"
)

func populateSpecial(t testing.TB, dir int) {
	t.Helper()
	check(t, unix.Mkfifoat(dir, "fifo", 0o640))
	// Containers may forbid devices to root, too.
	unix.Mknodat(dir, "null", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3)))
	unix.Mknodat(dir, "loop", unix.S_IFBLK|0o600, int(unix.Mkdev(7, 1000)))
}
