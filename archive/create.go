package archive

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"strconv"
	"strings"
	"time"

	"github.com/coffer-backup/coffer/format"
)

// CreateOptions may be nil; every zero value is the default.
type CreateOptions struct {
	// Exclude leaves out the members whose name matches a pattern, and all that is
	// below them. A pattern without "/" is tried on the last part of each name; one
	// with a "/" at its beginning or inside on the whole name, part by part, where
	// names have no leading "/": "/home/ann/tmp" fits what lies there. In a part,
	// *, ?, [a-z], [^a-z] and \ are those of path.Match; the part ** stands for any number
	// of parts, none included. A "/" at the end makes a pattern fit directories
	// only. There is no negation.
	Exclude []string
	// ExcludeCaches leaves out the content of directories with a valid
	// CACHEDIR.TAG file, save that file.
	ExcludeCaches bool
	// OneFileSystem does not descend into directories on another file system than
	// their root; they are stored empty.
	OneFileSystem bool
	// Omit names files that are left out without a warning: the archive itself.
	Omit []os.FileInfo
	// OnWarning is told of each fault of the source, and of each socket.
	OnWarning func(*EntryError)
	// OnEntry is told of each entry before its content is read.
	OnEntry func(format.CatalogEntry)
}

// Reasons of warnings.
var (
	errReplaced = errors.New("was replaced while it was being archived: left out")
	errSocket   = errors.New("is a socket or of a kind that tar has not: left out")
	errChanged  = errors.New("changed while it was being read: the copy may mix old and new")
	errGrew     = errors.New("grew while it was being read: what was added is left out")
	errShrank   = errors.New("shrank while it was being read: zeros stand for the rest")
	errTooMany  = fmt.Errorf("%w: this and all that comes after %d entries is left out", ErrLimit, MaxEntries)
)

// Create writes an archive of roots to w: files, and directories with all that
// is below them. Symbolic links are stored as such and never followed, save in
// the leading parts of a root. Members are named as tar does it, /usr/local/go
// as usr/local/go. It does not close or commit w.
//
// Faults of the source are warnings: Report.Warnings > 0 means that the archive
// is whole, but is not all of the source. An error means that the stream is not
// an archive: writing to w failed, ctx was cancelled, or there was nothing to
// archive at all.
func Create(ctx context.Context, w Sink, roots []string, opts *CreateOptions) (*Report, error) {
	if opts == nil {
		opts = &CreateOptions{}
	}
	c := &creator{
		CreateOptions: *opts,
		out:           &countWriter{ctx: ctx, w: w},
		sink:          w,
		report:        &Report{},
		linked:        make(map[inode]*linkedFile),
		users:         make(map[int]string),
		groups:        make(map[int]string),
		buf:           make([]byte, chunkSize),
	}
	c.tar = tar.NewWriter(c.out)
	err := c.run(roots)
	c.report.Catalog = c.digest.Sum()
	return c.report, err
}

type creator struct {
	CreateOptions
	out      *countWriter
	tar      *tar.Writer
	sink     Sink
	report   *Report
	digest   CatalogDigest
	patterns []pattern
	roots    map[string]bool // by member name
	linked   map[inode]*linkedFile
	users    map[int]string
	groups   map[int]string
	buf      []byte
	device   uint64 // of the root being walked
	first    error  // the first warning
}

// A linkedFile was archived under a first name and has more.
type linkedFile struct {
	name  string
	left  uint64 // links not met yet
	typ   byte
	size  int64
	mtime time.Time
}

// is reports whether st is still that file: the number of an inode that was
// removed meanwhile is given to another one.
func (l *linkedFile) is(st *fileStat) bool {
	return l.typ == st.typ && l.size == st.size && l.mtime.Equal(st.mtime)
}

// A node is one file on the walk.
type node struct {
	parent sourceDir
	base   string // name in parent
	path   string // for people
	name   string // of the member, "" for a top directory
	st     fileStat
}

// countWriter counts what reached the sink, and keeps the error that ended it.
type countWriter struct {
	ctx context.Context
	w   io.Writer
	n   int64
	err error
}

func (w *countWriter) Write(p []byte) (int, error) {
	if w.err == nil {
		w.err = w.ctx.Err()
	}
	if w.err != nil {
		return 0, w.err
	}
	n, err := w.w.Write(p)
	w.n += int64(n)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	w.err = err
	return n, err
}

