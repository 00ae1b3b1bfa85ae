package keys

import (
	"bytes"
	"context"
	"crypto/sha256"
	"testing"

	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/vectors"
)

// load fails the test if a table is not there or has nothing of a kind.
func load[T any](t *testing.T, load func() (*T, error), lengths func(*T) []int) *T {
	t.Helper()
	table, err := load()
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range lengths(table) {
		if n == 0 {
			t.Fatal("the table is empty")
		}
	}
	return table
}

// compare demands that what we derive is what the vector says.
func compare(t *testing.T, what string, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("%s is %x, want %x", what, got, want)
	}
}

func loadKDF(t *testing.T) *vectors.KDF {
	return load(t, vectors.LoadKDF, func(k *vectors.KDF) []int { return []int{len(k.Schedules), len(k.Slots)} })
}

func TestVectorsOfSchedules(t *testing.T) {
	for _, v := range loadKDF(t).Schedules {
		t.Run(v.Comment, func(t *testing.T) {
			fk, err := FileKeyFrom(v.FileKey)
			if err != nil {
				t.Fatal(err)
			}
			s := NewSchedule(fk, (*[format.SaltSize]byte)(v.Salt))
			compare(t, "PRK", s.prk.raw(), v.PRK)
			block := make([]byte, 4096)
			copy(block, "the MAC is that of a block, under K_mac")
			mac, want := s.HeaderMAC(block), hmac256(v.MACKey, format.MACInput(block))
			compare(t, "MAC", mac[:], want[:])
			if !s.VerifyHeader(block, &mac) {
				t.Error("the MAC does not verify")
			}
			plain := v.Context.Bytes()
			tag := s.ContextTag(plain)
			compare(t, "context_tag", tag[:], v.ContextTag)
			key, nonce := s.Body(format.Core(v.Core), plain)
			compare(t, "BK", key, v.BodyKey)
			compare(t, "N", nonce[:], v.Nonce)
		})
	}
}

func TestVectorsOfSlots(t *testing.T) {
	for _, v := range loadKDF(t).Slots {
		t.Run(v.Comment, func(t *testing.T) {
			core := format.Core(v.Core)
			slot, known, err := format.Entry{Kind: format.Kind(v.Kind), Data: v.Slot[4:]}.Slot()
			if err != nil || !known {
				t.Fatal(known, err)
			}
			compare(t, "slot_salt", slot.Salt[:], v.Salt)
			compare(t, "bind", []byte(bind(core, slot)), v.Bind)
			var with Identity
			var kek []byte
			switch slot.Kind {
			case format.KindAccount:
				key, err := AccountKeyFrom(v.Key)
				if err != nil {
					t.Fatal(err)
				}
				with, kek = key, key.kek(slot)
			case format.KindPassphrase:
				key, err := NewPassphrase(v.Key)
				if err != nil {
					t.Fatal(err)
				}
				if kek, err = key.kek(t.Context(), slot); err != nil {
					t.Fatal(err)
				}
				with = key
			case format.KindHPKE:
				key, err := HybridIdentityFrom(v.Key)
				if err != nil {
					t.Fatal(err)
				}
				fk, err := key.Unwrap(t.Context(), core, slot)
				if err != nil {
					t.Fatal(err)
				}
				compare(t, "FK", fk.raw(), v.FileKey)
				return // it has no KEK
			default:
				return // nobody here unwraps it
			}
			compare(t, "KEK", kek, v.KEK)
			fk, err := with.Unwrap(context.Background(), core, slot)
			if err != nil {
				t.Fatal(err)
			}
			compare(t, "FK", fk.raw(), v.FileKey)
			compare(t, "c and tag", wrap(kek, core, slot, fk), append(bytes.Clone(v.C), v.Tag...))
			compare(t, "pad", expand(kek, labelWrapPad+bind(core, slot), 32), v.Pad)
			compare(t, "K_wrap", expand(kek, labelWrapMAC+bind(core, slot), 32), v.WrapKey)
			for i := range slot.Wrapped {
				wrong := slot
				wrong.Wrapped = bytes.Clone(slot.Wrapped)
				wrong.Wrapped[i] ^= 1
				if _, err := unwrap(kek, core, wrong); err != ErrNoMatch {
					t.Fatalf("with byte %d of wrapped changed: %v", i, err)
				}
			}
		})
	}
}

func TestVectorsOfKeyTexts(t *testing.T) {
	table := load(t, vectors.LoadKeyTexts, func(k *vectors.KeyTexts) []int { return []int{len(k.Texts), len(k.KeyIDs)} })
	for _, v := range table.Texts {
		key, err := ParseKeyFile(v.Bytes())
		switch {
		case len(v.Key) == 0 && err == nil:
			t.Errorf("%s: accepted", v.Comment)
		case len(v.Key) > 0 && err != nil:
			t.Errorf("%s: %v", v.Comment, err)
		case len(v.Key) > 0:
			compare(t, v.Comment+": the key", key.raw(), v.Key)
		}
	}
	for _, v := range table.KeyIDs {
		key, err := AccountKeyFrom(v.Key)
		if err != nil {
			t.Fatal(err)
		}
		id := key.ID()
		compare(t, "key_id", id[:], v.KeyID)
	}
}

func loadHybridTexts(t *testing.T) *vectors.KeyTexts {
	return load(t, vectors.LoadKeyTexts, func(k *vectors.KeyTexts) []int {
		return []int{len(k.HybridKeys), len(k.Recipients), len(k.Identities)}
	})
}

func TestVectorsOfHybridKeys(t *testing.T) {
	for _, v := range loadHybridTexts(t).HybridKeys {
		key, err := HybridIdentityFrom(v.Seed)
		if err != nil {
			t.Fatal(err)
		}
		if key.Text() != v.Identity || key.Recipient().String() != v.Recipient {
			t.Errorf("seed %x: the texts are %s, %s", v.Seed, key.Text(), key.Recipient())
		}
		public := sha256.Sum256(key.Recipient().public.Bytes())
		compare(t, "SHA-256 of the public key", public[:], v.PublicSHA256)
	}
}

func TestVectorsOfRecipients(t *testing.T) {
	table := loadHybridTexts(t)
	for _, v := range table.Recipients {
		got, err := ParseRecipientsFile(table.RecipientsFile(&v))
		if (err == nil) != (len(v.Keys) > 0) || len(got) != len(v.Keys) {
			t.Errorf("%s: %d recipients, %v", v.Comment, len(got), err)
			continue
		}
		for i, r := range got {
			if r.String() != table.HybridKeys[v.Keys[i]].Recipient {
				t.Errorf("%s: recipient %d is another one", v.Comment, i)
			}
		}
	}
}

func TestVectorsOfIdentities(t *testing.T) {
	table := loadHybridTexts(t)
	for _, v := range table.Identities {
		got, err := ParseIdentityFile(table.IdentityFile(&v))
		if (err == nil) != (len(v.Keys) > 0) || len(got) != len(v.Keys) {
			t.Errorf("%s: %d secret keys, %v", v.Comment, len(got), err)
			continue
		}
		for i, k := range got {
			compare(t, v.Comment, k.(*HybridIdentity).raw(), table.HybridKeys[v.Keys[i]].Seed)
		}
	}
	for _, v := range table.Texts {
		got, err := ParseIdentityFile(v.Bytes())
		if (err == nil) != (len(v.Key) > 0) {
			t.Errorf("%s: %v", v.Comment, err)
		}
		for _, k := range got {
			compare(t, v.Comment, k.(*AccountKey).raw(), v.Key)
		}
	}
}
