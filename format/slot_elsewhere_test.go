package format_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/coffer-backup/coffer/format"
	"pgregory.net/rapid"
)

func TestMechNames(t *testing.T) {
	for m, name := range map[format.Mech]string{
		format.MechAESGCM: "aes-gcm", format.MechAESKW: "aes-kw", format.MechAESKWP: "aes-kwp", format.MechRSAOAEP: "rsa-oaep",
	} {
		if parsed, err := format.ParseMech(name); err != nil || parsed != m || m.String() != name {
			t.Errorf("%v, called %s: ParseMech gives %v, %v", m, name, parsed, err)
		}
	}
	for _, m := range []format.Mech{0, 5, 255} {
		if parsed, err := format.ParseMech(m.String()); err == nil {
			t.Errorf("ParseMech(%q) = %v", m, parsed)
		}
		if _, err := (format.PKCS11Params{Mech: m}).AppendBinary(nil); err == nil {
			t.Errorf("params of %v were made", m)
		}
	}
	if m, err := format.ParseMech(""); err == nil {
		t.Errorf("ParseMech of nothing = %v", m)
	}
}

func TestPKCS11ParamsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := format.PKCS11Params{
			Mech:   format.Mech(rapid.ByteRange(1, 4).Draw(t, "mech")),
			ID:     rapid.SliceOfN(rapid.Byte(), 0, format.MaxPKCS11ID).Draw(t, "CKA_ID"),
			Label:  rapid.SliceOfN(rapid.Byte(), 0, format.MaxPKCS11Label).Draw(t, "label"),
			Serial: [16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "serial")),
		}
		b, err := p.AppendBinary([]byte("before"))
		if err != nil {
			t.Fatal(err)
		}
		b = bytes.TrimPrefix(b, []byte("before"))
		got, err := (format.Slot{Params: b}).PKCS11Params()
		if err != nil || got.Mech != p.Mech || !bytes.Equal(got.ID, p.ID) || !bytes.Equal(got.Label, p.Label) || got.Serial != p.Serial {
			t.Fatalf("%+v became %+v, %v", p, got, err)
		}
		for n := range b {
			if _, err := (format.Slot{Params: b[:n]}).PKCS11Params(); err == nil {
				t.Fatalf("%d of %d bytes are params too", n, len(b))
			}
		}
		if _, err = (format.Slot{Params: append(b, 0)}).PKCS11Params(); err == nil {
			t.Fatal("a byte more is params too")
		}
	})
	_, err := (format.Slot{Params: append([]byte{5}, make([]byte, 18)...)}).PKCS11Params()
	wantSyntax(t, err, "PKCS#11 slot", "mech", 0)
	for _, p := range []format.PKCS11Params{{Mech: 1, ID: make([]byte, 65)}, {Mech: 1, Label: make([]byte, 65)}} {
		if _, err := p.AppendBinary(nil); err == nil {
			t.Errorf("hints of %d and %d bytes were taken", len(p.ID), len(p.Label))
		}
	}
}

func TestTinkParams(t *testing.T) {
	for _, alias := range []string{"", "backup", strings.Repeat("a", format.MaxTinkAlias)} {
		b, err := format.AppendTinkParams([]byte("before"), alias)
		if err != nil {
			t.Fatal(err)
		}
		b = bytes.TrimPrefix(b, []byte("before"))
		if got, err := (format.Slot{Params: b}).TinkAlias(); err != nil || got != alias {
			t.Errorf("alias %q became %q, %v", alias, got, err)
		}
		_, err = (format.Slot{Params: append(b, 0)}).TinkAlias()
		wantSyntax(t, err, "Tink slot", "params", int64(len(b)))
	}
	if _, err := format.AppendTinkParams(nil, strings.Repeat("a", format.MaxTinkAlias+1)); err == nil {
		t.Error("an alias that is too long was taken")
	}
}

// What is made by these functions is what a reader of the header takes.
func TestSlotsElsewhere(t *testing.T) {
	pkcs11 := must(format.PKCS11Params{Mech: format.MechAESKW, Label: []byte("key")}.AppendBinary(nil))
	tink := must(format.AppendTinkParams(nil, "alias"))
	for _, s := range []format.Slot{
		{Kind: format.KindPKCS11, Params: pkcs11, Wrapped: format.Sized(count(1, 72))},
		{Kind: format.KindTink, Params: tink, Wrapped: format.Sized(count(1, 99))},
		{Kind: format.KindHPKE, Params: format.HPKEParams(), Wrapped: count(1, format.HPKEWrappedSize)},
	} {
		got, known, err := s.Entry().Slot()
		if err != nil || !known || !bytes.Equal(got.Params, s.Params) || !bytes.Equal(got.Wrapped, s.Wrapped) {
			t.Errorf("%v became %+v, %v, %v", s, got, known, err)
		}
	}
}

func TestUnsized(t *testing.T) {
	for _, n := range []int{0, 1, 300} {
		wrapped := count(7, n)
		b := format.Sized(wrapped)
		if got := (format.Slot{Wrapped: b}).Unsized(); !bytes.Equal(got, wrapped) || got == nil && n > 0 {
			t.Errorf("%d bytes became %d", n, len(got))
		}
		for name, b := range map[string][]byte{"a byte more": append(bytes.Clone(b), 0), "a byte less": b[:len(b)-1], "nothing": nil} {
			if got := (format.Slot{Wrapped: b}).Unsized(); got != nil {
				t.Errorf("%d bytes and %s: %d were returned", n, name, len(got))
			}
		}
	}
}
