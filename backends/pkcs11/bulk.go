//go:build cgo

package pkcs11

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/coffer-backup/coffer/backends"
	"github.com/coffer-backup/coffer/backends/selftest"
	"github.com/coffer-backup/coffer/format"
	p11 "github.com/miekg/pkcs11"
)

// Bulk returns a backend named "pkcs11", for AES-256-GCM, that computes in the token.
// The token must give known answers first, those for a full package included. The error
// wraps backends.ErrUnavailable if it does not; its keys may wrap all the same.
func (t *Token) Bulk(ctx context.Context) (backends.Backend, error) {
	b := &bulk{t}
	err := b.agrees(ctx)
	if err == nil {
		err = selftest.Run(ctx, b, format.AES256GCM)
	}
	if err == nil {
		return b, nil
	}
	if ctx.Err() == nil && unsuitable(err) {
		err = fmt.Errorf("%w; the token's AES-GCM is not for bulk, though its keys may wrap: %w", bare(err), backends.ErrUnavailable)
	}
	return nil, newError(t.text(), "testing bulk encryption", err)
}

// agrees demands that the binding, by which keys wrap, gets the same from the token as
// the calls for bulk, and that the token leaves the IV alone either way.
func (b *bulk) agrees(ctx context.Context) error {
	aead, err := b.newAEAD(ctx, make([]byte, backends.KeySize))
	if err != nil {
		return err
	}
	defer aead.Close()
	const name = "testing bulk encryption"
	nonce, ad, message := make([]byte, backends.NonceSize), []byte(labelTestBulk), make([]byte, 100)
	want, err := aead.run(name, func(s *session, key object, iv, ad, message, _ []byte) ([]byte, error) {
		return s.seal(key, iv, ad, message)
	}, nonce, ad, message)
	if err != nil {
		return err
	}
	got, err := aead.run(name, sealBulk, nonce, ad, message)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return errBadAnswer("C_Encrypt gave two ciphertexts of one message")
	}
	return nil
}

// unsuitable reports whether err is an answer of the token's, and not the lack of one.
func unsuitable(err error) bool {
	switch classOf(err) {
	case classRequest:
		return true
	case classOther:
		return !errors.Is(err, ErrTimeout) && !errors.Is(err, ErrTokenNotFound) && !errors.Is(err, errEnded)
	}
	return false
}

type bulk struct{ token *Token }

func (*bulk) Name() string { return "pkcs11" }

func (*bulk) Suites() []format.Suite { return []format.Suite{format.AES256GCM} }

// NewAEAD makes key an object of a session of the AEAD's own. ctx is for the AEAD's calls
// too, but Close.
func (b *bulk) NewAEAD(ctx context.Context, suite format.Suite, key []byte) (backends.AEAD, error) {
	if suite != format.AES256GCM {
		return nil, fmt.Errorf("%v: %w", suite, backends.ErrUnavailable)
	}
	if len(key) != backends.KeySize { // tokens would take 16 bytes for AES-128
		return nil, fmt.Errorf("%v: the key has %d bytes instead of %d", suite, len(key), backends.KeySize)
	}
	a, err := b.newAEAD(ctx, key)
	if err != nil {
		return nil, err
	}
	return a, nil
}

func (b *bulk) newAEAD(ctx context.Context, key []byte) (*aead, error) {
	a := &aead{ctx: ctx, token: b.token, secret: bytes.Clone(key)}
	if err := a.token.retry(ctx, "importing a key", a.connect); err != nil {
		a.Close()
		return nil, err
	}
	return a, nil
}

// An aead has a session of its own, and keeps its key for when that is lost.
type aead struct {
	ctx    context.Context // ends its calls
	token  *Token
	secret []byte // nil: closed
	in     []byte // nonce, associated data and message of the last call
	out    []byte // its result

	session *session // nil: lost
	key     object   // in it
}

var errAEADClosed = errors.New("AEAD is closed")

// connect makes a.session and imports the key into it.
func (a *aead) connect(o *op) error {
	s, err := a.token.newSession(o, 0, false)
	if err != nil {
		return err
	}
	secret := bytes.Clone(a.secret)
	a.key, err = ask(o.ctx, s, func() (object, error) {
		defer clear(secret)
		return s.create(attributes{
			attribute(p11.CKA_CLASS, uint(p11.CKO_SECRET_KEY)),
			attribute(p11.CKA_KEY_TYPE, uint(p11.CKK_AES)),
			attribute(p11.CKA_TOKEN, false),
			attribute(p11.CKA_PRIVATE, s.login.pin),
			attribute(p11.CKA_SENSITIVE, true),
			attribute(p11.CKA_EXTRACTABLE, false),
			attribute(p11.CKA_ENCRYPT, true),
			attribute(p11.CKA_DECRYPT, true),
			attribute(p11.CKA_VALUE, secret),
		})
	})
	if err != nil {
		s.end(context.Background())
		return err
	}
	a.session = s
	return nil
}

