// Package format is the bytes of a coffer container, version 1: the header
// block, the DARE package header, the frames of the content, the catalog records
// and the seek table. It is the code twin of SPEC.md in this folder; the numbers
// after § in its comments are sections there.
//
// The package holds no key and runs no cipher. What it parses is judged by its
// form only; whether it is authentic is decided by package engine, which most
// programs want instead of this one. All parsers are strict: there is one
// encoding for each value, reserved bytes are checked, and what is accepted
// encodes to the same bytes again. They never allocate more than the input they
// are given, and their errors name the field and its offset.
//
// Nothing here keeps state between calls, so all of it may be used concurrently.
package format

import (
	"errors"
	"fmt"
)

// Suite is the AEAD of a container (§ 3.1). Its values are wire values.
type Suite uint8

// The suites of version 1.
const (
	AES256GCM        Suite = 1
	ChaCha20Poly1305 Suite = 2
)

// String returns the suite's name on the command line.
func (s Suite) String() string {
	switch s {
	case AES256GCM:
		return "aes-256-gcm"
	case ChaCha20Poly1305:
		return "chacha20-poly1305"
	}
	return fmt.Sprintf("suite %d", uint8(s))
}

// ParseSuite is the inverse of String.
func ParseSuite(name string) (Suite, error) {
	for _, s := range []Suite{AES256GCM, ChaCha20Poly1305} {
		if s.String() == name {
			return s, nil
		}
	}
	return 0, fmt.Errorf("unknown suite %q: want %v or %v", name, AES256GCM, ChaCha20Poly1305)
}

// ErrMagic says that the input does not begin as a coffer container does.
var ErrMagic = errors.New("not a coffer container")

// ErrVersion says that the container is of a version this package cannot read.
var ErrVersion = errors.New("container version is not supported")

// A SyntaxError says which field of a structure broke which rule, and where.
type SyntaxError struct {
	Struct string // the structure: "header", "content", "data frame", "catalog record", …
	Field  string // the field's name in SPEC.md
	Offset int64  // bytes from the beginning of the structure
	Reason string // the rule that was broken
	Err    error  // ErrMagic, ErrVersion, io.ErrUnexpectedEOF if the input ends in the header block, or nil
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("%s: %s at offset %d: %s", e.Struct, e.Field, e.Offset, e.Reason)
}

// Unwrap returns Err.
func (e *SyntaxError) Unwrap() error { return e.Err }
