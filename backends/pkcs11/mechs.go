//go:build cgo

package pkcs11

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"fmt"

	"github.com/coffer-backup/coffer/backends"
	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/keys"
	p11 "github.com/miekg/pkcs11"
)

// ckmAESKeyWrapKWP is missing in the binding. CKM_AES_KEY_WRAP_PAD is no substitute:
// tokens mean two things by it.
const ckmAESKeyWrapKWP = 0x210B

// Sizes of RSA keys: of a slot's wrapped field, and what is safe.
const (
	minRSABits = 2048
	maxRSABits = 8192
)

// What check values are hashes of, and the associated data of tests.
const (
	labelCheckGCM = "coffer v1 check value aes-gcm"
	labelCheckKW  = "coffer v1 check value aes-kw"
	labelCheckRSA = "coffer v1 check value rsa"
	labelTestBulk = "coffer v1 self-test of bulk"
)

// secretMechs and rsaMechs are the ways to wrap, the preferred one first.
var (
	secretMechs = []format.Mech{format.MechAESGCM, format.MechAESKW, format.MechAESKWP}
	rsaMechs    = []format.Mech{format.MechRSAOAEP}
)

// mechs returns what a key of k's type may do.
func (k kek) mechs() []format.Mech {
	if k.rsa != nil {
		return rsaMechs
	}
	return secretMechs
}

// wrappedSize returns the length of what m makes of keys.BoundSize bytes.
func (k kek) wrappedSize(m format.Mech) int {
	switch m {
	case format.MechAESGCM:
		return backends.NonceSize + keys.BoundSize + backends.Overhead
	case format.MechRSAOAEP:
		return k.rsa.Size()
	}
	return keys.BoundSize + 8
}

// errBadAnswer is what a token said yes to, and did wrong.
func errBadAnswer(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errNonsense, fmt.Sprintf(format, args...))
}

// wrap wraps plain, keys.BoundSize bytes, and opens what came out again: a slot that
// does not open would be found at the restore.
func (s *session) wrap(k kek, m format.Mech, plain []byte) (wrapped []byte, err error) {
	switch m {
	case format.MechAESGCM:
		iv := make([]byte, backends.NonceSize)
		rand.Read(iv) // never fails
		if wrapped, err = s.seal(k.handle, iv, nil, plain); err == nil {
			wrapped = append(iv, wrapped...)
		}
	case format.MechRSAOAEP:
		wrapped, err = rsa.EncryptOAEP(sha256.New(), rand.Reader, k.rsa, plain, nil)
	default:
		wrapped, err = s.wrapKey(k.handle, m, plain)
	}
	if err != nil {
		return nil, err
	}
	if len(wrapped) != k.wrappedSize(m) {
		return nil, errBadAnswer("%v gave %d bytes instead of %d", m, len(wrapped), k.wrappedSize(m))
	}
	opened, err := s.unwrap(k, m, wrapped)
	if err != nil {
		return nil, err
	}
	defer clear(opened)
	if !bytes.Equal(opened, plain) {
		return nil, errBadAnswer("%v does not open what it wrapped", m)
	}
	return wrapped, nil
}

// unwrap opens wrapped, which has the length that m makes.
func (s *session) unwrap(k kek, m format.Mech, wrapped []byte) (plain []byte, err error) {
	switch m {
	case format.MechAESGCM:
		iv, sealed := wrapped[:backends.NonceSize], wrapped[backends.NonceSize:]
		plain, err = s.open(k.handle, iv, nil, sealed)
	case format.MechRSAOAEP:
		params := p11.NewOAEPParams(p11.CKM_SHA256, p11.CKG_MGF1_SHA256, p11.CKZ_DATA_SPECIFIED, nil)
		plain, err = s.decrypt(p11.NewMechanism(p11.CKM_RSA_PKCS_OAEP, params), k.handle, wrapped)
	default:
		plain, err = s.unwrapKey(k.handle, m, wrapped)
	}
	if err == nil && len(plain) != keys.BoundSize {
		clear(plain)
		return nil, errBadAnswer("%v gave %d bytes instead of %d", m, len(plain), keys.BoundSize)
	}
	return plain, err
}

// errReplacesIV is a token that makes IVs of its own, as some do in a FIPS mode.
var errReplacesIV = fmt.Errorf("%w: the IV is replaced by one of its own", errNonsense)

