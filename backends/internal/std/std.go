// Package std gives the AEADs of the standard library and golang.org/x/crypto
// the manners of backends.AEAD: errors instead of panics for a wrong key, one
// error for a wrong tag, and Close.
package std

import (
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"

	"github.com/coffer-backup/coffer/backends"
	"github.com/coffer-backup/coffer/format"
	"golang.org/x/crypto/chacha20poly1305"
)

var errClosed = errors.New("AEAD is closed")

// NewAEAD returns suite under key, as backends.Backend.NewAEAD specifies.
func NewAEAD(suite format.Suite, key []byte) (backends.AEAD, error) {
	newCipher, ok := ciphers[suite]
	if !ok {
		return nil, fmt.Errorf("%v: %w", suite, backends.ErrUnavailable)
	}
	if len(key) != backends.KeySize { // crypto/aes would take 16 bytes for AES-128
		return nil, fmt.Errorf("%v: the key has %d bytes instead of %d", suite, len(key), backends.KeySize)
	}
	c, err := newCipher(key)
	if err != nil {
		return nil, fmt.Errorf("%v: %w", suite, err)
	}
	return &aead{c}, nil
}

var ciphers = map[format.Suite]func(key []byte) (cipher.AEAD, error){
	format.AES256GCM:        newGCM,
	format.ChaCha20Poly1305: chacha20poly1305.New,
}

func newGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// An aead is open as long as it has a cipher.
type aead struct{ cipher cipher.AEAD }

func (a *aead) Seal(dst, nonce, plaintext, ad []byte) ([]byte, error) {
	if a.cipher == nil {
		return nil, errClosed
	}
	return a.cipher.Seal(dst, nonce, plaintext, ad), nil
}

func (a *aead) Open(dst, nonce, ciphertext, ad []byte) ([]byte, error) {
	if a.cipher == nil {
		return nil, errClosed
	}
	out, err := a.cipher.Open(dst, nonce, ciphertext, ad)
	if err != nil { // a wrong tag is the only error that a cipher.AEAD has
		return nil, backends.ErrAuth
	}
	return out, nil
}

// Close leaves the expanded key to the garbage collector: the library has no way
// to erase it.
func (a *aead) Close() error {
	a.cipher = nil
	return nil
}
