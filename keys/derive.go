package keys

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"

	"github.com/coffer-backup/coffer/format"
)

// The labels of version 1 (§ 4.1). Under one key none is a prefix of another.
const (
	labelHeaderMAC     = "coffer v1 header mac"
	labelContext       = "coffer v1 context"
	labelBodyKey       = "coffer v1 body key"
	labelBodyNonce     = "coffer v1 body nonce"
	labelSlot          = "coffer v1 slot"
	labelKEKAccount    = "coffer v1 kek account"
	labelWrapPad       = "coffer v1 wrap pad"
	labelWrapMAC       = "coffer v1 wrap mac"
	labelKeyID         = "coffer v1 key id"
	labelKeyText       = "coffer v1 key text"
	labelRecipientText = "coffer v1 recipient text"
	labelIdentityText  = "coffer v1 identity text"
	labelHPKE          = "coffer v1 hpke"
)

// expand is HKDF-Expand with SHA-256.
func expand(prk []byte, info string, n int) []byte {
	out, err := hkdf.Expand(sha256.New, prk, info, n)
	if err != nil { // only for n > 255 · 32
		panic("keys: internal error: " + err.Error())
	}
	return out
}

func hmac256(key, data []byte) (sum [32]byte) {
	m := hmac.New(sha256.New, key)
	m.Write(data)
	m.Sum(sum[:0])
	return sum
}

// A Schedule derives the keys of one container from its file key (§ 4).
type Schedule struct{ prk secret }

// NewSchedule starts the schedule of the file key and the header's salt.
func NewSchedule(fk *FileKey, salt *[format.SaltSize]byte) *Schedule {
	prk, err := hkdf.Extract(sha256.New, fk.raw(), salt[:])
	if err != nil { // only in a FIPS mode that forbids short keys; ours has 32 bytes
		panic("keys: internal error: " + err.Error())
	}
	s, _ := secretFrom(prk)
	return &Schedule{s}
}

// HeaderMAC returns the MAC of an encoded header block (§ 4.3). It is also the
// commitment to the file key: no second key gives the same MAC.
func (s *Schedule) HeaderMAC(block []byte) [32]byte {
	return hmac256(expand(s.prk.raw(), labelHeaderMAC, 32), format.MACInput(block))
}

// VerifyHeader reports, in constant time, whether mac is the MAC of block.
func (s *Schedule) VerifyHeader(block []byte, mac *[32]byte) bool {
	want := s.HeaderMAC(block)
	return subtle.ConstantTimeCompare(want[:], mac[:]) == 1
}

// ContextTag returns the header's context_tag for a context, which is not empty
// (§ 4.2).
func (s *Schedule) ContextTag(context []byte) (tag [format.ContextTagSize]byte) {
	h := sha256.Sum256(context)
	copy(tag[:], expand(s.prk.raw(), labelContext+string(h[:]), len(tag)))
	return tag
}

// Body returns the key BK, 32 bytes, and the nonce N of the body's DARE stream
// (§ 4.4). An empty context is none.
func (s *Schedule) Body(core format.Core, context []byte) (key []byte, nonce format.Nonce) {
	coreHash, contextHash := sha256.Sum256(core[:]), sha256.Sum256(context)
	bound := string(coreHash[:]) + string(contextHash[:])
	key = expand(s.prk.raw(), labelBodyKey+bound, 32)
	copy(nonce[:], expand(s.prk.raw(), labelBodyNonce+bound, len(nonce)))
	nonce[0] &^= 0x80
	clear(nonce[8:])
	return key, nonce
}

// Erase overwrites the schedule's secret. It must not be used afterwards.
func (s *Schedule) Erase() { s.prk.Erase() }

// bind ties a slot to its file: without it, somebody who once knew the file key
// of another container could move that container's slots to a forged one (§ 4.5).
func bind(core format.Core, slot format.Slot) string {
	b := append([]byte(labelSlot), core[:]...)
	b = binary.LittleEndian.AppendUint16(b, uint16(slot.Kind))
	b = append(b, slot.Salt[:]...)
	sum := sha256.Sum256(append(b, slot.Params...))
	return string(sum[:])
}

// wrap returns c ‖ tag (§ 4.5). It is no AEAD on purpose: with a non-committing
// one, one slot could be made to open under many passphrases.
func wrap(kek []byte, core format.Core, slot format.Slot, fk *FileKey) []byte {
	b := bind(core, slot)
	out := make([]byte, 32, format.WrappedSize)
	subtle.XORBytes(out, fk.raw(), expand(kek, labelWrapPad+b, 32))
	tag := hmac256(expand(kek, labelWrapMAC+b, 32), out)
	return append(out, tag[:]...)
}

// unwrap reverses wrap, or returns ErrNoMatch.
func unwrap(kek []byte, core format.Core, slot format.Slot) (*FileKey, error) {
	b := bind(core, slot)
	c, tag := slot.Wrapped[:32], slot.Wrapped[32:]
	want := hmac256(expand(kek, labelWrapMAC+b, 32), c)
	if subtle.ConstantTimeCompare(want[:], tag) != 1 {
		return nil, ErrNoMatch
	}
	fk := &FileKey{newSecret()}
	subtle.XORBytes(fk.raw(), c, expand(kek, labelWrapPad+b, 32))
	return fk, nil
}
