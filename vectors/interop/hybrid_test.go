package interop_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/cloudflare/circl/hpke"
	"github.com/cloudflare/circl/kem"

	"github.com/coffer-backup/coffer/engine"
	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/keys"
	"github.com/coffer-backup/coffer/vectors"
)

// circl is the suite of kind 5 (§ 4.5.6), by another library. It takes an X25519 share
// of low order, which we refuse; otherwise both must agree.
var circl = hpke.NewSuite(hpke.KEM_XWING, hpke.KDF_HKDF_SHA256, hpke.AEAD_ChaCha20Poly1305)

const circlKEM = hpke.KEM_XWING

func circlInfo(core format.Core, slot format.Slot) []byte {
	bind := keys.Bind(core, slot)
	return append([]byte("coffer v1 hpke"), bind[:]...)
}

// A circlRecipient wraps for a public key, as a program without our code would.
type circlRecipient struct{ public kem.PublicKey }

func (r circlRecipient) Wrap(_ context.Context, core format.Core, fk *keys.FileKey) (format.Slot, error) {
	slot := format.Slot{Kind: 5, Params: []byte{0x7A, 0x64}}
	rand.Read(slot.Salt[:])
	sender, err := circl.NewSender(r.public, circlInfo(core, slot))
	if err != nil {
		return slot, err
	}
	enc, sealer, err := sender.Setup(rand.Reader)
	if err != nil {
		return slot, err
	}
	ct, err := sealer.Seal(fk.Bytes(), nil)
	slot.Wrapped = append(enc, ct...)
	return slot, err
}

// A circlIdentity opens slots of kind 5.
type circlIdentity struct{ private kem.PrivateKey }

func (i circlIdentity) Kind() format.Kind { return 5 }

func (i circlIdentity) Unwrap(_ context.Context, core format.Core, slot format.Slot) (*keys.FileKey, error) {
	receiver, err := circl.NewReceiver(i.private, circlInfo(core, slot))
	if err != nil {
		return nil, err
	}
	opener, err := receiver.Setup(slot.Wrapped[:1120])
	if err != nil {
		return nil, err
	}
	fk, err := opener.Open(slot.Wrapped[1120:], nil)
	if err != nil {
		return nil, keys.ErrNoMatch
	}
	return keys.FileKeyFrom(fk)
}

// circlKeys takes a pair from its texts (§ 4.7), by circl's own decoding.
func circlKeys(t *testing.T, recipient, identity string) (circlRecipient, circlIdentity) {
	t.Helper()
	decode := func(text, prefix string, size int) []byte {
		raw, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(strings.ToUpper(strings.TrimPrefix(text, prefix)))
		if err != nil || len(raw) != size+4 {
			t.Fatalf("%s…: %d bytes, %v", prefix, len(raw), err)
		}
		return raw[:size]
	}
	public, err := circlKEM.Scheme().UnmarshalBinaryPublicKey(decode(recipient, "coffer1pq", 1216))
	if err != nil {
		t.Fatal(err)
	}
	private, err := circlKEM.Scheme().UnmarshalBinaryPrivateKey(decode(identity, "COFFER-SECRET-KEY-PQ-1", 32))
	if err != nil {
		t.Fatal(err)
	}
	return circlRecipient{public}, circlIdentity{private}
}

// TestHybridKeys derives public keys from seeds.
func TestHybridKeys(t *testing.T) {
	for range 100 {
		k := keys.GenerateHybridIdentity()
		to, from := circlKeys(t, k.Recipient().String(), k.Text())
		if !from.private.Public().Equal(to.public) {
			t.Fatalf("of the seed %x circl makes another public key", k.Bytes())
		}
	}
}

// TestHybridRecipient writes whole containers with one library and reads them with the
// other.
func TestHybridRecipient(t *testing.T) {
	for range 10 {
		ours := keys.GenerateHybridIdentity()
		to, from := circlKeys(t, ours.Recipient().String(), ours.Text())
		for name, c := range map[string]struct {
			to   keys.Recipient
			from keys.Identity
		}{"circl to us": {to, ours}, "us to circl": {ours.Recipient(), from}, "circl alone": {to, from}} {
			if got, err := throughContainer(t, c.to, c.from); err != nil || got != "for a recipient" {
				t.Errorf("%s: %q, %v", name, got, err)
			}
		}
		if _, err := throughContainer(t, to, keys.GenerateHybridIdentity()); !errors.Is(err, keys.ErrNoMatch) {
			t.Errorf("circl to another one: %v", err)
		}
	}
}

func throughContainer(t *testing.T, to keys.Recipient, from keys.Identity) (string, error) {
	var sealed bytes.Buffer
	w, err := engine.NewWriter(t.Context(), &sealed, []keys.Recipient{to}, nil)
	if err != nil {
		return "", err
	}
	defer w.Abort()
	if _, err := w.Write([]byte("for a recipient")); err != nil {
		return "", err
	}
	if err := w.Close(); err != nil {
		return "", err
	}
	r, err := engine.NewReader(t.Context(), &sealed, []keys.Identity{from}, nil)
	if err != nil {
		return "", err
	}
	defer r.Close()
	got, err := io.ReadAll(r)
	return string(got), err
}

// TestHybridVectors opens the slots of kind 5 in kdf.json, and takes the keys of
// keytext.json.
func TestHybridVectors(t *testing.T) {
	texts, err := vectors.LoadKeyTexts()
	if err != nil {
		t.Fatal(err)
	}
	kdf, err := vectors.LoadKDF()
	if err != nil {
		t.Fatal(err)
	}
	opened := 0
	for _, v := range kdf.Slots {
		if v.Kind != 5 {
			continue
		}
		for _, k := range texts.HybridKeys {
			to, from := circlKeys(t, k.Recipient, k.Identity)
			if !from.private.Public().Equal(to.public) {
				t.Errorf("of the seed %x circl makes another public key", k.Seed)
			}
			slot, known, err := format.Entry{Kind: 5, Data: v.Slot[4:]}.Slot()
			if err != nil || !known {
				t.Fatal(known, err)
			}
			fk, err := from.Unwrap(t.Context(), format.Core(v.Core), slot)
			if mine := bytes.Equal(k.Seed, v.Key); (err == nil) != mine || mine && !bytes.Equal(fk.Bytes(), v.FileKey) {
				t.Errorf("%s, seed %x: %v", v.Comment, k.Seed, err)
			} else if mine {
				opened++
			}
		}
	}
	if opened == 0 {
		t.Error("no slot was opened")
	}
}
