//go:build cgo

package pkcs11

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"unsafe"

	p11 "github.com/miekg/pkcs11"
)

// A vaultKind is what a key of a VaultRef is for.
type vaultKind int

const (
	wrappingKey vaultKind = iota
	macKey
	signingKey
	agreementKey
)

// usage returns what the key may do, and nothing else. Who could decrypt with a wrapping
// key would read what it wraps.
func (k vaultKind) usage() map[uint]bool {
	if k == signingKey || k == agreementKey {
		return map[uint]bool{
			p11.CKA_SIGN: k == signingKey, p11.CKA_DERIVE: k == agreementKey,
			p11.CKA_DECRYPT: false, p11.CKA_UNWRAP: false,
		}
	}
	return map[uint]bool{
		p11.CKA_WRAP: k == wrappingKey, p11.CKA_UNWRAP: k == wrappingKey, p11.CKA_SIGN: k == macKey,
		p11.CKA_ENCRYPT: false, p11.CKA_DECRYPT: false, p11.CKA_VERIFY: false, p11.CKA_DERIVE: false,
	}
}

// A vaultLabel is one key of a VaultRef.
type vaultLabel struct {
	label string
	kind  vaultKind
}

func (r *VaultRef) labels() (all []vaultLabel) {
	for _, l := range []vaultLabel{{r.Wrapping, wrappingKey}, {r.MAC, macKey}, {r.Signing, signingKey}} {
		if l.label != "" {
			all = append(all, l)
		}
	}
	for _, label := range r.Agreement {
		all = append(all, vaultLabel{label, agreementKey})
	}
	return all
}

// named returns the attributes by which a key is found. Some tokens replace a key by the
// next one of its id, so that this depends on the label.
func (l vaultLabel) named() attributes {
	id := sha256.Sum256([]byte(l.label))
	return attributes{attribute(p11.CKA_LABEL, l.label), attribute(p11.CKA_ID, id[:idSize])}
}

// GenerateVaultKeys makes the keys that ref names, which never leave the token, and opens
// them as VaultKeys does. If it cannot make one it makes none.
func (t *Token) GenerateVaultKeys(ctx context.Context, ref VaultRef) (*VaultKeys, error) {
	const name = "making the keys of a vault"
	labels := ref.labels()
	for i, l := range labels {
		if l.label == "" || slices.ContainsFunc(labels[:i], func(m vaultLabel) bool { return m.label == l.label }) {
			return nil, newError(t.text(), name, errors.New("each key needs a label of its own"))
		}
	}
	err := t.retry(ctx, name, func(o *op) error {
		return t.private(o, p11.CKF_RW_SESSION, func(s *session) error {
			made, err := ask(o.ctx, s, func() (bool, error) { return s.generateVault(labels) })
			o.again = o.again || made // once more would meet what was made
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	v, err := t.VaultKeys(ctx, ref)
	if err != nil {
		return nil, fmt.Errorf("the keys were made, but do not work: %w", err)
	}
	return v, nil
}

// generateVault makes keys of the token, all or none. kept says whether the token has new
// keys now.
func (s *session) generateVault(labels []vaultLabel) (kept bool, err error) {
	for _, l := range labels {
		if err := s.checkFree(l.named()); err != nil {
			return false, err
		}
	}
	var made []object
	for _, l := range labels {
		handles, err := s.generateNamed(l)
		made = append(made, handles...)
		if err == nil {
			err = s.checkMade(handles[0], l.kind.usage())
		}
		if err == nil {
			continue
		}
		for i, h := range made {
			if err2 := s.destroy(h); err2 != nil {
				return true, fmt.Errorf("the key with label %q: %w; and of those made before, %d could not be destroyed: %w",
					l.label, err, len(made)-i, err2)
			}
		}
		return false, fmt.Errorf("the key with label %q: %w", l.label, err)
	}
	return true, nil
}

// generateNamed makes one key, with what of the optional attributes the token takes.
func (s *session) generateNamed(l vaultLabel) (made []object, err error) {
	var pins runtime.Pinner
	defer pins.Unpin()
	// A copy could have other uses.
	options := []attributes{{attribute(p11.CKA_COPYABLE, false)}, nil}
	if l.kind == wrappingKey {
		only := attribute(p11.CKA_UNWRAP_TEMPLATE, nested(opened(), &pins))
		options = []attributes{append(options[0], only), {only}, options[0], nil}
	}
	_, err = firstMech(options, func(more attributes) (err error) {
		made, err = s.generateWith(l, more)
		return err
	})
	return made, err
}

// generateWith returns the secret or private key first.
func (s *session) generateWith(l vaultLabel, more attributes) ([]object, error) {
	named := append(l.named(), attribute(p11.CKA_TOKEN, true), attribute(p11.CKA_MODIFIABLE, false))
	kept := slices.Concat(named, attributes{attribute(p11.CKA_PRIVATE, true)}, locked(l.kind.usage()), more)
	if l.kind == signingKey || l.kind == agreementKey {
		mech := []*p11.Mechanism{p11.NewMechanism(p11.CKM_EC_KEY_PAIR_GEN, nil)}
		public, private, err := s.lib("C_GenerateKeyPair").GenerateKeyPair(s.handle, mech, append(named,
			attribute(p11.CKA_PRIVATE, false),
			attribute(p11.CKA_EC_PARAMS, p256),
			attribute(p11.CKA_VERIFY, l.kind == signingKey),
		), kept)
		if err != nil {
			return nil, s.failed(err)
		}
		return []object{private, public}, nil
	}
	ckm, ckk := uint(p11.CKM_AES_KEY_GEN), uint(p11.CKK_AES)
	if l.kind == macKey {
		ckm, ckk = p11.CKM_GENERIC_SECRET_KEY_GEN, p11.CKK_GENERIC_SECRET
	}
	h, err := s.lib("C_GenerateKey").GenerateKey(s.handle, []*p11.Mechanism{p11.NewMechanism(ckm, nil)}, append(kept,
		attribute(p11.CKA_CLASS, uint(p11.CKO_SECRET_KEY)),
		attribute(p11.CKA_KEY_TYPE, ckk),
		attribute(p11.CKA_VALUE_LEN, uint(32)),
	))
	if err != nil {
		return nil, s.failed(err)
	}
	return []object{h}, nil
}

// nested encodes t as the value of an attribute that has a template: CK_ATTRIBUTEs, which
// have no padding on any system. pins keeps what they point to in place.
func nested(t attributes, pins *runtime.Pinner) (value []byte) {
	for _, a := range t {
		pins.Pin(&a.Value[0])
		at := unsafe.Pointer(&a.Value[0])
		value = append(value, attribute(0, a.Type).Value...) // as a CK_ULONG
		value = append(value, unsafe.Slice((*byte)(unsafe.Pointer(&at)), unsafe.Sizeof(at))...)
		value = append(value, attribute(0, len(a.Value)).Value...)
	}
	return value
}
