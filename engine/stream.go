package engine

import (
	"context"
	"errors"
	"fmt"

	"github.com/coffer-backup/coffer/backends"
	"github.com/coffer-backup/coffer/backends/auto"
	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/internal/dare"
)

// chooseBackend settles who computes which suite: what the caller named, else the
// best there is.
func chooseBackend(b backends.Backend, suite format.Suite) (format.Suite, backends.Backend, error) {
	if b == nil {
		var err error
		if b, err = auto.Select(suite); err != nil {
			return 0, nil, err
		}
	}
	for _, s := range b.Suites() {
		if s == suite || suite == 0 {
			return s, b, nil
		}
	}
	return 0, nil, fmt.Errorf("backend %s with %v: %w", b.Name(), suite, backends.ErrUnavailable)
}

// A stream is one goroutine's hold on the body: its packages and their AEAD.
type stream struct {
	*dare.Stream
	aead backends.AEAD
}

func newStream(ctx context.Context, b backends.Backend, suite format.Suite, key []byte, nonce format.Nonce) (*stream, error) {
	aead, err := b.NewAEAD(ctx, suite, key)
	if err != nil {
		return nil, fmt.Errorf("backend %s: %w", b.Name(), err)
	}
	return &stream{dare.New(aead, suite, nonce), aead}, nil
}

// authError makes the backends' error for a wrong tag the engine's.
func authError(err error) error {
	if errors.Is(err, backends.ErrAuth) {
		return ErrAuth
	}
	return err
}

func (s *stream) close() { _ = s.aead.Close() }
