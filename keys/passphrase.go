package keys

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"runtime/debug"

	"golang.org/x/crypto/argon2"

	"github.com/coffer-backup/coffer/format"
)

// MaxPassphrase is the longest passphrase in bytes (§ 4.5).
const MaxPassphrase = 1024

// DefaultCost is what a passphrase slot costs unless told otherwise: 3 passes over
// 256 MiB, about half a second on two cores.
func DefaultCost() format.PassphraseParams {
	return format.PassphraseParams{Time: 3, MemoryKiB: 256 << 10, Parallelism: 4}
}

// oneArgon2 lets one run at a time use its memory in this process.
var oneArgon2 = make(chan struct{}, 1)

// Passphrase wraps and unwraps by Argon2id (§ 3.3). It is a Recipient and an
// Identity. It is used as the bytes given, so tools should pass NFC UTF-8 without
// a line end.
type Passphrase struct {
	redacted
	text **[]byte // see redacted
	cost format.PassphraseParams
}

// NewPassphrase returns a passphrase of 1 to MaxPassphrase bytes, with
// DefaultCost for the slots it makes. It keeps a copy.
func NewPassphrase(text []byte) (*Passphrase, error) {
	if len(text) == 0 {
		return nil, errors.New("the passphrase is empty")
	}
	if len(text) > MaxPassphrase {
		return nil, fmt.Errorf("the passphrase is longer than %d bytes", MaxPassphrase)
	}
	text = bytes.Clone(text)
	at := &text
	return &Passphrase{text: &at, cost: DefaultCost()}, nil
}

// WithCost returns p with another cost for new slots. Slots that are opened cost
// what they say themselves. Erasing one erases both.
func (p *Passphrase) WithCost(c format.PassphraseParams) (*Passphrase, error) {
	if _, err := c.AppendBinary(nil); err != nil {
		return nil, err
	}
	return &Passphrase{text: p.text, cost: c}, nil
}

// Kind returns format.KindPassphrase.
func (p *Passphrase) Kind() format.Kind { return format.KindPassphrase }

// Wrap makes a slot at the passphrase's cost.
func (p *Passphrase) Wrap(ctx context.Context, core format.Core, fk *FileKey) (format.Slot, error) {
	params, err := p.cost.AppendBinary(nil)
	if err != nil {
		return format.Slot{}, err
	}
	slot := format.Slot{Kind: format.KindPassphrase, Params: params}
	rand.Read(slot.Salt[:])
	kek, err := p.kek(ctx, slot)
	if err != nil {
		return format.Slot{}, err
	}
	slot.Wrapped = wrap(kek, core, slot, fk)
	return slot, nil
}

// Unwrap returns the file key, or ErrNoMatch. It runs Argon2id once, at the cost
// that the slot states: bound it before the call, as the engine does.
func (p *Passphrase) Unwrap(ctx context.Context, core format.Core, slot format.Slot) (*FileKey, error) {
	if err := checkSlot(slot, format.KindPassphrase); err != nil {
		return nil, err
	}
	kek, err := p.kek(ctx, slot)
	if err != nil {
		return nil, err
	}
	return unwrap(kek, core, slot)
}

func (p *Passphrase) kek(ctx context.Context, slot format.Slot) ([]byte, error) {
	c, err := slot.PassphraseParams()
	if err != nil {
		return nil, err
	}
	select {
	case oneArgon2 <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { <-oneArgon2 }()
	if ctx.Err() != nil { // both cases may have been ready
		return nil, context.Cause(ctx)
	}
	kek := argon2.IDKey(**p.text, slot.Salt[:], c.Time, c.MemoryKiB, c.Parallelism, 32)
	// Give the memory back before segments are allocated: else the collector's
	// next goal is twice the run's memory.
	debug.FreeOSMemory()
	return kek, nil
}

// Erase overwrites the passphrase. It must not be used afterwards.
func (p *Passphrase) Erase() { clear(**p.text) }
