package engine

import (
	"bytes"
	"fmt"
	"io"

	"github.com/cespare/xxhash/v2"
	"github.com/klauspost/compress/zstd"

	"github.com/coffer-backup/coffer/format"
)

// zstdCompressor is the Compressor of every level but Store.
type zstdCompressor struct{ enc *zstd.Encoder }

func newZstdCompressor(level Level, segmentSize int) (Compressor, error) {
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
// each that it decompresses to the segment. It is for one goroutine.
type encoder struct {
	comp    Compressor // nil: raw blocks
	dec     *decoder   // nil: no check
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
		e.comp, err = newZstdCompressor(opts.Level, segmentSize)
	}
	if err == nil && !opts.SkipCheck {
		e.dec, err = newDecoder(segmentSize)
	}
	return e, err
}

// append appends a frame that holds src to dst.
func (e *encoder) append(dst, src []byte) ([]byte, error) {
	start := len(dst)
	if e.comp != nil {
		out, err := e.comp.Append(dst, src)
		if err != nil {
			return dst, fmt.Errorf("compressing: %w", err)
		}
		if len(out)-start <= format.MaxFrameSize(len(src)) {
			return out, e.check(out[start:], src)
		}
	}
	out := format.AppendStored(dst, src, uint32(xxhash.Sum64(src)))
	return out, e.check(out[start:], src)
}

// store makes a frame of raw blocks of the n bytes of content that are in their
// places in frame. There is no other copy to compare them with.
func (e *encoder) store(frame []byte, n int) ([]byte, error) {
	e.sum.Reset()
	for off := 0; off < n; {
		block := format.StoredRoom(frame, off, n)
		_, _ = e.sum.Write(block) // never fails
		off += len(block)
	}
	frame = format.FinishStored(frame, n, uint32(e.sum.Sum64()))
	_, _, err := format.WalkFrame(frame, n)
	return frame, err
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
	case stored: // comparing is all that decompressing would prove
		if !format.EqualStored(frame, src) {
			err = errNotEqual
		}
	default:
		if cap(e.scratch) < size {
			e.scratch = make([]byte, size)
		}
		var out []byte
		if out, err = e.dec.decode(e.scratch[:0:size], frame); err == nil && !bytes.Equal(out, src) {
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

// decode decompresses frame, which format.WalkFrame or a FrameWalker accepted,
// into dst[:0]; cap(dst) is the declared size.
func (d *decoder) decode(dst, frame []byte) (out []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the decompressor failed: %v", p)
		}
		if err == nil && len(out) != cap(dst) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			err = &format.SyntaxError{Struct: "data frame", Field: "blocks", Reason: err.Error()}
		}
	}()
	return d.dec.DecodeAll(frame, dst)
}