// A gcmCall seals or opens message, in the worker of s. Its result is in out's memory.
type gcmCall func(s *session, key object, iv, ad, message, out []byte) ([]byte, error)

// run makes call in the session, with copies of its arguments and memory of the AEAD's
// own for the result: a call that is overdue must not read or write what is the caller's
// again.
func (a *aead) run(name string, call gcmCall, nonce, ad, message []byte) (result []byte, err error) {
	if a.secret == nil {
		return nil, errAEADClosed
	}
	if len(nonce) != backends.NonceSize {
		return nil, fmt.Errorf("a nonce has %d bytes, not %d", backends.NonceSize, len(nonce))
	}
	err = a.token.retry(a.ctx, name, func(o *op) (err error) {
		if a.session == nil {
			if err := a.connect(o); err != nil {
				return err
			}
		}
		s, key, n, m := a.session, a.key, len(nonce), len(nonce)+len(ad)
		a.in = append(append(append(a.in[:0], nonce...), ad...), message...)
		a.out = slices.Grow(a.out[:0], len(message)+backends.Overhead)
		in, out := a.in, a.out
		result, err = ask(o.ctx, s, func() ([]byte, error) { return call(s, key, in[:n:n], in[n:m:m], in[m:], out) })
		if err == nil && !bytes.Equal(in[:n], nonce) {
			err = errReplacesIV
		}
		if err != nil {
			a.disconnect()
		}
		return err
	})
	return result, err
}

// disconnect gives up the session, and the memory that a call in it may still use.
func (a *aead) disconnect() {
	if a.session != nil {
		a.session.end(context.Background())
	}
	a.session, a.in, a.out = nil, nil, nil
}

// Seal implements backends.AEAD.
func (a *aead) Seal(dst, nonce, plaintext, ad []byte) ([]byte, error) {
	sealed, err := a.run("encrypting", sealBulk, nonce, ad, plaintext)
	if err != nil {
		return nil, err
	}
	return append(dst, sealed...), nil
}

func sealBulk(s *session, key object, iv, ad, plain, out []byte) ([]byte, error) {
	s.calling("C_Encrypt")
	sealed, begun, err := s.gcm(false, key, iv, ad, plain, out)
	switch {
	case err != nil && !begun:
		return nil, called("C_EncryptInit", err)
	case err != nil:
		return nil, s.failed(err)
	case len(sealed) != len(plain)+backends.Overhead:
		return nil, errBadAnswer("C_Encrypt gave %d bytes instead of %d", len(sealed), len(plain)+backends.Overhead)
	}
	return sealed, nil
}

// Open implements backends.AEAD.
func (a *aead) Open(dst, nonce, ciphertext, ad []byte) ([]byte, error) {
	if a.secret != nil && len(ciphertext) < backends.Overhead {
		return nil, backends.ErrAuth
	}
	plain, err := a.run("decrypting", openBulk, nonce, ad, ciphertext)
	if classOf(err) == classRequest {
		// It is the data, or the token. Under the same key it must open as much that it
		// sealed, and then these data fail again.
		if err := a.test(len(ciphertext) - backends.Overhead); err != nil {
			return nil, err
		}
		plain, err = a.run("decrypting", openBulk, nonce, ad, ciphertext)
		if c := new(callError); refusesData(err) && errors.As(err, &c) {
			return nil, backends.ErrAuth
		}
	}
	if err != nil {
		return nil, err
	}
	return append(dst, plain...), nil
}

func openBulk(s *session, key object, iv, ad, sealed, out []byte) ([]byte, error) {
	s.calling("C_Decrypt")
	plain, begun, err := s.gcm(true, key, iv, ad, sealed, out)
	switch {
	case err != nil && !begun:
		return nil, called("C_DecryptInit", err)
	case err != nil:
		return nil, s.failed(err)
	case len(plain) != len(sealed)-backends.Overhead:
		return nil, errBadAnswer("C_Decrypt gave %d bytes instead of %d", len(plain), len(sealed)-backends.Overhead)
	}
	return plain, nil
}

// test seals and opens n bytes, of which nobody sees the ciphertext: no nonce is spent.
func (a *aead) test(n int) error {
	_, err := a.run("testing the token", func(s *session, key object, iv, ad, message, out []byte) ([]byte, error) {
		sealed, err := sealBulk(s, key, iv, ad, message, out)
		if err != nil {
			return nil, err
		}
		return openBulk(s, key, iv, ad, sealed, make([]byte, len(sealed)))
	}, make([]byte, backends.NonceSize), []byte(labelTestBulk), make([]byte, n))
	if classOf(err) == classRequest {
		a.token.faulty(err)
	}
	return err
}

// Close implements backends.AEAD. The key goes with the session.
func (a *aead) Close() error {
	if a.session != nil && !a.session.lost.Load() { // else the library may use them
		clear(a.in[:cap(a.in)])
		clear(a.out[:cap(a.out)])
	}
	a.disconnect()
	clear(a.secret)
	a.secret = nil
	return nil
}
