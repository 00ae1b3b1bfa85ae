// Package dare seals and opens the packages of a DARE 2.0 stream (§ 5) with any
// backend's AEAD.
//
// A package is header 16 ‖ ciphertext 1 … 65536 ‖ tag 16. What Seal makes is, byte
// for byte, what github.com/minio/sio makes under the same key and nonce. Open
// accepts less than sio does: it knows the stream's nonce, the package's number
// and whether it is the last one, and takes none of them from the package.
// Otherwise a stream could be reordered, or put together from several.
package dare

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/coffer-backup/coffer/backends"
	"github.com/coffer-backup/coffer/format"
)

// ErrTooLong says that a package number does not fit the 32 bits that the AEAD
// nonce has for it.
var ErrTooLong = errors.New("more than 2^32 packages under one key")

// A Stream seals and opens the packages of one stream, in any order. It is for
// one goroutine; to work in parallel make a Stream, with its own AEAD, for each.
type Stream struct {
	aead  backends.AEAD
	suite format.Suite
	nonce format.Nonce
	// scratch is the nonce of the package in work. A local one would be
	// allocated each time, because it escapes into the interface.
	scratch packageNonce
}

// New returns a Stream of suite under the key of aead, which stays the caller's
// to close.
func New(aead backends.AEAD, suite format.Suite, nonce format.Nonce) *Stream {
	return &Stream{aead: aead, suite: suite, nonce: nonce}
}

// A packageNonce is the AEAD nonce of one package (§ 5.1).
type packageNonce [format.StreamNonceSize]byte

// set makes n header[4:16] with its last four bytes xor LE32(number).
func (n *packageNonce) set(header *format.PackageHeader, number uint64) error {
	if number >= format.MaxPackages {
		return ErrTooLong
	}
	copy(n[:], header[4:])
	le := binary.LittleEndian
	le.PutUint32(n[8:], le.Uint32(n[8:])^uint32(number))
	return nil
}

// Seal appends package number of the stream, counted from 0, to dst: header,
// ciphertext and tag, len(payload)+32 bytes. payload has 1 to format.MaxPayload
// bytes, and exactly format.MaxPayload unless final. It may lie where its
// ciphertext goes, else it must not overlap the capacity of dst past its length.
// No number may be sealed twice. After an error nothing may be used of dst's
// memory past len(dst).
func (s *Stream) Seal(dst, payload []byte, number uint64, final bool) ([]byte, error) {
	n := len(payload)
	if n < 1 || n > format.MaxPayload || !final && n < format.MaxPayload {
		return nil, fmt.Errorf("a package (final: %t) cannot have a payload of %d bytes", final, n)
	}
	header := format.NewPackageHeader(s.suite, &s.nonce, n, final)
	if err := s.scratch.set(&header, number); err != nil {
		return nil, err
	}
	start := len(dst)
	dst = slices.Grow(dst, format.PackageHeaderSize+n+format.PackageTagSize)
	dst = append(dst, header[:]...)
	return s.aead.Seal(dst, s.scratch[:], payload, dst[start:start+format.PackageADSize])
}

// Open appends the payload of pkg, one whole package, to dst. number and final are
// what its position in the stream says. The error is backends.ErrAuth if pkg is
// anything but what Seal makes there; no plaintext is left in dst's memory then.
// Any other error means that the backend failed, or ErrTooLong.
//
// The ciphertext, pkg[format.PackageHeaderSize:], may lie where the payload goes,
// else pkg must not overlap the capacity of dst past its length.
func (s *Stream) Open(dst, pkg []byte, number uint64, final bool) ([]byte, error) {
	if len(pkg) < format.MinPackageSize {
		return nil, backends.ErrAuth
	}
	header, sealed := format.PackageHeader(pkg[:format.PackageHeaderSize]), pkg[format.PackageHeaderSize:]
	if !header.Check(s.suite, &s.nonce) || header.Final() != final ||
		header.Payload() != len(sealed)-format.PackageTagSize {
		return nil, backends.ErrAuth
	}
	if err := s.scratch.set(&header, number); err != nil {
		return nil, err
	}
	return s.aead.Open(dst, s.scratch[:], sealed, pkg[:format.PackageADSize])
}
