package corpus

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
)

// random hands out the bits of a PCG a few at a time: most choices need ten or
// so, and a whole word for each would be half of a generator's time.
type random struct {
	pcg  *rand.PCG
	word uint64
	left uint
}

// newRandom returns the stream of a seed. purpose keeps the streams of one seed
// apart.
func newRandom(seed, purpose uint64) *random {
	return &random{pcg: rand.NewPCG(seed, purpose)}
}

// bits returns n random bits, n ≤ 32.
func (r *random) bits(n uint) uint32 {
	if r.left < n {
		r.word, r.left = r.pcg.Uint64(), 64
	}
	v := uint32(r.word & (1<<n - 1))
	r.word >>= n
	r.left -= n
	return v
}

// below returns a number less than n, n ≤ 2^32; it favours some by 2^-32 · n.
func (r *random) below(n int) int {
	if n <= 1<<10 { // of 20 bits: the bias stays below 0.1 %
		return int(uint64(r.bits(20)) * uint64(n) >> 20)
	}
	return int(uint64(r.bits(32)) * uint64(n) >> 32)
}

// between returns a number from lo to hi, both included.
func (r *random) between(lo, hi int) int { return lo + r.below(hi-lo+1) }

// oneIn is true once in n times.
func (r *random) oneIn(n int) bool { return r.below(n) == 0 }

// scale returns a number of lo to hi whose logarithm is spread about evenly: small
// ones are as frequent as large ones are wide, as the sizes of files are.
func (r *random) scale(lo, hi int) int {
	l, h := bits.Len(uint(lo)), bits.Len(uint(hi))
	for {
		if n := 1<<r.between(l, h) - 1; n > 0 {
			if v := r.between(n/2+1, n); lo <= v && v <= hi {
				return v
			}
		}
	}
}

// fill overwrites b.
func (r *random) fill(b []byte) {
	for ; len(b) >= 8; b = b[8:] {
		binary.LittleEndian.PutUint64(b, r.pcg.Uint64())
	}
	for i := range b {
		b[i] = byte(r.bits(8))
	}
}

// A chooser picks one of several by weight with one look-up.
type chooser struct {
	slots []uint16
	bits  uint
}

// newChooser rounds weights, of which there are at most 2^15, to shares of a
// table; none of them vanishes unless it is below 2^-16 of all.
func newChooser(weights []uint64) chooser {
	var total uint64
	least := weights[0]
	for _, w := range weights {
		total += w
		least = min(least, w)
	}
	n := uint(bits.Len64(total / least))
	c := chooser{bits: min(max(n+1, 8), 16)}
	c.slots = make([]uint16, 1<<c.bits)
	var sum uint64
	i := 0
	for s := range c.slots {
		for (sum+weights[i])<<c.bits <= uint64(s)*total {
			sum += weights[i]
			i++
		}
		c.slots[s] = uint16(i)
	}
	return c
}

func (c *chooser) pick(r *random) int { return int(c.slots[r.bits(c.bits)]) }

// zipf returns the weights of n words in the order of their frequency. Within one
// class of words the curve begins flatter than in a whole text, as "the" is of
// another.
func zipf(n int) []uint64 {
	weights := make([]uint64, n)
	for i := range weights {
		weights[i] = 1 << 32 / uint64(i+9)
	}
	return weights
}
