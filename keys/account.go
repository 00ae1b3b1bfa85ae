package keys

import (
	"context"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"fmt"

	"github.com/coffer-backup/coffer/format"
)

// ID is a hint that tells account keys apart (§ 4.5). It gives nothing of the key
// away, but links what carries it.
func (k *AccountKey) ID() (id [format.KeyIDSize]byte) {
	copy(id[:], expand(k.raw(), labelKeyID, len(id)))
	return id
}

// Kind returns format.KindAccount.
func (k *AccountKey) Kind() format.Kind { return format.KindAccount }

// Wrap makes a slot without a key id.
func (k *AccountKey) Wrap(_ context.Context, core format.Core, fk *FileKey) (format.Slot, error) {
	return k.wrap(core, fk, [format.KeyIDSize]byte{}), nil
}

func (k *AccountKey) wrap(core format.Core, fk *FileKey, id [format.KeyIDSize]byte) format.Slot {
	slot := format.Slot{Kind: format.KindAccount, Params: id[:]}
	rand.Read(slot.Salt[:])
	slot.Wrapped = wrap(k.kek(slot), core, slot, fk)
	return slot
}

// WithID returns a Recipient for k whose slots show k.ID, so that anybody can see
// which key a container needs, and which containers belong together.
func (k *AccountKey) WithID() Recipient { return accountWithID{k} }

type accountWithID struct{ key *AccountKey }

func (r accountWithID) Wrap(_ context.Context, core format.Core, fk *FileKey) (format.Slot, error) {
	return r.key.wrap(core, fk, r.key.ID()), nil
}

// Unwrap returns the file key, or ErrNoMatch. It does not look at the slot's key
// id: a hint decides nothing.
func (k *AccountKey) Unwrap(_ context.Context, core format.Core, slot format.Slot) (*FileKey, error) {
	if err := checkSlot(slot, format.KindAccount); err != nil {
		return nil, err
	}
	return unwrap(k.kek(slot), core, slot)
}

func (k *AccountKey) kek(slot format.Slot) []byte {
	kek, err := hkdf.Key(sha256.New, k.raw(), slot.Salt[:], labelKEKAccount, 32)
	if err != nil {
		panic("keys: internal error: " + err.Error())
	}
	return kek
}

// checkSlot keeps Unwrap total for callers who made their slot by hand.
func checkSlot(slot format.Slot, kind format.Kind) error {
	if slot.Kind != kind || len(slot.Wrapped) != format.WrappedSize {
		return fmt.Errorf("a slot of kind %v with %d wrapped bytes: %w", slot.Kind, len(slot.Wrapped), ErrNoMatch)
	}
	return nil
}
