//go:build cgo

package pkcs11

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/keys"
	p11 "github.com/miekg/pkcs11"
)

// A Key is one in a token, which wraps file keys and opens them. It is a Recipient and
// an Identity.
type Key struct {
	token *Token
	ref   KeyRef // Check is always set
	label string
	id    []byte
	mech  format.Mech
	rsa   *rsa.PublicKey // nil: AES-256
	known known
	warn  []string

	mu    sync.Mutex
	login *login // in which at holds
	at    kek
}

// known is an answer that a working token gives.
type known struct{ plain, wrapped []byte }

// Key finds the one key that ref names, and how it wraps: by doing so. Tokens list
// mechanisms that they do not have, and have some that they do not list.
func (t *Token) Key(ctx context.Context, ref KeyRef) (*Key, error) {
	const name = "finding the key"
	if ref.Label == "" && len(ref.ID) == 0 {
		return nil, newError(t.text(), name, fmt.Errorf("%w: no label and no id was given", ErrKeyNotFound))
	}
	k := &Key{token: t, ref: ref}
	k.ref.ID = bytes.Clone(ref.ID)
	at, err := k.read(ctx)
	if err != nil {
		return nil, err
	}
	k.mech, err = firstMech(at.mechs(), func(m format.Mech) error { return k.prove(ctx, m) })
	if err != nil {
		return nil, newError(t.text(), name, fmt.Errorf("the key with %s does not wrap: %w", k.ref.text(), err))
	}
	return k, nil
}

// read finds the key for the first time.
func (k *Key) read(ctx context.Context) (at kek, err error) {
	type facts struct {
		at        kek
		label, id []byte
		warn      []string
	}
	err = k.token.retry(ctx, "finding the key", func(o *op) error {
		return k.token.pooled(o, func(s *session) error {
			f, err := ask(o.ctx, s, func() (f facts, err error) {
				if f.at, err = s.findKey(k.ref); err != nil {
					return f, err
				}
				if f.label, err = s.attribute(f.at.handle, p11.CKA_LABEL); err != nil {
					return f, err
				}
				if f.id, err = s.attribute(f.at.handle, p11.CKA_ID); err != nil {
					return f, err
				}
				f.warn, err = s.keyWarnings(f.at)
				return f, err
			})
			at, k.label, k.id, k.rsa, k.warn = f.at, string(f.label), f.id, f.at.rsa, f.warn
			return err
		})
	})
	return at, err
}

// prove wraps and opens something by m, and learns the check value. m is not in k yet: a
// call that is given up goes on with it.
func (k *Key) prove(ctx context.Context, m format.Mech) error {
	type proof struct {
		known known
		check CheckValue
	}
	return k.token.retry(ctx, "testing the key", func(o *op) error {
		return k.token.pooled(o, func(s *session) error {
			p, err := ask(o.ctx, s, func() (p proof, err error) {
				at, err := s.findKey(k.ref)
				if err != nil {
					return p, err
				}
				if p.known, err = s.prove(at, m); err != nil {
					return p, err
				}
				p.check, err = s.checkValue(at, m)
				return p, err
			})
			if err != nil {
				return err
			}
			if err := k.checkIs(p.check); err != nil {
				return err
			}
			k.known, k.ref.Check = p.known, p.check
			return nil
		})
	})
}

// prove has at wrap and open something, twice: the IV of AES-GCM must matter.
func (s *session) prove(at kek, m format.Mech) (known, error) {
	plain := make([]byte, keys.BoundSize)
	rand.Read(plain)
	wrapped, err := s.wrap(at, m, plain)
	if err != nil {
		return known{}, err
	}
	again, err := s.wrap(at, m, plain)
	if err != nil {
		return known{}, err
	}
	if m == format.MechAESGCM && bytes.HasSuffix(again, wrapped[len(wrapped)-len(plain):]) {
		return known{}, errReplacesIV
	}
	return known{plain, wrapped}, nil
}

func (k *Key) checkIs(c CheckValue) error {
	if k.ref.Check.IsZero() || k.ref.Check == c {
		return nil
	}
	return fmt.Errorf("%w: the key with %s has check value %v instead of %v, so it is another one", ErrKeyNotFound, k.ref.text(), c, k.ref.Check)
}

