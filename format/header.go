package format

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
)

// Magic begins every container of every version (§ 3.1). As PNG's, it catches
// transfers that change line ends or strip the eighth bit.
const Magic = "\x89COF\r\n\x1a\n"

// Wire numbers of header block v1: offsets and sizes in bytes (§ 3.1).
const (
	Version = 1

	offVersion    = 8
	offSuite      = 10
	offContent    = 11
	offSegment    = 12
	offFlags      = 13
	offReserved14 = 14
	offSalt       = 16
	offContextTag = 48
	offGeneration = 64
	offHeaderLen  = 72
	offSlotsLen   = 76
	offSlotCount  = 80
	offReserved82 = 82
	offSlots      = 96

	trailerSize = 40 // MAC 32, CRC 4, header length 4
	macSize     = 32

	// PrefixSize bytes are enough to know the header block's length.
	PrefixSize = offSlots

	MinHeaderSize     = 4096
	MaxHeaderSize     = 65536
	HeaderSizeUnit    = 4096
	DefaultHeaderSize = 8192

	ContentZstdSeekable = 1

	MinSegmentLog2     = 16
	MaxSegmentLog2     = 26
	DefaultSegmentLog2 = 20

	// FlagContext says that the container opens only with its context.
	FlagContext = 1 << 0

	MaxEntries    = 32
	MaxNotesBytes = 4096

	SaltSize       = 32
	ContextTagSize = 16

	maxGeneration = 1<<63 - 1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Core is bytes [8, 64) of the header block, which no rewrap changes (§ 3.1).
// Keys and slots are bound to it.
type Core [offGeneration - offVersion]byte

// Header is a header block (§ 3.1), in the forms its fields have in SPEC.md.
type Header struct {
	Suite       Suite
	SegmentLog2 uint8 // a data frame holds 2^SegmentLog2 plaintext bytes
	Flags       uint8
	Salt        [SaltSize]byte
	ContextTag  [ContextTagSize]byte // zero unless FlagContext is set
	Generation  uint64               // 1 for a new container, one more for each rewrap
	Size        int                  // H, the length of the whole block in bytes
	Entries     []Entry              // slots and notes, in file order
	MAC         [macSize]byte        // HMAC-SHA-256 of MACInput, § 4.3
}

// HasContext reports whether the container is bound to a context.
func (h *Header) HasContext() bool { return h.Flags&FlagContext != 0 }

// SegmentSize is the plaintext size of every data frame but the last, in bytes.
func (h *Header) SegmentSize() int { return 1 << h.SegmentLog2 }

// Core returns the bytes that keys and slots are bound to.
func (h *Header) Core() (c Core) {
	b := c[:0]
	b = binary.LittleEndian.AppendUint16(b, Version)
	b = append(b, byte(h.Suite), ContentZstdSeekable, h.SegmentLog2, h.Flags, 0, 0)
	b = append(b, h.Salt[:]...)
	_ = append(b, h.ContextTag[:]...)
	return c
}

// AppendBinary appends the block, Size bytes, to dst. It fails with a
// *SyntaxError if h breaks a rule of § 3. To authenticate a new header, encode it,
// compute the MAC over MACInput, set h.MAC and encode again.
func (h *Header) AppendBinary(dst []byte) ([]byte, error) {
	start := len(dst)
	core := h.Core()
	dst = append(dst, Magic...)
	dst = append(dst, core[:]...)
	dst = binary.LittleEndian.AppendUint64(dst, h.Generation)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(h.Size))
	slotsLen := h.slotsLen()
	dst = binary.LittleEndian.AppendUint32(dst, uint32(slotsLen))
	dst = binary.LittleEndian.AppendUint16(dst, uint16(len(h.Entries)))
	dst = append(dst, make([]byte, offSlots-offReserved82)...)
	for _, e := range h.Entries {
		dst = binary.LittleEndian.AppendUint16(dst, uint16(e.Kind))
		dst = binary.LittleEndian.AppendUint16(dst, uint16(len(e.Data)))
		dst = append(dst, e.Data...)
	}
	pad := h.Size - trailerSize - (len(dst) - start)
	if pad < 0 || h.Size > MaxHeaderSize {
		return nil, &SyntaxError{Struct: "header", Field: "slots", Offset: offSlots,
			Reason: fmt.Sprintf("%d bytes of slots do not fit a header block of %d bytes: use a larger header size", slotsLen, h.Size)}
	}
	dst = append(dst, make([]byte, pad)...)
	dst = append(dst, h.MAC[:]...)
	dst = binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(h.Size))
	// One set of rules for both directions: what would not be read is not written.
	if _, err := ParseHeader(dst[start:]); err != nil {
		return nil, err
	}
	return dst, nil
}

