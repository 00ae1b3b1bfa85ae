//go:build cgo

package pkcs11_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"

	p11 "github.com/miekg/pkcs11"

	"github.com/coffer-backup/coffer/backends/pkcs11"
	"github.com/coffer-backup/coffer/engine"
	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/internal/tokentest"
	"github.com/coffer-backup/coffer/keys"
)

// TestGenerate makes keys and reads from the token what became of them.
func TestGenerate(t *testing.T) {
	soft := tokentest.SoftHSM(t)
	token := openToken(t, softConfig(soft))
	crypt := []uint{p11.CKA_ENCRYPT, p11.CKA_DECRYPT}
	wrap := []uint{p11.CKA_WRAP, p11.CKA_UNWRAP}
	for _, c := range []struct {
		spec    pkcs11.KeySpec
		mech    format.Mech
		may     []uint
		mayNot  []uint
		idBytes int
	}{
		{pkcs11.KeySpec{Label: "default"}, format.MechAESGCM, crypt, wrap, 16},
		{pkcs11.KeySpec{Label: "gcm", ID: []byte{1}, Mech: format.MechAESGCM}, format.MechAESGCM, crypt, wrap, 1},
		{pkcs11.KeySpec{Label: "kw", ID: []byte{2, 3}, Mech: format.MechAESKW}, format.MechAESKW, wrap, crypt, 2},
	} {
		key, err := token.GenerateKey(t.Context(), c.spec)
		if err != nil {
			t.Fatal(err)
		}
		if key.Mech() != c.mech || key.Label() != c.spec.Label || len(key.ID()) != c.idBytes || key.CheckValue().IsZero() {
			t.Errorf("%s: %v, label %q, id %x, check value %v", c.spec.Label, key.Mech(), key.Label(), key.ID(), key.CheckValue())
		}
		roundTrip(t, key)
		is := func(value bool, kinds ...uint) {
			t.Helper()
			for _, kind := range kinds {
				if got := attributeOf(t, soft, c.spec.Label, kind); got != value {
					t.Errorf("%s: attribute %#x is %v", c.spec.Label, kind, got)
				}
			}
		}
		is(true, p11.CKA_TOKEN, p11.CKA_PRIVATE, p11.CKA_SENSITIVE, p11.CKA_ALWAYS_SENSITIVE, p11.CKA_NEVER_EXTRACTABLE, p11.CKA_LOCAL)
		is(false, p11.CKA_EXTRACTABLE, p11.CKA_MODIFIABLE, p11.CKA_SIGN, p11.CKA_VERIFY, p11.CKA_DERIVE)
		is(true, c.may...)
		is(false, c.mayNot...)

		for taken, spec := range map[string]pkcs11.KeySpec{
			fmt.Sprintf("of that name: label %q", c.spec.Label): {Label: c.spec.Label},
			fmt.Sprintf("of that name: id %x", key.ID()):        {Label: "another", ID: key.ID()},
		} {
			if _, err := token.GenerateKey(t.Context(), spec); !errors.Is(err, pkcs11.ErrKeyExists) || !strings.HasSuffix(err.Error(), taken) {
				t.Errorf("a second key of a label or id: %v, want %v that says %q", err, pkcs11.ErrKeyExists, taken)
			}
		}
	}
	for _, spec := range []pkcs11.KeySpec{{}, {Label: "rsa", Mech: format.MechRSAOAEP}, {Label: "kwp", Mech: format.MechAESKWP}, {Label: "none", Mech: 9}} {
		if key, err := token.GenerateKey(t.Context(), spec); err == nil {
			t.Errorf("%v: a key for %v was made", spec, key.Mech())
		}
		if spec.Label == "" {
			continue
		}
		if _, err := token.Key(t.Context(), pkcs11.KeyRef{Label: spec.Label}); !errors.Is(err, pkcs11.ErrKeyNotFound) {
			t.Errorf("%s: %v, want nothing to be left", spec.Label, err)
		}
	}
}

// inProcess gives a session of another user of the library.
func inProcess(t *testing.T, soft *tokentest.Soft) (*p11.Ctx, p11.SessionHandle) {
	t.Helper()
	p := p11.New(soft.Module)
	slots, err := p.GetSlotList(true)
	if err != nil {
		t.Fatal(err)
	}
	session, err := p.OpenSession(slots[0], p11.CKF_SERIAL_SESSION|p11.CKF_RW_SESSION)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.CloseSession(session) })
	return p, session
}

