package vault

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"

	"github.com/coffer-backup/coffer/keys"
	"github.com/coffer-backup/coffer/vault/wire"
)

// Register keeps ring under a password, and sees to it that the password opens what the
// vault has before it returns. A key must not be used for backups before that.
//
// Where a record is, the newest key of that record's keyring has to be replaces, and the
// record is gone afterwards, with its password. With nil for replaces, Register is
// refused there, as a *StateError of wire.NeedOwner. It takes a TicketRegister and, if
// replaces is not nil, a TicketStatus.
func (c *Client) Register(ctx context.Context, credential string, password []byte, ring *Keyring, replaces *keys.AccountKey) (*Receipt, error) {
	if replaces == nil {
		return c.register(ctx, credential, password, ring, nil)
	}
	status, err := c.Status(ctx, credential)
	var dead *TombstoneError
	switch {
	case errors.As(err, &dead):
		return c.register(ctx, credential, password, ring, nil)
	case err != nil:
		return nil, err
	}
	return c.register(ctx, credential, password, ring, &base{key: replaces, gen: status.gen})
}

// ChangePassword registers what the old password opens under a new one. It takes a
// TicketRecover and a TicketRegister.
func (c *Client) ChangePassword(ctx context.Context, credential string, old, password []byte) (*Receipt, error) {
	r, err := c.Recover(ctx, credential, old)
	if err != nil {
		return nil, err
	}
	return c.register(ctx, credential, password, r.Keyring, &base{r.Keyring.Newest(), r.Receipt.Gen, r.Receipt.KV})
}

// base is the record that a registration replaces.
type base struct {
	key *keys.AccountKey
	gen uint64
	kv  uint32 // 0: not known
}

// A registration is under way.
type registration struct {
	*Client
	by     *trusted
	place  place
	base   *base // nil: there is none, as far as the client knows
	id     [wire.IDSize]byte
	secret [32]byte
	index  [wire.IndexSize]byte
	digest [32]byte // of what was uploaded
}

func (c *Client) register(ctx context.Context, credential string, password []byte, ring *Keyring, replaced *base) (*Receipt, error) {
	if err := ring.check(); err != nil {
		return nil, err
	}
	r := &registration{Client: c, base: replaced, place: place{vault: c.vault, credential: credential}}
	rand.Read(r.id[:]) // never fails, nor does the next
	rand.Read(r.secret[:])
	defer clear(r.secret[:])
	export, err := r.upload(ctx, password, ring)
	defer clear(export[:])
	if err != nil {
		return nil, err
	}
	l, err := r.try(ctx, password)
	if err != nil {
		return nil, err
	}
	defer l.wipe()
	if subtle.ConstantTimeCompare(l.export[:], export[:]) != 1 {
		return nil, fmt.Errorf("%w: what is there is not what was registered", ErrForged)
	}
	return r.done(ctx, l)
}

// upload gives the vault what it is to keep, and returns the export key.
func (r *registration) upload(ctx context.Context, password []byte, ring *Keyring) (export [32]byte, err error) {
	x, err := newExchange(r.vault, r.place.credential, password)
	if err != nil {
		return export, err
	}
	defer x.Wipe()
	begun, err := r.begin(ctx, x)
	if err != nil {
		return export, err
	}
	record, export, err := x.register(begun, r.by.KSF.wire())
	if err != nil {
		return export, err
	}
	r.index, r.place.descriptor, r.place.kv = begun.Index, r.by.hash, 1
	if r.base != nil {
		r.place.kv = r.base.kv + 1
	}
	m := &wire.RegPut{
		Index: r.index, Registration: r.id, Secret: r.secret, Record: record,
		OwnerKey: r.place.ownerKey(ring), KV: r.place.kv, Keyring: r.place.wrap(ring, export[:]),
	}
	r.digest = uploadDigest(m)
	_, err = r.ask(ctx, r.by, r.place.credential, m)
	return export, err
}

// begin asks for an OPRF key, under the descriptor of today.
func (r *registration) begin(ctx context.Context, x *exchange) (*wire.Begun, error) {
	ticket, err := r.ticket(ctx, r.place.credential, TicketRegister)
	if err != nil {
		return nil, err
	}
	m := &wire.RegBegin{Ticket: ticket, Registration: r.id, Commitment: sha256.Sum256(r.secret[:]), Blinded: x.Blinded()}
	var reply *wire.Reply
	for range 2 {
		if r.by, err = r.trust(ctx); err != nil {
			return nil, err
		}
		m.Descriptor = r.by.hash
		if reply, err = r.call(ctx, r.by, m); err != nil {
			return nil, err
		}
		if reply.Code != wire.OldDescriptor {
			break
		}
		r.distrust(r.by)
	}
	if reply.Code != wire.OK {
		return nil, r.refusal(r.by, r.place.credential, reply)
	}
	// With any other key, somebody in between could try passwords on what is uploaded.
	if newest := r.by.newest(); reply.Begun.AKE != newest.ID || string(reply.Begun.ServerKey[:]) != string(newest.Key) {
		return nil, fmt.Errorf("%v: %w: the AKE key is not that of the descriptor", reply.Call, ErrForged)
	}
	return reply.Begun, nil
}

// try logs in on what was uploaded.
func (r *registration) try(ctx context.Context, password []byte) (*login, error) {
	x, err := newExchange(r.vault, r.place.credential, password)
	if err != nil {
		return nil, err
	}
	defer x.Wipe()
	reply, err := r.ask(ctx, r.by, r.place.credential, &wire.RegTry{
		Index: r.index, Registration: r.id, Secret: r.secret, Attempt: x.attempt, KE1: x.start(),
	})
	if err != nil {
		return nil, err
	}
	l, err := x.finish(r.by, reply.Login)
	if errors.Is(err, errWrongPassword) {
		err = fmt.Errorf("%v: %w: the password does not open what was registered", reply.Call, ErrForged)
	}
	return l, err
}

// done makes the registration the record.
func (r *registration) done(ctx context.Context, l *login) (*Receipt, error) {
	m := &wire.RegDone{Token: l.token, KE3: l.ke3}
	if b := r.base; b != nil {
		message := ownerMessage(r.vault, r.place.credential, b.gen, wire.OpSwap, swapNonce(r.id, r.digest), int64(b.kv))
		signature := ed25519.Sign(ownerKey(b.key, r.vault, r.place.credential), message)
		m.Signature = (*[wire.SignatureSize]byte)(signature)
	}
	reply, err := r.ask(ctx, r.by, r.place.credential, m)
	if err != nil {
		return nil, err
	}
	return reply.Receipt, nil
}