// find returns the key as s sees it. Handles of an older login are never used, nor is
// one when anew is asked for; a key found anew must have the check value of the first.
// It is for the worker of s.
func (k *Key) find(s *session, anew bool) (kek, error) {
	k.mu.Lock()
	at, same := k.at, k.login == s.login
	k.mu.Unlock()
	if same && !anew {
		return at, nil
	}
	now, err := s.findKey(k.ref)
	if err != nil {
		return kek{}, err
	}
	if same && now.handle == at.handle {
		return at, nil
	}
	if (now.rsa != nil) != (k.rsa != nil) {
		return kek{}, fmt.Errorf("%w: the key with %s is one of another type now", ErrKeyNotFound, k.ref.text())
	}
	check, err := s.checkValue(now, k.mech)
	if err != nil {
		return kek{}, err
	}
	if err := k.checkIs(check); err != nil {
		return kek{}, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.login, k.at = s.login, now
	return now, nil
}

// run has the token do something with the key: to in, of which fn gets a copy that is
// erased.
func (k *Key) run(ctx context.Context, name string, in []byte, anew bool, fn func(*session, kek, []byte) ([]byte, error)) (out []byte, err error) {
	err = k.token.retry(ctx, name, func(o *op) error {
		return k.token.pooled(o, func(s *session) (err error) {
			in, anew := bytes.Clone(in), anew || o.again
			out, err = ask(o.ctx, s, func() ([]byte, error) {
				defer clear(in)
				at, err := k.find(s, anew)
				if err != nil {
					return nil, err
				}
				return fn(s, at, in)
			})
			return err
		})
	})
	return out, err
}

// Kind returns format.KindPKCS11.
func (*Key) Kind() format.Kind { return format.KindPKCS11 }

// Mech returns how Wrap wraps.
func (k *Key) Mech() format.Mech { return k.mech }

// Label returns the key's CKA_LABEL.
func (k *Key) Label() string { return k.label }

// ID returns the key's CKA_ID.
func (k *Key) ID() []byte { return bytes.Clone(k.id) }

// CheckValue returns what tells the key from others of its name.
func (k *Key) CheckValue() CheckValue { return k.ref.Check }

// Warnings tell, for people, what a key that GenerateKey made would not have: ways for it
// to leave the token, or to undo what it wrapped.
func (k *Key) Warnings() []string { return slices.Clone(k.warn) }

// Format keeps every verb of fmt to what names the key.
func (k *Key) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "%v key %q", k.mech, k.label) }

// SelfTest finds the key anew, and has it open something known and wrap something new.
func (k *Key) SelfTest(ctx context.Context) error { return k.test(ctx, true) }

// test is SelfTest; without wrapping unless that is asked for.
func (k *Key) test(ctx context.Context, wrap bool) error {
	_, err := k.run(ctx, "testing the key", k.known.wrapped, true, func(s *session, at kek, in []byte) ([]byte, error) {
		opened, err := s.unwrap(at, k.mech, in)
		if err == nil && !bytes.Equal(opened, k.known.plain) {
			err = errBadAnswer("%v does not open what it wrapped", k.mech)
		}
		if err == nil && wrap {
			_, err = s.prove(at, k.mech)
		}
		return nil, err
	})
	if classOf(err) == classRequest {
		k.token.faulty(err)
	}
	return err
}

// testMech tests that the key opens what it wrapped by m.
func (k *Key) testMech(ctx context.Context, m format.Mech) error {
	if m == k.mech {
		return k.test(ctx, false)
	}
	_, err := k.run(ctx, "testing the key", nil, true, func(s *session, at kek, _ []byte) ([]byte, error) {
		_, err := s.prove(at, m)
		return nil, err
	})
	return err
}

// Wrap makes a slot without hints.
func (k *Key) Wrap(ctx context.Context, core format.Core, fk *keys.FileKey) (format.Slot, error) {
	return k.wrap(ctx, core, fk, format.PKCS11Params{Mech: k.mech})
}

// WithHints returns a Recipient for k whose slots show the key's id and label and the
// token's serial number, as far as they fit, so that anybody can see which key a
// container needs, and which containers belong together.
func (k *Key) WithHints() keys.Recipient {
	p := format.PKCS11Params{Mech: k.mech}
	if len(k.id) <= format.MaxPKCS11ID {
		p.ID = k.id
	}
	if len(k.label) <= format.MaxPKCS11Label {
		p.Label = []byte(k.label)
	}
	if serial := k.token.serialNumber(); len(serial) <= len(p.Serial) {
		copy(p.Serial[:], serial)
	}
	return keyWithHints{k, p}
}

