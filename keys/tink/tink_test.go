package tink

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/keys"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

var (
	core     = format.Core{1, 2, 3}
	errDown  = errors.New("the service is down")
	errPlain = errors.New("it does not decrypt") // which is all that an AEAD says
)

// A service is an AEAD whose methods can be replaced.
type service struct {
	aead             tink.AEAD
	encrypt, decrypt func(text, ad []byte) ([]byte, error)
}

func newService() *service {
	a := must(aead.New(must(keyset.NewHandle(aead.AES256GCMKeyTemplate()))))
	return &service{a, a.Encrypt, a.Decrypt}
}

func (s *service) Encrypt(plaintext, ad []byte) ([]byte, error)  { return s.encrypt(plaintext, ad) }
func (s *service) Decrypt(ciphertext, ad []byte) ([]byte, error) { return s.decrypt(ciphertext, ad) }

func down([]byte, []byte) ([]byte, error) { return nil, errDown }

func returns(out []byte) func([]byte, []byte) ([]byte, error) {
	return func([]byte, []byte) ([]byte, error) { return bytes.Clone(out), nil }
}

// opens demands that key opens slot with fk in it.
func opens(t *testing.T, key keys.Identity, slot format.Slot, fk *keys.FileKey) {
	t.Helper()
	got, err := key.Unwrap(t.Context(), core, slot)
	if err != nil || !bytes.Equal(got.Bytes(), fk.Bytes()) {
		t.Fatalf("the slot does not open: %v", err)
	}
}

func TestWrap(t *testing.T) {
	s, fk := newService(), keys.NewFileKey()
	key := New(s, nil)
	slot := must(key.Wrap(t.Context(), core, fk))
	opens(t, key, slot, fk)
	if alias, err := slot.TinkAlias(); alias != "" || err != nil || key.Kind() != slot.Kind || slot.Kind != format.KindTink {
		t.Errorf("a slot of kind %v with the alias %q, %v", slot.Kind, alias, err)
	}
	// It is what § 4.5.6 says.
	bind := keys.Bind(core, slot)
	if bound, err := s.aead.Decrypt(slot.Unsized(), bind[:]); err != nil || !bytes.Equal(bound, append(fk.Bytes(), bind[:]...)) {
		t.Errorf("wrapped is not FK ‖ bind: %v", err)
	}
	if again := must(key.Wrap(t.Context(), core, fk)); again.Salt == slot.Salt || bytes.Equal(again.Wrapped, slot.Wrapped) {
		t.Error("a slot comes twice")
	}
	if parsed, known, err := slot.Entry().Slot(); err != nil || !known {
		t.Errorf("the format does not know the slot: %v", err)
	} else {
		opens(t, key, parsed, fk)
	}
}

func TestWithAlias(t *testing.T) {
	fk := keys.NewFileKey()
	key := New(newService(), &Options{Name: "backup key"})
	slot := must(key.WithAlias("zürich").Wrap(t.Context(), core, fk))
	if alias, err := slot.TinkAlias(); alias != "zürich" || err != nil {
		t.Errorf("the alias is %q, %v", alias, err)
	}
	opens(t, key, slot, fk)
	_, err := key.WithAlias(strings.Repeat("a", 256)).Wrap(t.Context(), core, fk)
	if e := new(Error); !errors.As(err, &e) || e.Key != "backup key" {
		t.Errorf("an alias that is too long: %v", err)
	}
}

