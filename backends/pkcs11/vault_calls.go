//go:build cgo

package pkcs11

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/elliptic"
	"crypto/sha256"
	"fmt"

	p11 "github.com/miekg/pkcs11"
)

// What check values are hashes of.
const (
	labelCheckWrap = "coffer v1 check value vault wrapping"
	labelCheckMAC  = "coffer v1 check value vault mac"
)

// ckaNSSDB is the public key inside a private one, which NSS does not compute itself.
const ckaNSSDB = 0xD5A0DB00

// p256 is the OID of P-256 as CKA_EC_PARAMS has it.
var p256 = []byte{6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7}

// An ecWrap is a way to wrap EC keys.
type ecWrap struct {
	mech uint // CKM
	nss  bool // the template for unwrapping has CKA_NSS_DB
}

func (w ecWrap) String() string { return fmt.Sprintf("mechanism %#x", w.mech) }

// ecWraps are the ways, the preferred one first. Tokens mean two things by
// CKM_AES_KEY_WRAP_PAD, but a blob goes back to where it came from. A private key is not
// a multiple of 8 bytes, so that CKM_AES_KEY_WRAP is for tokens that pad.
var ecWraps = []ecWrap{
	{ckmAESKeyWrapKWP, false}, {ckmAESKeyWrapKWP, true},
	{p11.CKM_AES_KEY_WRAP_PAD, false}, {p11.CKM_AES_KEY_WRAP_PAD, true},
	{p11.CKM_AES_KEY_WRAP, false}, {p11.CKM_AES_KEY_WRAP, true},
}

func (w ecWrap) mechanism() []*p11.Mechanism {
	return []*p11.Mechanism{p11.NewMechanism(w.mech, nil)}
}

// tryWrap has the wrapping key with that label wrap a key pair by w.
func (t *Token) tryWrap(ctx context.Context, label string, w ecWrap) error {
	return t.retry(ctx, fmt.Sprintf("trying %v", w), func(o *op) error {
		return t.private(o, 0, func(s *session) error {
			_, err := ask(o.ctx, s, func() (none struct{}, err error) {
				at, err := s.findWrapping(label)
				if err != nil {
					return none, err
				}
				_, _, err = s.newECKey(at, w)
				return none, err
			})
			return err
		})
	})
}

// The methods of session below make calls and are for its worker. What they made and did
// not destroy before an error ends with the session.

// wrapCheck computes a CheckValue for a key that wraps by w.
func (s *session) wrapCheck(kek object, w ecWrap) (c CheckValue, err error) {
	constant := sha256.Sum256([]byte(labelCheckWrap))
	h, err := s.create(append(s.sessionSecret(), attribute(p11.CKA_VALUE, constant[:])))
	if err != nil {
		return c, err
	}
	wrapped, err := s.lib("C_WrapKey").WrapKey(s.handle, w.mechanism(), kek, h)
	if err != nil {
		return c, s.failed(err)
	}
	s.drop(h)
	return checkOf(wrapped), nil
}

// macCheck computes a CheckValue for a key of HMAC-SHA256.
func (s *session) macCheck(key object) (CheckValue, error) {
	mac, err := s.sign(p11.CKM_SHA256_HMAC, key, []byte(labelCheckMAC), macSize)
	return checkOf(mac), err
}

func checkOf(shown []byte) (c CheckValue) {
	sum := sha256.Sum256(shown)
	copy(c[:], sum[:])
	return c
}

// newECKey makes a key pair, wraps it under the key kek, and demands that it opens: what
// does not would be found by the person who needs it.
func (s *session) newECKey(kek object, w ecWrap) (wrapped []byte, public *ecdh.PublicKey, err error) {
	mech := []*p11.Mechanism{p11.NewMechanism(p11.CKM_EC_KEY_PAIR_GEN, nil)}
	h, private, err := s.lib("C_GenerateKeyPair").GenerateKeyPair(s.handle, mech, attributes{
		attribute(p11.CKA_TOKEN, false),
		attribute(p11.CKA_PRIVATE, false),
		attribute(p11.CKA_EC_PARAMS, p256),
	}, attributes{
		attribute(p11.CKA_TOKEN, false),
		attribute(p11.CKA_PRIVATE, s.login.pin),
		attribute(p11.CKA_SENSITIVE, true),
		attribute(p11.CKA_EXTRACTABLE, true), // wrapped
		attribute(p11.CKA_DERIVE, true),
		attribute(p11.CKA_SIGN, false),
	})
	if err != nil {
		return nil, nil, s.failed(err)
	}
	if public, err = s.ecPoint(h); err != nil {
		return nil, nil, err
	}
	if wrapped, err = s.lib("C_WrapKey").WrapKey(s.handle, w.mechanism(), kek, private); err != nil {
		return nil, nil, s.failed(err)
	}
	s.drop(h)
	s.drop(private)
	if private, err = s.unwrapEC(kek, w, wrapped, w.unwrapped(public, s.login.pin)); err != nil {
		return nil, nil, err
	}
	x, err := s.derive(private, [][]byte{generator})
	if err != nil {
		return nil, nil, err
	}
	s.drop(private)
	if !bytes.Equal(x, public.Bytes()[1:1+sharedSize]) {
		return nil, nil, errBadAnswer("%v does not open what it wrapped", w)
	}
	return wrapped, public, nil
}

