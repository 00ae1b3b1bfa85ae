package engine

import (
	"encoding/binary"
	"math/bits"
)

// A probe finds out whether a segment is worth compressing, at a small part of the
// cost of trying: photographs, video and what is compressed or encrypted already are
// not. It looks at the frequency of bytes in samples, and for repeats; it answers yes
// at the first sign of either, so that only what looks like noise is not tried.
type probe struct {
	// seen has, by the hash of 8 bytes, where they were last: position/probeGrid, and
	// above it more of the hash, so that most others' bytes need not be looked at. It
	// has two places for each position of the segment.
	seen  []uint32
	shift uint8 // of a hash, for its place in seen
}

const (
	// Shorter segments are always tried.
	probeLeast = 64 << 10

	// Samples of so many bytes are taken, at least so many of them, and one in so many
	// bytes. That the next one is further by a sample makes them wander over blocks and
	// pages, whose beginnings alone would not tell.
	probeSample  = 256
	probeSamples = 32
	probeSpacing = 16 << 10
	// The sum of the squared counts of the bytes in a sample of noise is n + n(n-1)/256
	// = 511, with a standard deviation of 23; in text it is over 3000.
	probeSquares = 700
	// In all samples together noise has very nearly n²/256. At a tenth more an entropy
	// coder would save 1 %; zstd uses one from 1.6 % on.
	probeExcess = 10

	// Every probeGrid-th position is remembered. At the beginning of each
	// probeStride bytes so many positions in a row are looked up, so that repeats of
	// probeStride + probeGrid bytes are noticed, if no other position took the place of
	// the one remembered: two in three are.
	probeGrid   = 128
	probeStride = 32 << 10
	probePlace  = 20 // bits of position/probeGrid: segments of up to 64 MiB need 19
	// Repeats that make up less than 1/256 of the segment are not worth the work.
	probeRepeats = 256
)

// compressible reports whether b seems worth compressing.
func (p *probe) compressible(b []byte) bool {
	return len(b) < probeLeast || skewed(b) || p.repeats(b)
}

// skewed reports whether some bytes are more frequent than others, in one sample of
// b or in all of them.
func skewed(b []byte) bool {
	var total [256]uint64
	n := uint64(0)
	for at := 0; at+probeSample <= len(b); at += min(probeSpacing, len(b)/probeSamples) + probeSample {
		var counts [256]uint32
		squares := uint32(0)
		for _, c := range b[at : at+probeSample] {
			squares += 2*counts[c] + 1
			counts[c]++
			total[c]++
		}
		if squares > probeSquares {
			return true
		}
		n += probeSample
	}
	squares := uint64(0)
	for _, k := range total {
		squares += k * k
	}
	even := n + n*n/256
	return squares > even+even/probeExcess
}

// repeats reports whether enough of b was there before in b.
func (p *probe) repeats(b []byte) bool {
	if n := bits.Len(uint(2*len(b)/probeGrid - 1)); n != 64-int(p.shift) {
		p.seen, p.shift = make([]uint32, 1<<n), uint8(64-n)
	}
	clear(p.seen)
	repeated := 0
	for stride := 0; stride+probeStride <= len(b); stride += probeStride {
		for at := stride; at < stride+probeGrid; at++ {
			if n := p.repeat(b, at); n > 0 {
				if repeated += n; repeated > len(b)/probeRepeats {
					return true
				}
				break
			}
		}
		for at := stride; at < stride+probeStride; at += probeGrid {
			slot, tag := p.hash(b[at:])
			p.seen[slot] = tag | uint32(at/probeGrid)
		}
	}
	return false
}

// repeat returns how many bytes of b from at on, up to probeStride, repeat what came
// before.
func (p *probe) repeat(b []byte, at int) (n int) {
	slot, tag := p.hash(b[at:])
	seen := p.seen[slot]
	before := int(seen&(1<<probePlace-1)) * probeGrid
	if seen&^(1<<probePlace-1) != tag || before >= at {
		return 0
	}
	for n < probeStride && at+n+8 <= len(b) && binary.LittleEndian.Uint64(b[before+n:]) == binary.LittleEndian.Uint64(b[at+n:]) {
		n += 8
	}
	return n
}

// hash hashes the first 8 bytes of b: where to look, and what is to be there.
func (p *probe) hash(b []byte) (slot uint64, tag uint32) {
	h := binary.LittleEndian.Uint64(b) * 0x9E3779B97F4A7C15
	return h >> p.shift, uint32(h>>16) &^ (1<<probePlace - 1)
}
