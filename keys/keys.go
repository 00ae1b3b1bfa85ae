// Package keys holds the keys of a backup and the ways to wrap its file key.
//
// Every container is encrypted under a file key of its own, made by the engine.
// What an owner keeps is an account key (64 hex digits) or a passphrase, and the
// container's header has a slot for each, in which the file key is wrapped:
//
//	key := keys.GenerateAccountKey()
//	w, err := engine.NewWriter(ctx, dst, []keys.Recipient{key}, nil)
//	r, err := engine.NewReader(ctx, src, []keys.Identity{key}, nil)
//
// A machine that writes backups and is not to read them has a recipient, the public
// half of a key that is kept where restores are done. It is post-quantum, a hybrid of
// ML-KEM-768 and X25519, and some 2000 characters long:
//
//	secret := keys.GenerateHybridIdentity()     // kept in a file: MarshalIdentityFile
//	public := secret.Recipient().String()       // coffer1pq…
//	to, err := keys.ParseHybridRecipient(public) // on the other machine
//
// A key in a token is one of package backends/pkcs11, one of Tink or of a KMS one of
// module keys/tink.
//
// Keys of this package are redacted by every verb of fmt, by log/slog and by
// encoding/json; only their Text and Bytes methods give them out. Erasing keys from memory is
// best effort in Go: the runtime may have copied them.
//
// All types are safe for concurrent use once made.
package keys

import (
	"bytes"
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
	// slot at a time; the engine chooses the order and keeps the limits on work,
	// and it erases the file key when it is done with it.
	Unwrap(ctx context.Context, core format.Core, slot format.Slot) (*FileKey, error)
}

// redacted is embedded by what must not be printed. What is secret stands behind
// two pointers besides, because fmt walks into unexported fields of other people's
// structs without asking. There %v follows no pointer, but a verb that pointers do
// not have, such as %s, follows one.
type redacted struct{}

const redactedText = "[redacted]"

// Format keeps every verb of fmt, %x and %d too, from reaching the bytes.
func (redacted) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redactedText)) }

// LogValue redacts in log/slog.
func (redacted) LogValue() slog.Value { return slog.StringValue(redactedText) }

// MarshalText redacts in encoders.
func (redacted) MarshalText() ([]byte, error) { return []byte(redactedText), nil }

// secret is 32 bytes. The key types embed it and so cannot be swapped for one
// another.
type secret struct {
	redacted
	at **[32]byte
}

func newSecret() secret {
	b := new([32]byte)
	return secret{at: &b}
}

func (s secret) raw() []byte { return (*s.at)[:] }

// Erase overwrites the key, as far as that is possible in Go. It must not be used
// afterwards.
func (s secret) Erase() { clear(s.raw()) }

// Bytes returns a copy of the key's 32 bytes.
func (s secret) Bytes() []byte { return bytes.Clone(s.raw()) }

func randomSecret() secret {
	s := newSecret()
	rand.Read(s.raw()) // never fails
	return s
}

func secretFrom(b []byte) (secret, error) {
	s := newSecret()
	if len(b) != len(s.raw()) {
		return secret{}, fmt.Errorf("a key has %d bytes, not %d", len(s.raw()), len(b))
	}
	copy(s.raw(), b)
	return s, nil
}

// FileKey is FK, the key of one container (§ 4.1). The engine makes it; callers
// see it only if they implement Recipient or Identity. Whoever has it can read
// and forge the container.
type FileKey struct{ secret }

// NewFileKey returns a fresh random file key.
func NewFileKey() *FileKey { return &FileKey{randomSecret()} }

// FileKeyFrom returns the file key with these 32 bytes, which an Identity got out
// of a slot. It keeps a copy.
func FileKeyFrom(b []byte) (*FileKey, error) {
	s, err := secretFrom(b)
	if err != nil {
		return nil, err
	}
	return &FileKey{s}, nil
}

// AccountKey is AK, the key an owner keeps for all backups, by hand as 64 hex
// digits or in a vault (§ 4.6). It is a Recipient and an Identity.
type AccountKey struct{ secret }

// GenerateAccountKey returns a fresh random account key.
func GenerateAccountKey() *AccountKey { return &AccountKey{randomSecret()} }

// AccountKeyFrom returns the account key with these 32 bytes. It keeps a copy.
func AccountKeyFrom(b []byte) (*AccountKey, error) {
	s, err := secretFrom(b)
	if err != nil {
		return nil, err
	}
	return &AccountKey{s}, nil
}
