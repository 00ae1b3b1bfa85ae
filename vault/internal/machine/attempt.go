package machine

import (
	"github.com/coffer-backup/coffer/vault/store"
	"github.com/coffer-backup/coffer/vault/wire"
)

// A Start asks for an attempt.
type Start struct {
	Attempt [16]byte
	Hash    [32]byte // SHA-256 of its KE1
	Ticket  Ticket
	// Virtual is the row to begin with where there is none.
	Virtual Row
}

// Start counts an attempt: if the outcome is OK and committed, its blinded element may
// be evaluated.
func (p *Policy) Start(s *State, now int64, e Start) Outcome {
	r := s.Row
	if c := current(r, now); c != nil && c.ID == e.Attempt && c.Hash == e.Hash && c.Ticket == e.Ticket.Hash {
		return r.evaluate(Outcome{Code: wire.OK, Left: r.Left, Max: r.Max})
	}
	if o, ok := p.refused(r, now, e.Ticket); !ok {
		return o
	}
	if r == nil {
		fresh := e.Virtual
		fresh.Virtual, fresh.Status = true, Active
		fresh.Max, fresh.Left = p.Max, p.Max
		r, s.Row = &fresh, &fresh
	}
	if r.Status == Frozen { // it has ended
		r.unfreeze()
	}
	r.Left--
	r.Current = &Attempt{ID: e.Attempt, Ver: r.Ver + 1, Hash: e.Hash, Ticket: e.Ticket.Hash, Until: now + AttemptTime}
	p.wait(r, r.Current.Until)
	r.use(e.Ticket)
	return r.evaluate(r.changed(wire.OK, LogStart, e.Attempt))
}

// current returns the attempt of r that may still succeed.
func current(r *Row, now int64) *Attempt {
	if !r.open(now) {
		return nil
	}
	return r.Current
}

// refused says why no attempt can be now.
func (p *Policy) refused(r *Row, now int64, t Ticket) (o Outcome, ok bool) {
	switch {
	case r == nil:
		return o, true
	case r.usedBefore(t):
		return told(wire.Used, 0), false
	case r.Status == Dead:
		return r.dead(), false
	case r.frozen(now):
		return told(wire.Frozen, r.frost()), false
	}
	o = Outcome{Code: wire.Wait, Left: r.Left, Max: r.Max}
	switch c := r.Current; {
	case c != nil && now < c.Until:
		o.Code, o.Until = wire.Busy, c.Until
	case now < r.Ready:
		o.Until = r.Ready
	case r.Left == 0 && c != nil: // it is about to be destroyed
		o.Until = c.Until + lastMargin
	case r.Left == 0: // it was frozen in the midst of the last attempt
	default:
		o.Until = r.room(now, usedStart)
		return o, o.Until == 0
	}
	return o, false
}

// evaluate adds to o what evaluating the current attempt takes.
func (r *Row) evaluate(o Outcome) Outcome {
	o.Attempt, o.Material, o.Virtual, o.Gen = r.Current, &r.Material, r.Virtual, r.Gen
	return o
}

// A Proof is what a token says of the attempt that it was made for.
type Proof struct {
	Attempt [16]byte
	Gen     uint64
	Ver     uint64 // Attempt.Ver
}

func (f *Proof) fits(r *Row) bool {
	c := r.Current
	return c != nil && c.ID == f.Attempt && c.Ver == f.Ver && r.Gen == f.Gen
}

// A Finish is a command of a client that has proved to know the password. The caller
// has verified KE3.
type Finish struct {
	Proof
	Hash    [32]byte // SHA-256 of the command
	Command *wire.Command
	NewGen  uint64 // of a record that takes the place of another
}

