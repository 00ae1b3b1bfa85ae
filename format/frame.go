package format

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// Wire numbers of the content's frames (§ 6), sizes in bytes.
const (
	zstdMagic = 0xFD2FB528

	// Magic numbers of the skippable frames.
	MagicInfoFirst = 0x184D2A50
	MagicInfoLast  = 0x184D2A57
	MagicCatalog   = 0x184D2A5C
	MagicPadding   = 0x184D2A5D
	MagicSeekTable = 0x184D2A5E

	SkippableHeaderSize = 8 // magic u32, payload length u32
	MaxInfoPayload      = 1 << 26
	MaxPaddingPayload   = 1<<31 - 1

	frameChecksumSize = 4
	blockHeaderSize   = 3
	maxBlockSize      = 128 << 10

	fhdSingleSegment = 1 << 5
	fhdChecksum      = 1 << 2
	fhdForbidden     = 1<<4 | 1<<3 | 1<<1 | 1<<0 // unused, reserved, dictionary id

	blockRaw        = 0
	blockRLE        = 1
	blockCompressed = 2
)

// MaxFrameSize is the longest data frame that may hold size plaintext bytes.
func MaxFrameSize(size int) int { return size + size/256 + 64 }

// A FrameWalker follows a data frame (§ 6.1) as its bytes arrive, so that a
// reader knows where the frame ends without decompressing it, and stops before
// the frame is longer than it may be. The zero value is not ready: use Reset.
type FrameWalker struct {
	maxContent int
	content    int // plaintext bytes, once the header was read
	need       int // bytes of the frame that Step wants to see
	block      int // offset of the next block header, 0 before the frame header was read
	raw        bool
	last       bool
}

// Reset prepares w for a frame of at most maxContent plaintext bytes.
func (w *FrameWalker) Reset(maxContent int) {
	*w = FrameWalker{maxContent: maxContent, need: 5, raw: true}
}

// Need is the length in bytes from the beginning of the frame that Step must be
// given next; once Step has said done it is the length of the frame.
func (w *FrameWalker) Need() int { return w.need }

// ContentSize is the number of plaintext bytes the frame declares, valid once
// Need is past the frame header; it is final when Step says done.
func (w *FrameWalker) ContentSize() int { return w.content }

// Stored reports whether all blocks so far are raw ones.
func (w *FrameWalker) Stored() bool { return w.raw }

// Step looks at frame, which holds at least Need bytes, and either moves Need
// forward or says that the frame ends there.
func (w *FrameWalker) Step(frame []byte) (done bool, err error) {
	switch {
	case w.need == 5:
		err = w.descriptor(frame)
	case w.block == 0:
		err = w.size(frame)
	case w.last:
		return true, nil
	default:
		err = w.blockHeader(frame)
	}
	if limit := MaxFrameSize(w.content); err == nil && w.block != 0 && w.need > limit {
		err = frameError("blocks", w.block, fmt.Sprintf("the frame is longer than the %d bytes that its %d bytes of content allow", limit, w.content))
	}
	return false, err
}

func frameError(field string, off int, reason string) error {
	return &SyntaxError{Struct: "data frame", Field: field, Offset: int64(off), Reason: reason}
}

func (w *FrameWalker) descriptor(frame []byte) error {
	if binary.LittleEndian.Uint32(frame) != zstdMagic {
		return frameError("magic", 0, "is no zstd frame")
	}
	d := frame[4]
	if d&fhdForbidden != 0 || d&fhdSingleSegment == 0 || d&fhdChecksum == 0 {
		return frameError("descriptor", 4, fmt.Sprintf("%#02x: content size, checksum and single segment must be set, and nothing else", d))
	}
	w.need = 5 + 1<<(d>>6)
	return nil
}

func (w *FrameWalker) size(frame []byte) error {
	var n uint64
	switch f := frame[5:w.need]; len(f) {
	case 1:
		n = uint64(f[0])
	case 2:
		n = uint64(binary.LittleEndian.Uint16(f)) + 256
	case 4:
		n = uint64(binary.LittleEndian.Uint32(f))
	default:
		n = binary.LittleEndian.Uint64(f)
	}
	if n < 1 || n > uint64(w.maxContent) {
		return frameError("content size", 5, fmt.Sprintf("%d is not in 1 … %d", n, w.maxContent))
	}
	w.content = int(n)
	w.block = w.need
	w.need += blockHeaderSize
	return nil
}

func (w *FrameWalker) blockHeader(frame []byte) error {
	b := frame[w.block:]
	v := int(b[0]) | int(b[1])<<8 | int(b[2])<<16
	typ, size := v>>1&3, v>>3
	if limit := min(maxBlockSize, w.content); size > limit {
		return frameError("block size", w.block, fmt.Sprintf("%d is over %d", size, limit))
	}
	switch typ {
	case blockRaw:
	case blockRLE:
		w.raw, size = false, 1
	case blockCompressed:
		w.raw = false
	default:
		return frameError("block type", w.block, "is the reserved one")
	}
	w.last = v&1 != 0
	w.block += blockHeaderSize + size
	w.need = w.block + blockHeaderSize
	if w.last {
		w.need = w.block + frameChecksumSize
	}
	return nil
}

