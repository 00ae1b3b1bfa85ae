package keys_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/keys"
)

var (
	testCore = format.Core(count(0x80, len(format.Core{})))
	cheap    = format.PassphraseParams{Time: 1, MemoryKiB: 8, Parallelism: 1}
)

func passphrase(t testing.TB, text string) *keys.Passphrase {
	p, err := keys.NewPassphrase([]byte(text))
	if err == nil {
		p, err = p.WithCost(cheap)
	}
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func wrap(t testing.TB, to keys.Recipient, fk *keys.FileKey) format.Slot {
	t.Helper()
	slot, err := to.Wrap(t.Context(), testCore, fk)
	if err != nil {
		t.Fatal(err)
	}
	return slot
}

func TestWrapRecomputed(t *testing.T) {
	ak := keys.GenerateAccountKey()
	id := ak.ID()
	for _, c := range []struct {
		name   string
		to     keys.Recipient
		secret []byte
		kind   format.Kind
		params []byte
	}{
		{"account key", ak, ak.Bytes(), format.KindAccount, make([]byte, 16)},
		{"account key with its id", ak.WithID(), ak.Bytes(), format.KindAccount, id[:]},
		{"passphrase", passphrase(t, "correct horse"), []byte("correct horse"), format.KindPassphrase, unhex("1301000001000000" + "0800000000000000")},
	} {
		fk := keys.NewFileKey()
		slot := wrap(t, c.to, fk)
		if slot.Kind != c.kind || !bytes.Equal(slot.Params, c.params) {
			t.Errorf("%s: kind %v, params %x, want %v, %x", c.name, slot.Kind, slot.Params, c.kind, c.params)
		}
		if want := specWrap(specKEK(c.secret, slot), fk.Bytes(), testCore[:], slot); !bytes.Equal(slot.Wrapped, want) {
			t.Errorf("%s: wrapped is %x, want %x", c.name, slot.Wrapped, want)
		}
		if again := wrap(t, c.to, fk); again.Salt == slot.Salt || bytes.Equal(again.Wrapped, slot.Wrapped) {
			t.Errorf("%s: two slots have one salt or one wrapped key", c.name)
		}
		if got, known, err := slot.Entry().Slot(); err != nil || !known || got.Kind != c.kind {
			t.Errorf("%s: package format says %v, %v", c.name, known, err)
		}
	}
}

func TestWrapUnwrap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		core := format.Core(drawBytes(t, "core", len(format.Core{})))
		secret := drawBytes(t, "FK", 32)
		fk := must(keys.FileKeyFrom(secret))
		ak := must(keys.AccountKeyFrom(drawBytes(t, "AK", 32)))
		pass := must(must(keys.NewPassphrase(rapid.SliceOfN(rapid.Byte(), 1, 64).Draw(t, "passphrase"))).WithCost(cheap))
		otherPass := must(must(keys.NewPassphrase(rapid.SliceOfN(rapid.Byte(), 65, 80).Draw(t, "other passphrase"))).WithCost(cheap))
		for _, c := range []struct {
			to   keys.Recipient
			with keys.Identity
		}{{ak, ak}, {ak.WithID(), ak}, {pass, pass}} {
			slot := must(c.to.Wrap(context.Background(), core, fk))
			got, err := c.with.Unwrap(context.Background(), core, slot)
			if err != nil || !bytes.Equal(got.Bytes(), secret) {
				t.Fatalf("%T cannot open its own slot: %v", c.with, err)
			}
			for _, other := range []keys.Identity{keys.GenerateAccountKey(), otherPass} {
				if got, err := other.Unwrap(context.Background(), core, slot); got != nil || !errors.Is(err, keys.ErrNoMatch) {
					t.Fatalf("another %T opens a slot of kind %v: %v", other, slot.Kind, err)
				}
			}
		}
	})
}

// key is both sides of a slot.
type key interface {
	keys.Recipient
	keys.Identity
}

// TestEveryBitFlip changes each bit that a slot is made of or bound to.
func TestEveryBitFlip(t *testing.T) {
	for _, key := range []key{keys.GenerateAccountKey(), passphrase(t, "correct horse")} {
		original := wrap(t, key, keys.NewFileKey())
		refused := func(what string, bit int, core format.Core, slot format.Slot) {
			fk, err := key.Unwrap(t.Context(), core, slot)
			var syntax *format.SyntaxError // of params that Argon2 cannot run with
			if fk != nil || !errors.Is(err, keys.ErrNoMatch) && !(what == "params" && errors.As(err, &syntax)) {
				t.Errorf("%v slot, %s bit %d: key %v, error %v", slot.Kind, what, bit, fk != nil, err)
			}
		}
		fields := map[string]func(core *format.Core, s *format.Slot) []byte{
			"core":    func(core *format.Core, _ *format.Slot) []byte { return core[:] },
			"salt":    func(_ *format.Core, s *format.Slot) []byte { return s.Salt[:] },
			"params":  func(_ *format.Core, s *format.Slot) []byte { return s.Params },
			"wrapped": func(_ *format.Core, s *format.Slot) []byte { return s.Wrapped },
		}
		for what, field := range fields {
			for bit := range 8 * len(field(new(testCore), &original)) {
				core, slot := testCore, original
				slot.Params, slot.Wrapped = bytes.Clone(slot.Params), bytes.Clone(slot.Wrapped)
				field(&core, &slot)[bit/8] ^= 1 << (bit % 8)
				if p, err := slot.PassphraseParams(); slot.Kind == format.KindPassphrase && err == nil && p.MemoryKiB > 1<<14 {
					continue // it would take up to 2 GiB to be refused
				}
				refused(what, bit, core, slot)
			}
		}
		for bit := range 16 {
			slot := original
			slot.Kind ^= 1 << bit
			refused("kind", bit, testCore, slot)
		}
	}
}

