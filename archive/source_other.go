//go:build !linux && !darwin

package archive

import (
	"archive/tar"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// A sourceDir is a directory that is being archived, by its path. "" is the
// working directory, whose "children" are the roots.
type sourceDir struct{ path string }

var workingDir sourceDir

// A fileStat is what an archive keeps of a file here: no owners, no links, no
// devices, no holes.
type fileStat struct {
	typ          byte  // typeflag of tar, or 0 for what is not archived
	mode         int64 // permissions
	size         int64
	mtime        time.Time
	uid, gid     int
	major, minor int64
	inode        inode
	links        uint64
	sparse       bool
}

// An inode is the identity of a file.
type inode struct {
	dev uint64
	fi  fs.FileInfo // compared by os.SameFile
}

func newFileStat(fi fs.FileInfo) fileStat {
	st := fileStat{mode: int64(fi.Mode().Perm()), mtime: fi.ModTime(), inode: inode{fi: fi}, links: 1}
	switch fi.Mode().Type() {
	case 0:
		st.typ, st.size = tar.TypeReg, fi.Size()
	case fs.ModeDir:
		st.typ = tar.TypeDir
	case fs.ModeSymlink:
		st.typ = tar.TypeSymlink
	}
	return st
}

func (d sourceDir) join(name string) string {
	if d.path == "" {
		return name
	}
	return filepath.Join(d.path, name)
}

func (d sourceDir) lstat(name string) (fileStat, error) {
	fi, err := os.Lstat(d.join(name))
	if err != nil {
		return fileStat{}, err
	}
	return newFileStat(fi), nil
}

// open opens a file or directory. There are no flags here.
func (d sourceDir) open(name string, _ int) (*os.File, error) { return os.Open(d.join(name)) }

func (d sourceDir) openDir(name string) (sourceDir, error) { return sourceDir{d.join(name)}, nil }

func (d sourceDir) close() {}

func (d sourceDir) stat() (fileStat, error) { return workingDir.lstat(d.path) }

// names lists the directory in the order of bytes.
func (d sourceDir) names() ([]string, error) {
	f, err := os.Open(d.path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	slices.Sort(names)
	return names, err
}

func (d sourceDir) readlink(name string) (string, error) {
	target, err := os.Readlink(d.join(name))
	return filepath.ToSlash(target), err
}

func (d sourceDir) xattrs() (map[string]string, error) { return nil, nil }

func readXattrs(*os.File) (map[string]string, error) { return nil, nil }

func statFile(f *os.File) (fileStat, error) {
	fi, err := f.Stat()
	if err != nil {
		return fileStat{}, err
	}
	return newFileStat(fi), nil
}

// is reports whether fi is about the same file.
func (st *fileStat) is(fi os.FileInfo) bool { return os.SameFile(st.inode.fi, fi) }

func nextData(_ *os.File, off, size int64) (start, end int64) { return off, size }
