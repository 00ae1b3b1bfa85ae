package vault

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"filippo.io/nistec"

	"github.com/coffer-backup/coffer/vault/evaluator"
	"github.com/coffer-backup/coffer/vault/wire"
)

// MaxDescriptor is the greatest length of a signed descriptor, in bytes.
const MaxDescriptor = 8 << 10

// Limits of what a vault's attempts can be, and of what a client is willing to spend on
// a password.
const (
	MinAttempts     = 5
	MaxAttempts     = 20
	DefaultAttempts = 10

	minKiB, maxKiB   = 19 << 10, 2 << 20 // of Argon2id's memory
	maxTime, maxLane = 16, 16
	minCost, maxCost = 38 << 10, 4 << 20 // memory in KiB times passes
)

// ErrDescriptor is wrapped by errors about a vault's descriptor: it is not the one of
// the vault that was asked for, it is older than one that was seen, or it is malformed.
var ErrDescriptor = errors.New("vault: the descriptor is refused")

// A Descriptor is what a vault states of itself, signed by its root key, which lies
// offline. What a client pins is the [Descriptor.ID], the hash of the root key, which
// never changes.
type Descriptor struct {
	Version   int    `json:"version"`
	Root      Base64 `json:"root"`      // Ed25519
	Revision  uint32 `json:"revision"`  // grows; clients do not go back
	Statement Base64 `json:"statement"` // the P-256 point whose key signs replies
	AKE       []AKE  `json:"ake"`       // the newest last
	KSF       KSF    `json:"ksf"`
	Max       uint8  `json:"max"` // attempts
	// Delays has the seconds to wait after a failure that leaves 1, 2, … attempts.
	Delays []int64 `json:"delays"`
	// Notice is for people: their clients show it.
	Notice string `json:"notice,omitempty"`
}

// AKE is the public half of an AKE key.
type AKE struct {
	ID  uint16 `json:"id"`
	Key Base64 `json:"key"`
}

// KSF has the parameters of Argon2id, version 1.3, whose salt is 16 zero bytes and whose
// output has 32 bytes.
type KSF struct {
	Name  string `json:"name"` // "argon2id"
	KiB   uint32 `json:"m_kib"`
	Time  uint8  `json:"t"`
	Lanes uint8  `json:"p"`
}

// DefaultKSF is what a new vault asks of its clients.
func DefaultKSF() KSF { return KSF{"argon2id", 64 << 10, 3, 4} }

// DefaultDelays are 24 h, 24 h, 8 h, 2 h, 30 min, 5 min and 30 s: whoever destroys a
// record by guessing takes more than two days.
func DefaultDelays() []int64 { return []int64{86400, 86400, 28800, 7200, 1800, 300, 30} }

// Base64 is bytes that are base64url without padding in JSON.
type Base64 []byte

// MarshalText implements encoding.TextMarshaler.
func (b Base64) MarshalText() ([]byte, error) {
	return base64.RawURLEncoding.AppendEncode(nil, b), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (b *Base64) UnmarshalText(text []byte) (err error) {
	*b, err = base64.RawURLEncoding.Strict().AppendDecode(nil, text)
	return err
}

// ID returns the vault's id: 43 characters, base64url of a hash of the root key.
func (d *Descriptor) ID() string { return idOf(ed25519.PublicKey(d.Root)) }

// Sign returns the signed descriptor: a line of JSON, and a line with the signature.
func (d *Descriptor) Sign(root ed25519.PrivateKey) ([]byte, error) {
	if len(root) != ed25519.PrivateKeySize || !bytes.Equal(d.Root, root.Public().(ed25519.PublicKey)) {
		return nil, fmt.Errorf("%w: this is not its root key", ErrDescriptor)
	}
	if d.Delays == nil {
		d.Delays = []int64{} // null would be another encoding
	}
	if err := d.check(); err != nil {
		return nil, err
	}
	line, err := json.Marshal(d)
	if err != nil {
		return nil, err
	}
	signature := ed25519.Sign(root, append([]byte(labelDescriptor), line...))
	return fmt.Appendf(line, "\n%s\n", base64.RawURLEncoding.EncodeToString(signature)), nil
}

// ParseDescriptor checks that signed is a descriptor of the vault of that id and returns
// it. There is one encoding for each descriptor.
func ParseDescriptor(signed []byte, id string) (*Descriptor, error) {
	if len(signed) > MaxDescriptor {
		return nil, fmt.Errorf("%w: it has %d bytes, the limit is %d", ErrDescriptor, len(signed), MaxDescriptor)
	}
	line, rest, ok := bytes.Cut(signed, []byte("\n"))
	text, end, ok2 := bytes.Cut(rest, []byte("\n"))
	if !ok || !ok2 || len(end) > 0 {
		return nil, fmt.Errorf("%w: it is not two lines, JSON and signature", ErrDescriptor)
	}
	signature, err := base64.RawURLEncoding.Strict().AppendDecode(nil, text)
	if err != nil {
		return nil, fmt.Errorf("%w: its signature: %w", ErrDescriptor, err)
	}
	// Only the root key is read before the signature is verified.
	var root struct {
		Root Base64 `json:"root"`
	}
	if err := json.Unmarshal(line, &root); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDescriptor, err)
	}
	if len(root.Root) != ed25519.PublicKeySize || idOf(ed25519.PublicKey(root.Root)) != id {
		return nil, fmt.Errorf("%w: it is another vault's, not that of %s", ErrDescriptor, id)
	}
	if !ed25519.Verify(ed25519.PublicKey(root.Root), append([]byte(labelDescriptor), line...), signature) {
		return nil, fmt.Errorf("%w: its signature is wrong", ErrDescriptor)
	}
	d := new(Descriptor)
	if err := json.Unmarshal(line, d); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDescriptor, err)
	}
	if again, err := json.Marshal(d); err != nil || !bytes.Equal(again, line) {
		return nil, fmt.Errorf("%w: it is not in its one form, or for a newer program", ErrDescriptor)
	}
	return d, d.check()
}

