//go:build linux || darwin

package archivetest

import (
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// roomSlack is by how many bytes allocation may differ for the same content: file
// systems allocate ahead.
const roomSlack = 128 << 10

func (c *comparison) system(name string, fa, fb fs.FileInfo) {
	a, b := fa.Sys().(*syscall.Stat_t), fb.Sys().(*syscall.Stat_t)
	if os.Geteuid() == 0 && (a.Uid != b.Uid || a.Gid != b.Gid) {
		c.report(name, "owner %d:%d, then %d:%d", a.Uid, a.Gid, b.Uid, b.Gid)
	}
	if a.Rdev != b.Rdev {
		c.report(name, "device %#x, then %#x", a.Rdev, b.Rdev)
	}
	if fa.IsDir() {
		return
	}
	if a.Nlink != b.Nlink {
		c.report(name, "%d links, then %d", a.Nlink, b.Nlink)
	}
	if a.Nlink > 1 {
		c.linked(name, [2]uint64{uint64(a.Dev), a.Ino}, [2]uint64{uint64(b.Dev), b.Ino})
	}
	if room := (b.Blocks - a.Blocks) * 512; room > roomSlack {
		c.report(name, "takes %d bytes more", room)
	}
}

// xattrs lists the attributes that archives keep, with their values.
func xattrs(f *os.File) []string {
	list := make([]byte, 64<<10)
	n, err := unix.Flistxattr(int(f.Fd()), list)
	if err != nil || n == 0 {
		return nil
	}
	var all []string
	for name := range strings.SplitSeq(strings.TrimSuffix(string(list[:n]), "\x00"), "\x00") {
		if !strings.HasPrefix(name, "user.") && !strings.HasPrefix(name, "system.posix_acl") && name != "security.capability" {
			continue
		}
		value := make([]byte, 64<<10)
		n, err := unix.Fgetxattr(int(f.Fd()), name, value)
		all = append(all, fmt.Sprintf("%s=%q %v", name, value[:max(n, 0)], err))
	}
	slices.Sort(all)
	return all
}