func (h *Header) slotsLen() (n int) {
	for _, e := range h.Entries {
		n += entryHeaderSize + len(e.Data)
	}
	return n
}

// FittingSize returns the default size of a block, or the least one above it that the
// entries of h fit. It may be over MaxHeaderSize, which AppendBinary then says.
func (h *Header) FittingSize() int {
	units := (offSlots + h.slotsLen() + trailerSize + HeaderSizeUnit - 1) / HeaderSizeUnit
	return max(DefaultHeaderSize, units*HeaderSizeUnit)
}

// MACInput is the part of an encoded block that its MAC covers.
func MACInput(block []byte) []byte { return block[:len(block)-trailerSize] }

// ParsePrefix judges magic, version and length, the only fields that are read
// before the rest of the block, and returns H. prefix is PrefixSize bytes or,
// where the input ends early, what there is of it.
func ParsePrefix(prefix []byte) (headerSize int, err error) {
	n := min(len(prefix), len(Magic))
	if string(prefix[:n]) != Magic[:n] || n == 0 {
		return 0, &SyntaxError{"header", "magic", 0, "these are not the first bytes of a coffer container", ErrMagic}
	}
	if len(prefix) >= offVersion+2 {
		if v := binary.LittleEndian.Uint16(prefix[offVersion:]); v != Version {
			return 0, &SyntaxError{"header", "version", offVersion, fmt.Sprintf("version %d: this program reads version %d", v, Version), ErrVersion}
		}
	}
	if len(prefix) < PrefixSize {
		return 0, shortHeader(len(prefix))
	}
	h := binary.LittleEndian.Uint32(prefix[offHeaderLen:])
	if !validHeaderSize(h) {
		return 0, &SyntaxError{Struct: "header", Field: "header length", Offset: offHeaderLen, Reason: fmt.Sprintf("%d is not a multiple of %d from %d to %d", h, HeaderSizeUnit, MinHeaderSize, MaxHeaderSize)}
	}
	if s := binary.LittleEndian.Uint32(prefix[offSlotsLen:]); s > h-offSlots-trailerSize {
		return 0, &SyntaxError{Struct: "header", Field: "slots length", Offset: offSlotsLen, Reason: fmt.Sprintf("%d bytes of slots do not fit a block of %d", s, h)}
	}
	return int(h), nil
}

func shortHeader(n int) error {
	return &SyntaxError{"header", "header block", int64(n), "the file ends inside its header", io.ErrUnexpectedEOF}
}

func validHeaderSize(h uint32) bool {
	return h >= MinHeaderSize && h <= MaxHeaderSize && h%HeaderSizeUnit == 0
}

// TailSize reads H from the last 4 bytes of a file, for a reader that could not
// use the block at its beginning (§ 3.4). ok says whether it is a legal length.
func TailSize(last4 []byte) (headerSize int, ok bool) {
	h := binary.LittleEndian.Uint32(last4)
	return int(h), validHeaderSize(h)
}

