package archive

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"strings"

	"github.com/coffer-backup/coffer/format"
)

// Check reads a whole archive and restores nothing. It succeeds if Extract would
// find nothing wrong with the stream; Report.Catalog is then the sum of the
// records that the catalog must hold.
func Check(ctx context.Context, r io.Reader) (*Report, error) {
	report := &Report{}
	ar, err := newReader(ctx, r, report)
	if err != nil {
		return report, err
	}
	return report, ar.each(func(*tar.Header, format.CatalogEntry) (bool, error) { return true, nil })
}

// A reader goes through the entries of an archive.
type reader struct {
	src    *countReader
	tar    *tar.Reader
	report *Report
	digest CatalogDigest
	buf    []byte
	head   *tar.Header // of the entry to be visited, nil at the end
	last   string      // member name of the entry before
	// What hard links may be to: hashes of the names of members that are no directories.
	members map[uint64]struct{}
	seed    maphash.Seed
}

// errCut is for an archive that ends too early, although its source is whole.
var errCut = fmt.Errorf("%w: the archive is cut short: %w", ErrUnsafe, io.ErrUnexpectedEOF)

// newReader reads the first header, so that nothing is done for what is no
// archive.
func newReader(ctx context.Context, r io.Reader, report *Report) (*reader, error) {
	src := &countReader{ctx: ctx, r: r}
	ar := &reader{src: src, tar: tar.NewReader(src), report: report, buf: make([]byte, chunkSize),
		members: make(map[uint64]struct{}), seed: maphash.MakeSeed()}
	return ar, ar.next()
}

// countReader counts what was read, and keeps what ended it: so a fault of the
// source is told from all others.
type countReader struct {
	ctx   context.Context
	r     io.Reader
	n     int64
	zeros int64 // how many zeros the last bytes of n are
	err   error // other than io.EOF
}

func (r *countReader) Read(p []byte) (int, error) {
	if r.err == nil {
		r.err = r.ctx.Err()
	}
	if r.err != nil {
		return 0, r.err
	}
	n, err := r.r.Read(p)
	r.n += int64(n)
	if allZero(p[:n]) {
		r.zeros += int64(n)
	} else {
		r.zeros = int64(n - len(bytes.TrimRight(p[:n], "\x00")))
	}
	if err != io.EOF {
		r.err = err
	}
	return n, err
}

// visitor deals with an entry, whose content it may read from reader.tar, and
// reports whether it is done, or left out although the next one may be done.
type visitor func(*tar.Header, format.CatalogEntry) (done bool, err error)

// each calls visit for every entry, and reads the stream to its end, without
// which nothing is known to be whole.
func (r *reader) each(visit visitor) error {
	defer func() { r.report.Catalog = r.digest.Sum() }()
	for r.head != nil {
		if err := r.entry(r.head, r.report.Next, visit); err != nil {
			if e := (*EntryError)(nil); !errors.As(err, &e) {
				err = &EntryError{r.head.Name, err}
			}
			r.report.Failed++
			return err
		}
		r.last = r.head.Name
		if err := r.next(); err != nil {
			return err
		}
	}
	return nil
}

// next reads the next header, which begins at report.Next.
func (r *reader) next() (err error) {
	offset := roundUp(r.src.n)
	r.report.Next = offset
	r.head, err = r.tar.Next()
	switch {
	case err == io.EOF && r.src.err == nil:
		r.head = nil
		return r.end(offset)
	case err != nil:
		return r.headerError(offset, err)
	}
	return nil
}

func (r *reader) entry(h *tar.Header, offset int64, visit visitor) error {
	if r.report.Entries+r.report.Failed == MaxEntries {
		return fmt.Errorf("%w: more than %d entries", ErrLimit, MaxEntries)
	}
	if err := checkHeader(h); err != nil {
		return err
	}
	if err := r.checkLink(h); err != nil {
		return err
	}
	e := record(h, offset)
	if err := r.digest.Add(e); err != nil {
		return err
	}
	done, err := visit(h, e)
	for err == nil { // what visit left of the content
		_, err = r.tar.Read(r.buf)
	}
	switch {
	case r.src.err != nil:
		return r.src.err
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errCut
	case err != io.EOF:
		return err
	case !done:
		r.report.Failed++
		return nil
	}
	r.report.Entries++
	r.report.Bytes += h.Size
	return nil
}

