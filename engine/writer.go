package engine

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"runtime"

	"github.com/coffer-backup/coffer/backends"
	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/internal/spool"
	"github.com/coffer-backup/coffer/keys"
)

// maxContext is the longest context in bytes (§ 4.2).
const maxContext = 65535

var (
	errAborted = errors.New("the container was aborted")
	errClosed  = errors.New("the container is closed already")
)

// A Writer encrypts what is written to it into a container. It is for one
// goroutine. After an error it is of no more use: every call returns that error,
// and the container must be made anew, under a new key.
type Writer struct {
	block   []byte // the header block, and the tail
	header  *format.Header
	opts    WriterOptions
	segment int
	pipe    *sealPipe
	cur     *sealJob // being filled
	catalog catalogWriter
	closed  bool
}

// NewWriter begins a container on dst for the recipients, of whom there must be 1
// to 32, and writes its header. Cancelling ctx makes all further calls fail with
// its cause; a Write of dst that blocks then is not interrupted, and may still be
// under way when Close or Abort has returned. Otherwise dst is the caller's again
// after them.
func NewWriter(ctx context.Context, dst io.Writer, to []keys.Recipient, opts *WriterOptions) (*Writer, error) {
	w := new(Writer)
	if opts != nil {
		w.opts = *opts
	}
	suite, backend, err := w.opts.normalise()
	if err != nil {
		return nil, err
	}
	w.segment = w.opts.SegmentSize
	fk := keys.NewFileKey()
	defer fk.Erase()
	w.header = newHeader(suite, &w.opts)
	schedule := keys.NewSchedule(fk, &w.header.Salt)
	defer schedule.Erase()
	if len(w.opts.Context) > 0 {
		w.header.Flags |= format.FlagContext
		w.header.ContextTag = schedule.ContextTag(w.opts.Context)
	}
	core := w.header.Core()
	if w.block, err = buildHeader(ctx, w.header, schedule, fk, to); err != nil {
		return nil, err
	}
	key, nonce := schedule.Body(core, w.opts.Context)
	defer clear(key)
	w.catalog = newCatalogWriter(w)
	w.pipe, err = newSealPipe(ctx, dst, w, backend, key, nonce)
	if err != nil {
		return nil, err
	}
	if err := w.pipe.output(w.block); err != nil {
		w.Abort()
		return nil, err
	}
	return w, nil
}

// normalise fills in defaults and refuses what cannot be.
func (o *WriterOptions) normalise() (suite format.Suite, b backends.Backend, err error) {
	if o.SegmentSize == 0 {
		o.SegmentSize = 1 << format.DefaultSegmentLog2
	}
	if s := o.SegmentSize; s < 1<<format.MinSegmentLog2 || s > 1<<format.MaxSegmentLog2 || s&(s-1) != 0 {
		return 0, nil, fmt.Errorf("%w: segment size %d is no power of two from 64 KiB to 64 MiB", ErrLimit, s)
	}
	if len(o.Context) > maxContext {
		return 0, nil, fmt.Errorf("%w: the context has %d bytes, over %d", ErrLimit, len(o.Context), maxContext)
	}
	if o.Level < 0 || int(o.Level) >= len(levelNames) {
		return 0, nil, fmt.Errorf("%w: there is no %v", ErrLimit, o.Level)
	}
	o.Workers = workerCount(o.Workers)
	return chooseBackend(o.Backend, o.Suite)
}

// maxWorkers bounds what a caller can ask for by mistake.
const maxWorkers = 1024

// workerCount is how many workers an option asks for.
func workerCount(n int) int {
	if n <= 0 {
		n = runtime.GOMAXPROCS(0)
	}
	return min(n, maxWorkers)
}

func newHeader(suite format.Suite, opts *WriterOptions) *format.Header {
	h := &format.Header{
		Suite:       suite,
		SegmentLog2: uint8(bits.TrailingZeros(uint(opts.SegmentSize))),
		Generation:  1,
		Size:        opts.HeaderSize,
	}
	rand.Read(h.Salt[:])
	return h
}

// buildHeader wraps fk for each recipient and returns the authenticated block.
func buildHeader(ctx context.Context, h *format.Header, schedule *keys.Schedule, fk *keys.FileKey, to []keys.Recipient) ([]byte, error) {
	if len(to) == 0 {
		return nil, errors.New("no recipients: nobody could ever open the container")
	}
	if len(to) > format.MaxEntries {
		return nil, fmt.Errorf("%w: %d recipients, and at most %d fit", ErrLimit, len(to), format.MaxEntries)
	}
	for _, r := range to {
		slot, err := r.Wrap(ctx, h.Core(), fk)
		if err != nil {
			return nil, fmt.Errorf("wrapping the file key: %w", err)
		}
		h.Entries = append(h.Entries, slot.Entry())
	}
	if h.Size == 0 {
		if h.Size = h.FittingSize(); h.Size > format.MaxHeaderSize {
			return nil, fmt.Errorf("%w: the slots of %d recipients do not fit a header of %d bytes: give fewer", ErrLimit, len(to), format.MaxHeaderSize)
		}
	}
	block, err := h.AppendBinary(nil)
	if err != nil {
		return nil, err
	}
	h.MAC = schedule.HeaderMAC(block)
	return h.AppendBinary(block[:0])
}

// Write takes len(p) bytes of plaintext. It returns early with the error of a
// failed pipeline, which may be that of an earlier call.
func (w *Writer) Write(p []byte) (n int, err error) {
	for n < len(p) {
		buf, err := w.room()
		if err != nil {
			return n, err
		}
		m := copy(buf, p[n:])
		n += m
		if err := w.filled(m); err != nil {
			return n, err
		}
	}
	return n, w.pipe.failure()
}

