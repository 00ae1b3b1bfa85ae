// Package durable writes files that appear under their name complete or not at
// all, whatever kills the process or the machine:
//
//	f, err := durable.Create(path, nil)
//	defer f.Abort() // discards, unless Commit came first
//	_, err = io.Copy(f, src)
//	err = f.Commit() // only now is path there, and it is on the disk
//
// What is written goes to a temporary file beside the target, which Commit
// syncs, renames and syncs the directory of. A process that dies leaves that file
// behind; the next Create in the directory removes it. A lock tells it from one
// that is still being written.
//
// A File is for one goroutine. Where the system has no flock(2), leftovers of
// dead processes stay.
package durable

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// TempPrefix begins the names of temporary files.
const TempPrefix = ".coffer-tmp-"

// mode is that of new files, before umask: what coffer writes is a backup, the
// plaintext of one or a key, and no other user's business.
const mode fs.FileMode = 0o600

// Options may be nil.
type Options struct {
	// Replace lets Create write to a block device, and Commit replace the regular
	// file that was there at Create. Without it Create fails with an error that
	// wraps fs.ErrExist.
	Replace bool
}

// A File is a file being written.
type File struct {
	f    *os.File
	path string      // of the target, not of a symbolic link to it
	temp string      // path of the temporary file; "" if the target is written in place
	old  fs.FileInfo // the regular file that will be replaced, or nil
	err  error       // the first error of Write: the file cannot be committed
	done bool
}

// Create begins a file that Commit will give the name path. If path is a
// symbolic link, the file it points to is created or replaced, not the link.
// Something at path that is no regular file (a device, a FIFO, a terminal) is
// never replaced but written in place, for which Commit and Abort can promise
// nothing.
func Create(path string, opts *Options) (*File, error) {
	if opts == nil {
		opts = &Options{}
	}
	f := &File{path: path}
	info, err := os.Stat(path)
	switch {
	case err == nil && info.IsDir():
		return nil, &fs.PathError{Op: "create", Path: path, Err: syscall.EISDIR}
	case err == nil && holdsData(info) && !opts.Replace:
		return nil, &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
	case err == nil && !info.Mode().IsRegular():
		if f.f, err = os.OpenFile(path, os.O_WRONLY, 0); err != nil {
			return nil, err
		}
		return f, nil
	case err == nil:
		f.old = info
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	if f.path, err = followLinks(path); err != nil {
		return nil, err
	}
	if dir, err := os.Open(dirOf(f.path)); err == nil {
		Reap(dir)
		dir.Close()
	}
	if err := f.createTemp(); err != nil {
		return nil, err
	}
	return f, nil
}

// holdsData reports whether writing to the file would destroy something. A
// character device, FIFO or socket passes on what it is given.
func holdsData(info fs.FileInfo) bool {
	return info.Mode().IsRegular() || info.Mode()&(fs.ModeDevice|fs.ModeCharDevice) == fs.ModeDevice
}

// followLinks returns the path that path leads to through symbolic links in its
// last element, which need not exist.
func followLinks(path string) (string, error) {
	const maxLinks = 40 // as the kernel's
	for range maxLinks {
		target, err := os.Readlink(path)
		if err != nil {
			return path, nil // no link: a file, or nothing yet
		}
		if !filepath.IsAbs(target) {
			target = dirOf(path) + target
		}
		path = target
	}
	return "", &fs.PathError{Op: "create", Path: path, Err: errors.New("too many symbolic links")}
}

// dirOf returns what stands before the last element of path. It is for names to be
// appended to: filepath.Dir and Join would take "x/.." away, and x may be a link.
func dirOf(path string) string {
	dir, _ := filepath.Split(path)
	if dir == "" {
		return "." + string(filepath.Separator)
	}
	return dir
}

// createTemp makes and locks the temporary file.
func (f *File) createTemp() error {
	for {
		name := dirOf(f.path) + TempPrefix + rand.Text()
		file, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, mode)
		if errors.Is(err, fs.ErrExist) {
			continue
		} else if err != nil { // of the target, as far as the caller knows
			return &fs.PathError{Op: "create", Path: f.path, Err: errors.Unwrap(err)}
		}
		f.f, f.temp = file, name
		// Until it has the lock, a process that reaps may take the file for a
		// leftover and remove it: then there must be another one.
		if Lock(file) && !isAt(file, name) {
			file.Close()
			continue
		}
		if f.old != nil {
			if err := file.Chmod(f.old.Mode().Perm()); err != nil {
				f.Abort()
				return err
			}
		}
		return nil
	}
}

