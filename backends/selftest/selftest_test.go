package selftest_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/coffer-backup/coffer/backends"
	"github.com/coffer-backup/coffer/backends/selftest"
	"github.com/coffer-backup/coffer/backends/software"
	"github.com/coffer-backup/coffer/format"
)

// A broken backend is package software's with one fault.
type broken struct {
	*software.Backend
	wrap func(backends.AEAD) backends.AEAD
}

func (b broken) NewAEAD(ctx context.Context, suite format.Suite, key []byte) (backends.AEAD, error) {
	aead, err := b.Backend.NewAEAD(ctx, suite, key)
	if err != nil {
		return nil, err
	}
	return b.wrap(aead), nil
}

// A hooked AEAD lets a fault see the results.
type hooked struct {
	backends.AEAD
	seal func(sealed []byte) []byte
	open func(plain []byte, err error, ciphertext []byte) ([]byte, error)
	ad   func(ad []byte) []byte
}

func (h hooked) Seal(dst, nonce, plaintext, ad []byte) ([]byte, error) {
	if h.ad != nil {
		ad = h.ad(ad)
	}
	sealed, err := h.AEAD.Seal(dst, nonce, plaintext, ad)
	if h.seal != nil {
		sealed = h.seal(sealed)
	}
	return sealed, err
}

func (h hooked) Open(dst, nonce, ciphertext, ad []byte) ([]byte, error) {
	if h.ad != nil {
		ad = h.ad(ad)
	}
	plain, err := h.AEAD.Open(dst, nonce, ciphertext, ad)
	if h.open != nil {
		return h.open(plain, err, ciphertext)
	}
	return plain, err
}

var errToken = errors.New("the token was removed")

var faults = map[string]hooked{
	"wrong tag": {seal: func(s []byte) []byte { s[len(s)-1] ^= 1; return s }},
	"wrong ciphertext far into a message": {seal: func(s []byte) []byte {
		if len(s) > 1<<15 {
			s[len(s)-backends.Overhead-1] ^= 1
		}
		return s
	}},
	"short tag": {seal: func(s []byte) []byte { return s[:len(s)-4] }},
	"ignores associated data": {
		ad: func([]byte) []byte { return nil },
	},
	"opens wrong": {open: func(p []byte, err error, _ []byte) ([]byte, error) {
		if len(p) > 0 {
			p[0] ^= 1
		}
		return p, err
	}},
	"opens what is forged": {open: func(p []byte, err error, c []byte) ([]byte, error) {
		if errors.Is(err, backends.ErrAuth) {
			return c[:len(c)-backends.Overhead], nil
		}
		return p, err
	}},
	"calls forgery a failure": {open: func(p []byte, err error, _ []byte) ([]byte, error) {
		if err != nil {
			err = errToken
		}
		return p, err
	}},
	"cannot open": {open: func([]byte, error, []byte) ([]byte, error) { return nil, errToken }},
}

func TestRunFindsFaults(t *testing.T) {
	for name, fault := range faults {
		b := broken{software.New(), func(a backends.AEAD) backends.AEAD { fault.AEAD = a; return fault }}
		for _, suite := range b.Suites() {
			if err := selftest.Run(t.Context(), b, suite); err == nil {
				t.Errorf("%v: a backend that %q passes", suite, name)
			}
		}
	}
}

func TestRun(t *testing.T) {
	b := software.New()
	for _, suite := range b.Suites() {
		if err := selftest.Run(t.Context(), b, suite); err != nil {
			t.Error(err)
		}
	}
	if err := selftest.Run(t.Context(), b, 3); !errors.Is(err, backends.ErrUnavailable) {
		t.Errorf("unknown suite: %v, want ErrUnavailable", err)
	}
}

func TestSpeed(t *testing.T) {
	seal, open, err := selftest.Speed(t.Context(), software.New(), format.AES256GCM, time.Millisecond)
	if err != nil || seal <= 0 || open <= 0 {
		t.Errorf("Speed = %v, %v, %v", seal, open, err)
	}
	if _, _, err := selftest.Speed(t.Context(), software.New(), 3, 0); !errors.Is(err, backends.ErrUnavailable) {
		t.Errorf("unknown suite: %v, want ErrUnavailable", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := selftest.Speed(ctx, software.New(), format.AES256GCM, time.Hour); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}