// seal encrypts with AES-GCM, and demands that iv was used as it is.
func (s *session) seal(key object, iv, ad, plain []byte) ([]byte, error) {
	params := p11.NewGCMParams(iv, ad, 8*backends.Overhead)
	defer params.Free()
	mech := []*p11.Mechanism{p11.NewMechanism(p11.CKM_AES_GCM, params)}
	if err := s.failed(s.lib("C_EncryptInit").EncryptInit(s.handle, mech, key)); err != nil {
		return nil, err
	}
	sealed, err := s.lib("C_Encrypt").Encrypt(s.handle, plain)
	if err != nil {
		return nil, s.failed(err)
	}
	if !bytes.Equal(params.IV(), iv) {
		return nil, errReplacesIV
	}
	if len(sealed) != len(plain)+backends.Overhead {
		return nil, errBadAnswer("C_Encrypt gave %d bytes instead of %d", len(sealed), len(plain)+backends.Overhead)
	}
	return sealed, nil
}

// open decrypts with AES-GCM.
func (s *session) open(key object, iv, ad, sealed []byte) ([]byte, error) {
	params := p11.NewGCMParams(iv, ad, 8*backends.Overhead)
	defer params.Free()
	plain, err := s.decrypt(p11.NewMechanism(p11.CKM_AES_GCM, params), key, sealed)
	if want := len(sealed) - backends.Overhead; err == nil && len(plain) != want {
		clear(plain)
		return nil, errBadAnswer("C_Decrypt gave %d bytes instead of %d", len(plain), want)
	}
	return plain, err
}

func (s *session) decrypt(mech *p11.Mechanism, key object, sealed []byte) ([]byte, error) {
	if err := s.failed(s.lib("C_DecryptInit").DecryptInit(s.handle, []*p11.Mechanism{mech}, key)); err != nil {
		return nil, err
	}
	plain, err := s.lib("C_Decrypt").Decrypt(s.handle, sealed)
	return plain, s.failed(err)
}

func keyWrapMech(m format.Mech) []*p11.Mechanism {
	ckm := uint(p11.CKM_AES_KEY_WRAP)
	if m == format.MechAESKWP {
		ckm = ckmAESKeyWrapKWP
	}
	return []*p11.Mechanism{p11.NewMechanism(ckm, nil)}
}

// wrapKey wraps plain, which becomes an object of the session for that.
func (s *session) wrapKey(key object, m format.Mech, plain []byte) ([]byte, error) {
	h, err := s.create(append(s.sessionSecret(), attribute(p11.CKA_VALUE, plain)))
	if err != nil {
		return nil, err
	}
	wrapped, err := s.lib("C_WrapKey").WrapKey(s.handle, keyWrapMech(m), key, h)
	if err != nil {
		return nil, s.failed(err) // h ends with the session
	}
	s.drop(h)
	return wrapped, nil
}

// unwrapKey makes an object of the session of wrapped and reads its value.
func (s *session) unwrapKey(key object, m format.Mech, wrapped []byte) ([]byte, error) {
	h, err := s.lib("C_UnwrapKey").UnwrapKey(s.handle, keyWrapMech(m), key, wrapped, s.sessionSecret())
	if err != nil {
		return nil, s.failed(err)
	}
	plain, err := s.attribute(h, p11.CKA_VALUE)
	if err != nil {
		return nil, err
	}
	s.drop(h)
	return plain, nil
}

// sessionSecret is the template of a generic secret that is wrapped, or read.
func (s *session) sessionSecret() attributes {
	return attributes{
		attribute(p11.CKA_CLASS, uint(p11.CKO_SECRET_KEY)),
		attribute(p11.CKA_KEY_TYPE, uint(p11.CKK_GENERIC_SECRET)),
		attribute(p11.CKA_TOKEN, false),
		attribute(p11.CKA_PRIVATE, s.login.pin),
		attribute(p11.CKA_SENSITIVE, false),
		attribute(p11.CKA_EXTRACTABLE, true),
	}
}

// checkValue computes a CheckValue for a key that wraps with m.
func (s *session) checkValue(k kek, m format.Mech) (c CheckValue, err error) {
	var shown []byte
	switch m {
	case format.MechAESGCM:
		// No IV of a slot is this one, save with a chance of 2^-96, and of an empty
		// message there is nothing to learn.
		shown, err = s.seal(k.handle, make([]byte, backends.NonceSize), []byte(labelCheckGCM), nil)
	case format.MechRSAOAEP:
		shown = append([]byte(labelCheckRSA), x509.MarshalPKCS1PublicKey(k.rsa)...)
	default:
		constant := sha256.Sum256([]byte(labelCheckKW))
		shown, err = s.wrapKey(k.handle, m, constant[:])
	}
	if err != nil {
		return CheckValue{}, err
	}
	sum := sha256.Sum256(shown)
	copy(c[:], sum[:])
	return c, nil
}
