package vault

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/coffer-backup/coffer/vault/wire"
)

// ClientOptions are those of NewClient.
type ClientOptions struct {
	// Tickets returns a ticket for a credential id, a new one each time. What a call
	// needs stands with it.
	Tickets func(ctx context.Context, credential string, op TicketOp) (string, error)
	// Revision is the least that the vault's descriptor may have: that of the one which
	// was seen last.
	Revision uint32
	// Retrying is called when something got lost, or could not be answered, and is about
	// to be sent again. nil: nobody is told.
	Retrying func(error)
}

// A Client speaks with one vault. Where its methods take a password, that is UTF-8 of up
// to 1,024 bytes; it is brought to NFC, and nothing is trimmed.
//
// Whatever gets lost on the way is sent again a few times, as it was: that counts once.
// If there is no answer in the end, what was asked for may have been done.
type Client struct {
	transport Transport
	vault     string
	tickets   func(ctx context.Context, credential string, op TicketOp) (string, error)
	retrying  func(error)

	mu       sync.Mutex
	revision uint32   // the greatest seen
	trusted  *trusted // nil: to be fetched
}

// NewClient returns a client of the vault of that id, see [Descriptor.ID]. The id is
// what is trusted: who gives another one to a client gets what its password opens.
func NewClient(t Transport, vault string, o *ClientOptions) (*Client, error) {
	if t == nil || o == nil || o.Tickets == nil {
		return nil, errors.New("vault: a client needs a transport and a source of tickets")
	}
	if len(vault) != idSize {
		return nil, fmt.Errorf("%w: %.64q is no vault's id, which has %d characters", ErrDescriptor, vault, idSize)
	}
	c := &Client{transport: t, vault: vault, tickets: o.Tickets, revision: o.Revision, retrying: o.Retrying}
	if c.retrying == nil {
		c.retrying = func(error) {}
	}
	return c, nil
}

// idSize is the length of a vault's id.
const idSize = 43

// A Receipt says what became of a record. One whose Ver is smaller than another's that
// came before tells that the vault has gone back to an old copy of the record.
type Receipt = wire.Receipt

// Recovered is what Recover returns.
type Recovered struct {
	Keyring *Keyring
	Receipt Receipt
	// Failures is how many attempts have failed since the last success. If they were
	// not the caller's, somebody has guessed at the password.
	Failures int
	// Outdated: the record was made under another descriptor than today's. Registered
	// anew, as ChangePassword does, it gets what is asked for today.
	Outdated bool
}

// Recover returns the keyring, and gives back the attempts that were used up. A password
// that is wrong is an attempt, and a *WrongPasswordError. It takes a TicketRecover.
func (c *Client) Recover(ctx context.Context, credential string, password []byte) (*Recovered, error) {
	r, _, err := c.recover(ctx, credential, password)
	return r, err
}

// recover tells, besides, where the keyring is kept.
func (c *Client) recover(ctx context.Context, credential string, password []byte) (*Recovered, place, error) {
	l, err := c.login(ctx, credential, password)
	if err != nil {
		return nil, place{}, err
	}
	defer l.wipe()
	release, err := c.finish(ctx, l, &wire.Command{Op: wire.OpRelease})
	if err != nil {
		return nil, place{}, err
	}
	p := place{c.vault, credential, release.KV, release.Descriptor}
	ring, err := p.unwrap(release.Keyring, l.export[:])
	if err != nil {
		return nil, place{}, err
	}
	return &Recovered{ring, release.Receipt, int(release.Failures), release.Descriptor != l.by.hash}, p, nil
}

// putTries is how often Put begins anew for another client that was faster.
const putTries = 4

// Put replaces the keyring with what change makes of it, and gives back the attempts
// that were used up. It logs in twice, with a TicketRecover each time. If another client
// changes the keyring in between, it begins anew, so change may be called more than once.
//
// A new key must not be used for backups before Put has returned: until then, the vault
// may not have it.
func (c *Client) Put(ctx context.Context, credential string, password []byte, change func(*Keyring) (*Keyring, error)) (*Receipt, error) {
	for n := 1; ; n++ {
		old, p, err := c.recover(ctx, credential, password)
		if err != nil {
			return nil, err
		}
		ring, err := change(old.Keyring)
		if err == nil {
			err = ring.check()
		}
		if err != nil {
			return nil, err
		}
		p.kv++
		receipt, err := c.put(ctx, p, old.Receipt.Gen, password, ring)
		var state *StateError
		if n < putTries && errors.As(err, &state) && state.Code == wire.Conflict {
			continue
		}
		return receipt, err
	}
}

func (c *Client) put(ctx context.Context, p place, gen uint64, password []byte, ring *Keyring) (*Receipt, error) {
	l, err := c.login(ctx, p.credential, password)
	if err != nil {
		return nil, err
	}
	defer l.wipe()
	return c.command(ctx, l, &wire.Command{
		Op: wire.OpPut, Gen: gen, KV: p.kv, Keyring: p.wrap(ring, l.export[:]), OwnerKey: p.ownerKey(ring),
	})
}

// Delete destroys the record, for good. It takes a TicketRecover.
func (c *Client) Delete(ctx context.Context, credential string, password []byte) (*Receipt, error) {
	return c.with(ctx, credential, password, &wire.Command{Op: wire.OpDelete})
}

// Freeze has the vault refuse attempts until then. It takes a TicketRecover.
func (c *Client) Freeze(ctx context.Context, credential string, password []byte, until time.Time) (*Receipt, error) {
	end, err := freezeEnd(until)
	if err != nil {
		return nil, err
	}
	return c.with(ctx, credential, password, &wire.Command{Op: wire.OpFreeze, Until: end})
}

func freezeEnd(until time.Time) (int64, error) {
	end := until.Unix()
	if end <= 0 {
		return 0, fmt.Errorf("vault: freezing until %v, which is long over", until)
	}
	return end, nil
}

// with logs in for a command.
func (c *Client) with(ctx context.Context, credential string, password []byte, m *wire.Command) (*Receipt, error) {
	l, err := c.login(ctx, credential, password)
	if err != nil {
		return nil, err
	}
	defer l.wipe()
	return c.command(ctx, l, m)
}

func (c *Client) command(ctx context.Context, l *login, m *wire.Command) (*Receipt, error) {
	release, err := c.finish(ctx, l, m)
	if err != nil {
		return nil, err
	}
	return &release.Receipt, nil
}

// ticket gets a ticket.
func (c *Client) ticket(ctx context.Context, credential string, op TicketOp) (string, error) {
	if err := CheckCredential(credential); err != nil {
		return "", err
	}
	text, err := c.tickets(ctx, credential, op)
	if err != nil {
		return "", fmt.Errorf("vault: getting a ticket: %w", err)
	}
	if len(text) > wire.MaxTicket {
		return "", fmt.Errorf("vault: a ticket of %d characters, the limit is %d", len(text), wire.MaxTicket)
	}
	return text, nil
}
