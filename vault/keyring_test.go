package vault

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/coffer-backup/coffer/keys"
)

func drawBytes(t *rapid.T, name string, n int) []byte {
	return rapid.SliceOfN(rapid.Byte(), n, n).Draw(t, name)
}

func drawRing(t *rapid.T) *Keyring {
	var all []*keys.AccountKey
	for range rapid.IntRange(1, MaxKeys).Draw(t, "keys") {
		all = append(all, must(keys.AccountKeyFrom(drawBytes(t, "key", accountKeySize))))
	}
	return must(NewKeyring(all...))
}

func drawPlace(t *rapid.T) place {
	return place{
		rapid.StringN(0, 43, -1).Draw(t, "vault"), rapid.StringN(1, 128, -1).Draw(t, "credential"),
		rapid.Uint32().Draw(t, "kv"), [32]byte(drawBytes(t, "descriptor", 32)),
	}
}

// TestKeyringWrap: what was wrapped opens in its place and in no other.
func TestKeyringWrap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ring, p, export := drawRing(t), drawPlace(t), drawBytes(t, "export key", 32)
		wrapped := p.wrap(ring, export)
		if want := saltSize + paddedSize(len(ring.Keys())) + tagSize; len(wrapped) != want {
			t.Fatalf("%d bytes, want %d", len(wrapped), want)
		}
		if got, err := p.unwrap(wrapped, export); err != nil || !sameRing(got, ring) {
			t.Fatalf("%v", err)
		}
		if bytes.Equal(wrapped, p.wrap(ring, export)) {
			t.Fatal("the same bytes twice")
		}
		for name, q := range map[string]place{
			"vault":      {p.vault + "x", p.credential, p.kv, p.descriptor},
			"credential": {p.vault, p.credential + "x", p.kv, p.descriptor},
			"moved":      {p.vault + p.credential[:1], p.credential[1:], p.kv, p.descriptor},
			"kv":         {p.vault, p.credential, p.kv + 1, p.descriptor},
			"descriptor": {p.vault, p.credential, p.kv, [32]byte(drawBytes(t, "other descriptor", 32))},
		} {
			if q == p {
				continue
			}
			if _, err := q.unwrap(wrapped, export); !errors.Is(err, ErrForged) {
				t.Fatalf("with another %s: %v", name, err)
			}
		}
		if _, err := p.unwrap(wrapped, append(export[:31:31], export[31]+1)); !errors.Is(err, ErrForged) {
			t.Fatalf("with another export key: %v", err)
		}
	})
}

// TestKeyringDamage flips each bit and takes each length.
func TestKeyringDamage(t *testing.T) {
	p, export := place{"vault", alice, 7, [32]byte{1}}, make([]byte, 32)
	wrapped := p.wrap(newTestRing(t, 2), export)
	for i := range 8 * len(wrapped) {
		wrapped[i/8] ^= 1 << (i % 8)
		if _, err := p.unwrap(wrapped, export); !errors.Is(err, ErrForged) {
			t.Fatalf("bit %d: %v", i, err)
		}
		wrapped[i/8] ^= 1 << (i % 8)
	}
	for n := range len(wrapped) {
		if _, err := p.unwrap(wrapped[:n], export); !errors.Is(err, ErrForged) {
			t.Fatalf("%d bytes: %v", n, err)
		}
	}
	if _, err := p.unwrap(append(wrapped, 0), export); !errors.Is(err, ErrForged) {
		t.Fatalf("a byte too many: %v", err)
	}
}