// checkLink demands that the target of a hard link is an earlier member.
func (r *reader) checkLink(h *tar.Header) error {
	if h.Typeflag == tar.TypeLink {
		if _, ok := r.members[maphash.String(r.seed, h.Linkname)]; !ok {
			return fmt.Errorf("%w: a hard link to %.256q, which is no earlier member", ErrUnsafe, h.Linkname)
		}
	}
	if h.Typeflag != tar.TypeDir {
		r.members[maphash.String(r.seed, h.Name)] = struct{}{}
	}
	return nil
}

// headerError is the error for a header that could not be read.
func (r *reader) headerError(offset int64, err error) error {
	switch {
	case r.src.err != nil:
		err = r.src.err
	case offset == 0:
		return ErrNotArchive
	case err == tar.ErrHeader:
		err = fmt.Errorf("%w: no valid tar header", ErrUnsafe)
	case err == io.ErrUnexpectedEOF:
		err = errCut
	}
	if r.last == "" {
		return fmt.Errorf("reading the archive: %w", err)
	}
	return fmt.Errorf("reading the archive at byte %d, after %.256q: %w", offset, r.last, err)
}

// end demands the two blocks of zeros that archive/tar takes as read if the
// stream ends, behind PAX records too, and that nothing but zeros follows them.
func (r *reader) end(offset int64) error {
	switch {
	case r.last == "":
		return ErrNotArchive
	case r.src.n != offset+2*format.TarBlock || r.src.zeros < 2*format.TarBlock:
		return fmt.Errorf("reading the archive at byte %d: %w", offset, errCut)
	}
	r.report.Ended = true
	for r.report.Next = r.src.n; ; {
		n, err := r.src.Read(r.buf)
		if !allZero(r.buf[:n]) {
			return fmt.Errorf("reading the archive at byte %d: %w: data follow its end", offset, ErrUnsafe)
		}
		if err == io.EOF {
			r.report.Next = r.src.n
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading what follows the archive: %w", err)
		}
	}
}

// checkHeader judges by the header alone whether Create could have written it.
func checkHeader(h *tar.Header) error {
	if h.Format != tar.FormatPAX && h.Format != tar.FormatUSTAR {
		return fmt.Errorf("%w: it is not of the PAX format", ErrUnsafe)
	}
	for key := range h.PAXRecords {
		if !knownRecord(key) {
			return fmt.Errorf("%w: its PAX record %.64q is none that archives have", ErrUnsafe, key)
		}
	}
	switch h.Typeflag {
	case tar.TypeReg:
	case tar.TypeDir, tar.TypeSymlink, tar.TypeLink, tar.TypeFifo, tar.TypeChar, tar.TypeBlock:
		if h.Size != 0 {
			return fmt.Errorf("%w: type %q has no content, yet a size", ErrUnsafe, h.Typeflag)
		}
	default:
		return fmt.Errorf("%w: type %q", ErrUnsafe, h.Typeflag)
	}
	if h.Mode&^0o7777 != 0 {
		return fmt.Errorf("%w: mode %#o", ErrUnsafe, h.Mode)
	}
	return checkNames(h)
}

// knownRecord tells the PAX records that Create writes, and those of time that GNU
// tar adds.
func knownRecord(key string) bool {
	switch key {
	case "path", "linkpath", "size", "uid", "gid", "uname", "gname", "mtime", "atime", "ctime":
		return true
	}
	return strings.HasPrefix(key, xattrPrefix)
}

func checkNames(h *tar.Header) error {
	if h.Typeflag == tar.TypeDir && !strings.HasSuffix(h.Name, "/") {
		return fmt.Errorf("%w: a directory whose name does not end in a slash", ErrUnsafe)
	}
	if h.Typeflag != tar.TypeDir || h.Name != topName {
		if err := checkName(entryName(h)); err != nil {
			return err
		}
	}
	switch h.Typeflag {
	case tar.TypeLink:
		if err := checkName(h.Linkname); err != nil {
			return fmt.Errorf("hard link to %.256q: %w", h.Linkname, err)
		}
	case tar.TypeSymlink:
		if len(h.Linkname) > MaxPath || h.Linkname == "" {
			return fmt.Errorf("%w: a link of %d bytes", ErrLimit, len(h.Linkname))
		}
	default:
		if h.Linkname != "" {
			return fmt.Errorf("%w: type %q is no link, yet has a target", ErrUnsafe, h.Typeflag)
		}
	}
	return nil
}
