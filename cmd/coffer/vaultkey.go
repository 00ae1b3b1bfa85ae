package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/keys"
	"github.com/coffer-backup/coffer/vault"
	"github.com/coffer-backup/coffer/vault/wire"
)

// keyForWriting returns the account key of the record: that which this machine has, or
// a new one that the vault keeps from now on, or that of the record which is there.
func (v vaultFlags) keyForWriting(ctx context.Context, u *ui) (key, error) {
	c, err := v.dial(ctx)
	if err != nil {
		return nil, err
	}
	if c.state.key != nil && c.state.marks.Registered {
		return accountKey{c.state.key, true}, nil
	}
	k, err := c.enroll(ctx, u)
	if err != nil {
		return nil, fmt.Errorf("nothing is backed up, as no vault has the key yet: %w", err)
	}
	return accountKey{k, true}, nil
}

// enroll registers a key. If a record is there, of another machine or of a registration
// whose end was not heard of, the password gives its key.
func (c *vaultClient) enroll(ctx context.Context, u *ui) (*keys.AccountKey, error) {
	if err := c.tickets.check(); err != nil {
		return nil, err
	}
	own := c.state.key
	if own == nil {
		own = keys.GenerateAccountKey()
	}
	ring, err := vault.NewKeyring(own)
	if err != nil {
		return nil, err
	}
	password, err := c.password.read(ctx, "vault password", true)
	if err != nil {
		return nil, err
	}
	defer clear(password)
	receipt, err := c.Register(ctx, c.credential, password, ring, nil)
	var state *vault.StateError
	switch {
	case err == nil:
		u.note("the vault keeps account key %x from now on: the password gives it back", own.ID())
	case errors.As(err, &state) && state.Code == wire.NeedOwner:
		r, err := c.recover(ctx, u, password)
		if err != nil {
			return nil, err
		}
		if own, err = c.chosen(r.Keyring); err != nil {
			return nil, err
		}
		receipt = &r.Receipt
		u.note("the vault has kept account key %x: this backup is for it", own.ID())
	default:
		return nil, err
	}
	if err := c.state.begin(own); err != nil {
		return nil, err
	}
	return own, c.saw(ctx, u, receipt)
}

// chosen returns the key to use of what the vault keeps: the one that backups were made
// with here, else the newest.
func (c *vaultClient) chosen(ring *vault.Keyring) (*keys.AccountKey, error) {
	own := c.state.key
	if own == nil {
		return ring.Newest(), nil
	}
	if !slices.ContainsFunc(ring.Keys(), func(k *keys.AccountKey) bool { return k.ID() == own.ID() }) {
		return nil, fmt.Errorf("the vault keeps other keys than %s, which backups were made with here: coffer vault append --key-file adds it", quoteName(c.state.keyFile()))
	}
	return own, nil
}

// recover asks the vault for the keyring, and tells what the owner should know.
func (c *vaultClient) recover(ctx context.Context, u *ui, password []byte) (*vault.Recovered, error) {
	r, err := c.Recover(ctx, c.credential, password)
	if err != nil {
		return nil, c.heard(u, err)
	}
	if r.Failures > 0 {
		u.warn("%s failed since the password was last right: if that was not you, somebody guesses at it", count(int64(r.Failures), "attempt has", "attempts have"))
	}
	if r.Outdated {
		u.note("the vault has changed what it asks for: coffer vault passwd brings this record up to date")
	}
	return r, c.saw(ctx, u, &r.Receipt)
}

// saw notes how far the vault is.
func (c *vaultClient) saw(ctx context.Context, u *ui, r *vault.Receipt) error {
	d, err := c.Descriptor(ctx)
	if err != nil {
		return err
	}
	return c.state.saw(u, d, r.Ver)
}

// heard notes if an error says that the record is destroyed. It returns the error.
func (c *vaultClient) heard(u *ui, err error) error {
	if isAs[*vault.TombstoneError](err) {
		return errors.Join(err, c.state.gone(u))
	}
	return err
}

// A vaultKey is the keys of a record for reading: that which this machine has, and those
// which the vault gives for the password. The vault is asked once, and only if there is a
// slot that nothing else opens.
type vaultKey struct {
	*vaultClient
	ui *ui

	once sync.Once
	ring *vault.Keyring
	err  error
}

func (v vaultFlags) keyForReading(ctx context.Context, u *ui) (*vaultKey, error) {
	c, err := v.dial(ctx)
	return &vaultKey{vaultClient: c, ui: u}, err
}

// Kind implements keys.Identity.
func (k *vaultKey) Kind() format.Kind { return format.KindAccount }

// Unwrap implements keys.Identity.
func (k *vaultKey) Unwrap(ctx context.Context, core format.Core, slot format.Slot) (*keys.FileKey, error) {
	if own := k.state.key; own != nil {
		if fk, err := own.Unwrap(ctx, core, slot); err == nil {
			return fk, nil
		}
	}
	k.once.Do(func() { k.ring, k.err = k.fetch(ctx) })
	if k.err != nil {
		return nil, k.err
	}
	for _, own := range slices.Backward(k.ring.Keys()) {
		if fk, err := own.Unwrap(ctx, core, slot); err == nil {
			return fk, nil
		}
	}
	return nil, keys.ErrNoMatch
}

func (k *vaultKey) fetch(ctx context.Context) (*vault.Keyring, error) {
	if err := k.tickets.check(); err != nil {
		return nil, err
	}
	password, err := k.password.read(ctx, "vault password", false)
	if err != nil {
		return nil, err
	}
	defer clear(password)
	r, err := k.recover(ctx, k.ui, password)
	if err != nil {
		return nil, err
	}
	return r.Keyring, nil
}