// TestKeyringEncoding has keyrings of every number of keys, and bytes that are none.
func TestKeyringEncoding(t *testing.T) {
	for n := 1; n <= MaxKeys; n++ {
		ring := newTestRing(t, n)
		b := ring.encode()
		want := smallKeyring
		if n > 15 {
			want = largeKeyring
		}
		if got, err := parseKeyring(b); err != nil || len(b) != want || !sameRing(got, ring) {
			t.Fatalf("%d keys in %d bytes: %v", n, len(b), err)
		}
	}
	good := newTestRing(t, 3).encode()
	full := newTestRing(t, MaxKeys).encode()
	for name, b := range map[string][]byte{
		"nothing": nil, "a version alone": {1}, "cut": good[:511], "longer": append(bytes.Clone(good), 0),
		"few keys in much": append(bytes.Clone(good), make([]byte, largeKeyring-smallKeyring)...),
		"many in little":   full[:smallKeyring],
		"version 0":        with(good, 0, 0), "version 2": with(good, 0, 2),
		"no keys": with(good, 1, 0), "too few": with(good, 1, 2), "16": with(good, 1, 16), "65": with(full, 1, 65), "255": with(full, 1, 255),
		"padding, first": with(good, keyringHead+3*accountKeySize, 1), "padding, last": with(good, len(good)-1, 1),
	} {
		if _, err := parseKeyring(b); err == nil {
			t.Errorf("%s: parsed", name)
		}
	}
	for _, n := range []int{0, MaxKeys + 1} {
		if _, err := NewKeyring(make([]*keys.AccountKey, n)...); err == nil {
			t.Errorf("a keyring of %d keys", n)
		}
	}
	if _, err := NewKeyring(keys.GenerateAccountKey(), nil); err == nil {
		t.Error("a keyring with a nil key")
	}
}

func with(b []byte, i int, x byte) []byte {
	b = bytes.Clone(b)
	b[i] = x
	return b
}

// TestKeyringIsFixed: what comes out of a keyring does not reach into it.
func TestKeyringIsFixed(t *testing.T) {
	all := newTestRing(t, 2).Keys()
	ring := must(NewKeyring(all...))
	newest := all[1]
	all[1] = nil
	ring.Keys()[0] = nil
	longer := must(ring.Append(keys.GenerateAccountKey()))
	other := must(ring.Append(keys.GenerateAccountKey()))
	if ring.Newest() != newest || len(ring.Keys()) != 2 || ring.Keys()[0] == nil {
		t.Error("the keyring has changed")
	}
	if longer.Newest() == other.Newest() {
		t.Error("two keyrings share their last key")
	}
}

// TestKeyringRedacted prints keyrings in every way.
func TestKeyringRedacted(t *testing.T) {
	secret := []byte("nobody may see these 32 bytes!!!")
	ring := must(NewKeyring(must(keys.AccountKeyFrom(secret))))
	recovered := &Recovered{Keyring: ring}
	type wrapper struct{ ring *Keyring }
	var printed strings.Builder
	for _, v := range []any{ring, *ring, recovered, *recovered, wrapper{ring}, &wrapper{ring}, []Keyring{*ring}, []*Keyring{ring}} {
		for _, verb := range "vsqxXdobcUtTp" {
			for _, flag := range []string{"", "+", "#"} {
				fmt.Fprintf(&printed, "%"+flag+string(verb)+"\n", v)
			}
		}
		slog.New(slog.NewTextHandler(&printed, nil)).Info("recovered", "it", v)
		slog.New(slog.NewJSONHandler(&printed, nil)).Info("recovered", "it", v)
		if b, err := json.Marshal(v); err == nil {
			printed.Write(b)
		}
	}
	out := strings.ToLower(printed.String())
	for _, trace := range []string{"nobody", hex.EncodeToString(secret[:4]), strings.Trim(fmt.Sprint(secret[:4]), "[]"), fmt.Sprintf("%o", secret[:4])[1:12]} {
		if strings.Contains(out, strings.ToLower(trace)) {
			t.Errorf("%q shows", trace)
		}
	}
	for _, v := range []any{ring, *ring} {
		if s := fmt.Sprintf("%v %+v %#v %s %x", v, v, v, v, v); s != strings.TrimSpace(strings.Repeat("[redacted] ", 5)) {
			t.Errorf("%T prints as %s", v, s)
		}
		if b := must(json.Marshal(v)); string(b) != `"[redacted]"` {
			t.Errorf("%T in JSON is %s", v, b)
		}
	}
}

// TestOwnerKey: it is another one for each key, vault and credential id.
func TestOwnerKey(t *testing.T) {
	a, b := keys.GenerateAccountKey(), keys.GenerateAccountKey()
	seen := map[string]bool{}
	for _, key := range []*keys.AccountKey{a, b} {
		for _, vault := range []string{"v", "va"} {
			for _, credential := range []string{"ab", "b"} {
				seen[string(ownerKey(key, vault, credential))] = true
			}
		}
	}
	if len(seen) != 8 || !ownerKey(a, "v", "ab").Equal(ownerKey(a, "v", "ab")) {
		t.Errorf("%d owner keys, want 8", len(seen))
	}
}
