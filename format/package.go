package format

import (
	"crypto/subtle"
)

// Wire numbers of the DARE 2.0 stream (§ 5), sizes in bytes.
const (
	PackageHeaderSize = 16
	PackageTagSize    = 16
	MaxPayload        = 65536                                           // of every package but the last
	MaxPackageSize    = PackageHeaderSize + MaxPayload + PackageTagSize // 65568
	MinPackageSize    = PackageHeaderSize + 1 + PackageTagSize          // 33: the final payload has at least a byte
	MaxPackages       = 1 << 32                                         // under one key
	MaxBodySize       = int64(MaxPackages) * MaxPackageSize             // sealed
	PackageADSize     = 4                                               // associated data: header[0:4]
	StreamNonceSize   = 12                                              // header[4:16]

	dareVersion = 0x20
	finalBit    = 0x80 // in header byte 4
)

// Nonce is the stream nonce N of § 4.4, with which every package header of a
// body ends. The top bit of its first byte and its last four bytes are zero.
type Nonce [StreamNonceSize]byte

// PackageHeader is the header of one DARE package (§ 5.1).
type PackageHeader [PackageHeaderSize]byte

// NewPackageHeader returns the header of a package with a payload of 1 to
// MaxPayload bytes.
func NewPackageHeader(suite Suite, nonce *Nonce, payload int, final bool) (h PackageHeader) {
	h[0] = dareVersion
	h[1] = byte(suite) - 1
	h[2], h[3] = byte(payload-1), byte((payload-1)>>8)
	copy(h[4:], nonce[:])
	if final {
		h[4] |= finalBit
	}
	return h
}

// Payload is the length of the payload in bytes, 1 to MaxPayload.
func (h *PackageHeader) Payload() int { return 1 + int(h[2]) + int(h[3])<<8 }

// Final reports whether the header claims to be the last one.
func (h *PackageHeader) Final() bool { return h[4]&finalBit != 0 }

// Check compares a header that was read with the only one that suite and nonce
// allow for its length and finality (§ 5.2). The reader takes nothing else from
// it: one that believes the header's nonce accepts reordered streams.
func (h *PackageHeader) Check(suite Suite, nonce *Nonce) bool {
	want := NewPackageHeader(suite, nonce, h.Payload(), h.Final())
	return subtle.ConstantTimeCompare(h[:], want[:]) == 1 && (h.Final() || h.Payload() == MaxPayload)
}

// PackageCount returns the number of packages of a body of n sealed bytes. ok is
// false if no body has that length (§ 5.3).
func PackageCount(n int64) (packages int64, ok bool) {
	packages = (n + MaxPackageSize - 1) / MaxPackageSize
	rest := n % MaxPackageSize
	return packages, n >= MinPackageSize && n <= MaxBodySize && (rest == 0 || rest >= MinPackageSize)
}
