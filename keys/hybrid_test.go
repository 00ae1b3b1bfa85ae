package keys_test

import (
	"bytes"
	"crypto/hpke"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/keys"
)

var hybridSeed = count(0x20, 32)

func hybrid() *keys.HybridIdentity { return must(keys.HybridIdentityFrom(hybridSeed)) }

// sealHybrid makes a slot of kind 5 as § 4.5.6 says, for kind, params and a message
// that may be others.
func sealHybrid(kind format.Kind, params, message []byte) format.Slot {
	slot := format.Slot{Kind: kind, Salt: [32]byte(count(7, 32)), Params: params}
	private := must(hpke.MLKEM768X25519().NewPrivateKey(hybridSeed))
	bind := keys.Bind(testCore, slot)
	info := append([]byte("coffer v1 hpke"), bind[:]...)
	slot.Wrapped = must(hpke.Seal(private.PublicKey(), hpke.HKDFSHA256(), hpke.ChaCha20Poly1305(), info, message))
	return slot
}

func TestHybridWrap(t *testing.T) {
	fk := keys.NewFileKey()
	for name, to := range map[string]keys.Recipient{"recipient": hybrid().Recipient(), "identity": hybrid()} {
		slot := wrap(t, to, fk)
		if slot.Kind != format.KindHPKE || hexOf(slot.Params) != "7a64" || len(slot.Wrapped) != 1168 {
			t.Errorf("%s: kind %v, params %x, %d wrapped bytes", name, slot.Kind, slot.Params, len(slot.Wrapped))
		}
		if got, known, err := slot.Entry().Slot(); err != nil || !known || got.Kind != format.KindHPKE {
			t.Errorf("%s: package format says %v, %v", name, known, err)
		}
		if again := wrap(t, to, fk); again.Salt == slot.Salt || bytes.Equal(again.Wrapped[:1120], slot.Wrapped[:1120]) {
			t.Errorf("%s: two slots have one salt or one encapsulation", name)
		}
		got, err := hybrid().Unwrap(t.Context(), testCore, slot)
		if err != nil || !bytes.Equal(got.Bytes(), fk.Bytes()) {
			t.Errorf("%s: %v", name, err)
		}
		if got, err := keys.GenerateHybridIdentity().Unwrap(t.Context(), testCore, slot); got != nil || !errors.Is(err, keys.ErrNoMatch) {
			t.Errorf("%s: another identity opens it: %v", name, err)
		}
	}
	if k := hybrid().Kind(); k != format.KindHPKE {
		t.Errorf("kind %v", k)
	}
}

// TestHybridSealedByHand opens what the standard library sealed under an info that is
// put together here.
func TestHybridSealedByHand(t *testing.T) {
	fk := count(0x40, 32)
	got, err := hybrid().Unwrap(t.Context(), testCore, sealHybrid(format.KindHPKE, []byte{0x7A, 0x64}, fk))
	if err != nil || !bytes.Equal(got.Bytes(), fk) {
		t.Fatal(err)
	}
}

// TestHybridUnwrapRefuses has slots that are right but for one thing, to which they are
// bound.
func TestHybridUnwrapRefuses(t *testing.T) {
	kem, fk := []byte{0x7A, 0x64}, count(0x40, 32)
	good := sealHybrid(format.KindHPKE, kem, fk)
	edited := func(edit func(s *format.Slot)) format.Slot {
		s := good
		s.Wrapped = bytes.Clone(good.Wrapped)
		edit(&s)
		return s
	}
	for name, slot := range map[string]format.Slot{
		"another kind":        sealHybrid(format.KindTink, kem, fk),
		"another KEM":         sealHybrid(format.KindHPKE, []byte{0x50, 0}, fk),
		"no params":           sealHybrid(format.KindHPKE, nil, fk),
		"more params":         sealHybrid(format.KindHPKE, append(kem, 0), fk),
		"31 bytes sealed":     sealHybrid(format.KindHPKE, kem, fk[:31]),
		"33 bytes sealed":     sealHybrid(format.KindHPKE, kem, append(fk, 0)),
		"FK and bind sealed":  sealHybrid(format.KindHPKE, kem, keys.Bound(testCore, good, must(keys.FileKeyFrom(fk)))),
		"nothing wrapped":     edited(func(s *format.Slot) { s.Wrapped = nil }),
		"a byte less":         edited(func(s *format.Slot) { s.Wrapped = s.Wrapped[:1167] }),
		"a byte more":         edited(func(s *format.Slot) { s.Wrapped = append(s.Wrapped, 0) }),
		"no X25519 share":     edited(func(s *format.Slot) { clear(s.Wrapped[1088:1120]) }),
		"an empty slot":       {},
		"a slot without data": {Kind: format.KindHPKE},
	} {
		if got, err := hybrid().Unwrap(t.Context(), testCore, slot); got != nil || !errors.Is(err, keys.ErrNoMatch) {
			t.Errorf("%s: key %v, error %v", name, got != nil, err)
		}
	}
}

