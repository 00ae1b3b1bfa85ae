//go:build cgo

package pkcs11

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"sync"

	"github.com/coffer-backup/coffer/backends"
	p11 "github.com/miekg/pkcs11"
)

// Sizes of what P-256 and HMAC-SHA256 give.
const (
	sharedSize    = 32
	macSize       = 32
	signatureSize = 64
)

// A blob is a version, the CKM of the wrapping, the wrapping key's check value, and what
// the token gave.
const (
	blobVersion = 1
	blobHeader  = 1 + 4 + len(CheckValue{})
)

// VaultKeys are the keys of a VaultRef, found in a token and proved to work. Whatever
// they do, they do it in one session without leaving anything in it.
type VaultKeys struct {
	token *Token
	ref   VaultRef
	wrap  ecWrap
	facts vaultFacts

	mu    sync.Mutex
	login *login // in which at holds
	at    vaultHandles
}

type vaultHandles struct {
	wrapping, mac, signing object
	agreement              map[string]object
}

// vaultFacts tell keys from others of the same labels.
type vaultFacts struct {
	wrapping, mac CheckValue
	signing       *ecdsa.PublicKey
	agreement     map[string]*ecdh.PublicKey
}

func (f *vaultFacts) equal(g *vaultFacts) bool {
	if f.wrapping != g.wrapping || f.mac != g.mac || (f.signing == nil) != (g.signing == nil) {
		return false
	}
	for label, public := range f.agreement {
		if !public.Equal(g.agreement[label]) {
			return false
		}
	}
	return f.signing == nil || f.signing.Equal(g.signing)
}

// VaultKeys finds the keys that ref names, and what they can do: by doing it. The error
// wraps backends.ErrUnavailable if the token does not do it.
func (t *Token) VaultKeys(ctx context.Context, ref VaultRef) (*VaultKeys, error) {
	ref.Agreement = slices.Clone(ref.Agreement)
	v := &VaultKeys{token: t, ref: ref}
	err := v.choose(ctx)
	if err == nil {
		err = v.SelfTest(ctx)
	}
	if err == nil {
		return v, nil
	}
	if ctx.Err() == nil && unsuitable(err) && !errors.Is(err, ErrKeyNotFound) {
		err = fmt.Errorf("%w; the token cannot do what the keys are for: %w", bare(err), backends.ErrUnavailable)
	}
	return nil, newError(t.text(), "testing the keys", err)
}

// choose finds the keys for the first time.
func (v *VaultKeys) choose(ctx context.Context) error {
	var err error
	if v.ref.Wrapping != "" {
		v.wrap, err = firstMech(ecWraps, func(w ecWrap) error { return v.token.tryWrap(ctx, v.ref.Wrapping, w) })
		if err != nil {
			return err
		}
	}
	return v.token.retry(ctx, "finding the keys", func(o *op) error {
		return v.token.pooled(o, func(s *session) error {
			type found struct {
				at    vaultHandles
				facts vaultFacts
			}
			f, err := ask(o.ctx, s, func() (f found, err error) {
				f.at, f.facts, err = s.vaultKeys(&v.ref, v.wrap)
				return f, err
			})
			if err == nil {
				v.facts, v.at, v.login = f.facts, f.at, s.login
			}
			return err
		})
	})
}

// find returns the keys as s sees them. See Key.find.
func (v *VaultKeys) find(s *session, anew bool) (vaultHandles, error) {
	v.mu.Lock()
	at, same := v.at, v.login == s.login
	v.mu.Unlock()
	if same && !anew {
		return at, nil
	}
	at, facts, err := s.vaultKeys(&v.ref, v.wrap)
	if err != nil {
		return at, err
	}
	if !facts.equal(&v.facts) {
		return at, fmt.Errorf("%w: a key of the vault is another one now", ErrKeyNotFound)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.login, v.at = s.login, at
	return at, nil
}

// vaultKeys finds the keys of ref.
func (s *session) vaultKeys(ref *VaultRef, w ecWrap) (at vaultHandles, f vaultFacts, err error) {
	if ref.Wrapping != "" {
		if at.wrapping, err = s.findWrapping(ref.Wrapping); err != nil {
			return at, f, err
		}
		if f.wrapping, err = s.wrapCheck(at.wrapping, w); err != nil {
			return at, f, err
		}
	}
	if ref.MAC != "" {
		if at.mac, err = s.findOne(ref.MAC, attributes{attribute(p11.CKA_CLASS, uint(p11.CKO_SECRET_KEY))}); err != nil {
			return at, f, err
		}
		if f.mac, err = s.macCheck(at.mac); err != nil {
			return at, f, err
		}
	}
	if ref.Signing != "" {
		var point *ecdh.PublicKey
		if at.signing, point, err = s.findPair(ref.Signing); err != nil {
			return at, f, err
		}
		if f.signing, err = ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point.Bytes()); err != nil {
			return at, f, err
		}
	}
	at.agreement, f.agreement = map[string]object{}, map[string]*ecdh.PublicKey{}
	for _, label := range ref.Agreement {
		if at.agreement[label], f.agreement[label], err = s.findPair(label); err != nil {
			return at, f, err
		}
	}
	return at, f, nil
}

