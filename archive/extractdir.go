package archive

import (
	"errors"
	"hash/maphash"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/coffer-backup/coffer/internal/durable"
)

// A targetDir is a directory that is being filled. What os.Root has no method
// for is done relative to its handle, never by a path.
type targetDir struct {
	path       string // member name
	root       *os.Root
	file       *os.File    // handle, nil until it is needed
	attrs      *attributes // what it must look like in the end, nil: nothing says it
	before     fs.FileInfo // if it was there already
	defaultACL bool        // what is made in it inherits rights
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

func (d *targetDir) close() {
	d.release()
	d.root.Close()
}

// rename gives old its name. Without replace it never takes that of another file,
// save where the system cannot tell: then free found the name free, and what got it
// since is lost.
func (d *targetDir) rename(old, name string, replace bool) error {
	if !replace {
		f, err := d.handle()
		if err != nil {
			return err
		}
		if err = durable.RenameNoReplace(int(f.Fd()), old, name); !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
	}
	return d.root.Rename(old, name)
}

// ownerRights are what is needed in a directory to fill it.
const ownerRights = 0o700

// open opens the directory base in d, but no link to one, and gives the owner the
// rights that the archive may have taken: putBack takes them again.
func (d *targetDir) open(base string) (*targetDir, error) {
	before, err := d.root.Lstat(base)
	if err != nil {
		return nil, err
	}
	if !before.IsDir() {
		return nil, errNotDir
	}
	name := base + "/." // to open a FIFO that took its place could wait for ever
	root, err := d.root.OpenRoot(name)
	if errors.Is(err, fs.ErrPermission) && before.Mode()&ownerRights != ownerRights {
		// Only by its name then. Should that be a link by now, another file of the
		// target gets these permissions.
		if err = d.root.Chmod(base, before.Mode()|ownerRights); err == nil {
			root, err = d.root.OpenRoot(name)
		}
	}
	if err != nil {
		return nil, err
	}
	now, err := root.Stat(".")
	if err == nil && !os.SameFile(before, now) {
		err = errNotDir // OpenRoot followed a link
	}
	if err == nil && now.Mode()&ownerRights != ownerRights {
		err = root.Chmod(".", now.Mode()|ownerRights)
	}
	if err != nil {
		root.Close()
		return nil, err
	}
	return &targetDir{path: join(d.path, base, "/"), root: root, before: before}, nil
}

// toward returns how far the stack leads to dir, a member name, and the parts of
// dir below that.
func (x *extractor) toward(dir string) (depth int, rest []string) {
	if dir == x.top().path {
		return len(x.stack) - 1, nil
	}
	if dir != "" {
		rest = strings.Split(dir, "/")
	}
	for len(rest) > 0 && depth+1 < len(x.stack) && path.Base(x.stack[depth+1].path) == rest[0] {
		depth++
		rest = rest[1:]
	}
	return depth, rest
}

// enter makes dir, a member name, the last directory on the stack. Entries come
// in the order of a walk, so mostly it is that already, and what is left was left
// for good. It goes down step by step, and never through a link.
func (x *extractor) enter(dir string) error {
	depth, rest := x.toward(dir)
	x.leaveTo(depth)
	for _, part := range rest {
		if err := x.push(part, nil); err != nil {
			return err
		}
	}
	return nil
}

// push makes or opens a directory in the last one of the stack. attrs is nil for
// one that the archive only implies.
func (x *extractor) push(base string, attrs *attributes) error {
	parent := x.top()
	made, err := x.mkdir(parent, base, attrs != nil)
	if err != nil {
		return err
	}
	d, err := parent.open(base)
	if err != nil {
		return err
	}
	if made {
		d.before = nil
	}
	x.reap(d, made)
	if !made || parent.defaultACL {
		if f, err := d.handle(); err == nil {
			d.defaultACL = hasDefaultACL(f)
		}
	}
	parent.release()
	x.stack = append(x.stack, d)
	if attrs != nil {
		x.hold(d, attrs)
	}
	return nil
}

// reap removes from d what dead processes left there. It does so once: hostile
// archives come back to a directory again and again, and from then on what has such
// a name may be an entry.
func (x *extractor) reap(d *targetDir, made bool) {
	if !x.AllowNonEmpty {
		return
	}
	name := maphash.String(x.seed, d.path+"/") // no hard link can go there
	if _, again := x.made[name]; !again && !made {
		if dir, err := d.handle(); err == nil {
			durable.Reap(dir)
		}
	}
	x.made[name] = struct{}{}
}

// mkdir makes a directory, or reports that it is there. One that is an entry
// replaces what is none.
func (x *extractor) mkdir(d *targetDir, base string, entry bool) (made bool, err error) {
	perm := fs.FileMode(0o777)
	if entry {
		perm = ownerRights // until all is in it
	}
	err = d.root.Mkdir(base, perm)
	if err == nil {
		return true, nil
	}
	fi, lerr := d.root.Lstat(base)
	switch {
	case lerr != nil:
		return false, err
	case fi.IsDir():
		return false, nil
	case !entry:
		return false, errNotDir
	case !x.AllowNonEmpty:
		return false, fs.ErrExist
	}
	if err := d.root.Remove(base); err != nil {
		return false, err
	}
	return true, d.root.Mkdir(base, perm)
}

// maxHeld bounds the extended attributes that directories hold until they are
// left. What Linux stores in one inode is a few KiB mostly.
const maxHeld = 16 << 20

// hold keeps what leave gives d.
func (x *extractor) hold(d *targetDir, attrs *attributes) {
	if d.attrs != nil { // the target itself, told twice
		x.held -= d.attrs.held()
	}
	if x.held+attrs.held() > maxHeld {
		x.warn(attrs.name, errXattrHeld)
		attrs.xattrs = nil
	}
	x.held += attrs.held()
	d.attrs = attrs
}

// leaveTo leaves all directories that are deeper than depth.
func (x *extractor) leaveTo(depth int) {
	for len(x.stack)-1 > depth {
		x.leave(x.top())
		x.stack = x.stack[:len(x.stack)-1]
	}
}

// leave closes a directory and gives it its metadata, which had to wait: it may
// be read-only, and every entry made in it changes its time.
func (x *extractor) leave(d *targetDir) {
	defer d.close()
	var err error
	switch {
	case d.attrs != nil:
		x.held -= d.attrs.held()
		var f *os.File
		if f, err = d.handle(); err == nil {
			x.setMetadata(d, ".", f, d.attrs)
		}
	case d.before != nil:
		err = x.putBack(d)
	}
	if err != nil {
		x.warn(join(".", d.path, "/")+"/", err)
	}
	if x.Fsync && x.unsynced == nil && (syncEach || d == x.stack[0]) {
		x.unsynced = d.sync()
	}
}

// putBack undoes what going through a directory changed that the archive says
// nothing more of. Among files that were there before, a new time is right.
func (x *extractor) putBack(d *targetDir) error {
	if !x.AllowNonEmpty {
		if err := d.setTime(".", nil, d.before.ModTime()); err != nil {
			return err
		}
	}
	if d.before.Mode()&ownerRights != ownerRights {
		return d.root.Chmod(".", d.before.Mode())
	}
	return nil
}
