//go:build linux || darwin

package archive

import (
	"archive/tar"
	"errors"
	"os"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/coffer-backup/coffer/internal/durable"
)

// A sourceDir is an open directory that is being archived. Its children are
// reached from it by their last name only, so paths of any length work and a
// directory that is moved meanwhile leads nowhere else.
type sourceDir struct {
	f  *os.File // nil: the working directory, whose "children" are the roots
	fd int
}

var workingDir = sourceDir{fd: unix.AT_FDCWD}

// A fileStat is what an archive keeps of an inode.
type fileStat struct {
	typ          byte  // typeflag of tar, or 0 for what is not archived
	mode         int64 // permissions with setuid, setgid and sticky
	size         int64
	mtime        time.Time
	uid, gid     int
	major, minor int64 // of a device
	inode        inode
	links        uint64
	sparse       bool // occupies less than its size
}

// An inode is the identity of a file.
type inode struct{ dev, ino uint64 }

func newFileStat(s *unix.Stat_t) fileStat {
	st := fileStat{
		mode:  int64(s.Mode & 0o7777),
		mtime: time.Unix(s.Mtim.Unix()),
		uid:   int(s.Uid),
		gid:   int(s.Gid),
		inode: inode{uint64(s.Dev), uint64(s.Ino)},
		links: uint64(s.Nlink),
	}
	switch s.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		st.typ, st.size = tar.TypeReg, s.Size
		st.sparse = int64(s.Blocks)*512 < s.Size
	case unix.S_IFDIR:
		st.typ = tar.TypeDir
	case unix.S_IFLNK:
		st.typ = tar.TypeSymlink
	case unix.S_IFIFO:
		st.typ = tar.TypeFifo
	case unix.S_IFCHR, unix.S_IFBLK:
		st.typ = tar.TypeBlock
		if s.Mode&unix.S_IFMT == unix.S_IFCHR {
			st.typ = tar.TypeChar
		}
		st.major, st.minor = int64(unix.Major(uint64(s.Rdev))), int64(unix.Minor(uint64(s.Rdev)))
	}
	return st
}

func (d sourceDir) lstat(name string) (fileStat, error) {
	var s unix.Stat_t
	err := durable.RetryEINTR(func() error { return unix.Fstatat(d.fd, name, &s, unix.AT_SYMLINK_NOFOLLOW) })
	return newFileStat(&s), err
}

// open opens a file that was regular or a directory a moment ago. O_NONBLOCK
// keeps it from waiting, should it have become a FIFO since.
func (d sourceDir) open(name string, flags int) (*os.File, error) {
	var fd int
	err := durable.RetryEINTR(func() (err error) {
		fd, err = unix.Openat(d.fd, name, flags|unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

func (d sourceDir) openDir(name string) (sourceDir, error) {
	f, err := d.open(name, unix.O_DIRECTORY)
	if err != nil {
		return sourceDir{}, err
	}
	return sourceDir{f, int(f.Fd())}, nil
}

func (d sourceDir) close() { d.f.Close() }

func (d sourceDir) stat() (fileStat, error) { return statFile(d.f) }

// names lists the directory in the order of bytes, so that archives of equal
// trees are equal.
func (d sourceDir) names() ([]string, error) {
	names, err := d.f.Readdirnames(-1)
	slices.Sort(names)
	return names, err
}

func (d sourceDir) readlink(name string) (string, error) {
	buf := make([]byte, MaxPath+1)
	var n int
	err := durable.RetryEINTR(func() (err error) {
		n, err = unix.Readlinkat(d.fd, name, buf)
		return err
	})
	return string(buf[:max(n, 0)]), err
}

func (d sourceDir) xattrs() (map[string]string, error) { return readXattrs(d.f) }

func statFile(f *os.File) (fileStat, error) {
	var s unix.Stat_t
	err := durable.RetryEINTR(func() error { return unix.Fstat(int(f.Fd()), &s) })
	return newFileStat(&s), err
}

// is reports whether fi is about the same inode.
func (st *fileStat) is(fi os.FileInfo) bool {
	s, ok := fi.Sys().(*syscall.Stat_t)
	return ok && st.inode == inode{uint64(s.Dev), uint64(s.Ino)}
}

// nextData returns the next range of f that holds data, from off on, or
// (size, size) when there is none.
func nextData(f *os.File, off, size int64) (start, end int64) {
	start, err := f.Seek(off, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) {
		return size, size
	}
	if err != nil || start < off {
		return off, size // the file system does not tell: all is data
	}
	end, err = f.Seek(start, unix.SEEK_HOLE)
	if err != nil || end <= start {
		end = size
	}
	return min(start, size), min(end, size)
}