func attributeOf(t *testing.T, soft *tokentest.Soft, label string, kind uint) bool {
	t.Helper()
	p, session := inProcess(t, soft)
	template := []*p11.Attribute{p11.NewAttribute(p11.CKA_LABEL, label)}
	if err := p.FindObjectsInit(session, template); err != nil {
		t.Fatal(err)
	}
	found, _, err := p.FindObjects(session, 2)
	if err != nil || len(found) != 1 {
		t.Fatalf("%d objects with label %q, %v", len(found), label, err)
	}
	got, err := p.GetAttributeValue(session, found[0], []*p11.Attribute{{Type: kind}})
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Equal(got[0].Value, []byte{1})
}

// TestFind looks for keys that are not there, or not alone.
func TestFind(t *testing.T) {
	soft := tokentest.SoftHSM(t)
	soft.ImportAES("one", keyBytes["gcm"], tokentest.Encrypt)
	soft.ImportAES("two", keyBytes["gcm"], tokentest.Encrypt)
	soft.ImportAES("two", keyBytes["kw"], tokentest.Wrap)
	soft.ImportAES("short", make([]byte, 16), tokentest.Encrypt)
	token := openToken(t, softConfig(soft))
	one, err := token.Key(t.Context(), pkcs11.KeyRef{Label: "one"})
	if err != nil {
		t.Fatal(err)
	}
	if text := fmt.Sprintf("%v %+v %#v %s %x %v", one, one, one, one, one, one.WithHints()); strings.Contains(text, "0x") || !strings.HasPrefix(text, `aes-gcm key "one"`) {
		t.Errorf("it is printed as %s", text)
	}
	check := one.CheckValue()
	other := check
	other[0] ^= 1
	for name, c := range map[string]struct {
		ref  pkcs11.KeyRef
		says string // "": it is found
	}{
		"check value":   {pkcs11.KeyRef{Label: "one", Check: check}, ""},
		"another check": {pkcs11.KeyRef{Label: "one", Check: other}, "it is another one"},
		"another id":    {pkcs11.KeyRef{Label: "one", ID: []byte("none")}, "no AES or RSA key has"},
		"no such label": {pkcs11.KeyRef{Label: "none"}, `there is "one" (id `},
		"part of one":   {pkcs11.KeyRef{Label: "on"}, "no AES or RSA key has"},
		"twice":         {pkcs11.KeyRef{Label: "two"}, "several keys have"},
		"its type":      {pkcs11.KeyRef{Label: "one", Type: pkcs11.TypeSecret}, ""},
		"another type":  {pkcs11.KeyRef{Label: "one", Type: pkcs11.TypePrivate}, "type private"},
		"AES-128":       {pkcs11.KeyRef{Label: "short"}, "AES-128"},
		"no name":       {pkcs11.KeyRef{Check: check}, "no label and no id"},
	} {
		key, err := token.Key(t.Context(), c.ref)
		switch {
		case c.says == "" && (err != nil || key.CheckValue() != check):
			t.Errorf("%s: %v", name, err)
		case c.says != "" && (key != nil || !errors.Is(err, pkcs11.ErrKeyNotFound) || !strings.Contains(err.Error(), c.says)):
			t.Errorf("%s: %v, want %v that says %q", name, err, pkcs11.ErrKeyNotFound, c.says)
		}
	}
}

// TestCheckValue compares check values with what they are by definition. They are kept
// by users for years.
func TestCheckValue(t *testing.T) {
	soft := tokentest.SoftHSM(t)
	soft.ImportAES("gcm", keyBytes["gcm"], tokentest.Encrypt)
	soft.ImportAES("kw", keyBytes["kw"], tokentest.Wrap)
	token := openToken(t, softConfig(soft))
	block, _ := aes.NewCipher(keyBytes["gcm"])
	gcm, _ := cipher.NewGCM(block)
	tag := gcm.Seal(nil, make([]byte, 12), nil, []byte("coffer v1 check value aes-gcm"))
	constant := sha256.Sum256([]byte("coffer v1 check value aes-kw"))
	for label, shown := range map[string][]byte{"gcm": tag, "kw": rfc3394(keyBytes["kw"], constant[:])} {
		key, err := token.Key(t.Context(), pkcs11.KeyRef{Label: label})
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(shown)
		if got := key.CheckValue(); !bytes.Equal(got[:], sum[:8]) {
			t.Errorf("%s: %v, want %x", label, got, sum[:8])
		}
	}
}

