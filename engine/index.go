package engine

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"

	"github.com/coffer-backup/coffer/format"
)

// An index is a seek table in memory: 8 bytes for each frame.
type index struct {
	offsets []int64 // where in the content each frame begins, and the last one ends
	data    int64   // the first so many frames are data frames
	size    int64   // of the plaintext
	archive bool
}

// maxIndexGrowth is how many entries are made room for before any were read.
const maxIndexGrowth = 64 << 10 / 8

// loadIndex reads, authenticates and judges the seek table (§ 6.5).
func (f *File) loadIndex() error {
	footer := make([]byte, format.SeekFooterSize)
	if f.content < format.SeekTableSize(0) {
		return f.contentError("seek table", "the content is too short for one")
	}
	if err := f.readContent(footer, f.content-int64(len(footer))); err != nil {
		return err
	}
	frames, err := format.ParseSeekFooter(footer)
	if err != nil {
		return &Error{"content", -1, err}
	}
	begin := f.content - format.SeekTableSize(frames)
	if begin < 0 {
		return f.contentError("seek table", "is longer than the content")
	}
	if frames > f.opts.maxMemory()/8 {
		return fmt.Errorf("%w: the seek table has %d entries, more than MaxMemory holds", ErrLimit, frames)
	}
	r := bufio.NewReaderSize(&contentReader{f, begin}, format.MaxPayload)
	head := make([]byte, format.SkippableHeaderSize)
	if _, err := io.ReadFull(r, head); err != nil {
		return err
	}
	if string(head) != string(format.AppendSkippable(nil, format.MagicSeekTable, uint32(format.SeekTableSize(frames)-format.SkippableHeaderSize))) {
		return f.contentError("seek table", "its frame header does not agree with its footer")
	}
	if err := f.readEntries(r, frames); err != nil {
		return err
	}
	if f.index.offsets[frames] != begin {
		return f.contentError("seek table", fmt.Sprintf("its frames have %d bytes of the %d before it", f.index.offsets[frames], begin))
	}
	return f.judgeSkippable(frames)
}

func (f *File) contentError(field, reason string) error {
	return &Error{"content", -1, &format.SyntaxError{Struct: "content", Field: field, Reason: reason}}
}

// readEntries fills the index from the table's entries.
func (f *File) readEntries(r io.Reader, frames int64) error {
	x := &f.index
	segment := f.key.copy.header.SegmentSize()
	x.offsets = append(make([]int64, 0, min(frames, maxIndexGrowth)+1), 0)
	entry := make([]byte, format.SeekEntrySize)
	for i := range frames {
		if _, err := io.ReadFull(r, entry); err != nil {
			return err
		}
		e := format.ParseSeekEntry(entry)
		switch size := int64(e.Decompressed); {
		case size == 0:
			if e.Compressed < format.SkippableHeaderSize {
				return f.contentError("seek table", fmt.Sprintf("entry %d is shorter than a frame", i))
			}
		case x.data < i || x.size != i*int64(segment):
			return f.contentError("seek table", fmt.Sprintf("entry %d has data after a short or skippable frame", i))
		case size > int64(segment) || int64(e.Compressed) > int64(format.MaxFrameSize(int(size))):
			return f.contentError("seek table", fmt.Sprintf("entry %d is longer than a frame may be", i))
		default:
			x.data++
			x.size += size
		}
		x.offsets = append(x.offsets, x.offsets[i]+int64(e.Compressed))
	}
	return nil
}

// judgeSkippable looks whether there is a catalog, and at the length of the
// padding, by the first and the last frame after the data.
func (f *File) judgeSkippable(frames int64) error {
	if f.index.data == frames {
		return nil
	}
	kind, _, err := f.skippable(f.index.data)
	if err != nil {
		return err
	}
	f.index.archive = kind == format.FrameCatalog
	kind, payload, err := f.skippable(frames - 1)
	if err != nil {
		return err
	}
	return checkPadding(kind == format.FramePadding, f.content, payload)
}

// skippable reads the header of frame i and compares it with the table.
func (f *File) skippable(i int64) (kind format.FrameKind, payload int64, err error) {
	head := make([]byte, format.SkippableHeaderSize)
	if err := f.readContent(head, f.index.offsets[i]); err != nil {
		return 0, 0, err
	}
	if kind, payload, err = format.ParseFrameHeader(head); err != nil {
		return 0, 0, &Error{"content", -1, err}
	}
	if kind == format.FrameData || kind == format.FrameSeekTable || payload != f.index.offsets[i+1]-f.index.offsets[i]-format.SkippableHeaderSize {
		return 0, 0, f.contentError("frame", fmt.Sprintf("frame %d is not what the seek table says", i))
	}
	return kind, payload, nil
}

// Catalog gives the archive's entries in order. An error ends it.
func (f *File) Catalog() iter.Seq2[format.CatalogEntry, error] {
	return func(yield func(format.CatalogEntry, error) bool) {
		var records catalogReader
		more := true
		for i := f.index.data; more && i < int64(len(f.index.offsets))-1; i++ {
			plain, err := f.catalogFrame(i)
			if plain == nil && err == nil {
				return
			}
			if err == nil {
				err = records.parse(plain, func(e format.CatalogEntry) bool {
					more = yield(e, nil)
					return more
				})
			}
			if err != nil {
				yield(format.CatalogEntry{}, err)
				return
			}
		}
	}
}