// isAt reports whether the open file is the one at path.
func isAt(file *os.File, path string) bool {
	open, err1 := file.Stat()
	there, err2 := os.Lstat(path)
	return err1 == nil && err2 == nil && os.SameFile(open, there)
}

// Reap removes the temporary files in dir that no living process holds. It is a
// service: errors do not matter.
func Reap(dir *os.File) {
	for {
		names, err := dir.Readdirnames(1000)
		for _, name := range names {
			if strings.HasPrefix(name, TempPrefix) {
				removeIfDead(dir, name)
			}
		}
		if err != nil {
			return
		}
	}
}

// InPlace reports whether the target is written directly, because it is no
// regular file.
func (f *File) InPlace() bool { return f.temp == "" }

// Fd is the file descriptor that is written to.
func (f *File) Fd() uintptr { return f.f.Fd() }

// Files identifies, for os.SameFile, the temporary file and the file that it will
// replace, if any: an archive that is being written must contain neither.
func (f *File) Files() []fs.FileInfo {
	var files []fs.FileInfo
	if info, err := f.f.Stat(); err == nil {
		files = append(files, info)
	}
	if f.old != nil {
		files = append(files, f.old)
	}
	return files
}

// Write appends p to the file. After an error nothing can be committed.
func (f *File) Write(p []byte) (int, error) {
	n, err := f.f.Write(p)
	if err != nil && f.err == nil {
		f.err = err
	}
	return n, err
}

// ReadAt reads what was written. It fails if the file is written in place.
func (f *File) ReadAt(p []byte, off int64) (int, error) { return f.f.ReadAt(p, off) }

// Commit makes the file durable and gives it its name. Where it fails, the
// target is as it was and the temporary file is gone; the error wraps fs.ErrExist
// if a file appeared there since Create. Only if the directory could not be
// synced, which the error says, the file has its name already. A failed sync is
// never tried again: the kernel may have dropped the data.
func (f *File) Commit() error {
	if f.done {
		return os.ErrClosed
	}
	defer f.Abort()
	if f.err != nil {
		return fmt.Errorf("nothing is committed after a failed write: %w", f.err)
	}
	if f.InPlace() {
		f.done = true
		return errors.Join(syncInPlace(f.f), f.f.Close())
	}
	if err := f.f.Sync(); err != nil {
		return err
	}
	if err := f.rename(); err != nil {
		return err
	}
	f.done = true
	// The sync has told all there was to tell.
	_ = f.f.Close()
	if err := syncDir(dirOf(f.path)); err != nil {
		return fmt.Errorf("%s is written, but may not survive a power cut: %w", f.path, err)
	}
	return nil
}

// rename gives the temporary file its name. The file stays open, and so locked,
// until nobody can take it for a leftover.
func (f *File) rename() error {
	if !renamesOpenFiles {
		if err := f.f.Close(); err != nil {
			return err
		}
	}
	var err error
	if f.old != nil {
		err = os.Rename(f.temp, f.path)
	} else if err = RenameNoReplace(workingDir, f.temp, f.path); errors.Is(err, errors.ErrUnsupported) {
		if err = os.Link(f.temp, f.path); err == nil {
			_ = os.Remove(f.temp)
		}
	}
	if err == nil {
		return nil
	}
	if link := (*os.LinkError)(nil); errors.As(err, &link) {
		err = link.Err
	}
	return &fs.PathError{Op: "create", Path: f.path, Err: err} // the caller knows no temporary file
}

// Abort discards what was written. After Commit or Abort it does nothing.
func (f *File) Abort() {
	if f.done {
		return
	}
	f.done = true
	_ = f.f.Close()
	if f.temp != "" {
		_ = os.Remove(f.temp)
	}
}

// syncInPlace syncs what can be synced: a block device can, a FIFO or a terminal
// has nothing to sync.
func syncInPlace(f *os.File) error {
	return ignoreUnsupported(f.Sync())
}

// syncDir makes the names in dir durable, where the file system can do that.
func syncDir(dir string) error {
	if !syncsDirs {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(ignoreUnsupported(d.Sync()), d.Close())
}

func ignoreUnsupported(err error) error {
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	return err
}
