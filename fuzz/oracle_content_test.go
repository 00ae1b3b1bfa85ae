package fuzz_test

import (
	"bytes"
	"io"
	"math/bits"

	"github.com/cespare/xxhash/v2"
	"github.com/klauspost/compress/zstd"

	"github.com/coffer-backup/coffer/vectors/build"
)

// This part of the oracle is § 6.

// A contentVerdict is what is to be said of content, or of its beginning.
type contentVerdict struct {
	plain   []byte         // of the data frames that are whole, before the fault
	records []build.Record // of the catalog frames that are whole, before the fault
	fault   bool           // a rule of § 6 is broken in what there is
}

// A judge goes through content frame by frame.
type judge struct {
	contentVerdict
	left    []byte
	segment int
	stage   int // the place of the last frame's kind in the order of § 6
	short   bool
	padding int64 // payload of the padding, -1 if there is none
	seen    []build.SeekEntry
}

// judgeContent judges content, which is whole, or else a beginning of which nothing
// is said but what it has itself.
func judgeContent(content []byte, segment int, whole bool) contentVerdict {
	j := &judge{left: content, segment: segment, padding: -1}
	for more := true; more && !j.fault; {
		more = j.frame(int64(len(content)), whole)
	}
	return j.contentVerdict
}

// wrong records a fault, which ends everything.
func (j *judge) wrong() bool {
	j.fault = true
	return false
}

// ends is where a structure is longer than what is left. If that is all the content,
// it is a fault.
func (j *judge) ends(whole bool) bool {
	j.fault = whole
	return false
}

// orderOf returns the place of a frame's magic in the order of § 6, and the limit of
// its payload, or -1.
func orderOf(magic uint32) (stage int, limit uint32) {
	switch {
	case magic == build.MagicZstd:
		return 0, 0
	case magic == build.MagicCatalog:
		return 1, 1<<32 - 1
	case magic >= build.MagicInfo && magic <= build.MagicInfo+7:
		return 2, 1 << 26
	case magic == build.MagicPadding:
		return 3, 1<<31 - 1
	case magic == build.MagicSeekTable:
		return 4, 1<<30 + 9
	}
	return -1, 0
}

// frame judges the next frame, and reports whether one more must follow.
func (j *judge) frame(length int64, whole bool) (more bool) {
	if len(j.left) < 8 {
		return j.ends(whole)
	}
	payload := le.Uint32(j.left[4:])
	stage, limit := orderOf(le.Uint32(j.left))
	if stage < j.stage || stage > 0 && payload > limit || stage == 3 && j.padding >= 0 || stage == 0 && j.short {
		return j.wrong()
	}
	j.stage = stage
	if stage == 0 {
		plain, n, state := walk(j.left, j.segment)
		switch {
		case state == broken:
			return j.wrong()
		case state == incomplete:
			return j.ends(whole)
		}
		j.plain = append(j.plain, plain...)
		j.short = len(plain) < j.segment
		j.next(n, len(plain))
		return true
	}
	rest := j.left[8:]
	have := rest[:min(int64(len(rest)), int64(payload))]
	switch {
	case stage == 1:
		if !j.catalog(have, int64(payload)) {
			return false
		}
	case stage == 3:
		j.padding = int64(payload)
		if !zero(have) {
			return j.wrong()
		}
	case stage == 4 && int64(payload) != 8*int64(len(j.seen))+9:
		return j.wrong()
	}
	if int64(len(have)) < int64(payload) {
		return j.ends(whole)
	}
	if stage < 4 {
		j.next(8+len(have), 0)
		return true
	}
	// The seek table ends the content, and only then is the padding's length known.
	if !bytes.Equal(j.left, build.SeekTable(j.seen...)) || whole && j.padding >= 0 && padded(length-j.padding) != length {
		return j.wrong()
	}
	return false
}

// next goes past a frame of n bytes.
func (j *judge) next(n, dsize int) {
	j.seen = append(j.seen, build.SeekEntry{Compressed: uint32(n), Decompressed: uint32(dsize)})
	j.left = j.left[n:]
}

// padded is T of § 6.4.2.
func padded(x int64) int64 {
	e := bits.Len64(uint64(x)) - 1
	s := bits.Len(uint(e))
	granule := int64(1) << max(0, min(e-s, 31))
	return (x + granule - 1) / granule * granule
}