// catalogFrame returns the records of frame i, or nil if it is no catalog frame.
func (f *File) catalogFrame(i int64) ([]byte, error) {
	kind, payload, err := f.skippable(i)
	if err != nil || kind != format.FrameCatalog {
		return nil, err
	}
	a, err := f.accessor()
	if err != nil {
		return nil, err
	}
	defer f.release(a)
	plain, err := a.decode(f.index.offsets[i]+format.SkippableHeaderSize, payload)
	if err != nil {
		return nil, &Error{fmt.Sprintf("frame %d", i), -1, err}
	}
	return slices.Clone(plain), nil // a is about to be another's
}

// A contentReader reads content from an offset on.
type contentReader struct {
	f   *File
	off int64
}

func (r *contentReader) Read(p []byte) (int, error) {
	n := int(min(int64(len(p)), r.f.content-r.off))
	if n == 0 {
		return 0, io.EOF
	}
	err := r.f.readContent(p[:n], r.off)
	r.off += int64(n)
	return n, err
}

// readContent fills p with content from offset off, which must all exist.
func (f *File) readContent(p []byte, off int64) error {
	a, err := f.accessor()
	if err != nil {
		return err
	}
	defer f.release(a)
	return a.content(p, off)
}

// An accessor is what one goroutine needs to read at random: an AEAD, a
// decompressor and buffers. It remembers the last package and the last segment.
type accessor struct {
	f       *File
	stream  *stream
	dec     *decoder
	sealed  []byte
	number  int64 // of the package in payload
	payload []byte
	frame   []byte
	segment int64 // number of the segment in plain
	buf     []byte
	plain   []byte
}

// accessor lends an accessor to a goroutine, the one used last if it is idle.
func (f *File) accessor() (*accessor, error) {
	if err := context.Cause(f.ctx); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, os.ErrClosed
	}
	if n := len(f.idle); n > 0 {
		a := f.idle[n-1]
		f.idle = f.idle[:n-1]
		return a, nil
	}
	dec, err := newDecoder(f.key.copy.header.SegmentSize())
	if err != nil {
		return nil, err
	}
	s, err := newStream(f.ctx, f.backend, f.key.copy.header.Suite, f.key.bodyKey, f.key.nonce)
	if err != nil {
		return nil, err
	}
	return &accessor{f: f, stream: s, dec: dec, number: -1, segment: -1}, nil
}

// maxIdle is how many accessors a File keeps; more exist while more goroutines
// read.
const maxIdle = 4

func (f *File) release(a *accessor) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.idle) < maxIdle && !f.closed {
		f.idle = append(f.idle, a)
	} else {
		a.stream.close()
	}
}

// open returns the payload of package number, valid until the next call.
func (a *accessor) open(number int64) ([]byte, error) {
	if number == a.number {
		return a.payload, nil
	}
	a.number = -1
	if a.sealed == nil {
		a.sealed = make([]byte, format.MaxPackageSize)
	}
	at := a.f.bodyStart() + number*format.MaxPackageSize
	sealed := a.sealed[:min(format.MaxPackageSize, a.f.bodyEnd-at)]
	part := fmt.Sprintf("package %d", number)
	if n, err := a.f.src.ReadAt(sealed, at); n < len(sealed) {
		if err == io.EOF {
			err = ErrTruncated // it was longer when it was opened
		}
		return nil, &Error{part, at, err}
	}
	payload, err := a.stream.Open(sealed[format.PackageHeaderSize:format.PackageHeaderSize], sealed, uint64(number), number == a.f.packages-1)
	if err != nil {
		return nil, &Error{part, at, authError(err)}
	}
	a.number, a.payload = number, payload
	return payload, nil
}

// content fills p with content from offset off.
func (a *accessor) content(p []byte, off int64) error {
	for len(p) > 0 {
		payload, err := a.open(off / format.MaxPayload)
		if err != nil {
			return err
		}
		if skip := off % format.MaxPayload; skip < int64(len(payload)) {
			n := copy(p, payload[skip:])
			p, off = p[n:], off+int64(n)
			continue
		}
		return a.f.contentError("frame", "lies behind the end")
	}
	return nil
}

// load decompresses segment number into plain.
func (a *accessor) load(number int64) error {
	if number == a.segment {
		return nil
	}
	x := &a.f.index
	segment := int64(a.f.key.copy.header.SegmentSize())
	plain, err := a.decode(x.offsets[number], x.offsets[number+1]-x.offsets[number])
	if want := min(segment, x.size-number*segment); err == nil && int64(len(plain)) != want {
		err = &format.SyntaxError{Struct: "data frame", Field: "content size", Offset: 5, Reason: fmt.Sprintf("%d, and %d in the seek table", len(plain), want)}
	}
	if err != nil {
		return &Error{fmt.Sprintf("frame %d", number), -1, err}
	}
	a.segment, a.plain = number, plain
	return nil
}

// decode decompresses the data frame that fills [off, off+length) of the content.
// The result is valid until the next call.
func (a *accessor) decode(off, length int64) ([]byte, error) {
	segment := a.f.key.copy.header.SegmentSize()
	if length > int64(format.MaxFrameSize(segment)) {
		return nil, &format.SyntaxError{Struct: "data frame", Field: "frame", Reason: fmt.Sprintf("%d bytes are more than a frame may have", length)}
	}
	if a.buf == nil {
		a.buf, a.frame = make([]byte, segment+decodeSpare), make([]byte, format.MaxFrameSize(segment))
	}
	a.segment = -1
	frame := a.frame[:length]
	if err := a.content(frame, off); err != nil {
		return nil, err
	}
	size, _, err := format.WalkFrame(frame, segment)
	if err != nil {
		return nil, err
	}
	return a.dec.decode(a.buf, frame, size)
}
