package archive

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"strings"
	"syscall"

	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/internal/durable"
)

// ExtractOptions may be nil; every zero value is the default.
type ExtractOptions struct {
	// AllowNonEmpty restores into a directory that holds something already, and
	// replaces what has the name of an entry. Directories are never replaced, but
	// merged, and get the metadata that the archive has for them. A hard link to an
	// entry that was not restored fails: what has that name is none of the archive.
	// Temporary files of processes that died are removed from the directories that
	// entries go to.
	AllowNonEmpty bool
	// NoOwners leaves what is restored to who restores it. Otherwise root restores
	// the owners in the archive, by their numbers.
	NoOwners bool
	// Fsync has all that was restored on the disk when Extract returns. On Linux
	// that is one call for the file system of the target, elsewhere one a file.
	Fsync bool
	// OnWarning is told of each entry that was not restored and of metadata that
	// could not be set.
	OnWarning func(*EntryError)
	// OnEntry is told of each entry that was restored.
	OnEntry func(format.CatalogEntry)
}

var (
	errNotDir    = errors.New("what should be its directory is none; links are not followed")
	errDevice    = errors.New("devices are restored by root only")
	errSetID     = errors.New("setuid or setgid is left out, as the owner is another one")
	errOwner     = errors.New("its owner has no number on this system")
	errXattrName = errors.New("is none that archives restore")
	errXattrHeld = fmt.Errorf("extended attributes are left out: %w: more than %d bytes of them in nested directories", ErrLimit, maxHeld)
	errNoTarget  = errors.New("the file that it is another name of was not restored")
)

// Extract restores the archive in r below dir, which is made if it is absent and
// must be empty otherwise. It reads r to its end.
//
// What the file system refuses, such as a name it has not or that is taken, is
// left out, told to OnWarning and counted in Report.Failed; then Extract goes on
// and returns ErrIncomplete at the end. A fault of r, an entry that Create does not
// write, a full disk and the end of ctx stop it at once: what was whole stays,
// and Report.Next says where in the archive it stopped.
//
// Others who can write in dir while Extract runs cannot make it write elsewhere.
// But what they put in the place of a link, FIFO or device may get its owner, times
// or permissions.
//
// Permissions are restored whatever the umask is. The setuid and setgid bits are
// restored only if the file then belongs to the user or group that the archive
// says.
func Extract(ctx context.Context, r io.Reader, dir string, opts *ExtractOptions) (*Report, error) {
	if opts == nil {
		opts = &ExtractOptions{}
	}
	report := &Report{}
	ar, err := newReader(ctx, r, report)
	if err != nil {
		return report, err
	}
	top, err := openTarget(dir, opts.AllowNonEmpty)
	if err != nil {
		return report, err
	}
	x := &extractor{
		ExtractOptions: *opts,
		reader:         ar,
		stack:          []*targetDir{top},
		made:           make(map[uint64]struct{}),
		seed:           maphash.MakeSeed(),
		chown:          !opts.NoOwners && os.Geteuid() == 0,
		temp:           fmt.Sprintf("%s%016x-", durable.TempPrefix, rand.Uint64()),
	}
	x.reap(top, false)
	err = x.each(x.visit)
	x.leaveTo(0)
	x.leave(top)
	if err == nil && x.unsynced != nil {
		err = fmt.Errorf("flushing what was restored to disk: %w", x.unsynced)
	}
	if err == nil && x.first != nil {
		err = fmt.Errorf("%w: %d failed, the first is %w", ErrIncomplete, report.Failed, x.first)
	}
	return report, err
}

type extractor struct {
	ExtractOptions
	*reader
	stack    []*targetDir        // the open directories, from the target down
	held     int                 // bytes of extended attributes that wait in stack
	made     map[uint64]struct{} // AllowNonEmpty: hashes of the member names restored, and of directories entered
	seed     maphash.Seed
	chown    bool
	temp     string // what temporary names begin with
	temps    int
	first    error // why the first entry was not restored
	unsynced error // the first failure to flush
}

// top is the directory being filled.
func (x *extractor) top() *targetDir { return x.stack[len(x.stack)-1] }

func openTarget(dir string, allowNonEmpty bool) (*targetDir, error) {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	top := &targetDir{root: root}
	f, err := top.handle()
	if err == nil && !allowNonEmpty {
		if _, err = f.Readdirnames(1); err == nil {
			err = fmt.Errorf("%q: %w", dir, ErrNotEmpty)
		}
	}
	if err != nil && err != io.EOF {
		top.close()
		return nil, err
	}
	top.defaultACL = hasDefaultACL(f)
	return top, nil
}

