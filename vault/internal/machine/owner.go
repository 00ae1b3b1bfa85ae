package machine

import (
	"github.com/coffer-backup/coffer/vault/store"
	"github.com/coffer-backup/coffer/vault/wire"
)

// An Owner is a request that the owner key signs.
type Owner struct {
	Op     wire.Op
	Gen    uint64
	Until  int64
	Ticket Ticket
	Hash   [32]byte // SHA-256 of the request, its signature included
	// Signed reports whether that owner key has signed it.
	Signed func(ownerKey [32]byte) bool
}

// Owner does what a holder of the account key may at any time: no attempt, no delay.
func (p *Policy) Owner(s *State, now int64, e Owner) Outcome {
	r := s.Row
	var none Row
	if r == nil {
		r = &none
	}
	if o, ok := r.again(e.Ticket.Hash, 0, e.Hash); ok {
		return o
	}
	signed := e.Signed(r.OwnerKey) // for a row that stands for none, too
	switch {
	case r.usedBefore(e.Ticket):
		return told(wire.Used, 0)
	case r.Status == Dead:
		return r.dead()
	case r == &none || r.Virtual || !signed || r.Gen != e.Gen:
		return told(wire.Stale, 0)
	}
	if until := r.room(now, MaxUsed); until != 0 {
		return told(wire.Wait, until)
	}
	var kind uint8
	switch e.Op {
	case wire.OpFreeze, wire.OpUnfreeze:
		if r.frozen(now) && r.FrozenByOperator {
			return told(wire.Frozen, r.frost())
		}
		if e.Op == wire.OpFreeze {
			r.FrozenUntil = e.Until
			r.freeze()
			kind = LogFrozen
		} else {
			r.unfreeze()
			kind = LogUnfrozen
		}
	case wire.OpDelete:
		r.destroy(wire.CauseOwner, now)
		kind = LogDestroyed
	default:
		return told(wire.Stale, 0)
	}
	r.use(e.Ticket)
	r.Done = &Done{ID: e.Ticket.Hash, Hash: e.Hash, Code: wire.OK, Receipt: wire.Receipt{Ver: r.Ver + 1, Gen: r.Gen, KV: r.KV}}
	o := r.changed(wire.OK, kind, e.Ticket.Hash)
	o.Receipt = &r.Done.Receipt
	return o
}

// Status tells how a record is. A credential id without a record looks like one that
// nobody has guessed at.
func (p *Policy) Status(s *State, now int64) Outcome {
	r := s.Row
	switch {
	case r == nil:
		return Outcome{Code: wire.OK, Left: p.Max, Max: p.Max}
	case r.Status == Dead:
		return r.dead()
	}
	o := Outcome{Code: wire.OK, Left: r.Left, Max: r.Max, Gen: r.Gen, Until: r.Ready}
	if r.frozen(now) {
		o.Code, o.Until = wire.Frozen, r.frost()
	}
	return o
}

// An Operator's order is one of the vault's operator. None reads a record, and none
// gives attempts.
type Operator struct {
	Op wire.Op // OpFreeze, OpUnfreeze or OpDelete
}

// Operator carries out an order. What an operator freezes only an operator unfreezes, and
// an owner's freeze goes on below it.
func (p *Policy) Operator(s *State, now int64, e Operator) Outcome {
	r := s.Row
	switch {
	case r == nil || r.Virtual:
		return told(wire.Stale, 0)
	case r.Status == Dead && e.Op == wire.OpDelete && r.Cause == wire.CauseOperator:
		return told(wire.OK, 0)
	case r.Status == Dead:
		return r.dead()
	}
	var kind uint8
	switch e.Op {
	case wire.OpFreeze:
		if r.FrozenByOperator {
			return told(wire.OK, 0)
		}
		r.FrozenByOperator = true
		r.freeze()
		kind = LogFrozen
	case wire.OpUnfreeze:
		if !r.FrozenByOperator {
			return told(wire.OK, 0)
		}
		if r.FrozenByOperator = false; r.FrozenUntil == 0 {
			r.Status = Active
		}
		kind = LogUnfrozen
	case wire.OpDelete:
		r.destroy(wire.CauseOperator, now)
		kind = LogDestroyed
	default:
		return told(wire.Conflict, 0)
	}
	return Outcome{Code: wire.OK, Changed: true, Log: []store.Event{{Kind: kind, Left: r.Left}}}
}
