package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/keys"
	"github.com/coffer-backup/coffer/vault"
	"github.com/coffer-backup/coffer/vault/wire"
)

// keyForWriting returns the account key of the record: that which this machine has, or
// a new one that the vault keeps from now on, or that of the record which is there.
func (v vaultFlags) keyForWriting(ctx context.Context, u *ui) (key, error) {
	c, err := v.dial(ctx, u)
	if err != nil {
		return nil, err
	}
	if c.state.key() != nil {
		err = c.secure(ctx, u)
	} else if err = c.enroll(ctx, u); err != nil {
		err = fmt.Errorf("nothing is backed up: %w", err)
	}
	if err != nil {
		return nil, err
	}
	return accountKey{c.state.key(), true}, nil
}

// secure sees to it that the vault has the key which this machine has, as far as it can:
// no backup waits for that.
func (c *vaultClient) secure(ctx context.Context, u *ui) error {
	if c.state.marks.Registered {
		err := c.isKept(ctx, u)
		if !isAs[*vault.TombstoneError](err) {
			if err != nil && ctx.Err() == nil {
				u.note("whether the vault still has the key is not known: %v", err)
			}
			return ctx.Err()
		}
		u.warn("%v: this machine has it, and tries that now", err)
		c.state.marks.Registered = false
		if err := c.state.save(); err != nil {
			u.warn("%v", err)
		}
	}
	if err := c.enroll(ctx, u); err != nil && ctx.Err() == nil {
		u.warn("THE VAULT DOES NOT HAVE THE KEY of this backup, which is in %s: %v: "+
			"keep a copy of that file elsewhere, and run coffer vault register --key-file with it", quoteName(c.state.keyFile()), err)
	}
	return ctx.Err()
}

// statusTime is how long a backup waits to hear whether the vault still has the key.
const statusTime = 5 * time.Second

// isKept asks, if there are tickets, whether the record was destroyed. That it was never
// there, or got lost, no vault tells.
func (c *vaultClient) isKept(ctx context.Context, u *ui) error {
	if c.tickets.check() != nil {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, statusTime, fmt.Errorf("no answer within %v", statusTime))
	defer cancel()
	if err := c.meet(ctx, u); err != nil {
		return err
	}
	_, err := c.Status(ctx, c.credential)
	return err
}

// enroll registers the keys of this machine, or a new one. If a record is there, of
// another machine or of a registration whose end was not heard of, the password gives
// its keys.
func (c *vaultClient) enroll(ctx context.Context, u *ui) error {
	if err := c.tickets.check(); err != nil {
		return err
	}
	own := c.state.own
	var known bool // the password is that of a record which is there
	ask := askNew
	if len(own) == 0 {
		own = []*keys.AccountKey{keys.GenerateAccountKey()}
		ask = func(ctx context.Context, what string) (text []byte, err error) {
			text, known, err = askNewOrKnown(ctx, what)
			return text, err
		}
	}
	ring, err := vault.NewKeyring(own...)
	if err != nil {
		return err
	}
	password, err := c.readPassword(ctx, u, ask)
	if err != nil {
		return err
	}
	defer clear(password)
	if known {
		return c.adopt(ctx, u, password)
	}
	receipt, err := c.Register(ctx, c.credential, password, ring, nil)
	var state *vault.StateError
	switch {
	case errors.As(err, &state) && state.Code == wire.NeedOwner:
		return c.adopt(ctx, u, password)
	case err != nil:
		return err
	}
	warnShort(u, password)
	if err := c.begin(u, ring, "the vault keeps account key %s from now on: the password gives it back"); err != nil {
		return err
	}
	return c.saw(ctx, u, receipt)
}

// adopt takes the keys that the vault has, of which those that backups were made with
// here must be one.
func (c *vaultClient) adopt(ctx context.Context, u *ui, password []byte) error {
	r, err := c.recover(ctx, u, password)
	if err != nil {
		return err
	}
	if own := c.state.key(); own != nil && !contains(r.Keyring.Keys(), own) {
		return fmt.Errorf("the vault keeps other keys than %s, which backups were made with here: coffer vault append --key-file adds it", quoteName(c.state.keyFile()))
	}
	return c.begin(u, r.Keyring, "the vault has kept account key %s: this backup is for it")
}

// keptObject is the key that backups are made with from now on, with --json.
type keptObject struct {
	Type       string `json:"type"`
	ID         string `json:"key_id"`
	Path       string `json:"path"` // of this machine's copy
	Credential string `json:"credential"`
}

// begin has this machine keep the keys that the vault has, and tells of it.
func (c *vaultClient) begin(u *ui, ring *vault.Keyring, message string) error {
	if err := c.state.keep(ring); err != nil {
		return err
	}
	id, path := keyID(ring.Newest()), c.state.keyFile()
	if u.json {
		return u.print(keptObject{"key", id, path, c.credential}, "")
	}
	u.note(message, id)
	u.note("this machine's copy is %s: coffer key show prints its digits, to be kept by hand as well", quoteName(path))
	return nil
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
	if err := c.state.has(r.Keyring); err != nil {
		return nil, err
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

// heard returns the error with what this machine knows besides, and notes if it says that
// the record is destroyed.
func (c *vaultClient) heard(u *ui, err error) error {
	switch {
	case isAs[*vault.TombstoneError](err):
		return errors.Join(err, c.state.gone(u))
	case isAs[*vault.WrongPasswordError](err) && c.state.marks.Ver > 0:
		return fmt.Errorf("%w; this machine has seen a record there: if the password is the right one, the vault has lost it, and coffer vault register --key-file %s has it kept again",
			err, quoteName(c.state.keyFile()))
	}
	return err
}

// A vaultKey is the keys of a record for reading: those which this machine has, and those
// which the vault gives for the password. The vault is asked once, and only if there is a
// slot that nothing else opens.
type vaultKey struct {
	*vaultClient
	ui  *ui
	own []*keys.AccountKey // of this machine, at the start

	once sync.Once
	ring *vault.Keyring
	err  error
}

func (v vaultFlags) keyForReading(ctx context.Context, u *ui) (*vaultKey, error) {
	c, err := v.dial(ctx, u)
	if err != nil {
		return nil, err
	}
	return &vaultKey{vaultClient: c, ui: u, own: c.state.own}, nil
}

// Kind implements keys.Identity.
func (k *vaultKey) Kind() format.Kind { return format.KindAccount }

// Unwrap implements keys.Identity.
func (k *vaultKey) Unwrap(ctx context.Context, core format.Core, slot format.Slot) (*keys.FileKey, error) {
	if fk, err := unwrapByOne(ctx, k.own, core, slot); err == nil {
		return fk, nil
	}
	k.once.Do(func() { k.ring, k.err = k.fetch(ctx) })
	if k.err != nil {
		return nil, k.err
	}
	return unwrapByOne(ctx, k.ring.Keys(), core, slot)
}

// unwrapByOne tries the newest first.
func unwrapByOne(ctx context.Context, all []*keys.AccountKey, core format.Core, slot format.Slot) (*keys.FileKey, error) {
	for _, own := range slices.Backward(all) {
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
	password, err := k.readPassword(ctx, k.ui, askKnown)
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
