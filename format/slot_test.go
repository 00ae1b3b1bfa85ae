package format_test

import (
	"bytes"
	"encoding/binary"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/coffer-backup/coffer/format"
)

// salt returns a slot salt; another n gives another one.
func salt(n byte) []byte { return bytes.Repeat([]byte{n}, format.SlotSaltSize) }

func slot(kind format.Kind, n byte, params, wrapped []byte) format.Slot {
	return format.Slot{Kind: kind, Salt: [32]byte(salt(n)), Params: params, Wrapped: wrapped}
}

func accountSlot(n byte) format.Slot {
	return slot(format.KindAccount, n, make([]byte, format.KeyIDSize), count(n, format.WrappedSize))
}

func passphraseSlot(n byte) format.Slot {
	params := must(format.PassphraseParams{Time: 3, MemoryKiB: 256 << 10, Parallelism: 4}.AppendBinary(nil))
	return slot(format.KindPassphrase, n, params, count(n, format.WrappedSize))
}

func pkcs11Slot(n, mech byte, id, label string, wrapped int) format.Slot {
	params := append([]byte{mech, byte(len(id))}, id...)
	params = append(append(params, byte(len(label))), label...)
	return slot(format.KindPKCS11, n, append(params, make([]byte, 16)...), lengthAnd(wrapped))
}

func tinkSlot(n byte, alias string, wrapped int) format.Slot {
	return slot(format.KindTink, n, append([]byte{byte(len(alias))}, alias...), lengthAnd(wrapped))
}

func hpkeSlot(n byte, kem uint16, wrapped int) format.Slot {
	return slot(format.KindHPKE, n, binary.LittleEndian.AppendUint16(nil, kem), make([]byte, wrapped))
}

func lengthAnd(n int) []byte {
	return append(binary.LittleEndian.AppendUint16(nil, uint16(n)), make([]byte, n)...)
}

// genSlot draws a slot that keeps every rule. i makes its salt distinct.
func genSlot(t *rapid.T, i byte) format.Entry {
	s := slot(0, i, nil, nil)
	copy(s.Salt[1:], genBytes(t, "slot salt", 31))
	some := func(name string, most int) string {
		return string(genBytes(t, name, rapid.IntRange(0, most).Draw(t, name)))
	}
	var like format.Slot
	switch kind := format.Kind(rapid.Uint16Range(1, 7).Draw(t, "kind")); kind {
	case format.KindAccount:
		like = slot(kind, 0, genBytes(t, "key_id", 16), genBytes(t, "wrapped", 64))
	case format.KindPassphrase:
		p := format.PassphraseParams{Time: rapid.Uint32Range(1, 16).Draw(t, "t"), Parallelism: rapid.Uint8Range(1, 16).Draw(t, "p")}
		p.MemoryKiB = rapid.Uint32Range(8*uint32(p.Parallelism), 1<<22).Draw(t, "m_KiB")
		like = slot(kind, 0, must(p.AppendBinary(nil)), genBytes(t, "wrapped", 64))
	case format.KindPKCS11:
		mech := rapid.ByteRange(1, 5).Draw(t, "mech") // 5 is not defined
		n := []int{92, 72, 72, rapid.IntRange(1, 1024).Draw(t, "modulus"), 7}[mech-1]
		like = pkcs11Slot(0, mech, some("CKA_ID", 64), some("label", 64), n)
	case format.KindTink:
		like = tinkSlot(0, some("alias", 255), rapid.IntRange(1, 4096).Draw(t, "wrapped"))
	case format.KindHPKE:
		like = hpkeSlot(0, rapid.SampledFrom([]uint16{0x647A, 0x647B}).Draw(t, "kem"), 1168)
	default:
		like = slot(rapid.SampledFrom([]format.Kind{0, 6, 0x7FFF}).Draw(t, "unknown kind"), 0, nil, []byte(some("wrapped", 100)))
	}
	s.Kind, s.Params, s.Wrapped = like.Kind, like.Params, like.Wrapped
	return s.Entry()
}

func TestSlotRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := genSlot(t, 1)
		s, known, err := e.Slot()
		if err != nil {
			t.Fatal(err)
		}
		if s.Kind != e.Kind || !bytes.Equal(s.Salt[:], e.Data[:32]) {
			t.Fatalf("slot is %+v", s)
		}
		if again := s.Entry(); known && (again.Kind != e.Kind || !bytes.Equal(again.Data, e.Data)) {
			t.Fatalf("slot goes back to\n%+v, was\n%+v", again, e)
		}
	})
}

// TestSlotTable checks every rule of § 3.3 from both sides. Offsets count from
// the slot's salt.
func TestSlotTable(t *testing.T) {
	account := func(wrapped int) format.Slot {
		return slot(format.KindAccount, 1, make([]byte, 16), make([]byte, wrapped))
	}
	passphrase := func(edit func(params []byte)) format.Slot { s := passphraseSlot(1); edit(s.Params); return s }
	costs := func(p byte, t, m uint32) format.Slot {
		return passphrase(func(b []byte) {
			b[1] = p
			binary.LittleEndian.PutUint32(b[4:], t)
			binary.LittleEndian.PutUint32(b[8:], m)
		})
	}
	wrap := func(s format.Slot, wrapped []byte) format.Slot { s.Wrapped = wrapped; return s }
	a64, a65 := strings.Repeat("a", 64), strings.Repeat("a", 65)
	bare := func(k format.Kind, data ...byte) format.Entry {
		return format.Entry{Kind: k, Data: append(salt(1), data...)}
	}
	const unknown = "unknown"

	for _, tc := range []struct {
		name   string
		entry  format.Entry
		field  string // "" for a known slot, unknown, or the field at fault
		offset int64
	}{
		{"account", account(64).Entry(), "", 0},
		{"account, one less", account(63).Entry(), "wrapped", 48},
		{"account, one more", account(65).Entry(), "wrapped", 48},
		{"account, key_id cut", bare(1, make([]byte, 15)...), "key_id", 32},
		{"salt cut", format.Entry{Kind: 1, Data: make([]byte, 31)}, "slot salt", 0},

		{"passphrase", passphraseSlot(1).Entry(), "", 0},
		{"passphrase without params", bare(2), "Argon2 version", 32},
		{"passphrase, params cut", bare(2, 0x13, 1, 0, 0, 1, 0, 0, 0, 8), "m_KiB", 40},
		{"passphrase, wrapped cut", wrap(passphraseSlot(1), make([]byte, 63)).Entry(), "wrapped", 48},
		{"passphrase, wrapped long", wrap(passphraseSlot(1), make([]byte, 65)).Entry(), "wrapped", 48},
		{"Argon2 version 0x10", passphrase(func(b []byte) { b[0] = 0x10 }).Entry(), unknown, 0},
		{"Argon2 version 0x10, nothing else", bare(2, 0x10), unknown, 0},
		{"p 0", costs(0, 3, 1024).Entry(), "p", 33},
		{"p 1, m 8", costs(1, 1, 8).Entry(), "", 0},
		{"p 16, m 128", costs(16, 16, 128).Entry(), "", 0},
		{"p 17", costs(17, 3, 1024).Entry(), "p", 33},
		{"reserved 2", passphrase(func(b []byte) { b[2] = 1 }).Entry(), "reserved", 34},
		{"reserved 3", passphrase(func(b []byte) { b[3] = 1 }).Entry(), "reserved", 35},
		{"t 0", costs(4, 0, 1024).Entry(), "t", 36},
		{"t 17", costs(4, 17, 1024).Entry(), "t", 36},
		{"t 2^32-1", costs(4, math.MaxUint32, 1024).Entry(), "t", 36},
		{"m 8p-1", costs(4, 3, 31).Entry(), "m_KiB", 40},
		{"m 8p", costs(4, 3, 32).Entry(), "", 0},
		{"m 2^22", costs(4, 3, 1<<22).Entry(), "", 0},
		{"m 2^22+1", costs(4, 3, 1<<22+1).Entry(), "m_KiB", 40},
		{"m 2^32-1", costs(4, 3, math.MaxUint32).Entry(), "m_KiB", 40},
		{"reserved 12", passphrase(func(b []byte) { b[12] = 1 }).Entry(), "reserved", 44},
		{"reserved 15", passphrase(func(b []byte) { b[15] = 1 }).Entry(), "reserved", 47},

		{"PKCS#11 GCM", pkcs11Slot(1, 1, a64, a64, 92).Entry(), "", 0},
		{"PKCS#11 GCM 91", pkcs11Slot(1, 1, "", "", 91).Entry(), "wrapped", 51},
		{"PKCS#11 GCM 93", pkcs11Slot(1, 1, "", "", 93).Entry(), "wrapped", 51},
		{"PKCS#11 KW", pkcs11Slot(1, 2, "", "", 72).Entry(), "", 0},
		{"PKCS#11 KW 71", pkcs11Slot(1, 2, "", "", 71).Entry(), "wrapped", 51},
		{"PKCS#11 KW 73", pkcs11Slot(1, 2, "", "", 73).Entry(), "wrapped", 51},
		{"PKCS#11 KWP", pkcs11Slot(1, 3, "", "", 72).Entry(), "", 0},
		{"PKCS#11 KWP 73", pkcs11Slot(1, 3, "", "", 73).Entry(), "wrapped", 51},
		{"PKCS#11 RSA 0", pkcs11Slot(1, 4, "", "", 0).Entry(), "wrapped", 51},
		{"PKCS#11 RSA 1", pkcs11Slot(1, 4, "", "", 1).Entry(), "", 0},
		{"PKCS#11 RSA 1024", pkcs11Slot(1, 4, "", "", 1024).Entry(), "", 0},
		{"PKCS#11 RSA 1025", pkcs11Slot(1, 4, "", "", 1025).Entry(), "wrapped", 51},
		{"PKCS#11 mech 0", pkcs11Slot(1, 0, "", "", 72).Entry(), unknown, 0},
		{"PKCS#11 mech 5", pkcs11Slot(1, 5, a65, a65, 0).Entry(), unknown, 0},
		{"PKCS#11 without params", bare(3), "mech", 32},
		{"PKCS#11 CKA_ID 65", pkcs11Slot(1, 1, a65, "", 92).Entry(), "CKA_ID length", 33},
		{"PKCS#11 label 65", pkcs11Slot(1, 1, "", a65, 92).Entry(), "label length", 34},
		{"PKCS#11 CKA_ID cut", bare(3, 1, 3, 'i', 'd'), "CKA_ID", 34},
		{"PKCS#11 serial cut", bare(3, append([]byte{1, 0, 0}, make([]byte, 15)...)...), "token serial", 35},
		{"PKCS#11 no wrapped", wrap(pkcs11Slot(1, 1, "", "", 0), nil).Entry(), "wrapped", 51},

		{"Tink", tinkSlot(1, strings.Repeat("a", 255), 4096).Entry(), "", 0},
		{"Tink 0", tinkSlot(1, "", 0).Entry(), "wrapped", 33},
		{"Tink 1", tinkSlot(1, "", 1).Entry(), "", 0},
		{"Tink 4097", tinkSlot(1, "", 4097).Entry(), "wrapped", 33},
		{"Tink, a byte more", wrap(tinkSlot(1, "", 1), []byte{1, 0, 0, 0}).Entry(), "wrapped", 33},
		{"Tink, a byte less", wrap(tinkSlot(1, "", 1), []byte{1, 0}).Entry(), "wrapped", 33},
		{"Tink, half a length", wrap(tinkSlot(1, "", 1), []byte{1}).Entry(), "wrapped", 33},
		{"Tink, alias cut", bare(4, 2, 'a'), "alias", 33},
		{"Tink without params", bare(4), "alias length", 32},

		{"HPKE", hpkeSlot(1, 0x647A, 1168).Entry(), "", 0},
		{"HPKE 1167", hpkeSlot(1, 0x647A, 1167).Entry(), "wrapped", 34},
		{"HPKE 1169", hpkeSlot(1, 0x647A, 1169).Entry(), "wrapped", 34},
		{"HPKE KEM 0x0020", hpkeSlot(1, 0x0020, 80).Entry(), unknown, 0},
		{"HPKE KEM cut", bare(5, 0x7A), "kem", 32},

		{"kind 0", bare(0), unknown, 0},
		{"kind 6", bare(6, 1, 2, 3), unknown, 0},
		{"kind 0x7FFF", bare(0x7FFF), unknown, 0},
		{"unknown kind, salt cut", format.Entry{Kind: 6, Data: make([]byte, 31)}, "slot salt", 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := testHeader()
			h.Size, h.Entries = 8192, []format.Entry{{Kind: 9, Data: salt(99)}, tc.entry}
			block, blockErr := h.AppendBinary(nil)
			s, known, err := tc.entry.Slot()
			if tc.field != "" && tc.field != unknown {
				wantSyntax(t, err, "header", tc.field, tc.offset)
				if known {
					t.Error("a faulty slot is known")
				}
				wantSyntax(t, blockErr, "header", tc.field, 96+36+4+tc.offset)
				return
			}
			if err != nil || blockErr != nil {
				t.Fatal(err, blockErr)
			}
			if known != (tc.field == "") {
				t.Errorf("known is %v", known)
			}
			if got := s.Entry(); known && !bytes.Equal(got.Data, tc.entry.Data) {
				t.Errorf("slot goes back to %x", got.Data)
			}
			if got := must(format.ParseHeader(block)).Entries[1]; got.Kind != tc.entry.Kind || !bytes.Equal(got.Data, tc.entry.Data) {
				t.Errorf("the entry is not kept as it is")
			}
		})
	}
}

