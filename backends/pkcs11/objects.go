//go:build cgo

package pkcs11

import (
	"bytes"
	"crypto/rsa"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"strings"

	p11 "github.com/miekg/pkcs11"
)

type (
	object     = p11.ObjectHandle
	attributes = []*p11.Attribute
)

func attribute(kind uint, value any) *p11.Attribute { return p11.NewAttribute(kind, value) }

// The methods of session below make calls and are for its worker.

func (s *session) create(template attributes) (object, error) {
	h, err := s.lib("C_CreateObject").CreateObject(s.handle, template)
	return h, s.failed(err)
}

func (s *session) destroy(h object) error {
	return s.failed(s.lib("C_DestroyObject").DestroyObject(s.handle, h))
}

// drop destroys an object of the session; if that fails it goes with the session.
func (s *session) drop(h object) {
	if s.destroy(h) != nil {
		s.spoiled = true
	}
}

// attribute reads one attribute. Tokens that lack one of several fail for all.
func (s *session) attribute(h object, kind uint) ([]byte, error) {
	got, err := s.lib("C_GetAttributeValue").GetAttributeValue(s.handle, h, attributes{{Type: kind}})
	if err != nil {
		return nil, s.failed(err)
	}
	if len(got) != 1 {
		return nil, fmt.Errorf("%w: C_GetAttributeValue gave %d attributes instead of one", ErrFailed, len(got))
	}
	return got[0].Value, nil
}

// find returns the objects that fit template: all, or as many as are enough to tell that
// there are too many.
func (s *session) find(template attributes) (found []object, err error) {
	if err := s.failed(s.lib("C_FindObjectsInit").FindObjectsInit(s.handle, template)); err != nil {
		return nil, err
	}
	for len(found) < 2 {
		some, _, err := s.lib("C_FindObjects").FindObjects(s.handle, 8)
		if err != nil {
			return nil, s.failed(err)
		}
		if len(some) == 0 {
			break
		}
		found = append(found, some...)
	}
	if s.lib("C_FindObjectsFinal").FindObjectsFinal(s.handle) != nil {
		s.spoiled = true // the search goes on in it
	}
	return found, nil
}

// template returns what to search for, in a class of keys of the type that can be used.
func (r KeyRef) template(class uint) attributes {
	t := attributes{attribute(p11.CKA_CLASS, class), attribute(p11.CKA_TOKEN, true)}
	if class == p11.CKO_SECRET_KEY {
		t = append(t, attribute(p11.CKA_KEY_TYPE, uint(p11.CKK_AES)))
	} else {
		t = append(t, attribute(p11.CKA_KEY_TYPE, uint(p11.CKK_RSA)))
	}
	if r.Label != "" {
		t = append(t, attribute(p11.CKA_LABEL, r.Label))
	}
	if len(r.ID) > 0 {
		t = append(t, attribute(p11.CKA_ID, r.ID))
	}
	return t
}

// text names the key for errors.
func (r KeyRef) text() string {
	var texts []string
	if r.Label != "" {
		texts = append(texts, "label "+strconv.Quote(r.Label))
	}
	if len(r.ID) > 0 {
		texts = append(texts, fmt.Sprintf("id %x", r.ID))
	}
	if r.Type != "" {
		texts = append(texts, "type "+r.Type)
	}
	return strings.Join(texts, " and ")
}

// A kek is a key in the token, which wraps, as s sees it.
type kek struct {
	handle object
	rsa    *rsa.PublicKey // nil: AES-256
}

// findKeys returns the keys that fit ref, or enough of them: see find.
func (s *session) findKeys(ref KeyRef) (secret, private []object, err error) {
	if ref.Type != TypePrivate {
		if secret, err = s.find(ref.template(p11.CKO_SECRET_KEY)); err != nil {
			return nil, nil, err
		}
	}
	if ref.Type != TypeSecret {
		private, err = s.find(ref.template(p11.CKO_PRIVATE_KEY))
	}
	return secret, private, err
}

// findKey returns the one key that fits ref.
func (s *session) findKey(ref KeyRef) (kek, error) {
	secret, private, err := s.findKeys(ref)
	if err != nil {
		return kek{}, err
	}
	switch all := append(secret, private...); {
	case len(all) > 1:
		return kek{}, fmt.Errorf("%w: several keys have %s, so give the id: %s", ErrKeyNotFound, ref.text(), s.keyNames(all))
	case len(all) == 0:
		return kek{}, s.noKey(ref)
	case len(private) == 0:
		return s.aesKey(secret[0])
	default:
		return s.rsaKey(private[0])
	}
}

