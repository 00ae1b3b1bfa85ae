//go:build cgo

package pkcs11

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"

	"github.com/coffer-backup/coffer/format"
	p11 "github.com/miekg/pkcs11"
)

// Lengths of RSA keys: of those that are kept, and of those that only try.
const (
	newRSABits  = 3072
	tempRSABits = minRSABits
)

// idSize is the length of a CKA_ID that the caller does not give.
const idSize = 16

// GenerateKey makes a key in the token, which never leaves it, and opens it as Key does.
// What it is used for is wrapping for coffer alone: a key that may decrypt would undo
// what another use of it wraps.
func (t *Token) GenerateKey(ctx context.Context, spec KeySpec) (*Key, error) {
	const name = "making a key"
	if spec.Label == "" {
		return nil, newError(t.text(), name, errors.New("it needs a label"))
	}
	taken := attributes{attribute(p11.CKA_LABEL, spec.Label)}
	if len(spec.ID) > 0 {
		taken = append(taken, attribute(p11.CKA_ID, spec.ID))
	} else {
		spec.ID = make([]byte, idSize)
		rand.Read(spec.ID) // never fails
	}
	var err error
	if spec.Mech, err = t.chooseMech(ctx, spec.Mech); err != nil {
		return nil, err
	}
	err = t.retry(ctx, name, func(o *op) error {
		return t.private(o, p11.CKF_RW_SESSION, func(s *session) error {
			made, err := ask(o.ctx, s, func() (bool, error) { return s.generateKept(spec, taken) })
			if made && err != nil { // once more would meet the key that was made
				o.again = true
				err = fmt.Errorf("the key with label %q and id %x was made, and could not be checked: %w", spec.Label, spec.ID, err)
			}
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	k, err := t.Key(ctx, KeyRef{Label: spec.Label, ID: spec.ID})
	if err != nil {
		return nil, fmt.Errorf("the key was made, but does not work: %w", err)
	}
	return k, nil
}

// chooseMech returns m if the token proves that it does that, or the first mech that it
// proves if m is 0.
func (t *Token) chooseMech(ctx context.Context, m format.Mech) (format.Mech, error) {
	if m != 0 {
		return m, t.try(ctx, m)
	}
	m, err := firstMech(slices.Concat(secretMechs, rsaMechs), func(m format.Mech) error { return t.try(ctx, m) })
	if err != nil {
		return 0, newError(t.text(), "choosing how to wrap", err)
	}
	return m, nil
}

// Probe tries each way to wrap with a key that lasts as long as the try, and returns
// them in the order of preference. The error says that the token could not try.
func (t *Token) Probe(ctx context.Context) (modes []Mode, err error) {
	for _, m := range slices.Concat(secretMechs, rsaMechs) {
		err := t.try(ctx, m)
		if err != nil && classOf(err) != classRequest {
			return nil, err
		}
		if err != nil {
			err = bare(err)
		}
		modes = append(modes, Mode{m, err})
	}
	return modes, nil
}

// try has a key of the session, which goes with it, wrap by m.
func (t *Token) try(ctx context.Context, m format.Mech) error {
	return t.retry(ctx, fmt.Sprintf("trying %v", m), func(o *op) error {
		return t.private(o, 0, func(s *session) error {
			_, err := ask(o.ctx, s, func() (known, error) {
				at, err := s.generateTemp(m)
				if err != nil {
					return known{}, err
				}
				return s.prove(at, m)
			})
			return err
		})
	})
}

func (s *session) generateTemp(m format.Mech) (kek, error) {
	shared := attributes{attribute(p11.CKA_TOKEN, false), attribute(p11.CKA_PRIVATE, s.login.pin)}
	if m != format.MechRSAOAEP {
		h, err := s.generate(m, shared)
		return kek{handle: h}, err
	}
	_, private, err := s.generatePair(tempRSABits, shared, shared)
	if err != nil {
		return kek{}, err
	}
	return s.rsaKey(private)
}

// generateKept makes a key of the token, and destroys it again if it is not what was
// asked for, unless the token has a key with one of the attributes taken. kept says
// whether the token has the new key now.
func (s *session) generateKept(spec KeySpec, taken attributes) (kept bool, err error) {
	if err := s.checkFree(taken); err != nil {
		return false, err
	}
	named := attributes{
		attribute(p11.CKA_TOKEN, true),
		attribute(p11.CKA_MODIFIABLE, false),
		attribute(p11.CKA_LABEL, spec.Label),
		attribute(p11.CKA_ID, spec.ID),
	}
	secret := append(slices.Clip(named), attribute(p11.CKA_PRIVATE, true))
	var made []object
	if spec.Mech != format.MechRSAOAEP {
		h, err := s.generate(spec.Mech, secret)
		if err != nil {
			return false, err
		}
		made = []object{h}
	} else {
		public, private, err := s.generatePair(newRSABits, append(slices.Clip(named), attribute(p11.CKA_PRIVATE, false)), secret)
		if err != nil {
			return false, err
		}
		made = []object{private, public}
	}
	if err = s.checkMade(made[0], usage(spec.Mech)); err == nil {
		return true, nil
	}
	for _, h := range made {
		if err2 := s.destroy(h); err2 != nil {
			return true, fmt.Errorf("%w; and it could not be destroyed: %w", err, err2)
		}
	}
	return false, fmt.Errorf("%w; it was destroyed", err)
}

// checkFree returns ErrKeyExists if the token has a key of that label or id, which are
// what names has. Some tokens would replace it.
func (s *session) checkFree(names attributes) error {
	for _, class := range []uint{p11.CKO_SECRET_KEY, p11.CKO_PRIVATE_KEY, p11.CKO_PUBLIC_KEY} {
		for _, same := range names {
			found, err := s.find(attributes{attribute(p11.CKA_CLASS, class), attribute(p11.CKA_TOKEN, true), same})
			if err != nil {
				return err
			}
			if len(found) > 0 && same.Type == p11.CKA_LABEL {
				return fmt.Errorf("%w: label %q", ErrKeyExists, same.Value)
			}
			if len(found) > 0 {
				return fmt.Errorf("%w: id %x", ErrKeyExists, same.Value)
			}
		}
	}
	return nil
}

// usage returns what a key for m may do, and nothing else.
func usage(m format.Mech) map[uint]bool {
	crypt, wrap := m == format.MechAESGCM, m == format.MechAESKW || m == format.MechAESKWP
	if m == format.MechRSAOAEP {
		return map[uint]bool{p11.CKA_DECRYPT: true, p11.CKA_SIGN: false, p11.CKA_UNWRAP: false}
	}
	return map[uint]bool{
		p11.CKA_ENCRYPT: crypt, p11.CKA_DECRYPT: crypt, p11.CKA_WRAP: wrap, p11.CKA_UNWRAP: wrap,
		p11.CKA_SIGN: false, p11.CKA_VERIFY: false, p11.CKA_DERIVE: false,
	}
}

// locked returns the attributes of a key of that usage that never leaves the token.
func locked(usage map[uint]bool) attributes {
	t := attributes{attribute(p11.CKA_SENSITIVE, true), attribute(p11.CKA_EXTRACTABLE, false)}
	for kind, value := range usage {
		t = append(t, attribute(kind, value))
	}
	return t
}

func (s *session) generate(m format.Mech, more attributes) (object, error) {
	template := slices.Concat(attributes{
		attribute(p11.CKA_CLASS, uint(p11.CKO_SECRET_KEY)),
		attribute(p11.CKA_KEY_TYPE, uint(p11.CKK_AES)),
		attribute(p11.CKA_VALUE_LEN, uint(32)),
	}, locked(usage(m)), more)
	mech := []*p11.Mechanism{p11.NewMechanism(p11.CKM_AES_KEY_GEN, nil)}
	h, err := s.lib("C_GenerateKey").GenerateKey(s.handle, mech, template)
	return h, s.failed(err)
}

func (s *session) generatePair(bits uint, morePublic, morePrivate attributes) (public, private object, err error) {
	publicTemplate := slices.Concat(attributes{
		attribute(p11.CKA_MODULUS_BITS, bits),
		attribute(p11.CKA_PUBLIC_EXPONENT, []byte{1, 0, 1}),
		attribute(p11.CKA_ENCRYPT, true), // anybody can, and some tokens want a use
		attribute(p11.CKA_VERIFY, false),
		attribute(p11.CKA_WRAP, false),
	}, morePublic)
	mech := []*p11.Mechanism{p11.NewMechanism(p11.CKM_RSA_PKCS_KEY_PAIR_GEN, nil)}
	public, private, err = s.lib("C_GenerateKeyPair").GenerateKeyPair(s.handle, mech, publicTemplate,
		slices.Concat(locked(usage(format.MechRSAOAEP)), morePrivate))
	return public, private, s.failed(err)
}

// checkMade reads what became of the attributes that were asked for, of which want has
// the usage. Those that a token need not have are judged if it has them; not CKA_LOCAL,
// of which NSS says no.
func (s *session) checkMade(h object, want map[uint]bool) error {
	want[p11.CKA_SENSITIVE], want[p11.CKA_EXTRACTABLE] = true, false
	for kind, is := range want {
		got, err := s.attribute(h, kind)
		if err != nil {
			return err
		}
		if isTrue(got) != is {
			return errBadAnswer("attribute %#x of the new key is %v", kind, !is)
		}
	}
	for _, kind := range []uint{p11.CKA_ALWAYS_SENSITIVE, p11.CKA_NEVER_EXTRACTABLE} {
		got, err := s.attribute(h, kind)
		var c *callError
		if errors.As(err, &c) && c.code == p11.CKR_ATTRIBUTE_TYPE_INVALID {
			continue
		}
		if err != nil {
			return err
		}
		if !isTrue(got) {
			return errBadAnswer("attribute %#x of the new key is false", kind)
		}
	}
	return nil
}