// TestNoMatch has slots that are not for the key. Whether the AEAD is in a KMS makes
// no difference.
func TestNoMatch(t *testing.T) {
	fk := keys.NewFileKey()
	s := newService()
	local := must(newLocal(s))
	slot := must(local.Wrap(t.Context(), core, fk))
	changed := func(change func(s *format.Slot)) format.Slot {
		c := slot
		c.Params, c.Wrapped = bytes.Clone(slot.Params), bytes.Clone(slot.Wrapped)
		change(&c)
		return c
	}
	sized := func(n int) format.Slot {
		return changed(func(s *format.Slot) { s.Wrapped = format.Sized(make([]byte, n)) })
	}
	for name, foreign := range map[string]format.Slot{
		"another key's":    must(New(newService(), nil).Wrap(t.Context(), core, fk)),
		"another salt":     changed(func(s *format.Slot) { s.Salt[31] ^= 1 }),
		"another alias":    changed(func(s *format.Slot) { s.Params = []byte{1, 'a'} }),
		"a bit":            changed(func(s *format.Slot) { s.Wrapped[len(s.Wrapped)-1] ^= 1 }),
		"of another kind":  changed(func(s *format.Slot) { s.Kind = format.KindPKCS11 }),
		"cut":              changed(func(s *format.Slot) { s.Wrapped = s.Wrapped[:9] }),
		"without a length": changed(func(s *format.Slot) { s.Wrapped = s.Wrapped[:1] }),
		"with nothing":     sized(0),
		"of one byte":      sized(1),
		"as long as it be": sized(maxWrapped),
		"too long":         sized(maxWrapped + 1),
		"the zero value":   {},
	} {
		for _, key := range []*Key{local, New(s, nil)} {
			if _, err := key.Unwrap(t.Context(), core, foreign); !errors.Is(err, keys.ErrNoMatch) || errors.As(err, new(*Error)) {
				t.Errorf("a slot %s: %v", name, err)
			}
		}
	}
	if _, err := New(s, nil).Unwrap(t.Context(), format.Core{9}, slot); !errors.Is(err, keys.ErrNoMatch) {
		t.Errorf("a slot of another container: %v", err)
	}
}

// TestNotAsked: a slot that cannot be right is not sent to a service.
func TestNotAsked(t *testing.T) {
	s := newService()
	asked := false
	s.decrypt = func([]byte, []byte) ([]byte, error) { asked = true; return nil, errPlain }
	for _, slot := range []format.Slot{
		{Kind: format.KindPKCS11, Params: []byte{0}, Wrapped: format.Sized([]byte{1})},
		{Kind: format.KindTink, Params: []byte{0}, Wrapped: format.Sized(nil)},
		{Kind: format.KindTink, Params: []byte{0}, Wrapped: format.Sized(make([]byte, maxWrapped+1))},
	} {
		if _, err := New(s, nil).Unwrap(t.Context(), core, slot); !errors.Is(err, keys.ErrNoMatch) || asked {
			t.Errorf("kind %v, %d bytes: asked %v, %v", slot.Kind, len(slot.Wrapped), asked, err)
		}
	}
}

// TestLocal: a keyset does not fail, and so is not tested anew for each slot.
func TestLocal(t *testing.T) {
	s := newService()
	key := must(newLocal(s))
	s.encrypt = func([]byte, []byte) ([]byte, error) { t.Error("encrypts"); return nil, errDown }
	foreign := must(New(newService(), nil).Wrap(t.Context(), core, keys.NewFileKey()))
	if _, err := key.Unwrap(t.Context(), core, foreign); !errors.Is(err, keys.ErrNoMatch) {
		t.Error(err)
	}
}

// TestMoved: a service that ignores associated data, as Vault's does for some keys,
// opens slots of other containers. What is wrapped tells.
func TestMoved(t *testing.T) {
	s, fk := newService(), keys.NewFileKey()
	s.encrypt = func(text, _ []byte) ([]byte, error) { return s.aead.Encrypt(text, nil) }
	s.decrypt = func(text, _ []byte) ([]byte, error) { return s.aead.Decrypt(text, nil) }
	key := New(s, nil)
	slot := must(key.Wrap(t.Context(), core, fk))
	opens(t, key, slot, fk)
	if _, err := key.Unwrap(t.Context(), format.Core{9}, slot); !errors.Is(err, keys.ErrNoMatch) {
		t.Errorf("a slot of another container: %v", err)
	}
	slot.Salt[0] ^= 1
	if _, err := key.Unwrap(t.Context(), core, slot); !errors.Is(err, keys.ErrNoMatch) {
		t.Errorf("a slot with another salt: %v", err)
	}
}

