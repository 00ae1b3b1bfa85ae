package vault

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/coffer-backup/coffer/vault/wire"
)

// abortTime is how long to try to tell the vault that an attempt has failed.
const abortTime = 15 * time.Second

// A login is an attempt that has succeeded, as far as the client can tell. It waits for
// the command that it is for.
type login struct {
	by         *trusted
	credential string
	attempt    [wire.IDSize]byte
	token      [wire.TokenSize]byte
	ke3        [wire.KE3Size]byte
	session    [32]byte
	export     [32]byte
}

// wipe overwrites the secrets, as far as that is possible in Go.
func (l *login) wipe() {
	clear(l.session[:])
	clear(l.export[:])
}

// login begins an attempt and ends it, if the password is wrong. What it sends does not
// depend on what was wrong: somebody in between who tries a password of their own learns
// no more from what this client does next.
func (c *Client) login(ctx context.Context, credential string, password []byte) (*login, error) {
	x, err := newExchange(c.vault, credential, password)
	if err != nil {
		return nil, err
	}
	defer x.Wipe()
	k, err := c.trust(ctx)
	if err != nil {
		return nil, err
	}
	ticket, err := c.ticket(ctx, credential, TicketRecover)
	if err != nil {
		return nil, err
	}
	reply, err := c.call(ctx, k, &wire.Start{Ticket: ticket, Attempt: x.attempt, KE1: x.start()})
	switch {
	case errors.Is(err, ErrForged):
		_, _ = c.abort(ctx, k, reply)
		return nil, err
	case err != nil:
		return nil, err
	case reply.Code != wire.OK:
		return nil, c.refusal(k, credential, reply)
	}
	l, err := x.finish(c.knowing(ctx, k, reply.Login.AKE), reply.Login)
	if err != nil {
		end, abortErr := c.abort(ctx, k, reply)
		if errors.Is(err, errWrongPassword) {
			return nil, c.wrong(k, credential, reply, end, abortErr)
		}
		return nil, err
	}
	return l, nil
}

// knowing returns k, or the descriptor of today if k is too old to know an AKE key.
func (c *Client) knowing(ctx context.Context, k *trusted, ake uint16) *trusted {
	if k.ake(ake) != nil {
		return k
	}
	c.distrust(k)
	if newer, err := c.trust(ctx); err == nil {
		return newer
	}
	return k
}

// abort tells the vault that the attempt which start began has failed. start may be
// forged, or nil: then there is no token, and something like one is sent.
func (c *Client) abort(ctx context.Context, k *trusted, start *wire.Reply) (*wire.Reply, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTime)
	defer cancel()
	m := new(wire.Abort)
	if start != nil && start.Login != nil {
		m.Token = start.Login.Token
	} else {
		rand.Read(m.Token[:]) // never fails
	}
	return c.call(ctx, k, m)
}

// wrong returns the error for a password that is. end is what the vault answered to
// that, unless abortErr is why it did not.
func (c *Client) wrong(k *trusted, credential string, start, end *wire.Reply, abortErr error) error {
	switch {
	case abortErr != nil, end.Code != wire.Failed && end.Code != wire.Dead:
		return &WrongPasswordError{Left: start.Left, Max: start.Max}
	case end.Code == wire.Dead:
		return c.refusal(k, credential, end)
	}
	return &WrongPasswordError{end.Left, end.Max, timeOf(end.Until)}
}

// finish ends an attempt with a command.
func (c *Client) finish(ctx context.Context, l *login, m *wire.Command) (*wire.Release, error) {
	plain := m.Append(nil)
	reply, err := c.call(ctx, l.by, &wire.Finish{
		Token: l.token, KE3: l.ke3, Command: seal(l.session, labelCommand, l.attempt, plain),
	})
	switch {
	case err != nil:
		return nil, err
	case reply.Code != wire.OK:
		return nil, c.refusal(l.by, l.credential, reply)
	}
	plain, err = unseal(l.session, labelRelease, l.attempt, reply.Release)
	if err != nil {
		return nil, fmt.Errorf("%v: %w: what it released does not open", reply.Call, ErrForged)
	}
	release, err := wire.ParseRelease(plain)
	if err != nil {
		return nil, fmt.Errorf("%v: %w: %w", reply.Call, ErrForged, err)
	}
	return release, nil
}
