// Package backends is the contract between the engine and whoever computes its
// AEAD: the standard library, a CPU's AES instructions, or a token.
//
// A suite is not a backend. The file fixes the suite (which algorithm); a
// backend is who computes it, and every backend gives the same bytes. The
// packages below this one are the backends, package auto chooses among those
// that need no configuration, and package backendtest is the suite of tests that
// every implementation of these interfaces must pass.
package backends

import (
	"context"
	"errors"

	"github.com/coffer-backup/coffer/format"
)

// Sizes in bytes shared by every suite of container version 1.
const (
	KeySize   = 32
	NonceSize = 12
	Overhead  = 16
)

// ErrAuth is what AEAD.Open returns, wrapped or bare, when the tag does not
// match. Any other error of Open means that the backend failed, not the data.
var ErrAuth = errors.New("message authentication failed")

// ErrUnavailable is what Backend.NewAEAD and a backend's self-test wrap when
// this machine cannot run the backend or the backend lacks the suite.
var ErrUnavailable = errors.New("backend is not available")

// A Backend makes AEADs. It is safe for concurrent use.
type Backend interface {
	// Name is the backend's name on the command line: lower case, no spaces.
	Name() string

	// Suites lists what this backend can compute on this machine, the
	// preferred suite first. It is empty if the backend cannot run here.
	Suites() []format.Suite

	// NewAEAD returns an AEAD for one goroutine. ctx holds for the life of the AEAD,
	// whose calls may fail when it has ended. key is KeySize bytes; it is
	// not kept or changed and may be erased after the call. The error wraps
	// ErrUnavailable if suite is none of Suites.
	NewAEAD(ctx context.Context, suite format.Suite, key []byte) (AEAD, error)
}

// An AEAD seals and opens one message a call, as crypto/cipher.AEAD does, but it
// may fail (a token does) and must be closed. It is for one goroutine at a time:
// the engine makes one for each worker.
//
// nonce is NonceSize bytes, chosen by the caller and unique for each Seal under
// one key. The plaintext (Seal) or ciphertext (Open) may lie exactly where the
// output goes, as with dst = plaintext[:0]. Otherwise it must not overlap the
// capacity of dst past its length, and ad never may.
type AEAD interface {
	// Seal appends the ciphertext and the tag, len(plaintext)+Overhead bytes, to
	// dst and returns the result. After an error nothing may be used of dst's
	// memory past len(dst).
	Seal(dst, nonce, plaintext, ad []byte) ([]byte, error)

	// Open checks the tag and appends the plaintext to dst. If the tag does not
	// match the error is ErrAuth and no byte of plaintext is left in dst's
	// memory.
	Open(dst, nonce, ciphertext, ad []byte) ([]byte, error)

	// Close releases the key. Calls after it fail. Closing twice does nothing.
	Close() error
}
