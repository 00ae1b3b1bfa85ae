package build

import (
	"bytes"
	"crypto/aes"
	"encoding/binary"
)

// The mechanisms of kind 3 (§ 3.3.2).
const (
	MechGCM     = 1
	MechKW      = 2
	MechKWP     = 3
	MechRSAOAEP = 4
)

// PKCS11Params are those of kind 3 (§ 3.3). serial is 16 bytes, or nil for zeros.
func PKCS11Params(mech byte, id, label string, serial []byte) []byte {
	p := append([]byte{mech, byte(len(id))}, id...)
	p = append(append(p, byte(len(label))), label...)
	fixed := make([]byte, 16)
	copy(fixed, serial)
	return append(p, fixed...)
}

// TinkParams are those of kind 4.
func TinkParams(alias string) []byte { return append([]byte{byte(len(alias))}, alias...) }

// KEMParams are those of kind 5, for X-Wing.
func KEMParams() []byte { return []byte{0x7A, 0x64} }

// Sized is wrapped of kinds 3 and 4: a u16 length and the bytes.
func Sized(wrapped []byte) []byte {
	return append(le.AppendUint16(nil, uint16(len(wrapped))), wrapped...)
}

// WrapGCM is IV ‖ ciphertext ‖ tag of AES-256-GCM, as mech 1 of kind 3 and, after a
// prefix, Tink have it.
func WrapGCM(key, iv, plain, ad []byte) []byte {
	return AEAD(1, key).Seal(bytes.Clone(iv), iv, plain, ad)
}

// TinkPrefix begins what an AEAD of Tink with key id 1 makes.
func TinkPrefix() []byte { return []byte{1, 0, 0, 0, 1} }

// WrapKW is AES Key Wrap (RFC 3394).
func WrapKW(key, plain []byte) []byte {
	return keyWrap(key, 0xA6A6A6A6A6A6A6A6, plain)
}

// WrapKWP is AES Key Wrap with Padding (RFC 5649). plain is a multiple of 8 bytes,
// more than one of them, so that nothing is padded.
func WrapKWP(key, plain []byte) []byte {
	return keyWrap(key, 0xA65959A6<<32|uint64(len(plain)), plain)
}

func keyWrap(key []byte, iv uint64, plain []byte) []byte {
	block := must(aes.NewCipher(key))
	be := binary.BigEndian
	r := be.AppendUint64(nil, iv)
	r = append(r, plain...)
	n := len(plain) / 8
	var b [16]byte
	for j := range 6 {
		for i := 1; i <= n; i++ {
			copy(b[:8], r[:8])
			copy(b[8:], r[8*i:8*i+8])
			block.Encrypt(b[:], b[:])
			be.PutUint64(r, be.Uint64(b[:8])^uint64(n*j+i))
			copy(r[8*i:], b[8:])
		}
	}
	return r
}
