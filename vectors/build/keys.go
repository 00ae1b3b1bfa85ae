package build

import (
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/subtle"

	"golang.org/x/crypto/argon2"
)

// Keys is the key schedule of a file (§ 4.1).
type Keys struct {
	PRK, ContextHash, MACKey, ContextTag, CoreHash, BodyKey, Nonce []byte
}

// Derive computes the schedule. core may be nil if only PRK, MACKey and ContextTag
// are wanted.
func Derive(fk, salt, core, context []byte) (k Keys) {
	k.PRK = extract(fk, salt)
	k.ContextHash, k.CoreHash = sum(context), sum(core)
	bound := string(k.CoreHash) + string(k.ContextHash)
	k.MACKey = expand(k.PRK, "coffer v1 header mac", 32)
	k.ContextTag = expand(k.PRK, "coffer v1 context"+string(k.ContextHash), 16)
	k.BodyKey = expand(k.PRK, "coffer v1 body key"+bound, 32)
	k.Nonce = expand(k.PRK, "coffer v1 body nonce"+bound, 12)
	k.Nonce[0] &= 0x7f
	clear(k.Nonce[8:])
	return k
}

// A Wrapping is every value on the way to a slot of kind 1 or 2 (§ 4.5).
type Wrapping struct {
	KEK, Bind, Pad, C, WrapKey, Tag []byte
}

// Bind is § 4.5.1.
func Bind(core []byte, kind uint16, salt, params []byte) []byte {
	b := append([]byte("coffer v1 slot"), core...)
	b = le.AppendUint16(b, kind)
	b = append(b, salt...)
	return sum(append(b, params...))
}

// Wrap is § 4.5.3.
func Wrap(kek, bind, fk []byte) Wrapping {
	w := Wrapping{KEK: kek, Bind: bind, C: make([]byte, 32)}
	w.Pad = expand(kek, "coffer v1 wrap pad"+string(bind), 32)
	w.WrapKey = expand(kek, "coffer v1 wrap mac"+string(bind), 32)
	subtle.XORBytes(w.C, fk, w.Pad)
	w.Tag = HMAC(w.WrapKey, w.C)
	return w
}

// AccountKEK is the KEK of kind 1 (§ 4.5.2).
func AccountKEK(ak, salt []byte) []byte {
	return expand(extract(ak, salt), "coffer v1 kek account", 32)
}

// KeyID is the hint of an account key (§ 4.6.3).
func KeyID(ak []byte) []byte { return expand(ak, "coffer v1 key id", 16) }

// KeyTextChecksum is the 17th group of an account key's text, as bytes (§ 4.6.1).
func KeyTextChecksum(ak []byte) []byte {
	return sum(append([]byte("coffer v1 key text"), ak...))[:2]
}

// AccountSlot is a slot of kind 1. hint is the key_id, 16 bytes, or nil for zeros.
func AccountSlot(core, ak, salt, hint, fk []byte) (Entry, Wrapping) {
	params := make([]byte, 16)
	copy(params, hint)
	w := Wrap(AccountKEK(ak, salt), Bind(core, 1, salt, params), fk)
	return Slot(1, salt, params, w.C, w.Tag), w
}

// Argon2 is the cost of a passphrase slot.
type Argon2 struct {
	Passes, MemoryKiB uint32
	Parallelism       uint8
}

// Cheapest is the least that § 3.3.1 allows.
var Cheapest = Argon2{Passes: 1, MemoryKiB: 8, Parallelism: 1}

// Params are those of kind 2 (§ 3.3).
func (a Argon2) Params() []byte {
	p := []byte{0x13, a.Parallelism, 0, 0}
	p = le.AppendUint32(p, a.Passes)
	p = le.AppendUint32(p, a.MemoryKiB)
	return append(p, 0, 0, 0, 0)
}

// PassphraseSlot is a slot of kind 2.
func PassphraseSlot(core, passphrase, salt []byte, cost Argon2, fk []byte) (Entry, Wrapping) {
	kek := argon2.IDKey(passphrase, salt, cost.Passes, cost.MemoryKiB, cost.Parallelism, 32)
	w := Wrap(kek, Bind(core, 2, salt, cost.Params()), fk)
	return Slot(2, salt, cost.Params(), w.C, w.Tag), w
}

// Slot joins the parts of a slot.
func Slot(kind uint16, salt, params []byte, wrapped ...[]byte) Entry {
	data := append(append([]byte(nil), salt...), params...)
	for _, w := range wrapped {
		data = append(data, w...)
	}
	return Entry{kind, data}
}

func sum(b []byte) []byte {
	s := sha256.Sum256(b)
	return s[:]
}

func extract(ikm, salt []byte) []byte {
	prk, err := hkdf.Extract(sha256.New, ikm, salt)
	return must(prk, err)
}

func expand(prk []byte, info string, n int) []byte {
	out, err := hkdf.Expand(sha256.New, prk, info, n)
	return must(out, err)
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
