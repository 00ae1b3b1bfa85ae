package engine_test

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/binary"
	"fmt"

	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/keys"
	"github.com/coffer-backup/coffer/vectors"
)

// An otherKey opens slots of kinds 3 and 4 as § 4.5.6 says, with a key that a token or
// service would keep.
type otherKey struct {
	kind format.Kind
	// open returns what was wrapped, FK ‖ bind, or nil if it does not open.
	open func(slot format.Slot, wrapped, bind []byte) []byte
}

func newOtherKey(k vectors.OtherKey) (keys.Identity, error) {
	id := otherKey{kind: format.Kind(k.Kind)}
	switch k.Type {
	case "aes-256":
		block, err := aes.NewCipher(k.Key)
		if err != nil {
			return nil, err
		}
		id.open = aesKey{block}.open
	case "rsa-pkcs8":
		private, err := x509.ParsePKCS8PrivateKey(k.Key)
		if err != nil {
			return nil, err
		}
		id.open = rsaKey{private.(*rsa.PrivateKey)}.open
	case "xwing-seed":
		return keys.HybridIdentityFrom(k.Key)
	default:
		return nil, fmt.Errorf("a key of type %q", k.Type)
	}
	return id, nil
}

func (k otherKey) Kind() format.Kind { return k.kind }

func (k otherKey) Unwrap(_ context.Context, core format.Core, slot format.Slot) (*keys.FileKey, error) {
	bind := slotBind(core, slot)
	plain := k.open(slot, slot.Wrapped[2:], bind) // after its length
	if len(plain) != 64 || subtle.ConstantTimeCompare(plain[32:], bind) != 1 {
		return nil, keys.ErrNoMatch
	}
	return keys.FileKeyFrom(plain[:32])
}

// slotBind is § 4.5.1.
func slotBind(core format.Core, slot format.Slot) []byte {
	b := append([]byte("coffer v1 slot"), core[:]...)
	b = binary.LittleEndian.AppendUint16(b, uint16(slot.Kind))
	b = append(b, slot.Salt[:]...)
	sum := sha256.Sum256(append(b, slot.Params...))
	return sum[:]
}

// An aesKey is one of kind 3 with mech 1, 2 or 3, or of Tink's AES-GCM.
type aesKey struct{ cipher.Block }

func (k aesKey) open(slot format.Slot, wrapped, bind []byte) []byte {
	if slot.Kind == format.KindTink {
		const prefix = 5 // 1 and the key's id, a hint
		if len(wrapped) < prefix || wrapped[0] != 1 {
			return nil
		}
		return k.openGCM(wrapped[prefix:], bind)
	}
	switch slot.Params[0] {
	case 1:
		return k.openGCM(wrapped, nil)
	case 2:
		return k.unwrapKey(wrapped, 0xA6A6A6A6A6A6A6A6)
	case 3:
		return k.unwrapKey(wrapped, 0xA65959A6<<32|64)
	}
	return nil
}

func (k aesKey) openGCM(wrapped, ad []byte) []byte {
	aead, err := cipher.NewGCM(k)
	if err != nil || len(wrapped) < aead.NonceSize() {
		return nil
	}
	plain, err := aead.Open(nil, wrapped[:aead.NonceSize()], wrapped[aead.NonceSize():], ad)
	if err != nil {
		return nil
	}
	return plain
}

// unwrapKey is RFC 3394, and RFC 5649 for a key that needs no padding: they differ in
// the initial value.
func (k aesKey) unwrapKey(wrapped []byte, iv uint64) []byte {
	be := binary.BigEndian
	n := len(wrapped)/8 - 1
	a, r := be.Uint64(wrapped), append([]byte(nil), wrapped[8:]...)
	var b [aes.BlockSize]byte
	for step := uint64(6 * n); step > 0; step-- {
		i := 8 * ((step - 1) % uint64(n))
		be.PutUint64(b[:8], a^step)
		copy(b[8:], r[i:i+8])
		k.Decrypt(b[:], b[:])
		a = be.Uint64(b[:8])
		copy(r[i:], b[8:])
	}
	if a != iv {
		return nil
	}
	return r
}

// An rsaKey is one of kind 3 with mech 4.
type rsaKey struct{ *rsa.PrivateKey }

func (k rsaKey) open(slot format.Slot, wrapped, _ []byte) []byte {
	if format.Mech(slot.Params[0]) != format.MechRSAOAEP {
		return nil
	}
	plain, err := rsa.DecryptOAEP(sha256.New(), nil, k.PrivateKey, wrapped, nil)
	if err != nil {
		return nil
	}
	return plain
}
