package archive

import (
	"archive/tar"
	"io/fs"
	"os"
	"strings"
)

// A targetDir is a directory that is being filled. What os.Root has no method
// for is done relative to its handle, never by a path.
type targetDir struct {
	name   string // in the directory above
	root   *os.Root
	file   *os.File    // handle, nil until it is needed
	header *tar.Header // says what it must look like in the end, nil: nothing does
	before fs.FileInfo // if it was there already
}

// handle returns the open directory itself.
func (d *targetDir) handle() (*os.File, error) {
	var err error
	if d.file == nil {
		d.file, err = d.root.Open(".")
	}
	return d.file, err
}

// release closes the handle, which opens again by itself.
func (d *targetDir) release() {
	if d.file != nil {
		d.file.Close()
		d.file = nil
	}
}

// enter makes dir, a member name, the last directory on the stack. Entries come
// in the order of a walk, so mostly it is that already, and what is left was left
// for good. It goes down step by step, and never through a link.
func (x *extractor) enter(dir string) error {
	if dir == x.path {
		return nil
	}
	var parts []string
	if dir != "" {
		parts = strings.Split(dir, "/")
	}
	common := 0
	for common < len(parts) && common+1 < len(x.stack) && x.stack[common+1].name == parts[common] {
		common++
	}
	x.leaveTo(common)
	for _, part := range parts[common:] {
		if err := x.push(part, nil); err != nil {
			return err
		}
	}
	return nil
}

// push makes or opens a directory in the last one of the stack. h is nil for one
// that the archive only implies.
func (x *extractor) push(base string, h *tar.Header) error {
	parent := x.stack[len(x.stack)-1]
	before, err := x.mkdir(parent, base, h)
	if err != nil {
		return err
	}
	if before != nil && before.Mode()&0o700 != 0o700 {
		// Left without these by the archive, and now it goes on: leave puts it back.
		if err := parent.root.Chmod(base, before.Mode()|0o700); err != nil {
			return err
		}
	}
	root, err := parent.root.OpenRoot(base)
	if err != nil {
		return err
	}
	parent.release()
	x.stack = append(x.stack, &targetDir{name: base, root: root, header: h, before: before})
	x.path = join(x.path, base, "/")
	return nil
}

// mkdir makes a directory, or returns the one that is there.
func (x *extractor) mkdir(d *targetDir, base string, h *tar.Header) (before fs.FileInfo, err error) {
	perm := fs.FileMode(0o777)
	if h != nil {
		perm = 0o700 // until all is in it
	}
	err = d.root.Mkdir(base, perm)
	if err == nil {
		return nil, nil
	}
	fi, lerr := d.root.Lstat(base)
	switch {
	case lerr != nil:
		return nil, err
	case fi.IsDir():
		return fi, nil
	case h == nil:
		return nil, errNotDir
	case !x.AllowNonEmpty:
		return nil, fs.ErrExist
	}
	if err := d.root.Remove(base); err != nil {
		return nil, err
	}
	return nil, d.root.Mkdir(base, perm)
}

// leaveTo leaves all directories that are deeper than depth.
func (x *extractor) leaveTo(depth int) {
	for len(x.stack)-1 > depth {
		d := x.stack[len(x.stack)-1]
		x.leave(d)
		x.stack = x.stack[:len(x.stack)-1]
		x.path = x.path[:max(0, len(x.path)-len(d.name)-1)]
	}
}

// leave gives a directory its metadata, which had to wait: it may be read-only,
// and every entry made in it changes its time.
func (x *extractor) leave(d *targetDir) {
	var err error
	switch {
	case d.header != nil:
		var f *os.File
		if f, err = d.handle(); err == nil {
			x.setMetadata(d, ".", f, d.header)
		}
	case d.before != nil:
		err = x.putBack(d)
	}
	if err == nil && x.Fsync {
		err = d.sync()
	}
	if err != nil {
		x.warn(join(".", x.path, "/")+"/", err)
	}
	d.release()
	d.root.Close()
}

// putBack undoes what going through a directory changed that the archive says
// nothing more of. Among files that were there before, a new time is right.
func (x *extractor) putBack(d *targetDir) error {
	if !x.AllowNonEmpty {
		if err := d.setTime(".", d.before.ModTime()); err != nil {
			return err
		}
	}
	if d.before.Mode()&0o700 != 0o700 {
		return d.root.Chmod(".", d.before.Mode())
	}
	return nil
}