// noKey tells why there may be no key, which the token does not: to who is logged out it
// shows none.
func (s *session) noKey(ref KeyRef) error {
	why := "the token may have been initialized anew since the key was made"
	if !s.login.pin {
		why = "or it is shown to who logs in only, and no PIN was given"
	} else if in, err := s.loggedIn(); err != nil {
		return err
	} else if !in {
		return &callError{"C_FindObjects", p11.CKR_USER_NOT_LOGGED_IN}
	}
	secret, private, err := s.findKeys(KeyRef{})
	if err != nil {
		return err
	}
	if there := append(secret, private...); len(there) > 0 {
		why = "there is " + s.keyNames(there)
	}
	return fmt.Errorf("%w: no AES or RSA key has %s; %s", ErrKeyNotFound, ref.text(), why)
}

// keyNames lists keys, for errors.
func (s *session) keyNames(all []object) string {
	const limit = 8
	var texts []string
	for _, h := range all[:min(len(all), limit)] {
		label, _ := s.attribute(h, p11.CKA_LABEL)
		id, _ := s.attribute(h, p11.CKA_ID)
		texts = append(texts, fmt.Sprintf("%.64q (id %.64x)", label, id))
	}
	if len(all) > limit {
		texts = append(texts, "more")
	}
	return strings.Join(texts, ", ")
}

// keyWarnings reads what the key may do besides wrapping. What a token does not tell is
// not judged.
func (s *session) keyWarnings(k kek) (warnings []string, err error) {
	read := func(kind uint) []byte {
		value, e := s.attribute(k.handle, kind)
		var c *callError
		if errors.As(e, &c) && c.code != p11.CKR_ATTRIBUTE_TYPE_INVALID && err == nil {
			err = e
		}
		return value
	}
	is := func(kind uint) bool { return isTrue(read(kind)) }
	if k.rsa == nil {
		size, e := s.attribute(k.handle, p11.CKA_VALUE_LEN)
		if n, ok := ulong(size); e == nil && ok && n == 0 {
			warnings = append(warnings, "the token does not tell how long the key is: it may be shorter than the 256 bits of AES-256")
		}
	}
	if is(p11.CKA_EXTRACTABLE) {
		warnings = append(warnings, "the key can leave the token: CKA_EXTRACTABLE is true")
	}
	if bytes.Equal(read(p11.CKA_SENSITIVE), []byte{0}) {
		warnings = append(warnings, "the key is not kept from being read: CKA_SENSITIVE is false")
	}
	if is(p11.CKA_DECRYPT) && (is(p11.CKA_WRAP) || is(p11.CKA_UNWRAP)) {
		warnings = append(warnings, "the key may decrypt, and wrap or unwrap: who uses it for one can undo the other")
	}
	return warnings, err
}

// aesKey checks that h is an AES-256 key. Tokens know AES of other lengths too, and some
// do not tell it of keys that were imported: SoftHSM says 0.
func (s *session) aesKey(h object) (kek, error) {
	size, err := s.attribute(h, p11.CKA_VALUE_LEN)
	if err != nil {
		return kek{}, err
	}
	n, ok := ulong(size)
	if !ok {
		return kek{}, errBadAnswer("CKA_VALUE_LEN has %d bytes", len(size))
	}
	if n != 32 && n != 0 {
		return kek{}, fmt.Errorf("%w: the key is AES-%d, not AES-256", ErrKeyNotFound, 8*n)
	}
	return kek{handle: h}, nil
}

// rsaKey reads the public half of h.
func (s *session) rsaKey(h object) (kek, error) {
	n, err := s.attribute(h, p11.CKA_MODULUS)
	if err != nil {
		return kek{}, err
	}
	e, err := s.attribute(h, p11.CKA_PUBLIC_EXPONENT)
	if err != nil {
		return kek{}, err
	}
	modulus, exponent := new(big.Int).SetBytes(n), new(big.Int).SetBytes(e)
	if bits := modulus.BitLen(); bits < minRSABits || bits > maxRSABits {
		return kek{}, fmt.Errorf("%w: the key is RSA-%d; RSA-%d to RSA-%d are supported", ErrKeyNotFound, bits, minRSABits, maxRSABits)
	}
	if exponent.BitLen() > 31 {
		return kek{}, fmt.Errorf("%w: the key's public exponent has %d bits, at most 31 are supported", ErrKeyNotFound, exponent.BitLen())
	}
	return kek{h, &rsa.PublicKey{N: modulus, E: int(exponent.Int64())}}, nil
}

// ulong reads a CK_ULONG, which has the machine's size and byte order.
func ulong(b []byte) (n uint64, ok bool) {
	switch len(b) {
	case 4:
		return uint64(binary.NativeEndian.Uint32(b)), true
	case 8:
		return binary.NativeEndian.Uint64(b), true
	}
	return 0, false
}

func isTrue(b []byte) bool { return bytes.Equal(b, []byte{1}) }