func TestNoteIsNoSlot(t *testing.T) {
	for _, e := range []format.Entry{{Kind: 0x8000}, {Kind: 0xFFFF, Data: salt(1)}} {
		if s, known, err := e.Slot(); known || err != nil || s.Salt != [32]byte{} {
			t.Errorf("%v: slot %+v, known %v, %v", e.Kind, s, known, err)
		}
	}
}

func TestPassphraseParams(t *testing.T) {
	want := format.PassphraseParams{Time: 16, MemoryKiB: 1 << 22, Parallelism: 16}
	b := must(want.AppendBinary([]byte("x")))
	if got, err := (format.Slot{Params: b[1:]}).PassphraseParams(); got != want || err != nil {
		t.Errorf("PassphraseParams = %+v, %v", got, err)
	}
	if _, err := (format.PassphraseParams{Time: 1, MemoryKiB: 7, Parallelism: 1}).AppendBinary(nil); err == nil {
		t.Error("7 KiB are accepted")
	}
	for field, params := range map[string][]byte{
		"Argon2 version": append([]byte{0x10}, b[2:]...),
		"params":         append(b[1:len(b):len(b)], 0),
		"reserved":       b[1 : len(b)-1],
	} {
		off := map[string]int64{"params": 16, "reserved": 12}[field]
		_, err := (format.Slot{Params: params}).PassphraseParams()
		wantSyntax(t, err, "passphrase slot", field, off)
	}
}

func TestKindNames(t *testing.T) {
	seen := map[string]bool{}
	for _, k := range []format.Kind{0, 1, 2, 3, 4, 5, 6, 0x8001} {
		if name := k.String(); name == "" || seen[name] {
			t.Errorf("kind %d is called %q", uint16(k), name)
		} else {
			seen[name] = true
		}
		if k.IsNote() != (k >= 0x8000) {
			t.Errorf("kind %#x: IsNote is %v", uint16(k), k.IsNote())
		}
	}
}
