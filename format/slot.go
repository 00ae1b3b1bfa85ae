package format

import (
	"encoding/binary"
	"fmt"
)

// Kind is the kind of a header entry: a slot, which wraps the file key, or,
// with bit 15 set, a note (§ 3.2).
type Kind uint16

// The slot kinds of version 1.
const (
	KindAccount    Kind = 1 // the owner's account key
	KindPassphrase Kind = 2 // Argon2id
	KindPKCS11     Kind = 3 // a key in a token
	KindTink       Kind = 4 // a Tink AEAD or a KMS
	KindHPKE       Kind = 5 // a hybrid public key

	noteBit Kind = 1 << 15
)

// String returns the kind's name, for people.
func (k Kind) String() string {
	switch {
	case k == KindAccount:
		return "account key"
	case k == KindPassphrase:
		return "passphrase"
	case k == KindPKCS11:
		return "PKCS#11 token"
	case k == KindTink:
		return "Tink or KMS"
	case k == KindHPKE:
		return "HPKE recipient"
	case k.IsNote():
		return fmt.Sprintf("note %#04x", uint16(k))
	}
	return fmt.Sprintf("unknown kind %d", uint16(k))
}

// IsNote reports whether the entry is a note, which is no key (§ 3.2).
func (k Kind) IsNote() bool { return k&noteBit != 0 }

// An Entry is a slot or a note as it stands in the header block: its kind and
// the bytes after its length field.
type Entry struct {
	Kind Kind
	Data []byte
}

// A Slot is an entry taken apart (§ 3.3). Its binding to the file covers kind,
// salt and params; Wrapped is what opens to the file key.
type Slot struct {
	Kind    Kind
	Salt    [SlotSaltSize]byte
	Params  []byte
	Wrapped []byte
}

// Entry puts s together again.
func (s Slot) Entry() Entry {
	data := append(append(append([]byte(nil), s.Salt[:]...), s.Params...), s.Wrapped...)
	return Entry{s.Kind, data}
}

// Wire numbers of the slots (§ 3.2, § 3.3), sizes in bytes.
const (
	entryHeaderSize = 4 // kind u16, len u16

	SlotSaltSize = 32
	KeyIDSize    = 16
	WrappedSize  = 64 // kinds 1 and 2: c 32, tag 32

	argon2Version = 0x13

	// Limits of a passphrase slot, whoever opens it.
	MaxArgon2Parallelism = 16
	MaxArgon2Time        = 16
	MaxArgon2MemoryKiB   = 1 << 22

	// Hints of slots whose key is elsewhere.
	MaxPKCS11ID      = 64
	MaxPKCS11Label   = 64
	PKCS11SerialSize = 16
	MaxTinkAlias     = 255

	MaxTinkWrapped  = 4096
	maxRSASize      = 1024
	pkcs11GCMSize   = 92
	pkcs11KWSize    = 72
	hpkeXWing       = 0x647A
	HPKEWrappedSize = 1120 + 48 // enc, ct
)

// parseEntries reads exactly count entries from the next slotsLen bytes of c.
func parseEntries(c *cursor, slotsLen, count int) []Entry {
	start := c.off
	region := c.take("slots", slotsLen)
	if c.err != nil {
		return nil
	}
	in := &cursor{name: c.name, data: c.data[:start+len(region)], off: start}
	entries := make([]Entry, 0, min(count, MaxEntries))
	slots, noteBytes := 0, 0
	salts := make(map[[SlotSaltSize]byte]bool)
	for range count {
		at := in.off
		e := Entry{Kind: Kind(in.u16("slot kind"))}
		e.Data = in.take("slot", int(in.u16("slot length")))
		if in.err != nil {
			break
		}
		entries = append(entries, e)
		if e.Kind.IsNote() {
			if noteBytes += len(e.Data); noteBytes > MaxNotesBytes {
				in.fail(at, "notes", fmt.Sprintf("more than %d bytes", MaxNotesBytes))
			}
			continue
		}
		slots++
		s, _ := parseSlot(in, e, at+entryHeaderSize)
		if salts[s.Salt] {
			in.fail(at+entryHeaderSize, "slot salt", "is used by two slots")
		}
		salts[s.Salt] = true
	}
	if slots == 0 {
		in.fail(offSlotCount, "slot count", "there is no slot, so no key could open the file")
	}
	in.end("slots")
	if in.err != nil {
		c.err = in.err
	}
	return entries
}

// Slot takes e apart. known is false for notes, for kinds that version 1 does
// not define and for known kinds with a mechanism, KEM or Argon2 version it does
// not define: they are kept and skipped. Entries of a parsed Header have no
// other fault, so err is nil for them.
func (e Entry) Slot() (s Slot, known bool, err error) {
	if e.Kind.IsNote() {
		return Slot{}, false, nil
	}
	c := &cursor{name: "header", data: e.Data}
	s, known = parseSlot(c, e, 0)
	return s, known, c.err
}

