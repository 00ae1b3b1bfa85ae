package engine

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/cespare/xxhash/v2"
	"github.com/klauspost/compress/zstd"

	"github.com/coffer-backup/coffer/format"
)

// zstdCompressor is the Compressor of every level but Store.
type zstdCompressor struct{ enc *zstd.Encoder }

// NewCompressor returns what a Writer compresses with unless told otherwise, at Fast,
// Balanced or Small: klauspost/compress, for segments of at most segmentSize bytes, a
// size that a container can have. It is there to be chosen beside others.
func NewCompressor(level Level, segmentSize int) (Compressor, error) {
	speed := zstd.SpeedFastest
	switch level {
	case Balanced:
		speed = zstd.SpeedDefault
	case Small:
		speed = zstd.SpeedBetterCompression
	}
	opts := []zstd.EOption{
		zstd.WithEncoderLevel(speed),
		zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderCRC(true),
		// The only way to have a content size in frames of under 256 bytes too.
		zstd.WithSingleSegment(true),
	}
	if segmentSize < 4<<20 { // the smallest default window
		opts = append(opts, zstd.WithWindowSize(segmentSize))
	}
	enc, err := zstd.NewWriter(nil, opts...)
	return zstdCompressor{enc}, err
}

func (c zstdCompressor) Append(dst, src []byte) ([]byte, error) {
	return c.enc.EncodeAll(src, dst), nil
}

// An encoder turns segments into data frames and, unless told not to, proves of
// each that it decompresses to the segment: all but those that are stored where the
// segment was read to, of which there is no other copy. It is for one goroutine.
type encoder struct {
	comp    Compressor // nil: raw blocks
	probe   probe
	dec     *decoder // nil: no check
	scratch []byte
	sum     xxhash.Digest
}

// newEncoder returns an encoder for segments of at most segmentSize bytes.
func newEncoder(opts *WriterOptions, segmentSize int) (e *encoder, err error) {
	e = new(encoder)
	switch {
	case opts.Level == Store:
	case opts.NewCompressor != nil:
		e.comp, err = opts.NewCompressor()
	default:
		e.comp, err = NewCompressor(opts.Level, segmentSize)
	}
	if err == nil && !opts.SkipCheck {
		e.dec, err = newDecoder(segmentSize)
	}
	return e, err
}

// compressible reports whether it seems worth while to compress src.
func (e *encoder) compressible(src []byte) bool {
	return e.comp != nil && e.probe.compressible(src)
}

// append appends a frame that holds src to dst, compressed but at level Store.
func (e *encoder) append(dst, src []byte) ([]byte, error) {
	if e.comp == nil {
		return e.appendStored(dst, src)
	}
	out, err := e.comp.Append(dst, src)
	if err != nil {
		return dst, fmt.Errorf("compressing: %w", err)
	}
	if len(out)-len(dst) > format.MaxFrameSize(len(src)) {
		return e.appendStored(dst, src)
	}
	return out, e.check(out[len(dst):], src)
}

// appendStored appends a frame of raw blocks that holds src to dst.
func (e *encoder) appendStored(dst, src []byte) ([]byte, error) {
	out := format.AppendStored(dst, src, uint32(xxhash.Sum64(src)))
	return out, e.check(out[len(dst):], src)
}

// store makes a frame of raw blocks of the n bytes of content that are in their
// places in frame. There is no other copy to compare them with.
func (e *encoder) store(frame []byte, n int) ([]byte, error) {
	e.sum.Reset()
	for block := range contentBlocks(frame, n) {
		_, _ = e.sum.Write(block) // never fails
	}
	frame = format.FinishStored(frame, n, uint32(e.sum.Sum64()))
	_, _, err := format.WalkFrame(frame, n)
	return frame, err
}

// contentBlocks gives the n bytes of content that are in their places in frame.
func contentBlocks(frame []byte, n int) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for off := 0; off < n; {
			block := format.StoredRoom(frame, off, n)
			if !yield(block) {
				return
			}
			off += len(block)
		}
	}
}

// check demands of a new frame that readers will accept it and get src. The
// decoder is the one that restores, so that a fault of the compressor, or of this
// machine's memory, is found while the source still exists.
func (e *encoder) check(frame, src []byte) error {
	size, stored, err := format.WalkFrame(frame, len(src))
	switch {
	case err != nil:
	case size != len(src):
		err = fmt.Errorf("it declares %d bytes of %d", size, len(src))
	case e.dec == nil:
		return nil
	case stored: // no need to decompress
		if err = checkStored(frame, size, &e.sum); err == nil && !format.EqualStored(frame, src) {
			err = errNotEqual
		}
	default:
		if len(e.scratch) < size+decodeSpare {
			e.scratch = make([]byte, size+decodeSpare)
		}
		var out []byte
		if out, err = e.dec.decode(e.scratch, frame, size); err == nil && !bytes.Equal(out, src) {
			err = errNotEqual
		}
	}
	if err != nil {
		return fmt.Errorf("the compressor's output was checked and is wrong, so nothing of it was written: %w", err)
	}
	return nil
}

var errNotEqual = fmt.Errorf("it does not decompress to its source: faulty memory, or a bug")

// A decoder decompresses data frames on the goroutine that calls it: hostile
// bytes get no other goroutine, whose panic could not be recovered.
type decoder struct{ dec *zstd.Decoder }

func newDecoder(segmentSize int) (*decoder, error) {
	dec, err := zstd.NewReader(nil,
		zstd.WithDecoderConcurrency(1),
		zstd.WithDecoderMaxMemory(uint64(segmentSize)),
		zstd.WithDecoderMaxWindow(uint64(segmentSize)),
		zstd.WithDecodeAllCapLimit(true))
	if err != nil {
		return nil, err
	}
	return &decoder{dec}, nil
}

// decodeSpare is how much longer than the plaintext decode's buffer must be: where the
// decompressor may write a little too far, it is faster.
const decodeSpare = 16

// decode decompresses frame, which format.WalkFrame or a FrameWalker accepted and
// which declares size bytes, into buf.
func (d *decoder) decode(buf, frame []byte, size int) (out []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the decompressor failed: %v", p)
		}
		if err == nil && len(out) != size {
			err = io.ErrUnexpectedEOF
		}
		err = blocksError(err)
	}()
	return d.dec.DecodeAll(frame, buf[:0:size+decodeSpare])
}

// checkStored does for a frame that WalkFrame or a FrameWalker found to be stored,
// and that declares size bytes, what decompressing it would: its plaintext is in it as
// it is.
func checkStored(frame []byte, size int, sum *xxhash.Digest) error {
	sum.Reset()
	n := 0
	for off, more := 0, true; more; more = off != 0 {
		var block []byte
		block, off = format.StoredBlock(frame, off)
		n += len(block)
		_, _ = sum.Write(block) // never fails
	}
	switch {
	case n != size:
		return blocksError(fmt.Errorf("have %d bytes of %d", n, size))
	case uint32(sum.Sum64()) != format.StoredChecksum(frame):
		return blocksError(errors.New("have another checksum"))
	}
	return nil
}

func blocksError(err error) error {
	if err == nil {
		return nil
	}
	return &format.SyntaxError{Struct: "data frame", Field: "blocks", Reason: err.Error()}
}
