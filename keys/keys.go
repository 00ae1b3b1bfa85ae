// Package keys holds the keys of a backup and the ways to wrap its file key.
//
// Every container is encrypted under a file key of its own, made by the engine.
// What an owner keeps is an account key (64 hex digits) or a passphrase, and the
// container's header has a slot for each, in which the file key is wrapped:
//
//	key, err := keys.GenerateAccountKey()
//	w, err := engine.NewWriter(ctx, dst, []keys.Recipient{key}, nil)
//	r, err := engine.NewReader(ctx, src, []keys.Identity{key}, nil)
//
// Keys of this package are redacted by every verb of fmt, by log/slog and by
// encoding/json; only AccountKey.Text gives digits. Erasing keys from memory is
// best effort in Go: the runtime may have copied them.
//
// All types are safe for concurrent use once made.
package keys

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"

	"github.com/coffer-backup/coffer/format"
)

// ErrNoMatch says that a slot, or every slot of a file, does not fit the keys
// that were given. It never tells more than that.
var ErrNoMatch = errors.New("no key fits")

// A Recipient wraps the file key of a new container into a slot.
type Recipient interface {
	// Wrap returns a slot with a fresh random salt, bound to core.
	Wrap(ctx context.Context, core format.Core, fk *FileKey) (format.Slot, error)
}

// An Identity opens slots of one kind.
type Identity interface {
	// Kind is the kind of the slots that Unwrap takes.
	Kind() format.Kind

	// Unwrap returns the file key in slot, or an error that wraps ErrNoMatch if
	// the slot is not for this identity. Any other error means that the attempt
	// could not be made, and says nothing about the slot. It is called for one
	// slot at a time; the engine chooses the order and keeps the limits on work.
	Unwrap(ctx context.Context, core format.Core, slot format.Slot) (*FileKey, error)
}

// secret is 32 bytes that nothing prints. The key types embed it and so cannot
// be swapped for one another.
type secret struct{ b [32]byte }

const redacted = "[redacted key]"

func (*secret) String() string               { return redacted }
func (*secret) GoString() string             { return redacted }
func (*secret) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (*secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Format keeps every verb, %x and %d too, from reaching the bytes.
func (*secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// Erase overwrites the key. It must not be used afterwards.
func (s *secret) Erase() { clear(s.b[:]) }

// FileKey is FK, the key of one container (§ 4.1). The engine makes it; callers
// see it only if they implement Recipient or Identity.
type FileKey struct{ secret }

// NewFileKey returns a fresh random file key.
func NewFileKey() *FileKey {
	k := new(FileKey)
	rand.Read(k.b[:]) // never fails
	return k
}

// FileKeyFrom returns the file key with these bytes, 32 of them, which an Identity
// got out of a slot. It keeps a copy.
func FileKeyFrom(b []byte) (*FileKey, error) {
	k := new(FileKey)
	if copy(k.b[:], b) != len(b) || len(b) != len(k.b) {
		return nil, fmt.Errorf("a file key has %d bytes, not %d", len(k.b), len(b))
	}
	return k, nil
}

// Bytes returns a copy of the key, for a Recipient that wraps it. Whoever has it
// can read and forge the container.
func (k *FileKey) Bytes() []byte { return append([]byte(nil), k.b[:]...) }
