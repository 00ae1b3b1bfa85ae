package format

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

// Wire numbers of the seek table (§ 6.5), the last frame of the content, in the
// zstd seekable format 0.1.0. Sizes in bytes.
const (
	MaxFrames      = 1 << 27
	SeekEntrySize  = 8 // compressed size u32, decompressed size u32
	SeekFooterSize = 9 // number of frames u32, descriptor u8, magic u32
	seekableMagic  = 0x8F92EAB1
)

// A SeekEntry is the length of one frame, sealed content and plaintext. A
// skippable frame has no plaintext.
type SeekEntry struct {
	Compressed   uint32
	Decompressed uint32
}

// SeekTableSize is the length of the whole table, its frame header included.
func SeekTableSize(frames int64) int64 {
	return SkippableHeaderSize + frames*SeekEntrySize + SeekFooterSize
}

// AppendSeekEntry appends one entry of the table.
func AppendSeekEntry(dst []byte, e SeekEntry) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, e.Compressed)
	return binary.LittleEndian.AppendUint32(dst, e.Decompressed)
}

// ParseSeekEntry reads the entry at the beginning of b.
func ParseSeekEntry(b []byte) SeekEntry {
	return SeekEntry{binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])}
}

// AppendSeekFooter appends what ends the table.
func AppendSeekFooter(dst []byte, frames int64) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, uint32(frames))
	dst = append(dst, 0)
	return binary.LittleEndian.AppendUint32(dst, seekableMagic)
}

// ParseSeekFooter judges the last SeekFooterSize bytes of the content and returns
// the number of frames before the table.
func ParseSeekFooter(b []byte) (frames int64, err error) {
	fail := func(field string, off int64, reason string) (int64, error) {
		return 0, &SyntaxError{Struct: "seek table footer", Field: field, Offset: off, Reason: reason}
	}
	if magic := binary.LittleEndian.Uint32(b[5:]); magic != seekableMagic {
		return fail("magic", 5, fmt.Sprintf("is %#08x", magic))
	}
	if b[4] != 0 {
		return fail("descriptor", 4, fmt.Sprintf("%#02x has bits set", b[4]))
	}
	if frames = int64(binary.LittleEndian.Uint32(b)); frames > MaxFrames {
		return fail("number of frames", 0, fmt.Sprintf("%d is over %d", frames, MaxFrames))
	}
	return frames, nil
}

// Padded is T of § 6.4, Padmé with a granule of at most 2 GiB: the length to which
// a DARE plaintext of n > 0 bytes is padded.
func Padded(n int64) int64 {
	e := bits.Len64(uint64(n)) - 1
	s := bits.Len(uint(e))
	granule := int64(1) << max(0, min(e-s, 31))
	return (n + granule - 1) &^ (granule - 1)
}
