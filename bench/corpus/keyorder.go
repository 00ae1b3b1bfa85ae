package corpus

import "encoding/binary"

// A keyOrder gives each row a random-looking key, and goes through the keys in
// order without storing them: the first bits of a key are a permutation of the
// row's number that can be turned back.
type keyOrder struct {
	bits uint // rows are below 2^bits
	mask uint64
	seed uint64
}

// keyFactor is odd, so that multiplying by it permutes the numbers below any power
// of two. It is that of Knuth's MMIX generator.
const keyFactor = 6364136223846793005

// keyInverse undoes keyFactor: each step of Newton's iteration doubles the right bits.
var keyInverse = func() uint64 {
	x := uint64(keyFactor)
	for range 6 {
		x *= 2 - keyFactor*x
	}
	return x
}()

func newKeyOrder(bits uint, seed uint64) keyOrder {
	return keyOrder{bits: bits, mask: 1<<bits - 1, seed: seed}
}

// rank returns the place in the order of a row's key among 2^bits.
func (k *keyOrder) rank(row uint64) uint64 {
	half := (k.bits + 1) / 2
	for range 3 {
		row = (row + k.seed) * keyFactor & k.mask
		row ^= row >> half
	}
	return row
}

// row is the inverse of rank.
func (k *keyOrder) row(rank uint64) uint64 {
	half := (k.bits + 1) / 2
	for range 3 {
		rank ^= rank >> half
		rank = (rank*keyInverse - k.seed) & k.mask
	}
	return rank
}

// key fills dst with the 32 hexadecimal digits of a key; a higher rank has a higher
// one.
func (k *keyOrder) key(dst *[32]byte, rank uint64) {
	const digits = "0123456789ABCDEF"
	noise := mix64(rank + k.seed*keyFactor)
	var raw [16]byte
	binary.BigEndian.PutUint64(raw[:], rank<<(64-k.bits)|noise>>k.bits)
	binary.BigEndian.PutUint64(raw[8:], mix64(noise+keyFactor))
	for i, b := range raw {
		dst[2*i], dst[2*i+1] = digits[b>>4], digits[b&15]
	}
}

// mix64 is the last step of SplitMix64: a permutation that looks random.
func mix64(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
