package keys

import (
	"bytes"
	"context"
	"crypto/hpke"
	"crypto/rand"
	"fmt"

	"github.com/coffer-backup/coffer/format"
)

// The suite of kind 5 (§ 4.5.6): X-Wing, which holds as long as one of ML-KEM-768 and
// X25519 does.
var (
	hybridKEM  = hpke.MLKEM768X25519()
	hybridKDF  = hpke.HKDFSHA256()
	hybridAEAD = hpke.ChaCha20Poly1305()
)

// HybridRecipient is the public half of a HybridIdentity. A machine that has nothing
// else writes backups that it cannot read. Anyone can write to a recipient, so a slot
// for one says nothing of who made the container (§ 4.5.9).
type HybridRecipient struct{ public hpke.PublicKey }

// Wrap makes a slot, which nothing links to the recipient.
func (r *HybridRecipient) Wrap(_ context.Context, core format.Core, fk *FileKey) (format.Slot, error) {
	slot := format.Slot{Kind: format.KindHPKE, Params: format.HPKEParams()}
	rand.Read(slot.Salt[:])
	var err error
	slot.Wrapped, err = hpke.Seal(r.public, hybridKDF, hybridAEAD, hybridInfo(core, slot), fk.raw())
	if err != nil { // only in a FIPS mode that forbids ChaCha20-Poly1305
		return format.Slot{}, fmt.Errorf("sealing for a recipient: %w", err)
	}
	return slot, nil
}

// HybridIdentity is the secret key of a HybridRecipient: a seed, from which the keys of
// ML-KEM and X25519 are derived each time, so that Erase leaves none. It is a Recipient,
// for itself, and an Identity.
type HybridIdentity struct{ secret }

// GenerateHybridIdentity returns a fresh random identity.
func GenerateHybridIdentity() *HybridIdentity { return &HybridIdentity{randomSecret()} }

// HybridIdentityFrom returns the identity with this seed of 32 bytes. It keeps a copy.
func HybridIdentityFrom(seed []byte) (*HybridIdentity, error) {
	s, err := secretFrom(seed)
	if err != nil {
		return nil, err
	}
	return &HybridIdentity{s}, nil
}

// Recipient returns the public half.
func (k *HybridIdentity) Recipient() *HybridRecipient {
	return &HybridRecipient{k.private().PublicKey()}
}

// Kind returns format.KindHPKE.
func (k *HybridIdentity) Kind() format.Kind { return format.KindHPKE }

// Wrap makes a slot for k.Recipient.
func (k *HybridIdentity) Wrap(ctx context.Context, core format.Core, fk *FileKey) (format.Slot, error) {
	return k.Recipient().Wrap(ctx, core, fk)
}

// Unwrap returns the file key, or ErrNoMatch.
func (k *HybridIdentity) Unwrap(_ context.Context, core format.Core, slot format.Slot) (*FileKey, error) {
	if slot.Kind != format.KindHPKE || !bytes.Equal(slot.Params, format.HPKEParams()) || len(slot.Wrapped) != format.HPKEWrappedSize {
		return nil, fmt.Errorf("a slot of kind %v with %d wrapped bytes: %w", slot.Kind, len(slot.Wrapped), ErrNoMatch)
	}
	fk, err := hpke.Open(k.private(), hybridKDF, hybridAEAD, hybridInfo(core, slot), slot.Wrapped)
	if err != nil { // an X25519 share of low order has an error of its own
		return nil, ErrNoMatch
	}
	defer clear(fk)
	return FileKeyFrom(fk)
}

func (k *HybridIdentity) private() hpke.PrivateKey {
	private, err := hybridKEM.NewPrivateKey(k.raw())
	if err != nil { // every 32 bytes are a seed
		panic("keys: internal error: " + err.Error())
	}
	return private
}

func hybridInfo(core format.Core, slot format.Slot) []byte {
	return []byte(labelHPKE + bind(core, slot))
}