// TestHybridEveryByte changes a bit of each byte that a slot is made of or bound to.
func TestHybridEveryByte(t *testing.T) {
	k := hybrid()
	original := wrap(t, k, keys.NewFileKey())
	fields := map[string]func(core *format.Core, s *format.Slot) []byte{
		"core":    func(core *format.Core, _ *format.Slot) []byte { return core[:] },
		"salt":    func(_ *format.Core, s *format.Slot) []byte { return s.Salt[:] },
		"params":  func(_ *format.Core, s *format.Slot) []byte { return s.Params },
		"wrapped": func(_ *format.Core, s *format.Slot) []byte { return s.Wrapped },
	}
	for what, field := range fields {
		for i := range field(new(testCore), &original) {
			core, slot := testCore, original
			slot.Params, slot.Wrapped = bytes.Clone(slot.Params), bytes.Clone(slot.Wrapped)
			// X25519 ignores the top bit of byte 1119, the hash of X-Wing does not.
			field(&core, &slot)[i] ^= 1 << (i % 8)
			if fk, err := k.Unwrap(t.Context(), core, slot); fk != nil || !errors.Is(err, keys.ErrNoMatch) {
				t.Errorf("%s byte %d: key %v, error %v", what, i, fk != nil, err)
			}
		}
	}
}

func TestHybridIdentityFrom(t *testing.T) {
	for _, n := range []int{0, 31, 33} {
		if _, err := keys.HybridIdentityFrom(make([]byte, n)); err == nil {
			t.Errorf("a seed of %d bytes", n)
		}
	}
	seed := bytes.Clone(hybridSeed)
	k := must(keys.HybridIdentityFrom(seed))
	clear(seed)
	if !bytes.Equal(k.Bytes(), hybridSeed) {
		t.Error("the identity shares its seed with the caller")
	}
	if k.Erase(); !bytes.Equal(k.Bytes(), make([]byte, 32)) {
		t.Error("Erase leaves bytes")
	}
	if a, b := keys.GenerateHybridIdentity(), keys.GenerateHybridIdentity(); bytes.Equal(a.Bytes(), b.Bytes()) {
		t.Error("two identities are the same")
	}
}

// TestHybridTransport sends the recipient as text.
func TestHybridTransport(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := must(keys.HybridIdentityFrom(drawBytes(t, "seed", 32)))
		core := format.Core(drawBytes(t, "core", len(format.Core{})))
		fk := must(keys.FileKeyFrom(drawBytes(t, "FK", 32)))
		to := must(keys.ParseHybridRecipient(k.Recipient().String()))
		slot := must(to.Wrap(t.Context(), core, fk))
		with := must(keys.ParseHybridIdentity(k.Text()))
		if got, err := with.Unwrap(t.Context(), core, slot); err != nil || !bytes.Equal(got.Bytes(), fk.Bytes()) {
			t.Fatal(err)
		}
	})
}

func TestHybridRedaction(t *testing.T) {
	secret := sum([]byte("nobody may see this"))
	k := must(keys.HybridIdentityFrom(secret))
	found := tracesOf(secret)
	for shape, v := range shapes(k) {
		for how, out := range renderings(v) {
			if found.in(out) {
				t.Errorf("%s, by %s: %s", shape, how, out)
			}
		}
	}
	for _, v := range []any{k, *k} {
		for _, verb := range []string{"%v", "%s", "%x", "%#v", "%d", "%q"} {
			if out := fmt.Sprintf(verb, v); out != "[redacted]" {
				t.Errorf("%T by %s is %q", v, verb, out)
			}
		}
		if b, err := json.Marshal(v); err != nil || string(b) != `"[redacted]"` {
			t.Errorf("%T in JSON is %s, %v", v, b, err)
		}
	}
	// A recipient is for everybody to see.
	if r := k.Recipient(); fmt.Sprint(r) != r.String() {
		t.Error("a recipient is not printed as its text")
	}
}

// TestHybridConcurrentUse is for the race detector.
func TestHybridConcurrentUse(t *testing.T) {
	k, fk := hybrid(), keys.NewFileKey()
	to := k.Recipient()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for _, r := range []keys.Recipient{to, k} {
				if _, err := k.Unwrap(t.Context(), testCore, wrap(t, r, fk)); err != nil {
					t.Error(err)
				}
			}
			if to.String() != k.Recipient().String() {
				t.Error("the recipient changes")
			}
		})
	}
	wg.Wait()
}

// TestHybridPublicKey derives the recipient from the seed as § 4.7.1 says.
func TestHybridPublicKey(t *testing.T) {
	if want := specPublicKey(hybridSeed); !slices.Equal(publicKey(hybrid().Recipient()), want) {
		t.Errorf("the recipient is not that of the seed")
	}
}