func (x *extractor) visit(h *tar.Header, e format.CatalogEntry) (done bool, err error) {
	err = x.restore(h)
	if err == nil {
		if x.AllowNonEmpty && h.Typeflag != tar.TypeDir {
			x.made[maphash.String(x.seed, h.Name)] = struct{}{}
		}
		if x.OnEntry != nil {
			x.OnEntry(e)
		}
		return true, nil
	}
	err = withoutPath(err)
	if errors.Is(err, io.ErrUnexpectedEOF) || x.src.err != nil || stops(err) {
		return false, err
	}
	failed := &EntryError{h.Name, err}
	if x.first == nil {
		x.first = failed
	}
	if x.OnWarning != nil {
		x.OnWarning(failed)
	}
	return false, nil
}

// stops tells faults of the target that the next entry would meet too.
func stops(err error) bool {
	for _, e := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, syscall.EIO, syscall.EMFILE, syscall.ENFILE} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func (x *extractor) warn(name string, err error) {
	x.report.Warnings++
	if x.OnWarning != nil {
		x.OnWarning(&EntryError{name, withoutPath(err)})
	}
}

func (x *extractor) restore(h *tar.Header) error {
	name := entryName(h)
	if name == "" {
		x.hold(x.stack[0], newAttributes(h))
		return nil
	}
	dir, base := path.Split(name)
	if err := x.enter(strings.TrimSuffix(dir, "/")); err != nil {
		return err
	}
	d := x.top()
	switch h.Typeflag {
	case tar.TypeDir:
		return x.push(base, newAttributes(h))
	case tar.TypeReg:
		return x.file(d, base, h)
	case tar.TypeSymlink:
		return x.place(d, base, h, func(tmp string) error { return d.root.Symlink(h.Linkname, tmp) })
	case tar.TypeLink:
		return x.place(d, base, h, func(tmp string) error { return x.link(h.Linkname, d, tmp) })
	case tar.TypeChar, tar.TypeBlock:
		if os.Geteuid() != 0 {
			return errDevice
		}
	}
	return x.place(d, base, h, func(tmp string) error { return d.mknod(tmp, h) })
}

// free reports why an entry cannot get the name, or nil.
func (x *extractor) free(d *targetDir, base string) error {
	fi, err := d.root.Lstat(base)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case fi.IsDir():
		return fmt.Errorf("%w as a directory", fs.ErrExist)
	case !x.AllowNonEmpty:
		return fs.ErrExist
	}
	return nil
}

func (x *extractor) tempName() string {
	x.temps++
	return fmt.Sprint(x.temp, x.temps)
}

// place makes an entry without content under a temporary name and renames it.
func (x *extractor) place(d *targetDir, base string, h *tar.Header, create func(tmp string) error) error {
	if err := x.free(d, base); err != nil {
		return err
	}
	tmp := x.tempName()
	if err := create(tmp); err != nil {
		return err
	}
	if h.Typeflag != tar.TypeLink { // the other name has the metadata
		x.setMetadata(d, tmp, nil, newAttributes(h))
	}
	err := d.rename(tmp, base, x.AllowNonEmpty)
	if err != nil || h.Typeflag == tar.TypeLink {
		d.root.Remove(tmp) // renaming to another link of the same file leaves both
	}
	return err
}

// link makes tmp in d another name of a member that was restored before. It goes
// to it step by step, and never through a link.
func (x *extractor) link(member string, d *targetDir, tmp string) error {
	if _, ok := x.made[maphash.String(x.seed, member)]; x.AllowNonEmpty && !ok {
		return errNoTarget
	}
	dir, base := path.Split(member)
	depth, rest := x.toward(strings.TrimSuffix(dir, "/"))
	at := x.stack[depth]
	for i, part := range rest {
		next, err := at.open(part)
		if i > 0 {
			x.leave(at)
		}
		if err != nil {
			return err
		}
		at = next
	}
	err := x.linkFrom(at, base, d, tmp)
	if len(rest) > 0 {
		x.leave(at)
	} else if at != d {
		at.release()
	}
	return err
}

// tempFile makes a temporary file in d. Until release is called no other process
// takes it for a leftover, closed or not.
func (x *extractor) tempFile(d *targetDir) (f *os.File, name string, release func(), err error) {
	for {
		name = x.tempName()
		f, err = d.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL|openFlags, 0o600)
		if err != nil {
			return nil, "", nil, err
		}
		release, ok := hold(f)
		if ok {
			return f, name, release, nil
		}
		f.Close()
	}
}

// file restores a regular file, which has its name only when it is whole.
func (x *extractor) file(d *targetDir, base string, h *tar.Header) error {
	if err := x.free(d, base); err != nil {
		return err
	}
	f, tmp, release, err := x.tempFile(d)
	if err != nil {
		return err
	}
	defer release()
	err = writeSparse(f, x.tar, h.Size, x.buf)
	if err == nil {
		x.setMetadata(d, tmp, f, newAttributes(h))
		if x.Fsync && syncEach {
			err = f.Sync()
		}
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = d.rename(tmp, base, x.AllowNonEmpty)
	}
	if err != nil {
		d.root.Remove(tmp)
	}
	return err
}