// ReadFrom takes r's bytes until io.EOF, without the copy that Write makes. An
// error of r is returned as it is, and what came before it was taken: the caller
// decides whether to go on.
func (w *Writer) ReadFrom(r io.Reader) (n int64, err error) {
	for {
		buf, err := w.room()
		if err != nil {
			return n, err
		}
		buf = buf[:min(len(buf), ioSize)]
		m, err := r.Read(buf)
		if m < 0 || m > len(buf) {
			return n, fmt.Errorf("the source says that it read %d bytes into %d", m, len(buf))
		}
		n += int64(m)
		if ferr := w.filled(m); ferr != nil {
			return n, ferr
		}
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}

// room returns where the next plaintext bytes of the current segment go.
func (w *Writer) room() ([]byte, error) {
	if w.closed {
		return nil, w.pipe.failure()
	}
	if w.cur == nil {
		j, err := w.pipe.job()
		if err != nil {
			return nil, err
		}
		w.cur = j
	}
	return w.pipe.room(w.cur, w.segment), nil
}

// filled says that n bytes of the room were used.
func (w *Writer) filled(n int) error {
	w.cur.filled += n
	if w.cur.filled == w.segment {
		return w.flush()
	}
	return nil
}

// flush sends the current segment on its way.
func (w *Writer) flush() error {
	j := w.cur
	w.cur = nil
	return w.pipe.begun(j, true)
}

// AddCatalogEntry adds a record to the container's catalog, which makes it an
// archive. Records come in the order of the entries in the plaintext, the first
// at offset 0.
func (w *Writer) AddCatalogEntry(e format.CatalogEntry) error {
	err := w.pipe.failure()
	if err == nil {
		if err = w.catalog.add(e); err != nil {
			w.pipe.fail(err) // a catalog must not lack an entry
		}
	}
	return err
}

// Close writes what is left and makes the container whole. Only if it returns nil
// does dst hold a container.
func (w *Writer) Close() error {
	if w.closed {
		return w.pipe.failure()
	}
	w.closed = true
	err := w.finish()
	if err != nil {
		w.pipe.fail(err)
		err = w.pipe.failure() // the first one
	}
	w.pipe.fail(errClosed)
	w.release()
	return err
}

// Abort gives the container up and frees what the Writer holds. What dst got is
// no container. After Close it does nothing, so that it can be deferred.
func (w *Writer) Abort() {
	if !w.closed {
		w.closed = true
		w.pipe.fail(errAborted)
		w.release()
	}
}

func (w *Writer) release() {
	w.pipe.wait()
	w.catalog.close()
}

// finish writes everything that follows the data (§ 6): catalog, padding, seek
// table, and the tail.
func (w *Writer) finish() error {
	switch {
	case w.cur == nil:
	case w.cur.filled == 0: // ReadFrom asked for room and got io.EOF
		w.pipe.jobs.put(w.cur)
	default:
		if err := w.flush(); err != nil {
			return err
		}
	}
	if err := w.catalog.flush(); err != nil {
		return err
	}
	// From here on the pipeline is empty and its counters can be read.
	if err := w.pipe.drain(); err != nil {
		return err
	}
	table := &w.pipe.table
	content := w.pipe.content + w.catalog.size()
	for _, n := range w.catalog.frames {
		if err := table.add(format.SeekEntry{Compressed: n}); err != nil {
			return err
		}
	}
	raw := &rawWriter{pipe: w.pipe}
	if err := w.catalog.writeTo(raw); err != nil {
		return err
	}
	if w.opts.Pad {
		if err := writePadding(raw, table, content); err != nil {
			return err
		}
	}
	if err := table.writeTo(raw); err != nil {
		return err
	}
	if err := raw.flush(); err != nil {
		return err
	}
	return w.pipe.finish(w.block)
}

// writePadding pads the content, which has reached length n, with a frame such
// that the whole of it, the seek table included, has a padded length (§ 6.4).
func writePadding(raw *rawWriter, table *seekTable, n int64) error {
	n += format.SkippableHeaderSize + format.SeekTableSize(table.frames+1)
	payload := format.Padded(n) - n
	if err := table.add(format.SeekEntry{Compressed: uint32(format.SkippableHeaderSize + payload)}); err != nil {
		return err
	}
	if _, err := raw.Write(format.AppendSkippable(nil, format.MagicPadding, uint32(payload))); err != nil {
		return err
	}
	zeros := make([]byte, min(payload, 64<<10))
	for payload > 0 {
		n, err := raw.Write(zeros[:min(payload, int64(len(zeros)))])
		if err != nil {
			return err
		}
		payload -= int64(n)
	}
	return nil
}

// spoolLimit is how much of a seek table, and of a catalog, is kept in memory.
const spoolLimit = 32 << 20

// seekTable gathers the entries of the frames.
type seekTable struct {
	spool  *spool.Spool
	frames int64
	entry  []byte
}

func (t *seekTable) add(e format.SeekEntry) error {
	if t.frames == format.MaxFrames {
		return fmt.Errorf("%w: the container has more than %d frames: use larger segments", ErrLimit, format.MaxFrames)
	}
	t.frames++
	t.entry = format.AppendSeekEntry(t.entry[:0], e)
	_, err := t.spool.Write(t.entry)
	return err
}

func (t *seekTable) writeTo(w io.Writer) error {
	payload := format.SeekTableSize(t.frames) - format.SkippableHeaderSize
	if _, err := w.Write(format.AppendSkippable(nil, format.MagicSeekTable, uint32(payload))); err != nil {
		return err
	}
	if _, err := t.spool.WriteTo(w); err != nil {
		return err
	}
	_, err := w.Write(format.AppendSeekFooter(nil, t.frames))
	return err
}