func (c *creator) run(paths []string) error {
	var err error
	if c.patterns, err = parsePatterns(c.Exclude); err != nil {
		return err
	}
	roots, err := distinctRoots(paths)
	if err != nil {
		return err
	}
	c.roots = make(map[string]bool)
	for _, r := range roots {
		c.roots[r.name] = true
	}
	for _, r := range roots {
		err := c.visit(&node{parent: workingDir, base: r.path, path: r.path, name: r.name}, true)
		if err == errTooMany {
			break
		}
		if err != nil {
			return err
		}
	}
	if c.report.Entries == 0 {
		if c.first != nil {
			return fmt.Errorf("nothing was archived: %w", c.first)
		}
		return errors.New("nothing was archived: all was left out or no path was given")
	}
	if err := c.tar.Close(); err != nil {
		return fmt.Errorf("writing the archive: %w", err)
	}
	c.report.Next, c.report.Ended = c.out.n, true
	return nil
}

func (c *creator) warn(path string, err error) {
	c.report.Warnings++
	c.tell(path, err)
}

// tell is warn for what a backup can do without.
func (c *creator) tell(path string, err error) {
	e := &EntryError{path, withoutPath(err)}
	if c.first == nil {
		c.first = e
	}
	if c.OnWarning != nil {
		c.OnWarning(e)
	}
}

// visit archives n and what is below it. Only faults that end the archive are
// errors; all others are warnings.
func (c *creator) visit(n *node, isRoot bool) error {
	if err := c.out.ctx.Err(); err != nil {
		return err
	}
	if !isRoot && c.roots[n.name] {
		return nil // it is walked on its own, whatever is excluded on the way to it
	}
	var err error
	if n.st, err = n.parent.lstat(n.base); err != nil {
		c.warn(n.path, err)
		return nil
	}
	if isRoot {
		c.device = n.st.inode.dev
	}
	if excluded(c.patterns, n.name, n.st.typ == tar.TypeDir) || c.omitted(&n.st) {
		return nil
	}
	if n.name != "" {
		if err := checkName(n.name); err != nil {
			c.warn(n.path, fmt.Errorf("%w: left out", err))
			return nil
		}
	}
	switch n.st.typ {
	case 0:
		c.tell(n.path, errSocket) // whoever made it makes it anew
		return nil
	case tar.TypeDir:
		return c.directory(n)
	}
	if n.st.links > 1 {
		if first := c.otherLink(&n.st); first != "" {
			h := c.header(n, nil)
			h.Typeflag, h.Linkname, h.Size = tar.TypeLink, first, 0
			_, err := c.writeHeader(n, h)
			return err
		}
	}
	if n.st.typ == tar.TypeReg {
		return c.file(n)
	}
	return c.special(n)
}

func (c *creator) omitted(st *fileStat) bool {
	for _, fi := range c.Omit {
		if st.is(fi) {
			return true
		}
	}
	return false
}

// otherLink returns the name under which the file was archived already, or "". It
// forgets inodes that changed or whose last link it has seen.
func (c *creator) otherLink(st *fileStat) string {
	l := c.linked[st.inode]
	if l == nil {
		return ""
	}
	same := l.is(st)
	if l.left--; l.left == 0 || !same {
		delete(c.linked, st.inode)
	}
	if !same {
		return ""
	}
	return l.name
}

// directory archives a directory and all in it.
func (c *creator) directory(n *node) error {
	d, err := n.parent.openDir(n.base)
	if err != nil {
		c.warn(n.path, err)
		if errors.Is(err, fs.ErrPermission) { // what can be known of it is kept
			_, err := c.writeHeader(n, c.header(n, nil))
			return err
		}
		return nil
	}
	defer d.close()
	if n.st, err = d.stat(); err != nil {
		c.warn(n.path, err)
		return nil
	}
	attrs, err := d.xattrs()
	if err != nil {
		c.warn(n.path, err)
	}
	if ok, err := c.writeHeader(n, c.header(n, attrs)); !ok {
		return err
	}
	if c.OneFileSystem && n.st.inode.dev != c.device {
		return nil
	}
	names, err := d.names()
	if err != nil {
		c.warn(n.path, err)
	}
	if c.ExcludeCaches && isCache(d) {
		names = []string{cacheTag}
	}
	for _, base := range names {
		child := &node{parent: d, base: base, path: join(n.path, base, string(os.PathSeparator)), name: join(n.name, base, "/")}
		if err := c.visit(child, false); err != nil {
			return err
		}
	}
	return nil
}