// parseSlot checks e by the table of § 3.3. base is the offset of e.Data in the
// structure that report names in its errors.
func parseSlot(report *cursor, e Entry, base int) (s Slot, known bool) {
	c := &cursor{name: "header", data: e.Data}
	s.Kind = e.Kind
	copy(s.Salt[:], c.take("slot salt", SlotSaltSize))
	start := c.off
	switch {
	case c.err != nil:
	case e.Kind == KindAccount:
		c.take("key_id", KeyIDSize)
		known = true
	case e.Kind == KindPassphrase:
		_, known = parsePassphraseParams(c)
	case e.Kind == KindPKCS11:
		_, known = parsePKCS11Params(c)
	case e.Kind == KindTink:
		parseTinkAlias(c)
		known = true
	case e.Kind == KindHPKE:
		known = c.u16("kem") == hpkeXWing
	}
	if known && c.err == nil {
		s.Params = c.data[start:c.off:c.off]
		s.Wrapped = c.take("wrapped", len(c.data)-c.off)
		checkWrapped(c, s)
	}
	if c.err != nil {
		f := c.err.(*SyntaxError)
		f.Offset += int64(base)
		if report.err == nil {
			report.err = f
		}
	}
	return s, known && c.err == nil
}

// parsePassphraseParams reads the Argon2id parameters. A slot of another Argon2
// version is skipped, so its other fields are not judged.
func parsePassphraseParams(c *cursor) (p PassphraseParams, known bool) {
	if v := c.u8("Argon2 version"); c.err == nil && v != argon2Version {
		return p, false
	}
	at := c.off - 1
	p.Parallelism = c.u8("p")
	c.zeros("reserved", 2)
	p.Time = c.u32("t")
	p.MemoryKiB = c.u32("m_KiB")
	c.zeros("reserved", 4)
	switch {
	case p.Parallelism < 1 || p.Parallelism > MaxArgon2Parallelism:
		c.fail(at+1, "p", fmt.Sprintf("%d is not in 1 … %d", p.Parallelism, MaxArgon2Parallelism))
	case p.Time < 1 || p.Time > MaxArgon2Time:
		c.fail(at+4, "t", fmt.Sprintf("%d is not in 1 … %d", p.Time, MaxArgon2Time))
	case p.MemoryKiB < 8*uint32(p.Parallelism) || p.MemoryKiB > MaxArgon2MemoryKiB:
		c.fail(at+8, "m_KiB", fmt.Sprintf("%d is not in 8p … 2^22", p.MemoryKiB))
	}
	return p, true
}

// checkWrapped judges the length of the wrapped key, which ends at c.off.
func checkWrapped(c *cursor, s Slot) {
	at := c.off - len(s.Wrapped)
	w := s.Wrapped
	exact := -1
	switch s.Kind {
	case KindAccount, KindPassphrase:
		exact = WrappedSize
	case KindHPKE:
		exact = HPKEWrappedSize
	case KindPKCS11, KindTink: // u16 length, then that many bytes
		in := &cursor{name: "header", data: w}
		n := int(in.u16("wrapped length"))
		limit := MaxTinkWrapped
		if s.Kind == KindPKCS11 {
			switch Mech(s.Params[0]) {
			case MechAESGCM:
				limit, exact = pkcs11GCMSize, 2+pkcs11GCMSize
			case MechRSAOAEP:
				limit = maxRSASize
			default:
				limit, exact = pkcs11KWSize, 2+pkcs11KWSize
			}
		}
		if in.err != nil || n != len(w)-2 || n < 1 || n > limit {
			c.fail(at, "wrapped", fmt.Sprintf("%d bytes with a length field of %d; at most %d are allowed", len(w), n, limit))
		}
	}
	if exact >= 0 && len(w) != exact {
		c.fail(at, "wrapped", fmt.Sprintf("%d bytes instead of %d", len(w), exact))
	}
}

// PassphraseParams are the costs of a passphrase slot (§ 3.3).
type PassphraseParams struct {
	Time        uint32 // passes over the memory
	MemoryKiB   uint32
	Parallelism uint8
}

// AppendBinary appends the params field of a slot of KindPassphrase to dst.
func (p PassphraseParams) AppendBinary(dst []byte) ([]byte, error) {
	start := len(dst)
	dst = append(dst, argon2Version, p.Parallelism, 0, 0)
	dst = binary.LittleEndian.AppendUint32(dst, p.Time)
	dst = binary.LittleEndian.AppendUint32(dst, p.MemoryKiB)
	dst = append(dst, 0, 0, 0, 0)
	_, err := Slot{Params: dst[start:]}.PassphraseParams()
	return dst, err
}

// PassphraseParams reads the costs of a slot of KindPassphrase.
func (s Slot) PassphraseParams() (PassphraseParams, error) {
	c := &cursor{name: "passphrase slot", data: s.Params}
	p, known := parsePassphraseParams(c)
	if !known {
		c.fail(0, "Argon2 version", "is not 0x13")
	}
	c.end("params")
	return p, c.err
}