// ReadHeader reads one header block from r: first PrefixSize bytes, then, if
// those are sane, the rest of the block. It returns the block's bytes too, as
// far as they were read. Errors of r itself are returned as they are.
func ReadHeader(r io.Reader) (h *Header, block []byte, err error) {
	prefix := make([]byte, PrefixSize)
	n, err := io.ReadFull(r, prefix)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return nil, prefix[:n], err
	}
	size, err := ParsePrefix(prefix[:n])
	if err != nil {
		return nil, prefix[:n], err
	}
	block = append(make([]byte, 0, size), prefix...)[:size]
	n, err = io.ReadFull(r, block[PrefixSize:])
	block = block[:PrefixSize+n]
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return nil, block, err
	}
	h, err = ParseHeader(block)
	return h, block, err
}

// ParseHeader parses a whole header block. The entries of the result alias
// block. Its MAC is not verified: that takes a key.
func ParseHeader(block []byte) (*Header, error) {
	size, err := ParsePrefix(block)
	if err != nil {
		return nil, err
	}
	if len(block) < size {
		return nil, shortHeader(len(block))
	}
	if len(block) > size {
		return nil, &SyntaxError{Struct: "header", Field: "header length", Offset: offHeaderLen, Reason: fmt.Sprintf("is %d in a block of %d bytes", size, len(block))}
	}
	if crc := binary.LittleEndian.Uint32(block[size-8:]); crc != crc32.Checksum(block[:size-8], castagnoli) {
		return nil, &SyntaxError{Struct: "header", Field: "CRC", Offset: int64(size - 8), Reason: "does not match: the header is damaged"}
	}
	c := &cursor{name: "header", data: block, off: offSuite}
	h := &Header{Size: size}
	h.parseFixed(c)
	slotsLen := int(c.u32("slots length"))
	count := int(c.u16("slot count"))
	if count < 1 || count > MaxEntries {
		c.fail(offSlotCount, "slot count", fmt.Sprintf("%d entries: 1 to %d are allowed", count, MaxEntries))
	}
	c.zeros("reserved", offSlots-offReserved82)
	h.Entries = parseEntries(c, slotsLen, count)
	c.zeros("padding", size-trailerSize-c.off)
	copy(h.MAC[:], c.take("MAC", macSize))
	c.take("CRC", 4)
	if end := c.u32("header length, repeated"); end != uint32(size) {
		c.fail(size-4, "header length, repeated", fmt.Sprintf("is %d in a block of %d bytes", end, size))
	}
	c.end("header block")
	if c.err != nil {
		return nil, c.err
	}
	return h, nil
}

// parseFixed reads [10, 76), the fields before the slots' lengths.
func (h *Header) parseFixed(c *cursor) {
	if h.Suite = Suite(c.u8("suite")); h.Suite != AES256GCM && h.Suite != ChaCha20Poly1305 {
		c.fail(offSuite, "suite", fmt.Sprintf("%d is not a suite of version 1", h.Suite))
	}
	if content := c.u8("content"); content != ContentZstdSeekable {
		c.fail(offContent, "content", fmt.Sprintf("%d is not a content type of version 1", content))
	}
	if h.SegmentLog2 = c.u8("segment_log2"); h.SegmentLog2 < MinSegmentLog2 || h.SegmentLog2 > MaxSegmentLog2 {
		c.fail(offSegment, "segment_log2", fmt.Sprintf("%d is not in %d … %d", h.SegmentLog2, MinSegmentLog2, MaxSegmentLog2))
	}
	if h.Flags = c.u8("flags"); h.Flags&^FlagContext != 0 {
		c.fail(offFlags, "flags", fmt.Sprintf("%#02x has bits that version 1 does not define", h.Flags))
	}
	c.zeros("reserved", offSalt-offReserved14)
	copy(h.Salt[:], c.take("salt", SaltSize))
	copy(h.ContextTag[:], c.take("context_tag", ContextTagSize))
	if !h.HasContext() && h.ContextTag != [ContextTagSize]byte{} {
		c.fail(offContextTag, "context_tag", "is set, but the context flag is not")
	}
	if h.Generation = c.u64("generation"); h.Generation < 1 || h.Generation > maxGeneration {
		c.fail(offGeneration, "generation", fmt.Sprintf("%d is not in 1 … 2^63-1", h.Generation))
	}
	c.u32("header length") // judged by ParsePrefix
}