// rfc3394 wraps plain by AES-KW.
func rfc3394(kek, plain []byte) []byte {
	block, err := aes.NewCipher(kek)
	if err != nil {
		panic(err)
	}
	out := append(bytes.Repeat([]byte{0xA6}, 8), plain...)
	var b [16]byte
	for t := uint64(1); t <= 6*uint64(len(plain)/8); t++ {
		r := out[8+8*((t-1)%uint64(len(plain)/8)):][:8]
		copy(b[:8], out[:8])
		copy(b[8:], r)
		block.Encrypt(b[:], b[:])
		binary.BigEndian.PutUint64(out, binary.BigEndian.Uint64(b[:])^t)
		copy(r, b[8:])
	}
	return out
}

func TestSlots(t *testing.T) {
	soft := tokentest.SoftHSM(t)
	soft.ImportAES("gcm", keyBytes["gcm"], tokentest.Encrypt)
	soft.ImportAES("same bytes", keyBytes["gcm"], tokentest.Wrap)
	soft.ImportAES("kw", keyBytes["kw"], tokentest.Wrap)
	token := openToken(t, softConfig(soft))
	info, err := token.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	core, fk := format.Core{1}, keys.NewFileKey()
	slots, found := map[string]format.Slot{}, map[string]*pkcs11.Key{}
	for label, mech := range map[string]format.Mech{"gcm": format.MechAESGCM, "same bytes": format.MechAESKW, "kw": format.MechAESKW} {
		key, err := token.Key(t.Context(), pkcs11.KeyRef{Label: label})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range []keys.Recipient{key, key.WithHints()} {
			slot, err := r.Wrap(t.Context(), core, fk)
			if err != nil {
				t.Fatal(err)
			}
			p, err := slot.PKCS11Params()
			if err != nil || p.Mech != mech {
				t.Errorf("%s: %+v, %v", label, p, err)
			}
			serial := strings.TrimRight(string(p.Serial[:]), "\x00")
			if r == key && (len(p.ID) > 0 || len(p.Label) > 0 || serial != "") {
				t.Errorf("%s: the slot shows %+v unasked", label, p)
			}
			if r != key && (!bytes.Equal(p.ID, key.ID()) || string(p.Label) != label || serial != info.Serial) {
				t.Errorf("%s: the slot shows %+v", label, p)
			}
			if got, err := key.Unwrap(t.Context(), core, slot); err != nil || !bytes.Equal(got.Bytes(), fk.Bytes()) {
				t.Errorf("%s: %v", label, err)
			}
			slots[label] = slot
		}
		found[label] = key
	}
	for label, slot := range slots {
		key := found[label]
		refused := func(what string, key *pkcs11.Key, core format.Core, slot format.Slot) {
			t.Helper()
			var typed *pkcs11.Error
			if fk, err := key.Unwrap(t.Context(), core, slot); fk != nil || !errors.Is(err, keys.ErrNoMatch) || errors.As(err, &typed) {
				t.Errorf("%s: %s: %v, want %v", label, what, err, keys.ErrNoMatch)
			}
		}
		refused("another container", key, format.Core{2}, slot)
		for other := range found {
			if other != label {
				refused("the key "+other, found[other], core, slot)
			}
		}
		for _, at := range []int{0, 1, 2, 14, 50, len(slot.Wrapped) - 1} {
			flipped := slot
			flipped.Wrapped = bytes.Clone(slot.Wrapped)
			flipped.Wrapped[at] ^= 1
			refused("a flipped bit", key, core, flipped)
		}
		cut, otherKind, noParams := slot, slot, slot
		cut.Wrapped = format.Sized(slot.Unsized()[1:])
		otherKind.Kind = format.KindTink
		noParams.Params = nil
		refused("a byte less", key, core, cut)
		refused("another kind", key, core, otherKind)
		refused("no params", key, core, noParams)
		for _, mech := range []byte{0, 3, 4, 5} {
			other := slot
			other.Params = append([]byte{mech}, slot.Params[1:]...)
			refused("another mech", key, core, other)
		}
	}
	if err := token.Health(); err != nil {
		t.Errorf("slots of others made the token ill: %v", err)
	}
}

