package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/keys"
)

// defaultMaxMemory is ReaderOptions.MaxMemory unless told otherwise.
const defaultMaxMemory = 1 << 30

// A Reader decrypts a whole container in order. It is for one goroutine. What
// Read gives is authentic; io.EOF says that it was also complete, down to the last
// byte of the container. Every other error sticks.
type Reader struct {
	key     *unlocked
	ownsKey bool
	opts    ReaderOptions
	pipe    *openPipe
	cur     *openJob // being given out
	rest    []byte   // what is left of it, or of its current block if it is stored
	block   int      // where in cur the next block is, or 0
	cat     catalogReader
	plain   int64
	err     error
}

// NewReader opens the container on src with the first identity that fits and
// authenticates its header. It reads src to its end, and an error if bytes follow
// the container. Errors of opening are those of package format for what is no
// container, keys.ErrNoMatch, ErrAuth, ErrContext and ErrLimit.
//
// Cancelling ctx makes Read fail with its cause; a Read of src that blocks then is
// not interrupted, and may still be under way when Close has returned. Otherwise
// src is the caller's again after Close.
func NewReader(ctx context.Context, src io.Reader, with []keys.Identity, opts *ReaderOptions) (*Reader, error) {
	r := new(Reader)
	if opts != nil {
		r.opts = *opts
	}
	h, block, err := format.ReadHeader(src)
	if err != nil {
		return nil, headerError(err)
	}
	head := headerCopy{name: "header", block: block, header: h}
	if r.key, err = unlock(ctx, []headerCopy{head}, with, &r.opts); err != nil {
		return nil, err
	}
	if err := r.start(ctx, src, streamTail); err != nil {
		r.key.erase()
		return nil, err
	}
	r.ownsKey = true
	return r, nil
}

// headerError gives an error of format.ReadHeader its place and class.
func headerError(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = fmt.Errorf("%w: %w", ErrTruncated, err)
	}
	return &Error{"header", 0, err}
}

// start begins to read the body, of which src gives the first byte next.
func (r *Reader) start(ctx context.Context, src io.Reader, tail tailCheck) error {
	workers, err := r.opts.workers(r.key.copy.header)
	if err != nil {
		return err
	}
	_, backend, err := chooseBackend(r.opts.Backend, r.key.copy.header.Suite)
	if err != nil {
		return err
	}
	r.pipe, err = newOpenPipe(ctx, src, r.key, backend, workers, tail)
	return err
}

func (o *ReaderOptions) maxMemory() int64 {
	if o.MaxMemory <= 0 {
		return defaultMaxMemory
	}
	return o.MaxMemory
}

// workers settles how many workers fit MaxMemory.
func (o *ReaderOptions) workers(h *format.Header) (int, error) {
	n, limit := workerCount(o.Workers), o.maxMemory()
	for n > 1 && openMemory(n, h.SegmentSize()) > limit {
		n--
	}
	if need := openMemory(n, h.SegmentSize()); need > limit {
		return 0, fmt.Errorf("%w: segments of %d KiB need %d MiB of memory, and MaxMemory is %d MiB", ErrLimit, h.SegmentSize()>>10, need>>20, limit>>20)
	}
	return n, nil
}

// Info tells about the container. Warnings may grow until Read returns io.EOF.
func (r *Reader) Info() Info {
	return r.key.info(r.pipe.warnings())
}

func (u *unlocked) info(warnings []string) Info {
	return Info{Header: u.copy.header, SlotKind: u.slotKind, SenderAuthenticated: !u.public, Warnings: warnings}
}

// Read gives plaintext.
func (r *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, r.err
	}
	if err := r.fill(); err != nil {
		return 0, err
	}
	n := copy(p, r.rest)
	r.advance(n)
	return n, nil
}

// WriteTo gives all the rest of the plaintext to w, without the copy that Read
// makes.
func (r *Reader) WriteTo(w io.Writer) (n int64, err error) {
	for {
		if err := r.fill(); err == io.EOF {
			return n, nil
		} else if err != nil {
			return n, err
		}
		piece := r.rest[:min(len(r.rest), ioSize)]
		m, err := w.Write(piece)
		if m < 0 || m > len(piece) || err == nil && m < len(piece) { // or what m counts is something else
			m, err = min(max(m, 0), len(piece)), cmp.Or(err, io.ErrShortWrite)
		}
		n += int64(m)
		r.advance(m)
		if err != nil {
			return n, err
		}
	}
}

// advance says that n bytes of rest were given out.
func (r *Reader) advance(n int) {
	r.rest = r.rest[n:]
	r.plain += int64(n)
	if r.opts.Progress != nil && len(r.rest) == 0 && r.block == 0 {
		r.opts.Progress(Progress{Plain: r.plain, Sealed: r.pipe.read.Load()})
	}
}

// fill makes rest not empty, or fails.
func (r *Reader) fill() error {
	for r.err == nil && len(r.rest) == 0 {
		if r.block > 0 {
			r.rest, r.block = format.StoredBlock(r.cur.frame, r.block)
			continue
		}
		if r.cur != nil {
			r.pipe.recycle(r.cur)
			r.cur = nil
		}
		var err error
		if r.cur, err = r.pipe.next(); err != nil {
			r.stop(err)
			break
		}
		if r.cur.stored {
			r.rest, r.block = format.StoredBlock(r.cur.frame, 0)
		} else if r.cur.kind == format.FrameData {
			r.rest = r.cur.plain
		} else if err := r.catalog(r.cur); err != nil {
			r.stop(err)
		}
	}
	return r.err
}

// stop ends the reading with err.
func (r *Reader) stop(err error) {
	r.err = err
	r.pipe.close()
}

// catalog judges the records of a catalog frame, and gives them to who wants them.
func (r *Reader) catalog(j *openJob) error {
	var refused error
	err := r.cat.parse(j.plain, func(e format.CatalogEntry) bool {
		if r.opts.OnCatalog != nil {
			refused = r.opts.OnCatalog(e)
		}
		return refused == nil
	})
	if err = cmp.Or(err, refused); err != nil {
		return &Error{"catalog", j.offset, err}
	}
	return nil
}

// Close frees what the Reader holds. It says nothing about the container. It waits
// for a Read of src that is under way, unless ctx has ended.
func (r *Reader) Close() error {
	r.stop(cmp.Or(r.err, errReaderClosed))
	r.rest, r.block = nil, 0
	if r.pipe.released() && r.ownsKey {
		r.key.erase()
	}
	return nil
}

var errReaderClosed = errors.New("the reader is closed")