func join(dir, base, sep string) string {
	if dir == "" || strings.HasSuffix(dir, sep) {
		return dir + base
	}
	return dir + sep + base
}

// A cache directory is marked as https://bford.info/cachedir/ says.
const (
	cacheTag       = "CACHEDIR.TAG"
	cacheSignature = "Signature: 8a477f597d28d172789f06886806bc55"
)

func isCache(d sourceDir) bool {
	st, err := d.lstat(cacheTag)
	if err != nil || st.typ != tar.TypeReg {
		return false
	}
	f, _, err := d.openFile(cacheTag)
	if err != nil {
		return false
	}
	defer f.Close()
	b := make([]byte, len(cacheSignature))
	_, err = io.ReadFull(f, b)
	return err == nil && string(b) == cacheSignature
}

// special archives what has a header only. It is never opened.
func (c *creator) special(n *node) error {
	h := c.header(n, nil)
	if n.st.typ == tar.TypeSymlink {
		target, err := n.parent.readlink(n.base)
		if err == nil && len(target) > MaxPath {
			err = fmt.Errorf("%w: the link is over %d bytes long: left out", ErrLimit, MaxPath)
		}
		if err != nil {
			c.warn(n.path, err)
			return nil
		}
		h.Linkname = target
	}
	_, err := c.writeHeader(n, h)
	return err
}

// header makes the tar header of n. attrs are its extended attributes.
func (c *creator) header(n *node, attrs map[string]string) *tar.Header {
	h := &tar.Header{
		Format:   tar.FormatPAX,
		Typeflag: n.st.typ,
		Name:     n.name,
		Size:     n.st.size,
		Mode:     n.st.mode,
		ModTime:  n.st.mtime,
		Uid:      n.st.uid,
		Gid:      n.st.gid,
		Uname:    lookup(c.users, n.st.uid, userName),
		Gname:    lookup(c.groups, n.st.gid, groupName),
		Devmajor: n.st.major,
		Devminor: n.st.minor,
	}
	if n.st.typ == tar.TypeDir {
		h.Name = topName
		if n.name != "" {
			h.Name = n.name + "/"
		}
	}
	if h.ModTime.IsZero() {
		h.ModTime = h.ModTime.Add(1) // tar takes the first instant of the year 1 for none
	}
	h.PAXRecords = c.paxXattrs(n.path, attrs)
	return h
}

// writeHeader writes the header of n and its record. ok is false if n cannot be
// archived, which is a warning, or if there is an error.
func (c *creator) writeHeader(n *node, h *tar.Header) (ok bool, err error) {
	if c.report.Entries == MaxEntries {
		c.warn(n.path, errTooMany)
		return false, errTooMany
	}
	if err := c.tar.Flush(); err != nil { // so that the entry begins at out.n
		return false, fmt.Errorf("writing the archive: %w", err)
	}
	offset := c.out.n
	if err := c.tar.WriteHeader(h); err != nil {
		if c.out.n != offset || c.out.err != nil {
			return false, fmt.Errorf("writing the archive: %w", err)
		}
		c.warn(n.path, fmt.Errorf("left out: %w", err))
		return false, nil
	}
	e := record(h, offset)
	if err := c.digest.Add(e); err != nil {
		return false, &EntryError{n.path, err}
	}
	if err := c.sink.AddCatalogEntry(e); err != nil {
		return false, fmt.Errorf("writing the catalog: %w", err)
	}
	if n.st.links > 1 && h.Typeflag != tar.TypeLink && h.Typeflag != tar.TypeDir {
		c.linked[n.st.inode] = &linkedFile{n.name, n.st.links - 1, n.st.typ, n.st.size, n.st.mtime}
	}
	c.report.Next = offset
	c.report.Entries++
	c.report.Bytes += h.Size
	if c.OnEntry != nil {
		c.OnEntry(e)
	}
	return true, nil
}

// lookup is name, asked once for each id. Unknown ids have no name.
func lookup(known map[int]string, id int, name func(string) string) string {
	s, ok := known[id]
	if !ok {
		s = name(strconv.Itoa(id))
		known[id] = s
	}
	return s
}

func userName(id string) string {
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return ""
}

func groupName(id string) string {
	if g, err := user.LookupGroupId(id); err == nil {
		return g.Name
	}
	return ""
}