// Finish gives the attempts back and carries out the command, whatever the time.
func (p *Policy) Finish(s *State, now int64, e Finish) Outcome {
	r := s.Row
	if r == nil {
		return told(wire.Stale, 0)
	}
	if o, ok := r.again(e.Attempt, e.Ver, e.Hash); ok {
		return o
	}
	switch {
	case r.Status == Dead:
		return r.dead()
	case !r.open(now) || r.Virtual || !e.fits(r):
		return r.ended(e.Proof)
	}
	failures := r.Max - r.Left - 1 // this one has not failed
	r.Left, r.Ready, r.Current = r.Max, 0, nil
	o := r.changed(wire.OK, LogSuccess, e.Attempt)
	o.Code, o.Log = p.command(s, now, e, o.Log)
	o.Left, o.Failures = r.Left, failures
	r = s.Row
	r.Done = &Done{
		ID: e.Attempt, Ver: e.Ver, Hash: e.Hash, Code: o.Code, Failures: failures,
		Receipt: wire.Receipt{Ver: r.Ver + 1, Gen: r.Gen, KV: r.KV},
	}
	o.Receipt, o.Material = &r.Done.Receipt, &r.Material
	return o
}

// command carries out what e asks for, on a row whose attempts were given back.
func (p *Policy) command(s *State, now int64, e Finish, log []store.Event) (wire.Code, []store.Event) {
	r, m := s.Row, e.Command
	event := func(kind uint8) { log = append(log, store.Event{Kind: kind, Left: r.Left, Attempt: e.Attempt}) }
	switch m.Op {
	case wire.OpPut:
		if m.Gen != r.Gen || m.KV != r.KV+1 || m.KV == 0 {
			return wire.Conflict, log
		}
		r.KV, r.Keyring, r.OwnerKey = m.KV, m.Keyring, m.OwnerKey
		event(LogPut)
	case wire.OpFreeze:
		r.FrozenUntil = m.Until
		r.freeze()
		event(LogFrozen)
	case wire.OpDelete:
		r.destroy(wire.CauseOwner, now)
		event(LogDestroyed)
	case wire.OpSwap:
		q := s.Pending
		if q == nil || q.Registration != m.Registration || q.Upload != m.Upload || q.Stage != Verified || now >= q.Until || !q.fits(r) {
			return wire.Conflict, log
		}
		p.swap(s, e.NewGen)
		event(LogRegistered)
	}
	return wire.OK, log
}

// ended tells of an attempt that is over.
func (r *Row) ended(f Proof) Outcome {
	if d := r.Done; d != nil && d.ID == f.Attempt && d.Ver == f.Ver && d.Code == wire.Failed {
		return Outcome{Code: wire.Failed, Left: r.Left, Max: r.Max, Until: r.Ready}
	}
	return told(wire.Stale, 0)
}

// Fail ends an attempt as failed: the client said so, or its KE3 was wrong.
func (p *Policy) Fail(s *State, now int64, f Proof) Outcome {
	r := s.Row
	switch {
	case r == nil:
		return told(wire.Stale, 0)
	case r.Status == Dead:
		return r.dead()
	case !r.open(now) || !f.fits(r):
		return r.ended(f)
	}
	r.Current = nil
	r.Done = &Done{ID: f.Attempt, Ver: f.Ver, Code: wire.Failed}
	p.wait(r, now)
	o := r.changed(wire.Failed, LogFailed, f.Attempt)
	o.Until = r.Ready
	if r.Left == 0 {
		r.destroy(wire.CauseAttempts, now)
		end := r.dead()
		end.Changed = true
		end.Log = append(o.Log, store.Event{Kind: LogDestroyed, Attempt: f.Attempt})
		return end
	}
	return o
}

// Sweep does what is due: it destroys a record whose last attempt has vanished, and
// forgets a registration that has lapsed.
func (p *Policy) Sweep(s *State, now int64) Outcome {
	r := s.Row
	if r == nil {
		return told(wire.Stale, 0)
	}
	var o Outcome
	if c := r.Current; c != nil && r.Left == 0 && now >= c.Until+lastMargin {
		o = r.changed(wire.Dead, LogFailed, c.ID)
		r.destroy(wire.CauseAttempts, now)
		o.Log = append(o.Log, store.Event{Kind: LogDestroyed, Attempt: c.ID})
	}
	if q := s.Pending; q != nil && now >= q.Until {
		o.Changed = true
		o.Log = append(o.Log, store.Event{Kind: LogRegLapsed, Left: r.Left, Attempt: q.Registration})
		s.Pending = nil
	}
	return o
}
