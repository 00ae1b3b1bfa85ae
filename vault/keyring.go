package vault

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/coffer-backup/coffer/keys"
)

// MaxKeys is how many account keys a keyring has at most.
const MaxKeys = 64

// A Keyring is what a vault keeps for somebody: 1 to MaxKeys account keys. Backups are
// made with the newest; the others open old ones. A Keyring does not change, and fmt,
// log/slog and encoders redact it.
type Keyring struct {
	keys []*keys.AccountKey // the newest last
}

// NewKeyring returns the keyring of these keys, the newest last. It keeps them, not
// copies.
func NewKeyring(all ...*keys.AccountKey) (*Keyring, error) {
	if len(all) == 0 || len(all) > MaxKeys {
		return nil, fmt.Errorf("vault: a keyring has 1 to %d account keys, not %d", MaxKeys, len(all))
	}
	if slices.Contains(all, nil) {
		return nil, errors.New("vault: a keyring with a key that is nil")
	}
	return &Keyring{slices.Clone(all)}, nil
}

// check refuses what NewKeyring did not make.
func (k *Keyring) check() error {
	if k == nil || len(k.keys) == 0 {
		return errors.New("vault: the keyring is empty")
	}
	return nil
}

// Append returns a keyring with one more key, its newest.
func (k *Keyring) Append(key *keys.AccountKey) (*Keyring, error) {
	return NewKeyring(append(k.Keys(), key)...)
}

// Keys returns the keys, the newest last.
func (k *Keyring) Keys() []*keys.AccountKey { return slices.Clone(k.keys) }

// Newest returns the key that backups are made with.
func (k *Keyring) Newest() *keys.AccountKey { return k.keys[len(k.keys)-1] }

// Format redacts in fmt.
func (Keyring) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("[redacted]")) }

// LogValue redacts in log/slog.
func (Keyring) LogValue() slog.Value { return slog.StringValue("[redacted]") }

// MarshalText redacts in encoders.
func (Keyring) MarshalText() ([]byte, error) { return []byte("[redacted]"), nil }

// A keyring as it is sealed: 1 ‖ number of keys ‖ keys, and zeros up to one of two
// lengths, so that a vault learns no more of it than whether there are many. SPEC.md § 5.2
const (
	keyringVersion = 1
	keyringHead    = 2
	accountKeySize = 32
	smallKeyring   = 512
	largeKeyring   = 4096

	saltSize = 32
)

// paddedSize returns the length of a keyring of n keys.
func paddedSize(n int) int {
	if keyringHead+n*accountKeySize <= smallKeyring {
		return smallKeyring
	}
	return largeKeyring
}

func (k *Keyring) encode() []byte {
	b := make([]byte, keyringHead, paddedSize(len(k.keys)))
	b[0], b[1] = keyringVersion, byte(len(k.keys))
	for _, key := range k.keys {
		raw := key.Bytes()
		b = append(b, raw...)
		clear(raw)
	}
	return b[:cap(b)]
}

func parseKeyring(b []byte) (*Keyring, error) {
	if len(b) != smallKeyring && len(b) != largeKeyring {
		return nil, fmt.Errorf("vault: a keyring of %d bytes, it has %d or %d", len(b), smallKeyring, largeKeyring)
	}
	n := int(b[1])
	switch {
	case b[0] != keyringVersion:
		return nil, fmt.Errorf("vault: a keyring of version %d, this program knows version %d", b[0], keyringVersion)
	case n == 0 || n > MaxKeys || len(b) != paddedSize(n):
		return nil, fmt.Errorf("vault: a keyring of %d keys in %d bytes", n, len(b))
	}
	b = b[keyringHead:]
	k := &Keyring{make([]*keys.AccountKey, n)}
	for i := range k.keys {
		key, err := keys.AccountKeyFrom(b[:accountKeySize])
		if err != nil {
			return nil, err
		}
		k.keys[i], b = key, b[accountKeySize:]
	}
	if slices.ContainsFunc(b, func(x byte) bool { return x != 0 }) {
		return nil, errors.New("vault: the padding of a keyring is not zeros")
	}
	return k, nil
}

// A place is where a keyring is kept: it opens nowhere else.
type place struct {
	vault, credential string
	kv                uint32
	descriptor        [32]byte // the hash of the one that the record was made under
}

// wrap returns salt ‖ the keyring, sealed under a key from the export key of OPAQUE,
// which the password alone gives. The salt makes that key new every time, and so its
// nonce can be zero.
func (p place) wrap(k *Keyring, export []byte) []byte {
	b := make([]byte, saltSize)
	rand.Read(b) // never fails
	return p.wrapWith(b, k, export)
}

func (p place) wrapWith(salt []byte, k *Keyring, export []byte) []byte {
	plain := k.encode()
	defer clear(plain)
	return newGCM(p.key(salt, export)).Seal(salt[:saltSize:saltSize], make([]byte, nonceSize), plain, p.binding())
}

// unwrap is the inverse of wrap.
func (p place) unwrap(wrapped, export []byte) (*Keyring, error) {
	if len(wrapped) < saltSize {
		return nil, fmt.Errorf("%w: a keyring of %d bytes", ErrForged, len(wrapped))
	}
	salt, sealed := wrapped[:saltSize], wrapped[saltSize:]
	plain, err := newGCM(p.key(salt, export)).Open(nil, make([]byte, nonceSize), sealed, p.binding())
	if err != nil {
		return nil, fmt.Errorf("%w: the keyring is damaged, or was kept in another place or at another time", ErrForged)
	}
	defer clear(plain)
	return parseKeyring(plain)
}

func (p place) key(salt, export []byte) (key [32]byte) {
	b := derive(export, salt, lp(lp([]byte(labelWrap), p.vault), p.credential))
	copy(key[:], b)
	clear(b)
	return key
}

func (p place) binding() []byte {
	return append(binary.BigEndian.AppendUint32(nil, p.kv), p.descriptor[:]...)
}

// ownerKey returns the public half of the ring's owner key there.
func (p place) ownerKey(ring *Keyring) [32]byte {
	return [32]byte(ownerKey(ring.Newest(), p.vault, p.credential).Public().(ed25519.PublicKey))
}

// ownerKey returns the key with which who has an account key signs for a record.
func ownerKey(key *keys.AccountKey, vault, credential string) ed25519.PrivateKey {
	raw := key.Bytes()
	defer clear(raw)
	seed := derive(raw, nil, lp(lp([]byte(labelOwnerSeed), vault), credential))
	defer clear(seed)
	return ed25519.NewKeyFromSeed(seed)
}

func derive(secret, salt, info []byte) []byte {
	key, err := hkdf.Key(sha256.New, secret, salt, string(info), 32)
	if err != nil {
		panic("vault: internal error: " + err.Error()) // only for more than 255 blocks
	}
	return key
}