// WalkFrame follows a whole data frame that ends where frame ends, and returns
// the size of its content and whether all its blocks are raw.
func WalkFrame(frame []byte, maxContent int) (content int, stored bool, err error) {
	var w FrameWalker
	w.Reset(maxContent)
	for {
		if w.Need() > len(frame) {
			return 0, false, frameError("frame", len(frame), "ends too early")
		}
		done, err := w.Step(frame)
		if err != nil {
			return 0, false, err
		}
		if done && w.Need() != len(frame) {
			return 0, false, frameError("frame", w.Need(), "bytes are left over")
		}
		if done {
			return w.ContentSize(), w.Stored(), nil
		}
	}
}

// storedHeaderSize is the header of the stored frames that are made here: magic,
// descriptor, and a content size of 4 bytes whatever it is, so that content can be
// put in its place before its size is known.
const storedHeaderSize = 4 + 1 + 4

// StoredRoom returns where in frame, the buffer of a stored data frame, content
// goes from offset off on, up to the end of its block but not past limit bytes of
// content. FinishStored makes a frame of the buffer.
func StoredRoom(frame []byte, off, limit int) []byte {
	begin := storedHeaderSize + blockHeaderSize*(1+off/maxBlockSize) + off
	n := min(maxBlockSize-off%maxBlockSize, limit-off)
	return frame[begin : begin+n]
}

// FinishStored writes everything but the content, of size bytes, into frame, whose
// capacity is at least MaxFrameSize(size), and returns it with its length.
// checksum is the low 32 bits of XXH64 of the content with seed 0.
func FinishStored(frame []byte, size int, checksum uint32) []byte {
	head := append(binary.LittleEndian.AppendUint32(frame[:0], zstdMagic), 2<<6|fhdSingleSegment|fhdChecksum)
	frame = binary.LittleEndian.AppendUint32(head, uint32(size))
	for off := 0; off == 0 || off < size; off += maxBlockSize {
		n := min(maxBlockSize, size-off)
		v := n<<3 | blockRaw<<1
		if off+n == size {
			v |= 1
		}
		frame = append(frame, byte(v), byte(v>>8), byte(v>>16))
		frame = frame[:len(frame)+n]
	}
	return binary.LittleEndian.AppendUint32(frame, checksum)
}

// AppendStored appends a stored data frame that holds content to dst. checksum is
// as in FinishStored.
func AppendStored(dst, content []byte, checksum uint32) []byte {
	start := len(dst)
	dst = slices.Grow(dst, MaxFrameSize(len(content)))
	frame := dst[start:cap(dst)]
	for off := 0; off < len(content); {
		off += copy(StoredRoom(frame, off, len(content)), content[off:])
	}
	return dst[:start+len(FinishStored(frame, len(content), checksum))]
}

// StoredBlock returns the content of the block at offset off of frame, which
// WalkFrame or a FrameWalker found to be stored, and the offset of the next block, 0
// after the last one. At offset 0 it is the first.
func StoredBlock(frame []byte, off int) (content []byte, next int) {
	if off == 0 {
		off = 5 + 1<<(frame[4]>>6)
	}
	b := frame[off:]
	v := int(b[0]) | int(b[1])<<8 | int(b[2])<<16
	end := blockHeaderSize + v>>3
	if v&1 == 0 {
		next = off + end
	}
	return b[blockHeaderSize:end], next
}

// StoredChecksum returns the checksum of such a frame.
func StoredChecksum(frame []byte) uint32 {
	return binary.LittleEndian.Uint32(frame[len(frame)-4:])
}

// EqualStored reports whether such a frame holds content, but for its checksum.
func EqualStored(frame, content []byte) bool {
	for off := 0; ; {
		block, next := StoredBlock(frame, off)
		if len(block) > len(content) || string(block) != string(content[:len(block)]) {
			return false
		}
		content = content[len(block):]
		if off = next; off == 0 {
			return len(content) == 0
		}
	}
}

// AppendSkippable appends the header of a skippable frame (§ 6.2).
func AppendSkippable(dst []byte, magic, payload uint32) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, magic)
	return binary.LittleEndian.AppendUint32(dst, payload)
}

// FrameKind tells the frames of the content apart, in the order in which they
// must come (§ 6).
type FrameKind int

// The kinds of frames.
const (
	FrameData FrameKind = iota
	FrameCatalog
	FrameInfo
	FramePadding
	FrameSeekTable
)

// ParseFrameHeader looks at the first SkippableHeaderSize bytes of a frame. For
// all kinds but FrameData payload is the length of what follows them.
func ParseFrameHeader(b []byte) (kind FrameKind, payload int64, err error) {
	magic := binary.LittleEndian.Uint32(b)
	payload = int64(binary.LittleEndian.Uint32(b[4:]))
	limit := int64(1<<32 - 1)
	switch {
	case magic == zstdMagic:
		return FrameData, 0, nil
	case magic == MagicCatalog:
		kind = FrameCatalog
	case magic >= MagicInfoFirst && magic <= MagicInfoLast:
		kind, limit = FrameInfo, MaxInfoPayload
	case magic == MagicPadding:
		kind, limit = FramePadding, MaxPaddingPayload
	case magic == MagicSeekTable:
		kind, limit = FrameSeekTable, MaxFrames*SeekEntrySize+SeekFooterSize
	default:
		return 0, 0, &SyntaxError{Struct: "content", Field: "frame magic", Reason: fmt.Sprintf("%#08x is no frame of version 1", magic)}
	}
	if payload > limit {
		return 0, 0, &SyntaxError{Struct: "content", Field: "frame length", Offset: 4, Reason: fmt.Sprintf("%d is over %d", payload, limit)}
	}
	return kind, payload, nil
}