// findOne returns the one key of the token with that label and the attributes more.
func (s *session) findOne(label string, more attributes) (object, error) {
	found, err := s.find(append(more, attribute(p11.CKA_TOKEN, true), attribute(p11.CKA_LABEL, label)))
	switch {
	case err != nil:
		return 0, err
	case len(found) > 1:
		return 0, fmt.Errorf("%w: several keys have label %q", ErrKeyNotFound, label)
	case len(found) == 1:
		return found[0], nil
	}
	if s.login.pin {
		if in, err := s.loggedIn(); err != nil {
			return 0, err
		} else if !in {
			return 0, &callError{"C_FindObjects", p11.CKR_USER_NOT_LOGGED_IN}
		}
	}
	return 0, fmt.Errorf("%w: no key of the right type has label %q", ErrKeyNotFound, label)
}

func (s *session) findWrapping(label string) (object, error) {
	h, err := s.findOne(label, KeyRef{}.template(p11.CKO_SECRET_KEY))
	if err != nil {
		return 0, err
	}
	k, err := s.aesKey(h)
	return k.handle, err
}

// findPair returns the private key with that label, and what the public one says.
func (s *session) findPair(label string) (private object, public *ecdh.PublicKey, err error) {
	ec := func(class uint) attributes {
		return attributes{attribute(p11.CKA_CLASS, class), attribute(p11.CKA_KEY_TYPE, uint(p11.CKK_EC))}
	}
	if private, err = s.findOne(label, ec(p11.CKO_PRIVATE_KEY)); err != nil {
		return 0, nil, err
	}
	h, err := s.findOne(label, ec(p11.CKO_PUBLIC_KEY))
	if err != nil {
		return 0, nil, err
	}
	public, err = s.ecPoint(h)
	return private, public, err
}

// ecPoint reads the point of a public key, which some tokens give without the OCTET
// STRING around it that the standard asks for.
func (s *session) ecPoint(public object) (*ecdh.PublicKey, error) {
	b, err := s.attribute(public, p11.CKA_EC_POINT)
	if err != nil {
		return nil, err
	}
	if inner, ok := bytes.CutPrefix(b, []byte{4, 65}); ok && len(inner) == 65 {
		b = inner
	}
	point, err := ecdh.P256().NewPublicKey(b)
	if err != nil {
		return nil, errBadAnswer("the public key is no point of P-256")
	}
	return point, nil
}

// runVault has the token do something with v's keys. fn must not use memory of the
// caller's.
func runVault[T any](ctx context.Context, v *VaultKeys, name string, fn func(*session, vaultHandles) (T, error)) (out T, err error) {
	err = v.token.retry(ctx, name, func(o *op) error {
		return v.token.pooled(o, func(s *session) (err error) {
			anew := o.again
			out, err = ask(o.ctx, s, func() (none T, err error) {
				at, err := v.find(s, anew)
				if err != nil {
					return none, err
				}
				return fn(s, at)
			})
			return err
		})
	})
	if classOf(err) == classRequest {
		v.token.faulty(err) // what the caller gave was checked
	}
	return out, err
}

// NewKey makes a key pair and wraps it. While it is made the token would let it out in
// clear as well.
func (v *VaultKeys) NewKey(ctx context.Context) (ECKey, error) {
	const name = "making a key"
	if v.ref.Wrapping == "" {
		return ECKey{}, v.noLabel(name, "wrapping")
	}
	return runVault(ctx, v, name, func(s *session, at vaultHandles) (ECKey, error) {
		wrapped, public, err := s.newECKey(at.wrapping, v.wrap)
		if err != nil {
			return ECKey{}, err
		}
		blob := binary.BigEndian.AppendUint32([]byte{blobVersion}, uint32(v.wrap.mech))
		return ECKey{slices.Concat(blob, v.facts.wrapping[:], wrapped), public}, nil
	})
}

// ECDH returns the x-coordinate of the product of key's secret and each of remote, 32
// bytes each.
func (v *VaultKeys) ECDH(ctx context.Context, key ECKey, remote ...*ecdh.PublicKey) ([][]byte, error) {
	const name = "deriving from a wrapped key"
	wrapped, err := v.wrapped(key.Blob)
	if err != nil {
		return nil, newError(v.token.text(), name, err)
	}
	points := rawPoints(remote)
	shared, err := runVault(ctx, v, name, func(s *session, at vaultHandles) ([]byte, error) {
		private, err := s.unwrapEC(at.wrapping, v.wrap, wrapped, v.wrap.unwrapped(key.Public, s.login.pin))
		if err != nil {
			return nil, err
		}
		shared, err := s.derive(private, points)
		if err != nil {
			return nil, err
		}
		s.drop(private)
		return shared, nil
	})
	return slices.Collect(slices.Chunk(shared, sharedSize)), err
}