func (d *Descriptor) check() error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s", ErrDescriptor, fmt.Sprintf(format, args...))
	}
	switch {
	case d.Version != 1:
		return bad("it has version %d, this program knows version 1", d.Version)
	case d.Revision == 0:
		return bad("revisions begin with 1")
	case d.Max < MinAttempts || d.Max > MaxAttempts:
		return bad("%d attempts, a vault has %d to %d", d.Max, MinAttempts, MaxAttempts)
	case len(d.AKE) == 0 || len(d.AKE) > 16:
		return bad("%d AKE keys, a vault has 1 to 16", len(d.AKE))
	case d.Delays == nil || len(d.Delays) > MaxAttempts || slices.ContainsFunc(d.Delays, func(s int64) bool { return s < 0 || s > 7*86400 }):
		return bad("delays %v, each is up to a week", d.Delays)
	case len(d.Notice) > 1024:
		return bad("a notice of %d bytes, the limit is 1024", len(d.Notice))
	case d.KSF.Name != "argon2id":
		return bad("passwords are stretched by argon2id, not by %q", d.KSF.Name)
	}
	if err := d.KSF.wire().check(); err != nil {
		return err
	}
	points := []Base64{d.Statement}
	for i, ake := range d.AKE {
		points = append(points, ake.Key)
		if slices.ContainsFunc(d.AKE[:i], func(a AKE) bool { return a.ID == ake.ID }) {
			return bad("two AKE keys have id %d", ake.ID)
		}
	}
	for _, p := range points {
		if _, err := nistec.NewP256Point().SetBytes(p); err != nil || len(p) != evaluator.PointSize {
			return bad("a key is no compressed point of P-256")
		}
	}
	return nil
}

// newest returns the AKE key that new registrations are made with.
func (d *Descriptor) newest() AKE { return d.AKE[len(d.AKE)-1] }

func (k KSF) wire() ksf { return ksf{k.KiB, k.Time, k.Lanes} }

// ksf is what a client stretches a password with.
type ksf wire.KSF

// check refuses what would be too weak to protect a password, or would keep a client
// busy for the vault's pleasure.
func (k ksf) check() error {
	cost := uint64(k.KiB) * uint64(k.Time)
	if k.KiB < minKiB || k.KiB > maxKiB || k.Time < 1 || k.Time > maxTime || k.Lane < 1 || k.Lane > maxLane ||
		cost < minCost || cost > maxCost {
		return fmt.Errorf("%w: Argon2id with m=%d KiB, t=%d, p=%d: m is 19 MiB to 2 GiB, t and p are 1 to 16, m·t is 38 MiB to 4 GiB",
			ErrDescriptor, k.KiB, k.Time, k.Lane)
	}
	return nil
}

func descriptorHash(signed []byte) [32]byte { return sha256.Sum256(signed) }
