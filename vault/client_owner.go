package vault

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/coffer-backup/coffer/keys"
	"github.com/coffer-backup/coffer/vault/wire"
)

// A Status is how a record is. That of a credential id without a record looks like that
// of a record that nobody has guessed at.
type Status struct {
	Left, Max   uint8     // attempts
	Ready       time.Time // no attempt before; zero: at once
	Frozen      bool
	FrozenUntil time.Time // zero: until the vault's operator ends it
	gen         uint64
}

// Status returns how a record is; for one that was destroyed, a *TombstoneError. It
// takes a TicketStatus.
func (c *Client) Status(ctx context.Context, credential string) (*Status, error) {
	k, err := c.trust(ctx)
	if err != nil {
		return nil, err
	}
	ticket, err := c.ticket(ctx, credential, TicketStatus)
	if err != nil {
		return nil, err
	}
	reply, err := c.call(ctx, k, &wire.Status{Ticket: ticket})
	if err != nil {
		return nil, err
	}
	s := &Status{Left: reply.Left, Max: reply.Max}
	switch reply.Code {
	case wire.OK:
		s.Ready = timeOf(reply.Until)
	case wire.Frozen:
		s.Frozen, s.FrozenUntil = true, timeOf(reply.Until)
	default:
		return nil, c.refusal(k, credential, reply)
	}
	s.gen = reply.State.Gen
	return s, nil
}

// DeleteByKey destroys the record, for good. key is the newest of its keyring: it needs
// no attempt, and no delay stands in its way. It takes a TicketStatus and a TicketOwner.
func (c *Client) DeleteByKey(ctx context.Context, credential string, key *keys.AccountKey) (*Receipt, error) {
	return c.owner(ctx, credential, key, wire.Owner{Op: wire.OpDelete})
}

// FreezeByKey has the vault refuse attempts until then. See DeleteByKey for key.
func (c *Client) FreezeByKey(ctx context.Context, credential string, key *keys.AccountKey, until time.Time) (*Receipt, error) {
	end, err := freezeEnd(until)
	if err != nil {
		return nil, err
	}
	return c.owner(ctx, credential, key, wire.Owner{Op: wire.OpFreeze, Until: end})
}

// UnfreezeByKey ends what Freeze and FreezeByKey began. See DeleteByKey for key.
func (c *Client) UnfreezeByKey(ctx context.Context, credential string, key *keys.AccountKey) (*Receipt, error) {
	return c.owner(ctx, credential, key, wire.Owner{Op: wire.OpUnfreeze})
}

func (c *Client) owner(ctx context.Context, credential string, key *keys.AccountKey, m wire.Owner) (*Receipt, error) {
	status, err := c.Status(ctx, credential)
	if err != nil {
		return nil, err
	}
	k, err := c.trust(ctx)
	if err != nil {
		return nil, err
	}
	m.Gen = status.gen
	if m.Ticket, err = c.ticket(ctx, credential, TicketOwner); err != nil {
		return nil, err
	}
	nonce, err := idOfTicket(m.Ticket)
	if err != nil {
		return nil, err
	}
	message := ownerMessage(c.vault, credential, m.Gen, m.Op, nonce, m.Until)
	copy(m.Signature[:], ed25519.Sign(ownerKey(key, c.vault, credential), message))
	reply, err := c.ask(ctx, k, credential, &m)
	if err != nil {
		return nil, err
	}
	return reply.Receipt, nil
}

// idOfTicket returns the id of a ticket, which the vault verifies.
func idOfTicket(text string) (string, error) {
	var c claims
	if _, _, err := jwt.NewParser().ParseUnverified(text, &c); err != nil {
		return "", fmt.Errorf("vault: the ticket is none: %w", err)
	}
	return c.ID, nil
}
