// Package software is the backend that runs everywhere: both suites by Go's
// standard library and golang.org/x/crypto.
//
// It prefers ChaCha20-Poly1305, which is fast and free of secret-dependent table
// lookups on every CPU. Its AES uses the CPU's instructions where the library
// finds them and tables where not; package aesni is for who wants only the
// former.
package software

import (
	"context"

	"github.com/coffer-backup/coffer/backends"
	"github.com/coffer-backup/coffer/backends/internal/std"
	"github.com/coffer-backup/coffer/format"
)

// Backend implements backends.Backend.
type Backend struct{}

// New returns the backend.
func New() *Backend { return &Backend{} }

// Name returns "software".
func (*Backend) Name() string { return "software" }

// Suites returns both suites, ChaCha20-Poly1305 first.
func (*Backend) Suites() []format.Suite {
	return []format.Suite{format.ChaCha20Poly1305, format.AES256GCM}
}

// NewAEAD implements backends.Backend. It does not wait for anything.
func (*Backend) NewAEAD(_ context.Context, suite format.Suite, key []byte) (backends.AEAD, error) {
	return std.NewAEAD(suite, key)
}
