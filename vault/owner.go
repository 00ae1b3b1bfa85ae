package vault

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"

	"github.com/coffer-backup/coffer/vault/internal/machine"
	"github.com/coffer-backup/coffer/vault/wire"
)

func (s *Server) owner(ctx context.Context, r *wire.Owner) (*wire.Reply, error) {
	t, err := s.admit(ctx, r.Ticket, TicketOwner)
	if err != nil {
		return nil, err
	}
	defer s.leave()
	u, err := s.subject(ctx, t.credential)
	if err != nil {
		return nil, err
	}
	message := ownerMessage(s.id, t.credential, r.Gen, r.Op, t.id, r.Until)
	event := machine.Owner{
		Op: r.Op, Gen: r.Gen, Until: r.Until, Ticket: t.Ticket,
		Hash:   sha256.Sum256(append(message, r.Signature[:]...)),
		Signed: func(key [32]byte) bool { return ed25519.Verify(key[:], message, r.Signature[:]) },
	}
	now := s.clock.unix()
	o, err := s.transact(ctx, u, func(state *machine.State) machine.Outcome { return s.policy.Owner(state, now, event) })
	if err != nil {
		return nil, err
	}
	reply, err := s.reply(ctx, o, t.credential)
	if err == nil {
		reply.Receipt = o.Receipt
	}
	return reply, err
}

func (s *Server) status(ctx context.Context, r *wire.Status) (*wire.Reply, error) {
	t, err := s.admit(ctx, r.Ticket, TicketStatus)
	if err != nil {
		return nil, err
	}
	defer s.leave()
	u, err := s.subject(ctx, t.credential)
	if err != nil {
		return nil, err
	}
	none, now := false, s.clock.unix()
	o, err := s.look(ctx, u, func(state *machine.State) machine.Outcome {
		none = state.Row == nil
		return s.policy.Status(state, now)
	})
	if err != nil {
		return nil, err
	}
	reply, err := s.reply(ctx, o, t.credential)
	if err != nil || o.Code == wire.Dead {
		return reply, err
	}
	reply.State = &wire.State{Gen: o.Gen}
	if none {
		reply.State.Gen = u.fakeGen()
	}
	return reply, nil
}

// An Order is what an operator may do to a record. None reads it, and none gives
// attempts.
type Order uint8

// The orders.
const (
	OrderFreeze   Order = Order(wire.OpFreeze)   // until OrderUnfreeze
	OrderUnfreeze Order = Order(wire.OpUnfreeze) // ends OrderFreeze, not an owner's freeze
	OrderDestroy  Order = Order(wire.OpDelete)
)

// Operate carries out an order of the vault's operator.
func (s *Server) Operate(ctx context.Context, credential string, order Order) error {
	if err := CheckCredential(credential); err != nil {
		return err
	}
	u, err := s.subject(ctx, credential)
	if err != nil {
		return err
	}
	now := s.clock.unix()
	o, err := s.transact(ctx, u, func(state *machine.State) machine.Outcome {
		return s.policy.Operator(state, now, machine.Operator{Op: wire.Op(order)})
	})
	switch {
	case err != nil:
		return err
	case o.Code == wire.Stale:
		return fmt.Errorf("vault: no record has the credential id %q", credential)
	case o.Code != wire.OK:
		return fmt.Errorf("vault: the record is %v", o.Code)
	}
	return nil
}