// TestServiceLies: what is not the plaintext is never taken for it, and what no reader
// could open is not written.
func TestServiceLies(t *testing.T) {
	fk := keys.NewFileKey()
	s := newService()
	key := New(s, nil)
	slot := must(key.Wrap(t.Context(), core, fk))
	for name, out := range map[string][]byte{"nothing": nil, "zeros": make([]byte, 64), "FK alone": fk.Bytes(), "FK and another bind": append(fk.Bytes(), make([]byte, 32)...),
		"more": append(keys.Bound(core, slot, fk), 0)} {
		s.decrypt = returns(out)
		if _, err := key.Unwrap(t.Context(), core, slot); !errors.Is(err, keys.ErrNoMatch) {
			t.Errorf("the service returns %s: %v", name, err)
		}
	}
	for _, n := range []int{0, maxWrapped + 1, 1 << 16, 1<<16 + 80} {
		s.encrypt = returns(make([]byte, n))
		_, err := key.Wrap(t.Context(), core, fk)
		if !errors.Is(err, ErrWrappedSize) || !errors.As(err, new(*Error)) {
			t.Errorf("the AEAD makes %d bytes: %v", n, err)
		}
	}
	for _, n := range []int{1, maxWrapped} {
		s.encrypt = returns(make([]byte, n))
		if slot, err := key.Wrap(t.Context(), core, fk); err != nil || len(slot.Unsized()) != n {
			t.Errorf("the AEAD makes %d bytes: %v", n, err)
		}
	}
	s.encrypt = func(text, _ []byte) ([]byte, error) { return append([]byte("prefix"), text...), nil }
	if _, err := key.Wrap(t.Context(), core, fk); err == nil || !strings.Contains(err.Error(), "encrypts nothing") || strings.Contains(err.Error(), hex.EncodeToString(fk.Bytes())) {
		t.Errorf("the AEAD returns the plaintext: %v", err)
	}
}

// TestInPlace: an AEAD may work in the buffer that it was given.
func TestInPlace(t *testing.T) {
	s, fk := newService(), keys.NewFileKey()
	flip := func(text, _ []byte) ([]byte, error) {
		for i := range text {
			text[i] ^= 0x55
		}
		return text, nil
	}
	s.encrypt, s.decrypt = flip, flip
	key := New(s, nil)
	slot := must(key.Wrap(t.Context(), core, fk))
	before := bytes.Clone(slot.Wrapped)
	opens(t, key, slot, fk)
	if !bytes.Equal(slot.Wrapped, before) {
		t.Error("Unwrap changes the slot")
	}
	opens(t, key, slot, fk)
}

func TestRedaction(t *testing.T) {
	secret := must(hex.DecodeString("e50915f4e884586aa81a5773209aade7f44d84f493ba7e43a6b880423701f1e5"))
	key, _, err := ReadKeyset(keysetJSON(secret, 1), nil)
	if err != nil {
		t.Fatal(err)
	}
	recipient := key.WithAlias("a")
	type holder struct {
		Key   *Key
		key   *Key
		value Key
		any   any
	}
	h := holder{key, key, *key, recipient}
	for _, v := range []any{key, *key, &key, recipient, h, &h, []*Key{key}, []Key{*key}, map[string]any{"k": *key}, [1]any{key}} {
		for _, verb := range "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ!" {
			for _, flags := range []string{"", "+", "#", "# "} {
				if out := fmt.Sprintf("%"+flags+string(verb), v); tells(out, secret) {
					t.Errorf("%T by %%%s%c is %s", v, flags, verb, out)
				}
			}
		}
		var log bytes.Buffer
		slog.New(slog.NewTextHandler(&log, nil)).Info("opening", "key", v)
		slog.New(slog.NewJSONHandler(&log, nil)).Info("opening", "key", v)
		if b, err := json.Marshal(v); err == nil {
			log.Write(b)
		}
		if tells(log.String(), secret) {
			t.Errorf("%T in a log is %s", v, &log)
		}
	}
	for _, v := range []any{key, *key, recipient} {
		if out := fmt.Sprintf("%v %+v %s %x", v, v, v, v); out != strings.TrimSpace(strings.Repeat(redacted+" ", 4)) {
			t.Errorf("%T is %s", v, out)
		}
		if b, err := json.Marshal(v); err != nil || string(b) != `"[redacted]"` {
			t.Errorf("%T in JSON is %s, %v", v, b, err)
		}
	}
	for _, verb := range []string{"%v", "%x", "%X", "%#v", "%d", "%s"} {
		if !tells(fmt.Sprintf(verb, secret), secret) {
			t.Errorf("%s is not found", verb)
		}
	}
}

// tells reports whether any 4 bytes of secret in a row are in out, as they are, in hex
// or as numbers.
func tells(out string, secret []byte) bool {
	lower := strings.ToLower(out)
	for i := range len(secret) - 3 {
		w := secret[i : i+4]
		for _, trace := range []string{string(w), hex.EncodeToString(w), strings.Trim(fmt.Sprint(w), "[]"),
			strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", w), "[]byte{"), "}")} {
			if strings.Contains(out, trace) || strings.Contains(lower, trace) {
				return true
			}
		}
	}
	return false
}