// generator is that of P-256.
var generator = func() []byte {
	p := elliptic.P256().Params()
	b := append([]byte{4}, p.Gx.FillBytes(make([]byte, 32))...)
	return append(b, p.Gy.FillBytes(make([]byte, 32))...)
}()

// unwrapped is the template of a wrapped key while it is used.
func (w ecWrap) unwrapped(public *ecdh.PublicKey, private bool) attributes {
	t := append(opened(),
		attribute(p11.CKA_TOKEN, false),
		attribute(p11.CKA_PRIVATE, private),
		attribute(p11.CKA_DERIVE, true),
		attribute(p11.CKA_SIGN, false))
	return append(t, w.forNSS(public)...)
}

func (w ecWrap) forNSS(public *ecdh.PublicKey) attributes {
	if !w.nss {
		return nil
	}
	return attributes{attribute(ckaNSSDB, public.Bytes())}
}

// opened is what a wrapping key demands of each key that it opens. Without the class and
// the type a private key could become a secret one, with other uses.
func opened() attributes {
	return attributes{
		attribute(p11.CKA_CLASS, uint(p11.CKO_PRIVATE_KEY)),
		attribute(p11.CKA_KEY_TYPE, uint(p11.CKK_EC)),
		attribute(p11.CKA_SENSITIVE, true),
		attribute(p11.CKA_EXTRACTABLE, false),
	}
}

func (s *session) unwrapEC(kek object, w ecWrap, wrapped []byte, template attributes) (object, error) {
	h, err := s.lib("C_UnwrapKey").UnwrapKey(s.handle, w.mechanism(), kek, wrapped, template)
	return h, s.failed(err)
}

// derive returns the x-coordinates of the products of private and points, one after the
// other.
func (s *session) derive(private object, points [][]byte) (_ []byte, err error) {
	shared := make([]byte, 0, len(points)*sharedSize)
	defer func() {
		if err != nil {
			clear(shared)
		}
	}()
	for _, point := range points {
		mech := []*p11.Mechanism{p11.NewMechanism(p11.CKM_ECDH1_DERIVE, p11.NewECDH1DeriveParams(p11.CKD_NULL, nil, point))}
		h, err := s.lib("C_DeriveKey").DeriveKey(s.handle, mech, private, attributes{
			attribute(p11.CKA_CLASS, uint(p11.CKO_SECRET_KEY)),
			attribute(p11.CKA_KEY_TYPE, uint(p11.CKK_GENERIC_SECRET)),
			attribute(p11.CKA_TOKEN, false),
			attribute(p11.CKA_PRIVATE, false),
			attribute(p11.CKA_SENSITIVE, false),
			attribute(p11.CKA_EXTRACTABLE, true),
			attribute(p11.CKA_VALUE_LEN, uint(sharedSize)),
		})
		if err != nil {
			return nil, s.failed(err)
		}
		x, err := s.attribute(h, p11.CKA_VALUE)
		if err != nil {
			return nil, err
		}
		s.drop(h)
		if len(x) == 0 || len(x) > sharedSize {
			clear(x)
			return nil, errBadAnswer("ECDH gave %d bytes instead of %d", len(x), sharedSize)
		}
		// Some tokens leave zeros in front away.
		shared = append(shared, make([]byte, sharedSize-len(x))...)
		shared = append(shared, x...)
		clear(x)
	}
	return shared, nil
}

// sign signs message with key, which gives size bytes.
func (s *session) sign(mech uint, key object, message []byte, size int) ([]byte, error) {
	mechs := []*p11.Mechanism{p11.NewMechanism(mech, nil)}
	if err := s.failed(s.lib("C_SignInit").SignInit(s.handle, mechs, key)); err != nil {
		return nil, err
	}
	got, err := s.lib("C_Sign").Sign(s.handle, message)
	if err != nil {
		return nil, s.failed(err)
	}
	if len(got) != size {
		return nil, errBadAnswer("C_Sign gave %d bytes instead of %d", len(got), size)
	}
	return got, nil
}

func rawPoints(publics []*ecdh.PublicKey) (points [][]byte) {
	for _, p := range publics {
		points = append(points, p.Bytes())
	}
	return points
}