// TestSlotMech opens a slot by its own mech, though the key would wrap by another one.
func TestSlotMech(t *testing.T) {
	soft := tokentest.SoftHSM(t)
	soft.ImportAES("kw", keyBytes["kw"], tokentest.Wrap)
	token := openToken(t, softConfig(soft))
	p, session := inProcess(t, soft)
	yes := func(kinds ...uint) (all []*p11.Attribute) {
		for _, kind := range kinds {
			all = append(all, p11.NewAttribute(kind, true))
		}
		return all
	}
	_, err := p.CreateObject(session, append(yes(p11.CKA_TOKEN, p11.CKA_ENCRYPT, p11.CKA_DECRYPT, p11.CKA_WRAP, p11.CKA_UNWRAP),
		p11.NewAttribute(p11.CKA_CLASS, p11.CKO_SECRET_KEY), p11.NewAttribute(p11.CKA_KEY_TYPE, p11.CKK_AES),
		p11.NewAttribute(p11.CKA_LABEL, "both"), p11.NewAttribute(p11.CKA_VALUE, keyBytes["kw"])))
	if err != nil {
		t.Fatal(err)
	}
	kw, err := token.Key(t.Context(), pkcs11.KeyRef{Label: "kw"})
	if err != nil {
		t.Fatal(err)
	}
	both, err := token.Key(t.Context(), pkcs11.KeyRef{Label: "both"})
	if err != nil {
		t.Fatal(err)
	}
	core, fk := format.Core{3}, keys.NewFileKey()
	slot, err := kw.Wrap(t.Context(), core, fk)
	if err != nil {
		t.Fatal(err)
	}
	got, err := both.Unwrap(t.Context(), core, slot)
	if both.Mech() != format.MechAESGCM || err != nil || !bytes.Equal(got.Bytes(), fk.Bytes()) {
		t.Errorf("a key for %v: %v", both.Mech(), err)
	}
}

// TestContainer has keys in the token as recipients and identities of a container.
func TestContainer(t *testing.T) {
	soft := tokentest.SoftHSM(t)
	soft.ImportAES("gcm", keyBytes["gcm"], tokentest.Encrypt)
	soft.ImportAES("kw", keyBytes["kw"], tokentest.Wrap)
	soft.ImportAES("other", make([]byte, 32), tokentest.Encrypt)
	token := openToken(t, softConfig(soft))
	found := map[string]*pkcs11.Key{}
	for _, label := range []string{"gcm", "kw", "other"} {
		var err error
		if found[label], err = token.Key(t.Context(), pkcs11.KeyRef{Label: label}); err != nil {
			t.Fatal(err)
		}
	}
	plain := bytes.Repeat([]byte("what there is to keep "), 10_000)
	var dst bytes.Buffer
	w, err := engine.NewWriter(t.Context(), &dst, []keys.Recipient{found["gcm"], found["kw"].WithHints()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	if _, err := w.Write(plain); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for _, with := range [][]keys.Identity{{found["gcm"]}, {found["kw"]}, {found["other"], found["kw"]}} {
		if got, err := readAll(t.Context(), dst.Bytes(), with, nil); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	}
	if _, err := readAll(t.Context(), dst.Bytes(), []keys.Identity{found["other"]}, nil); !errors.Is(err, keys.ErrNoMatch) {
		t.Errorf("another key: %v, want %v", err, keys.ErrNoMatch)
	}
}

// BenchmarkWrap is what a backup pays for a key in a token: once opening it, finding
// the key and wrapping, and wrapping alone.
func BenchmarkWrap(b *testing.B) {
	soft := tokentest.SoftHSM(b)
	soft.ImportAES("key", keyBytes["gcm"], tokentest.Encrypt)
	fk := keys.NewFileKey()
	wrap := func(token *pkcs11.Token) *pkcs11.Key {
		key, err := token.Key(b.Context(), pkcs11.KeyRef{Label: "key"})
		if err == nil {
			_, err = key.Wrap(b.Context(), format.Core{}, fk)
		}
		if err != nil {
			b.Fatal(err)
		}
		return key
	}
	b.Run("do=open", func(b *testing.B) {
		for b.Loop() {
			token, err := pkcs11.Open(b.Context(), softConfig(soft))
			if err != nil {
				b.Fatal(err)
			}
			wrap(token)
			token.Close()
		}
	})
	b.Run("do=wrap", func(b *testing.B) {
		key := wrap(openToken(b, softConfig(soft)))
		for b.Loop() {
			if _, err := key.Wrap(b.Context(), format.Core{}, fk); err != nil {
				b.Fatal(err)
			}
		}
	})
}