// catalog judges a catalog frame of which have is there. False ends the content.
func (j *judge) catalog(have []byte, payload int64) bool {
	plain, n, state := walk(have, j.segment)
	if state == incomplete && int64(len(have)) < payload && int64(n) <= payload {
		return true // the rest of it is not there
	}
	if state != done || int64(n) != payload {
		return j.wrong()
	}
	for len(plain) > 0 {
		r, n, ok := readRecord(plain)
		if !ok || r.Offset%512 != 0 || len(j.records) == 0 && r.Offset != 0 || len(j.records) > 0 && r.Offset <= j.records[len(j.records)-1].Offset {
			return j.wrong()
		}
		j.records = append(j.records, r)
		plain = plain[n:]
	}
	return true
}

// readRecord reads a record (§ 6.3.2), and returns its length.
func readRecord(b []byte) (r build.Record, length int, ok bool) {
	if len(b) < 38 {
		return r, 0, false
	}
	n := int64(le.Uint32(b))
	path, link := int64(le.Uint16(b[34:])), int64(le.Uint16(b[36:]))
	if n > 65535 || 4+n > int64(len(b)) || n < 34+path+link || b[33] != 0 {
		return r, 0, false
	}
	r = build.Record{
		Offset: le.Uint64(b[4:]), Size: le.Uint64(b[12:]), ModTime: int64(le.Uint64(b[20:])), Mode: le.Uint32(b[28:]), Type: b[32],
		Path: string(b[38 : 38+path]), Link: string(b[38+path : 38+path+link]), Later: bytes.Clone(b[38+path+link : 4+n]),
	}
	return r, int(4 + n), true
}

// What walk says of a data frame.
type walked int

const (
	done walked = iota
	broken
	incomplete
)

// walk judges the data frame at the beginning of b (§ 6.1), and returns its plaintext
// and length; of an incomplete one the length that it has at least.
func walk(b []byte, segment int) (plain []byte, n int, state walked) {
	plain, n, dsize, state := walkBlocks(b, segment)
	if state == done && (len(plain) != dsize || uint32(xxhash.Sum64(plain)) != le.Uint32(b[n-4:n])) {
		state = broken
	}
	return plain, n, state
}

// walkBlocks is walk without the comparison of size and checksum.
func walkBlocks(b []byte, segment int) (plain []byte, n, dsize int, state walked) {
	if len(b) < 5 {
		return nil, 5, 0, incomplete
	}
	width, known := map[byte]int{0x24: 1, 0x64: 2, 0xA4: 4, 0xE4: 8}[b[4]]
	if le.Uint32(b) != build.MagicZstd || !known {
		return nil, 0, 0, broken
	}
	n = 5 + width
	if len(b) < n {
		return nil, n, 0, incomplete
	}
	size := le.Uint64(append(bytes.Clone(b[5:n]), make([]byte, 8)...))
	if width == 2 {
		size += 256
	}
	if size < 1 || size > uint64(segment) {
		return nil, 0, 0, broken
	}
	dsize = int(size)
	compressed := false
	for last := false; !last; {
		if len(b) < n+3 {
			return nil, n + 3, dsize, incomplete
		}
		v := int(b[n]) | int(b[n+1])<<8 | int(b[n+2])<<16
		typ, size := v>>1&3, v>>3
		last = v&1 != 0
		if typ == build.Reserved || size > min(128<<10, dsize) {
			return nil, 0, dsize, broken
		}
		held := size // bytes that the block has in the frame
		if typ == build.RLE {
			held = 1
		}
		begin, end := n+3, n+3+held
		after := 3 // at least the header of a block
		if last {
			after = 4
		}
		if end+after > dsize+dsize/256+64 {
			return nil, 0, dsize, broken
		}
		if len(b) < end+after {
			return nil, end + after, dsize, incomplete
		}
		switch typ {
		case build.Raw:
			plain = append(plain, b[begin:end]...)
		case build.RLE:
			plain = append(plain, bytes.Repeat(b[begin:end], size)...)
		default:
			compressed = true
		}
		plain = plain[:min(len(plain), dsize+1)] // what is too long stays so
		n = end
	}
	n += 4
	if compressed {
		plain = decompress(b[:n], dsize)
	}
	return plain, n, dsize, done
}

// decompress is for frames with compressed blocks. It is the one thing that the
// oracle has of the engine's decompressor, by its other way in, the streaming one;
// replayed frames are given to the zstd command too.
func decompress(frame []byte, size int) []byte {
	d, err := zstd.NewReader(bytes.NewReader(frame), zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true))
	if err != nil {
		return nil
	}
	defer d.Close()
	plain, err := io.ReadAll(io.LimitReader(d, int64(size)+1))
	if err != nil {
		return nil
	}
	return plain
}
