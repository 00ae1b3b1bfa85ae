package engine

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/coffer-backup/coffer/backends"
	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/keys"
)

// A File gives random access to a container. All its methods may be called
// concurrently. A read proves that its bytes are the writer's; only a whole read
// (NewReader) proves that the seek table and the frames agree.
type File struct {
	ctx      context.Context
	src      io.ReaderAt
	size     int64
	opts     ReaderOptions
	key      *unlocked
	backend  backends.Backend
	warnings []string
	damaged  error // that one header copy is damaged, or nil

	bodyEnd  int64
	packages int64
	content  int64 // length of the content
	index    index

	mu     sync.Mutex
	closed bool
	idle   []*accessor // the most recently used one last
}

// Open opens the container of size bytes in src. Either copy of the header is
// enough; see Info for which was used. It authenticates the end of the body and
// the whole seek table, so that the sizes it tells are the writer's. Its errors
// are those of NewReader, and a container that was cut or added to is told at
// once.
//
// ctx holds for the life of the File. Each goroutine that reads at a time takes
// memory for two segments; MaxMemory bounds one of them, and NewReader.
func Open(ctx context.Context, src io.ReaderAt, size int64, with []keys.Identity, opts *ReaderOptions) (*File, error) {
	src = io.NewSectionReader(src, 0, size) // which may be longer
	f := &File{ctx: ctx, src: src, size: size}
	if opts != nil {
		f.opts = *opts
	}
	head, tail := readCopies(src, size)
	if head.header == nil && tail.header == nil {
		return nil, headerError(head.err)
	}
	var err error
	if f.key, err = unlock(ctx, candidates(head, tail), with, &f.opts); err != nil {
		return nil, err
	}
	if err := f.openBody(head, tail); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// readCopies reads both header blocks (§ 3.4).
func readCopies(src io.ReaderAt, size int64) (head, tail headerCopy) {
	head = headerCopy{name: "header"}
	head.header, head.block, head.err = format.ReadHeader(io.NewSectionReader(src, 0, size))
	tail = headerCopy{name: "tail"}
	h := 0
	if head.header != nil {
		h = head.header.Size
	} else {
		var last [4]byte
		if size < int64(len(last)) {
			return head, tail
		}
		if n, err := src.ReadAt(last[:], size-int64(len(last))); n < len(last) {
			tail.err = err
			return head, tail
		}
		var ok bool
		if h, ok = format.TailSize(last[:]); !ok {
			return head, tail
		}
	}
	if tail.offset = size - int64(h); tail.offset < int64(h) {
		tail.err = ErrTruncated
		return head, tail
	}
	tail.header, tail.block, tail.err = format.ReadHeader(io.NewSectionReader(src, tail.offset, int64(h)))
	if tail.header != nil && tail.header.Size != h {
		tail.header, tail.err = nil, fmt.Errorf("it has %d bytes, and the other copy %d", tail.header.Size, h)
	}
	return head, tail
}

// candidates returns the copies that may open the file, best first (§ 3.4.3).
func candidates(head, tail headerCopy) []headerCopy {
	switch {
	case head.header == nil:
		return []headerCopy{tail}
	case tail.header == nil || tail.header.Core() != head.header.Core():
		return []headerCopy{head}
	case tail.header.Generation > head.header.Generation:
		return []headerCopy{tail, head}
	}
	return []headerCopy{head, tail}
}

// openBody chooses the backend, judges the end of the body and the copy of the
// header that did not open, and loads the seek table.
func (f *File) openBody(head, tail headerCopy) (err error) {
	if _, err = f.opts.workers(f.key.copy.header); err != nil {
		return err
	}
	if _, f.backend, err = chooseBackend(f.opts.Backend, f.key.copy.header.Suite); err != nil {
		return err
	}
	if err := f.openLast(); err != nil {
		return err
	}
	other := head
	if f.key.copy.name == head.name {
		other = tail
	}
	if other.header == nil {
		cause := other.err
		if syntax := (*format.SyntaxError)(nil); errors.As(cause, &syntax) {
			cause = errors.New(syntax.Error()) // of the class of the copy in use, not of this one
		}
		f.damaged = &Error{other.name, other.offset, fmt.Errorf("%w: %w", ErrDamagedCopy, cause)}
		f.warnings = append(f.warnings, fmt.Sprintf("the copy of the header at offset %d is damaged; the other one was used", other.offset))
	} else if h, err := f.key.judgeCopy(other.block); err != nil {
		return &Error{other.name, other.offset, err}
	} else if h != nil {
		f.warnings = append(f.warnings, skewWarning(head.header, tail.header))
	}
	return f.loadIndex()
}

// bodyStart is where the body begins, and the length of both header blocks.
func (f *File) bodyStart() int64 { return int64(f.key.copy.header.Size) }

// openLast authenticates the final package, and with it the container's length.
func (f *File) openLast() error {
	n, ok := format.PackageCount(f.size - 2*f.bodyStart())
	if !ok {
		return f.diagnose()
	}
	f.packages, f.bodyEnd = n, f.size-f.bodyStart()
	last, err := f.openPackage(n - 1)
	if errors.Is(err, ErrAuth) {
		return f.diagnose()
	}
	f.content = (n-1)*format.MaxPayload + int64(last)
	return err
}

// openPackage authenticates one package and returns the length of its payload.
func (f *File) openPackage(number int64) (payload int, err error) {
	a, err := f.accessor()
	if err != nil {
		return 0, err
	}
	defer f.release(a)
	p, err := a.open(number)
	return len(p), err
}

// diagnose tells why the container does not end as its length says. It goes on from
// the real end as a Reader would, so that both give the same class of error.
func (f *File) diagnose() error {
	last, h, err := f.findEnd()
	at := f.bodyStart() + last*format.MaxPackageSize
	f.packages, f.bodyEnd = last+1, at+int64(format.PackageHeaderSize+h.Payload()+format.PackageTagSize)
	if err != nil {
		err = &Error{fmt.Sprintf("package %d", last), min(at, f.size), err}
	} else {
		_, err = f.openPackage(last)
	}
	if errors.Is(err, ErrTruncated) && last > 0 {
		// What is left may be the end of a package with the tail in its place, which
		// a Reader takes for the package.
		if _, before := f.openPackage(last - 1); before != nil {
			err = before
		}
	}
	if err != nil {
		return err
	}
	if f.size < f.bodyEnd+f.bodyStart() {
		return &Error{"tail", f.bodyEnd, ErrTruncated}
	}
	tail := make([]byte, f.bodyStart())
	if n, err := f.src.ReadAt(tail, f.bodyEnd); n < len(tail) {
		return &Error{"tail", f.bodyEnd, err}
	}
	if _, err := f.key.judgeCopy(tail); err != nil {
		return &Error{"tail", f.bodyEnd, err}
	}
	return &Error{"end", f.bodyEnd + f.bodyStart(), ErrTrailingData}
}

// findEnd follows the package headers, by bisection, to the first package that is
// not known to be followed by another one. The error says why that is not the
// final one.
func (f *File) findEnd() (number int64, h format.PackageHeader, err error) {
	suite, nonce := f.key.copy.header.Suite, f.key.nonce
	var failed error // of the source, which is not the container's fault
	known := func(n int64) bool {
		got, err := f.src.ReadAt(h[:], f.bodyStart()+n*format.MaxPackageSize)
		if err != nil && err != io.EOF {
			failed = cmp.Or(failed, err)
		}
		return got == len(h) && h.Check(suite, &nonce)
	}
	low, high := int64(0), (f.size-f.bodyStart())/format.MaxPackageSize+1
	for low < high {
		mid := low + (high-low)/2
		if known(mid) && !h.Final() {
			low = mid + 1
		} else {
			high = mid
		}
	}
	switch isKnown := known(low); {
	case failed != nil:
		err = failed
	case f.size-f.bodyStart()-low*format.MaxPackageSize < format.PackageHeaderSize:
		err = ErrTruncated
	case !isKnown || !h.Final():
		err = ErrAuth
	}
	return low, h, err
}

// Size is the number of plaintext bytes.
func (f *File) Size() int64 { return f.index.size }

// IsArchive reports whether the container has a catalog.
func (f *File) IsArchive() bool { return f.index.archive }

// Info tells about the container.
func (f *File) Info() Info { return f.key.info(f.warnings) }

// NewReader returns a Reader that reads and judges all of the container in order.
// If one copy of the header is damaged, it gives all data and then ErrDamagedCopy
// instead of io.EOF.
func (f *File) NewReader(ctx context.Context) (*Reader, error) {
	f.mu.Lock() // until the Reader has the keys that Close erases
	defer f.mu.Unlock()
	if f.closed {
		return nil, os.ErrClosed
	}
	body := io.NewSectionReader(f.src, f.bodyStart(), f.bodyEnd-f.bodyStart())
	r := &Reader{key: f.key, opts: f.opts}
	err := r.start(ctx, body, func(p *openPipe, rest []byte, offset int64) error {
		err := expectEnd(io.MultiReader(bytes.NewReader(rest), p.src), offset)
		if errors.Is(err, ErrTrailingData) { // another package, where the tail should be
			return &Error{"tail", offset, ErrAuth}
		}
		for _, w := range f.warnings {
			p.addWarning(w)
		}
		return cmp.Or(f.damaged, err)
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

// Close frees what the File holds, but not src. Readers of it go on; nothing else
// does.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.closed {
		f.closed = true
		f.key.erase()
	}
	for _, a := range f.idle {
		a.stream.close()
	}
	f.idle = nil
	return nil
}

// ReadAt reads plaintext as io.ReaderAt says.
func (f *File) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, errors.New("reading at a negative offset")
	}
	a, err := f.accessor()
	if err != nil {
		return 0, err
	}
	defer f.release(a)
	segment := int64(f.key.copy.header.SegmentSize())
	for n < len(p) && off < f.index.size {
		if err := a.load(off / segment); err != nil {
			return n, err
		}
		m := copy(p[n:], a.plain[off%segment:])
		n += m
		off += int64(m)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}
