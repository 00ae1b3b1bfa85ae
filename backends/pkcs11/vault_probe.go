//go:build cgo

package pkcs11

import (
	"context"
	"crypto/ecdh"

	p11 "github.com/miekg/pkcs11"
)

// Exposures tries, on a key made for that, the ways in which who has the PIN and a blob
// might get the ECKey in it out of the token, where it could be used without the token.
// It returns those that the token does not refuse, for people to read.
func (v *VaultKeys) Exposures(ctx context.Context) (exposures []string, err error) {
	const name = "trying to get keys out"
	if v.ref.Wrapping == "" {
		return nil, v.noLabel(name, "wrapping")
	}
	key, err := v.NewKey(ctx)
	if err != nil {
		return nil, err
	}
	wrapped, err := v.wrapped(key.Blob)
	if err != nil {
		return nil, err
	}
	for _, a := range attacks {
		err := v.token.retry(ctx, name, func(o *op) error {
			return v.token.private(o, 0, func(s *session) error {
				got, err := ask(o.ctx, s, func() (bool, error) {
					at, err := s.findWrapping(v.ref.Wrapping)
					if err != nil {
						return false, err
					}
					return a.try(s, &victim{at, v.wrap, wrapped, key.Public})
				})
				switch {
				case mayPass(err):
					exposures = append(exposures, a.text+": the token does not say that it refuses this, but "+bare(err).Error())
				case classOf(err) == classRequest: // refused
				case err != nil:
					return err
				case got:
					exposures = append(exposures, a.text)
				}
				return nil
			})
		})
		if err != nil {
			return nil, err
		}
	}
	return exposures, nil
}

// A victim is a wrapped key and what it was wrapped under.
type victim struct {
	kek     object
	wrap    ecWrap
	wrapped []byte
	public  *ecdh.PublicKey
}

// attacks report whether they had success, if the token does not refuse them.
var attacks = []struct {
	text string
	try  func(*session, *victim) (bool, error)
}{
	{"a wrapped key can be unwrapped as one that may leave the token", (*session).unwrapsExtractable},
	{"a wrapped key can be unwrapped as a generic secret", func(s *session, v *victim) (bool, error) {
		return s.unwrapsAs(v, p11.CKK_GENERIC_SECRET, p11.CKA_SIGN)
	}},
	{"a wrapped key can be unwrapped as an AES key", func(s *session, v *victim) (bool, error) {
		return s.unwrapsAs(v, p11.CKK_AES, p11.CKA_ENCRYPT)
	}},
	{"a key in use can be wrapped under another key", (*session).wrapsAgain},
	{"the wrapping key can decrypt", func(s *session, v *victim) (bool, error) { return s.decrypts(v.kek) }},
	{"a copy of the wrapping key can be made that decrypts", (*session).copyDecrypts},
	{"the wrapping key's attributes can be changed", func(s *session, v *victim) (bool, error) {
		modifiable, err := s.attribute(v.kek, p11.CKA_MODIFIABLE)
		return isTrue(modifiable), err
	}},
}

// unwrapsExtractable unwraps with each combination of what protects the key. A token may
// look only at what the template says, or only at what it does not say.
func (s *session) unwrapsExtractable(v *victim) (bool, error) {
	var refusal error
	shared := append(attributes{
		attribute(p11.CKA_CLASS, uint(p11.CKO_PRIVATE_KEY)),
		attribute(p11.CKA_KEY_TYPE, uint(p11.CKK_EC)),
		attribute(p11.CKA_TOKEN, false),
		attribute(p11.CKA_PRIVATE, s.login.pin),
	}, v.wrap.forNSS(v.public)...)
	for _, more := range []attributes{
		{attribute(p11.CKA_SENSITIVE, false), attribute(p11.CKA_EXTRACTABLE, true)},
		{attribute(p11.CKA_SENSITIVE, true), attribute(p11.CKA_EXTRACTABLE, true)},
		{attribute(p11.CKA_SENSITIVE, false), attribute(p11.CKA_EXTRACTABLE, false)},
		{},
	} {
		h, err := s.unwrapEC(v.kek, v.wrap, v.wrapped, append(shared[:len(shared):len(shared)], more...))
		if classOf(err) == classRequest {
			if refusal == nil || mayPass(err) {
				refusal = err
			}
			continue
		}
		if err != nil {
			return false, err
		}
		sensitive, err := s.attribute(h, p11.CKA_SENSITIVE)
		if err != nil {
			return false, err
		}
		extractable, err := s.attribute(h, p11.CKA_EXTRACTABLE)
		if err != nil || !isTrue(sensitive) || isTrue(extractable) {
			return err == nil, err
		}
	}
	return false, refusal
}

// unwrapsAs unwraps as a secret key that may do something.
func (s *session) unwrapsAs(v *victim, ckk, use uint) (bool, error) {
	_, err := s.unwrapEC(v.kek, v.wrap, v.wrapped, attributes{
		attribute(p11.CKA_CLASS, uint(p11.CKO_SECRET_KEY)),
		attribute(p11.CKA_KEY_TYPE, ckk),
		attribute(p11.CKA_TOKEN, false),
		attribute(p11.CKA_PRIVATE, s.login.pin),
		attribute(p11.CKA_SENSITIVE, true),
		attribute(p11.CKA_EXTRACTABLE, false),
		attribute(use, true),
	})
	return err == nil, err
}

// wrapsAgain unwraps as a vault does, and wraps the key under one that others may know.
func (s *session) wrapsAgain(v *victim) (bool, error) {
	private, err := s.unwrapEC(v.kek, v.wrap, v.wrapped, v.wrap.unwrapped(v.public, s.login.pin))
	if err != nil {
		return false, err
	}
	known, err := s.create(attributes{
		attribute(p11.CKA_CLASS, uint(p11.CKO_SECRET_KEY)),
		attribute(p11.CKA_KEY_TYPE, uint(p11.CKK_AES)),
		attribute(p11.CKA_TOKEN, false),
		attribute(p11.CKA_PRIVATE, s.login.pin),
		attribute(p11.CKA_WRAP, true),
		attribute(p11.CKA_VALUE, make([]byte, 32)),
	})
	if err != nil {
		return false, err
	}
	_, err = s.lib("C_WrapKey").WrapKey(s.handle, v.wrap.mechanism(), known, private)
	return err == nil, s.failed(err)
}

// decrypts tries single blocks, of which AES Key Wrap is made.
func (s *session) decrypts(kek object) (bool, error) {
	var refusal error
	for _, mech := range []*p11.Mechanism{
		p11.NewMechanism(p11.CKM_AES_ECB, nil), p11.NewMechanism(p11.CKM_AES_CBC, make([]byte, 16)),
	} {
		_, err := s.decrypt(mech, kek, make([]byte, 16))
		if classOf(err) != classRequest {
			return err == nil, err
		}
		if refusal == nil || mayPass(err) {
			refusal = err
		}
	}
	return false, refusal
}

func (s *session) copyDecrypts(v *victim) (bool, error) {
	h, err := s.lib("C_CopyObject").CopyObject(s.handle, v.kek, attributes{
		attribute(p11.CKA_TOKEN, false), attribute(p11.CKA_DECRYPT, true),
	})
	if err != nil {
		return false, s.failed(err)
	}
	return s.decrypts(h)
}