type keyWithHints struct {
	key    *Key
	params format.PKCS11Params
}

func (r keyWithHints) Format(f fmt.State, verb rune) { r.key.Format(f, verb) }

func (r keyWithHints) Wrap(ctx context.Context, core format.Core, fk *keys.FileKey) (format.Slot, error) {
	return r.key.wrap(ctx, core, fk, r.params)
}

// wrap finds the key anew each time: a slot for a key that the token has lost could
// never be opened, and some tokens go on with it for a while.
func (k *Key) wrap(ctx context.Context, core format.Core, fk *keys.FileKey, p format.PKCS11Params) (slot format.Slot, err error) {
	slot.Kind = format.KindPKCS11
	rand.Read(slot.Salt[:])
	if slot.Params, err = p.AppendBinary(nil); err != nil {
		return format.Slot{}, err
	}
	bound := keys.Bound(core, slot, fk)
	defer clear(bound)
	wrapped, err := k.run(ctx, "wrapping the file key", bound, true, func(s *session, at kek, in []byte) ([]byte, error) {
		return s.wrap(at, k.mech, in)
	})
	if err != nil {
		return format.Slot{}, err
	}
	slot.Wrapped = format.Sized(wrapped)
	return slot, nil
}

// Unwrap returns the file key. The error wraps keys.ErrNoMatch if the slot is for
// another key, or damaged; any other one says that the token could not try. Hints
// decide nothing.
func (k *Key) Unwrap(ctx context.Context, core format.Core, slot format.Slot) (*keys.FileKey, error) {
	m, wrapped := slotMech(slot), slot.Unsized()
	at := kek{rsa: k.rsa}
	if !slices.Contains(at.mechs(), m) || len(wrapped) != at.wrappedSize(m) {
		return nil, fmt.Errorf("a slot of %v with %d bytes: %w", m, len(wrapped), keys.ErrNoMatch)
	}
	unwrap := func() ([]byte, error) {
		return k.run(ctx, "unwrapping the file key", wrapped, false, func(s *session, at kek, in []byte) ([]byte, error) {
			return s.unwrap(at, m, in)
		})
	}
	bound, err := unwrap()
	if classOf(err) == classRequest {
		// Tokens give the same error for wrong data and for a fault of their own. What
		// they do with data that is right, and then once more with these, tells.
		if err := k.testMech(ctx, m); m != k.mech && lacks(err) {
			return nil, fmt.Errorf("the key does not do %v: %w", m, keys.ErrNoMatch)
		} else if err != nil {
			return nil, err
		}
		if bound, err = unwrap(); refusesData(err) {
			return nil, keys.ErrNoMatch
		}
	}
	if err != nil {
		return nil, err
	}
	defer clear(bound)
	return keys.Unbind(core, slot, bound)
}

// slotMech returns the mech of slot, 0 if it is not for a token.
func slotMech(slot format.Slot) format.Mech {
	if slot.Kind != format.KindPKCS11 {
		return 0
	}
	p, err := slot.PKCS11Params()
	if err != nil {
		return 0
	}
	return p.Mech
}

// firstMech returns the first of mechs that try does not fail for. It goes on after an
// error that says that there is no such mech, and after one that says nothing if that
// comes twice.
func firstMech[M any](mechs []M, try func(M) error) (none M, err error) {
	var lacking []error
	for _, m := range mechs {
		err := try(m)
		if mayPass(err) {
			err = try(m)
		}
		switch {
		case err == nil:
			return m, nil
		case !lacks(err) && !mayPass(err):
			return none, err
		}
		lacking = append(lacking, fmt.Errorf("%v: %w", m, bare(err)))
	}
	return none, joined(lacking)
}

// bare returns what the token said, without who asked what.
func bare(err error) error {
	if c := new(callError); errors.As(err, &c) {
		return c
	}
	if e := new(Error); errors.As(err, &e) {
		return e.Err
	}
	return err
}

// joined makes one line of errs and wraps the first that is more than a lack.
func joined(errs []error) error {
	main := max(0, slices.IndexFunc(errs, func(err error) bool {
		var c *callError
		return !errors.As(err, &c) || !slices.Contains(lackCodes, c.code)
	}))
	all := errs[main]
	for i, err := range errs {
		if i != main {
			all = fmt.Errorf("%w; %v", all, err)
		}
	}
	return all
}