// wrapped returns what the token gave when it made blob.
func (v *VaultKeys) wrapped(blob []byte) ([]byte, error) {
	if len(blob) <= blobHeader || blob[0] != blobVersion {
		return nil, errors.New("the blob is none of a wrapped key")
	}
	mech, check := binary.BigEndian.Uint32(blob[1:]), CheckValue(blob[5:blobHeader])
	if v.ref.Wrapping == "" || check != v.facts.wrapping || uint(mech) != v.wrap.mech {
		return nil, fmt.Errorf("%w: the blob was wrapped by mechanism %#x under the key with check value %v, there is %v with %#x",
			ErrKeyNotFound, mech, check, v.facts.wrapping, v.wrap.mech)
	}
	return bytes.Clone(blob[blobHeader:]), nil
}

// Agree is ECDH with the agreement key of that label.
func (v *VaultKeys) Agree(ctx context.Context, label string, remote ...*ecdh.PublicKey) ([][]byte, error) {
	const name = "deriving"
	if !slices.Contains(v.ref.Agreement, label) {
		return nil, v.noLabel(name, label)
	}
	points := rawPoints(remote)
	shared, err := runVault(ctx, v, name, func(s *session, at vaultHandles) ([]byte, error) {
		return s.derive(at.agreement[label], points)
	})
	return slices.Collect(slices.Chunk(shared, sharedSize)), err
}

// MAC returns HMAC-SHA256 of message.
func (v *VaultKeys) MAC(ctx context.Context, message []byte) (mac [macSize]byte, err error) {
	const name = "computing a MAC"
	if v.ref.MAC == "" {
		return mac, v.noLabel(name, "MAC")
	}
	message = bytes.Clone(message)
	got, err := runVault(ctx, v, name, func(s *session, at vaultHandles) ([]byte, error) {
		return s.sign(p11.CKM_SHA256_HMAC, at.mac, message, macSize)
	})
	copy(mac[:], got)
	clear(got)
	return mac, err
}

// Sign returns r ‖ s of ECDSA over a SHA-256 digest.
func (v *VaultKeys) Sign(ctx context.Context, digest [sha256.Size]byte) (signature [signatureSize]byte, err error) {
	const name = "signing"
	if v.ref.Signing == "" {
		return signature, v.noLabel(name, "signing")
	}
	got, err := runVault(ctx, v, name, func(s *session, at vaultHandles) ([]byte, error) {
		return s.sign(p11.CKM_ECDSA, at.signing, digest[:], signatureSize)
	})
	copy(signature[:], got)
	return signature, err
}

func (v *VaultKeys) noLabel(name, what string) error {
	return newError(v.token.text(), name, fmt.Errorf("%w: no %s key was named", ErrKeyNotFound, what))
}

// SigningKey returns the public half of the signing key, nil if there is none.
func (v *VaultKeys) SigningKey() *ecdsa.PublicKey { return v.facts.signing }

// AgreementKey returns the public half of an agreement key, nil if there is none.
func (v *VaultKeys) AgreementKey(label string) *ecdh.PublicKey { return v.facts.agreement[label] }

// Format keeps every verb of fmt to what names the keys.
func (v *VaultKeys) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "vault keys %+v", v.ref) }

// SelfTest compares what the keys do with software.
func (v *VaultKeys) SelfTest(ctx context.Context) error {
	mine, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	agrees := func(theirs *ecdh.PublicKey, derive func(*ecdh.PublicKey) ([][]byte, error)) error {
		got, err := derive(mine.PublicKey())
		if err != nil {
			return err
		}
		want, err := mine.ECDH(theirs)
		if err == nil && !bytes.Equal(got[0], want) {
			err = errBadAnswer("ECDH gave another x-coordinate")
		}
		return err
	}
	for label, public := range v.facts.agreement {
		err := agrees(public, func(p *ecdh.PublicKey) ([][]byte, error) { return v.Agree(ctx, label, p) })
		if err != nil {
			return err
		}
	}
	if v.ref.Wrapping != "" {
		key, err := v.NewKey(ctx)
		if err != nil {
			return err
		}
		err = agrees(key.Public, func(p *ecdh.PublicKey) ([][]byte, error) { return v.ECDH(ctx, key, p) })
		if err != nil {
			return err
		}
	}
	if v.ref.Signing == "" {
		return nil
	}
	return v.testSigning(ctx, sha256.Sum256(mine.PublicKey().Bytes()))
}

func (v *VaultKeys) testSigning(ctx context.Context, digest [sha256.Size]byte) error {
	signature, err := v.Sign(ctx, digest)
	if err != nil {
		return err
	}
	r, s := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])
	if !ecdsa.Verify(v.facts.signing, digest[:], r, s) {
		return errBadAnswer("the signature does not verify")
	}
	return nil
}