// TestKindIsBound presents a slot that was bound to another kind.
func TestKindIsBound(t *testing.T) {
	ak, fk := keys.GenerateAccountKey(), keys.NewFileKey()
	slot := wrap(t, ak, fk)
	bound := slot
	bound.Kind = format.KindPassphrase
	slot.Wrapped = specWrap(specKEK(ak.Bytes(), slot), fk.Bytes(), testCore[:], bound)
	if _, err := ak.Unwrap(t.Context(), testCore, slot); err != keys.ErrNoMatch {
		t.Errorf("error %v", err)
	}
}

func TestUnwrapOfSlotsMadeByHand(t *testing.T) {
	ak := keys.GenerateAccountKey()
	pass := passphrase(t, "correct horse")
	for _, with := range []keys.Identity{ak, pass} {
		for _, slot := range []format.Slot{
			{}, {Kind: with.Kind()}, {Kind: with.Kind(), Wrapped: make([]byte, 63)}, {Kind: with.Kind(), Wrapped: make([]byte, 65)},
		} {
			if fk, err := with.Unwrap(t.Context(), testCore, slot); fk != nil || !errors.Is(err, keys.ErrNoMatch) {
				t.Errorf("%T, kind %v, %d wrapped bytes: %v", with, slot.Kind, len(slot.Wrapped), err)
			}
		}
	}
	var syntax *format.SyntaxError
	if _, err := pass.Unwrap(t.Context(), testCore, format.Slot{Kind: format.KindPassphrase, Wrapped: make([]byte, 64)}); !errors.As(err, &syntax) {
		t.Errorf("a passphrase slot without params: %v", err)
	}
}

// TestIDDecidesNothing opens a slot whose hint names another key.
func TestIDDecidesNothing(t *testing.T) {
	ak, fk := keys.GenerateAccountKey(), keys.NewFileKey()
	slot := wrap(t, ak, fk)
	slot.Params = count(1, 16)
	slot.Wrapped = specWrap(specKEK(ak.Bytes(), slot), fk.Bytes(), testCore[:], slot)
	if got, err := ak.Unwrap(t.Context(), testCore, slot); err != nil || !bytes.Equal(got.Bytes(), fk.Bytes()) {
		t.Errorf("error %v", err)
	}
}

func TestKeysFromBytes(t *testing.T) {
	for _, n := range []int{0, 31, 33} {
		if _, err := keys.AccountKeyFrom(make([]byte, n)); err == nil || !strings.Contains(err.Error(), "32 bytes") {
			t.Errorf("an account key of %d bytes: %v", n, err)
		}
		if _, err := keys.FileKeyFrom(make([]byte, n)); err == nil {
			t.Errorf("a file key of %d bytes", n)
		}
	}
	b := count(1, 32)
	ak, fk := must(keys.AccountKeyFrom(b)), must(keys.FileKeyFrom(b))
	clear(b)
	ak.Bytes()[0]++
	if want := count(1, 32); !bytes.Equal(ak.Bytes(), want) || !bytes.Equal(fk.Bytes(), want) {
		t.Error("a key shares its bytes with the caller")
	}
	ak.Erase()
	fk.Erase()
	if zero := make([]byte, 32); !bytes.Equal(ak.Bytes(), zero) || !bytes.Equal(fk.Bytes(), zero) {
		t.Error("Erase leaves bytes")
	}
}

// TestConcurrentUse is for the race detector.
func TestConcurrentUse(t *testing.T) {
	ak, pass, fk := keys.GenerateAccountKey(), passphrase(t, "correct horse"), keys.NewFileKey()
	s := keys.NewSchedule(fk, new([32]byte))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for _, key := range []key{ak, pass} {
				if _, err := key.Unwrap(t.Context(), testCore, wrap(t, key, fk)); err != nil {
					t.Error(err)
				}
			}
			s.Body(testCore, nil)
			_ = ak.Text()
		})
	}
	wg.Wait()
}
