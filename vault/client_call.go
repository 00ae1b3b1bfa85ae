package vault

import (
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/coffer-backup/coffer/vault/wire"
)

// trusted is a descriptor that was verified.
type trusted struct {
	*Descriptor
	hash      [32]byte
	statement *ecdsa.PublicKey
}

// Descriptor returns the vault's descriptor, which was verified. It must not be changed.
func (c *Client) Descriptor(ctx context.Context) (*Descriptor, error) {
	k, err := c.trust(ctx)
	if err != nil {
		return nil, err
	}
	return k.Descriptor, nil
}

// trust returns the descriptor that the client goes by.
func (c *Client) trust(ctx context.Context) (*trusted, error) {
	c.mu.Lock()
	k := c.trusted
	c.mu.Unlock()
	if k != nil {
		return k, nil
	}
	var signed []byte
	err := c.again(ctx, func() (done bool, err error) {
		signed, err = c.transport.Descriptor(ctx)
		return err == nil, err
	})
	if err != nil {
		return nil, fmt.Errorf("asking for the descriptor: %w", err)
	}
	d, err := ParseDescriptor(signed, c.vault)
	if err != nil {
		return nil, err
	}
	statement, err := d.statementKey()
	if err != nil {
		return nil, err
	}
	k = &trusted{d, descriptorHash(signed), statement}
	c.mu.Lock()
	defer c.mu.Unlock()
	if d.Revision < c.revision {
		return nil, fmt.Errorf("%w: it has revision %d, and %d was seen before", ErrDescriptor, d.Revision, c.revision)
	}
	c.revision, c.trusted = d.Revision, k
	return k, nil
}

// distrust has the next call ask for the descriptor again.
func (c *Client) distrust(k *trusted) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.trusted == k {
		c.trusted = nil
	}
}

// verify reports whether signature is the vault's.
func (k *trusted) verify(digest [32]byte, signature [wire.SignatureSize]byte) bool {
	return verifySignature(k.statement, digest, signature)
}

// ake returns the AKE key of that id, or nil.
func (k *trusted) ake(id uint16) []byte {
	for _, ake := range k.AKE {
		if ake.ID == id {
			return ake.Key
		}
	}
	return nil
}

// pauses are how long to wait before the same bytes are sent again. They are made longer
// or shorter by a quarter at random.
var pauses = [...]time.Duration{250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second}

// again calls try until it is done, or for good in vain.
func (c *Client) again(ctx context.Context, try func() (done bool, err error)) error {
	for n := 0; ; n++ {
		done, err := try()
		switch {
		case done, errors.Is(err, ErrRefused), errors.Is(err, ErrForged):
			return err
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case n == len(pauses):
			return err
		}
		if err == nil {
			err = errUnavailable
		}
		c.retrying(err)
		timer := time.NewTimer(pauses[n]*3/4 + rand.N(pauses[n]/2))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		}
	}
}

// call returns what the vault answers, and has signed. What gets lost on the way, or
// cannot be answered now, is sent again as it was: a vault knows it again, and counts
// nothing twice.
//
// A reply that is not the vault's is an error that wraps ErrForged. It is returned, too,
// if it can be read, but must not be believed.
func (c *Client) call(ctx context.Context, k *trusted, r wire.Request) (reply *wire.Reply, err error) {
	request := wire.AppendRequest(nil, r)
	err = c.again(ctx, func() (done bool, err error) {
		frame, err := c.transport.Call(ctx, request)
		if err != nil {
			reply = nil
			return false, err
		}
		reply, err = k.read(request, frame, r.Call())
		return err == nil && reply.Code != wire.Unavailable, err
	})
	if errors.Is(err, ErrForged) {
		c.distrust(k) // the keys may have changed
	}
	if err != nil {
		return reply, fmt.Errorf("%v: %w", r.Call(), err)
	}
	return reply, nil
}

// read parses a reply and verifies it. That the vault cannot answer needs no signature:
// it may be for lack of one.
func (k *trusted) read(request, frame []byte, call wire.Call) (*wire.Reply, error) {
	reply, err := wire.ParseReply(frame, call)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrForged, err)
	}
	if reply.Code == wire.Unavailable {
		return reply, nil
	}
	if !k.verify(replyDigest(request, frame), [wire.SignatureSize]byte(frame[len(frame)-wire.SignatureSize:])) {
		return reply, fmt.Errorf("%w: its signature is wrong", ErrForged)
	}
	return reply, nil
}

// ask is call of what only OK answers.
func (c *Client) ask(ctx context.Context, k *trusted, credential string, r wire.Request) (*wire.Reply, error) {
	reply, err := c.call(ctx, k, r)
	if err != nil {
		return nil, err
	}
	if reply.Code != wire.OK {
		return nil, c.refusal(k, credential, reply)
	}
	return reply, nil
}

// refusal returns the error that a reply is.
func (c *Client) refusal(k *trusted, credential string, r *wire.Reply) error {
	t := r.Tombstone
	if t == nil {
		return &StateError{r.Call, r.Code, r.Left, r.Max, timeOf(r.Until)}
	}
	if !k.verify(tombstoneDigest(c.vault, credential, t.Cause, t.Time), t.Signature) {
		return fmt.Errorf("%v: %w: the signature of the tombstone is wrong", r.Call, ErrForged)
	}
	return &TombstoneError{t.Cause, timeOf(t.Time)}
}
