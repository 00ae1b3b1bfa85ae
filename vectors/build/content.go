package build

import (
	"bytes"
	"math/bits"

	"github.com/cespare/xxhash/v2"
)

// Magics of frames (§ 6), and of the end of the seek table.
const (
	MagicZstd      = 0xFD2FB528
	MagicInfo      = 0x184D2A50 // to 0x184D2A57
	MagicCatalog   = 0x184D2A5C
	MagicPadding   = 0x184D2A5D
	MagicSeekTable = 0x184D2A5E
	MagicSeekable  = 0x8F92EAB1
)

// The types of zstd blocks (RFC 8878, 3.1.1.2).
const (
	Raw = iota
	RLE
	Compressed
	Reserved
)

// A Block is a zstd block. Size is its Block_Size: for RLE that of what comes
// out, else len(Data).
type Block struct {
	Type int
	Size int
	Data []byte
}

// A Frame is a zstd frame, with nothing left to chance.
type Frame struct {
	Descriptor  byte   // 0x24, 0x64, 0xA4 or 0xE4 if well-formed
	ContentSize []byte // the field, as long as Descriptor says
	Extra       []byte // between the descriptor and the content size: window, dictionary id
	Blocks      []Block
	Checksum    []byte
	// NoLast leaves the last-block flag off.
	NoLast bool
}

// NewFrame returns a frame of blocks that has the content size and checksum of
// plain, with a content size field of 1, 2, 4 or 8 bytes.
func NewFrame(plain []byte, width int, blocks ...Block) *Frame {
	f := &Frame{Blocks: blocks, Checksum: le.AppendUint32(nil, uint32(xxhash.Sum64(plain)))}
	size := uint64(len(plain))
	switch width {
	case 1:
		f.Descriptor, f.ContentSize = 0x24, []byte{byte(size)}
	case 2:
		f.Descriptor, f.ContentSize = 0x64, le.AppendUint16(nil, uint16(size-256))
	case 4:
		f.Descriptor, f.ContentSize = 0xA4, le.AppendUint32(nil, uint32(size))
	default:
		f.Descriptor, f.ContentSize = 0xE4, le.AppendUint64(nil, size)
	}
	return f
}

// Bytes encodes the frame.
func (f *Frame) Bytes() []byte {
	b := le.AppendUint32(nil, MagicZstd)
	b = append(b, f.Descriptor)
	b = append(b, f.Extra...)
	b = append(b, f.ContentSize...)
	for i, block := range f.Blocks {
		v := block.Type<<1 | block.Size<<3
		if i == len(f.Blocks)-1 && !f.NoLast {
			v |= 1
		}
		b = append(b, byte(v), byte(v>>8), byte(v>>16))
		b = append(b, block.Data...)
	}
	return append(b, f.Checksum...)
}

// Stored returns the frame that holds plain in raw blocks of at most 128 KiB.
func Stored(plain []byte) []byte {
	return NewFrame(plain, 4, RawBlocks(plain)...).Bytes()
}

// RawBlocks cuts plain into raw blocks.
func RawBlocks(plain []byte) (blocks []Block) {
	for {
		n := min(len(plain), 128<<10)
		blocks = append(blocks, Block{Raw, n, plain[:n]})
		if plain = plain[n:]; len(plain) == 0 {
			return blocks
		}
	}
}

// Repeated returns the frame of n times the byte b, in RLE blocks.
func Repeated(b byte, n int) []byte {
	var blocks []Block
	for left := n; left > 0; left -= 128 << 10 {
		blocks = append(blocks, Block{RLE, min(left, 128<<10), []byte{b}})
	}
	return NewFrame(bytes.Repeat([]byte{b}, n), 4, blocks...).Bytes()
}

// Skippable returns a skippable frame (§ 6.2).
func Skippable(magic uint32, payload []byte) []byte {
	b := le.AppendUint32(nil, magic)
	b = le.AppendUint32(b, uint32(len(payload)))
	return append(b, payload...)
}

// A Record is a catalog record (§ 6.3.2).
type Record struct {
	Offset, Size uint64
	ModTime      int64
	Mode         uint32
	Type         byte
	Path, Link   string
	Later        []byte // bytes of a later minor addition
}

// Bytes encodes the record.
func (r Record) Bytes() []byte {
	b := le.AppendUint32(nil, uint32(34+len(r.Path)+len(r.Link)+len(r.Later)))
	b = le.AppendUint64(b, r.Offset)
	b = le.AppendUint64(b, r.Size)
	b = le.AppendUint64(b, uint64(r.ModTime))
	b = le.AppendUint32(b, r.Mode)
	b = append(b, r.Type, 0)
	b = le.AppendUint16(b, uint16(len(r.Path)))
	b = le.AppendUint16(b, uint16(len(r.Link)))
	b = append(b, r.Path...)
	b = append(b, r.Link...)
	return append(b, r.Later...)
}

// Catalog returns a catalog frame of records.
func Catalog(records ...[]byte) []byte {
	return Skippable(MagicCatalog, Stored(bytes.Join(records, nil)))
}

// A SeekEntry is an entry of the seek table (§ 6.5).
type SeekEntry struct{ Compressed, Decompressed uint32 }

// SeekTable returns the table of entries.
func SeekTable(entries ...SeekEntry) []byte {
	var b []byte
	for _, e := range entries {
		b = le.AppendUint32(b, e.Compressed)
		b = le.AppendUint32(b, e.Decompressed)
	}
	b = le.AppendUint32(b, uint32(len(entries)))
	b = append(b, 0)
	return Skippable(MagicSeekTable, le.AppendUint32(b, MagicSeekable))
}

// Entries returns the seek table's entries for frames. It takes the plaintext
// size of a data frame from its content size field.
func Entries(frames ...[]byte) (entries []SeekEntry) {
	for _, f := range frames {
		entries = append(entries, SeekEntry{uint32(len(f)), uint32(contentSize(f))})
	}
	return entries
}

// contentSize is what a data frame declares; 0 for what is none.
func contentSize(f []byte) uint64 {
	if len(f) < 13 || le.Uint32(f) != MagicZstd {
		return 0
	}
	switch f[4] >> 6 {
	case 0:
		return uint64(f[5])
	case 1:
		return uint64(le.Uint16(f[5:])) + 256
	case 2:
		return uint64(le.Uint32(f[5:]))
	}
	return le.Uint64(f[5:])
}

// Content joins frames and the seek table that describes them.
func Content(frames ...[]byte) []byte {
	return append(bytes.Join(frames, nil), SeekTable(Entries(frames...)...)...)
}

// Padding returns the padding frame for frames, with extra bytes more than
// § 6.4.2 wants.
func Padding(extra int, frames ...[]byte) []byte {
	x := 8 + 8*(len(frames)+1) + 17
	for _, f := range frames {
		x += len(f)
	}
	return Skippable(MagicPadding, make([]byte, int(Padded(int64(x)))-x+extra))
}

// Padded is T of § 6.4.2.
func Padded(x int64) int64 {
	e := int64(bits.Len64(uint64(x))) - 1
	s := int64(0) // ⌊log2 e⌋ + 1; 0 for e = 0, where the granule is 1 whatever s is
	for v := e; v > 0; v >>= 1 {
		s++
	}
	granule := int64(1) << max(0, min(e-s, 31))
	return (x + granule - 1) / granule * granule
}
