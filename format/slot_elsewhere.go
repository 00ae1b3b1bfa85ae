package format

import (
	"encoding/binary"
	"fmt"
)

// Mech is how a token wraps in a slot of KindPKCS11 (§ 3.3.2). It names an algorithm
// and is no CKM number.
type Mech uint8

// The mechs of version 1.
const (
	MechAESGCM  Mech = 1
	MechAESKW   Mech = 2 // RFC 3394
	MechAESKWP  Mech = 3 // RFC 5649
	MechRSAOAEP Mech = 4 // the one that anyone can wrap with
)

var mechNames = [...]string{MechAESGCM: "aes-gcm", MechAESKW: "aes-kw", MechAESKWP: "aes-kwp", MechRSAOAEP: "rsa-oaep"}

func (m Mech) known() bool { return m >= MechAESGCM && m <= MechRSAOAEP }

// String returns the mech's name on the command line.
func (m Mech) String() string {
	if m.known() {
		return mechNames[m]
	}
	return fmt.Sprintf("mech %d", uint8(m))
}

// ParseMech is the inverse of String.
func ParseMech(name string) (Mech, error) {
	for m := MechAESGCM; m.known(); m++ {
		if mechNames[m] == name {
			return m, nil
		}
	}
	return 0, fmt.Errorf("unknown mech %q: want aes-gcm, aes-kw, aes-kwp or rsa-oaep", name)
}

// PKCS11Params are the params of a slot of KindPKCS11 (§ 3.3). All but Mech are
// hints, empty and zero unless somebody asked for them.
type PKCS11Params struct {
	Mech   Mech
	ID     []byte // CKA_ID, at most MaxPKCS11ID bytes
	Label  []byte // at most MaxPKCS11Label bytes
	Serial [PKCS11SerialSize]byte
}

// AppendBinary appends the params field to dst.
func (p PKCS11Params) AppendBinary(dst []byte) ([]byte, error) {
	switch {
	case !p.Mech.known():
		return dst, fmt.Errorf("a slot of %v cannot be written", p.Mech)
	case len(p.ID) > MaxPKCS11ID:
		return dst, fmt.Errorf("a CKA_ID of %d bytes: at most %d fit in a slot", len(p.ID), MaxPKCS11ID)
	case len(p.Label) > MaxPKCS11Label:
		return dst, fmt.Errorf("a label of %d bytes: at most %d fit in a slot", len(p.Label), MaxPKCS11Label)
	}
	dst = append(dst, uint8(p.Mech), uint8(len(p.ID)))
	dst = append(append(dst, p.ID...), uint8(len(p.Label)))
	return append(append(dst, p.Label...), p.Serial[:]...), nil
}

// PKCS11Params reads the params of a slot of KindPKCS11. ID and Label lie in s.
func (s Slot) PKCS11Params() (PKCS11Params, error) {
	c := &cursor{name: "PKCS#11 slot", data: s.Params}
	p, known := parsePKCS11Params(c)
	if !known {
		c.fail(0, "mech", "is not known")
	}
	c.end("params")
	return p, c.err
}

// parsePKCS11Params reads the params of a token's slot. One of another mech is
// skipped, so its other fields are not judged.
func parsePKCS11Params(c *cursor) (p PKCS11Params, known bool) {
	if p.Mech = Mech(c.u8("mech")); c.err == nil && !p.Mech.known() {
		return p, false
	}
	hint := func(field string, limit int) []byte {
		at := c.off
		n := int(c.u8(field + " length"))
		if n > limit {
			c.fail(at, field+" length", fmt.Sprintf("%d is over %d", n, limit))
		}
		return c.take(field, n)
	}
	p.ID = hint("CKA_ID", MaxPKCS11ID)
	p.Label = hint("label", MaxPKCS11Label)
	copy(p.Serial[:], c.take("token serial", len(p.Serial)))
	return p, true
}

// AppendTinkParams appends the params field of a slot of KindTink to dst. alias is a
// hint, empty unless somebody asked for it, of at most MaxTinkAlias bytes.
func AppendTinkParams(dst []byte, alias string) ([]byte, error) {
	if len(alias) > MaxTinkAlias {
		return dst, fmt.Errorf("an alias of %d bytes: at most %d fit in a slot", len(alias), MaxTinkAlias)
	}
	return append(append(dst, uint8(len(alias))), alias...), nil
}

// TinkAlias reads the params of a slot of KindTink.
func (s Slot) TinkAlias() (string, error) {
	c := &cursor{name: "Tink slot", data: s.Params}
	alias := parseTinkAlias(c)
	c.end("params")
	return string(alias), c.err
}

func parseTinkAlias(c *cursor) []byte { return c.take("alias", int(c.u8("alias length"))) }

// HPKEParams returns the params field of a slot of KindHPKE: its KEM, X-Wing.
func HPKEParams() []byte { return binary.LittleEndian.AppendUint16(nil, hpkeXWing) }

// Sized returns the wrapped field of a slot of KindPKCS11 or KindTink: a u16 length,
// then wrapped.
func Sized(wrapped []byte) []byte {
	return append(binary.LittleEndian.AppendUint16(nil, uint16(len(wrapped))), wrapped...)
}

// Unsized returns what follows the length in the wrapped field of a slot of
// KindPKCS11 or KindTink, or nil if the length is not that of the rest.
func (s Slot) Unsized() []byte {
	c := &cursor{name: "slot", data: s.Wrapped}
	wrapped := c.take("wrapped", int(c.u16("wrapped length")))
	c.end("wrapped")
	if c.err != nil {
		return nil
	}
	return wrapped
}
