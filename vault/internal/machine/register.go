package machine

import "github.com/coffer-backup/coffer/vault/wire"

// A RegBegin asks for a registration.
type RegBegin struct {
	Registration [16]byte
	Blinded      [32]byte // SHA-256 of the point
	Commitment   [32]byte
	Ticket       Ticket
	Virtual      Row // as in Start
	// Material has the new key, and what the registration is made under.
	Material Material
}

// RegBegin gives a registration a key of its own: if the outcome is OK and committed,
// the point that it began with may be evaluated with that key.
func (p *Policy) RegBegin(s *State, now int64, e RegBegin) Outcome {
	r, q := s.Row, s.Pending
	live := q != nil && now < q.Until
	if live && q.Registration == e.Registration {
		if q.Blinded == e.Blinded && q.Commitment == e.Commitment && q.Ticket == e.Ticket.Hash {
			return q.evaluate(Outcome{Code: wire.OK})
		}
		return told(wire.Stale, 0)
	}
	if r.usedBefore(e.Ticket) {
		return told(wire.Used, 0)
	}
	if until := r.room(now, usedRegBegin); until != 0 {
		return told(wire.Wait, until)
	}
	if r == nil {
		fresh := e.Virtual
		fresh.Virtual, fresh.Status = true, Active
		fresh.Max, fresh.Left = p.Max, p.Max
		r, s.Row = &fresh, &fresh
	}
	r.use(e.Ticket)
	q = &Pending{
		Registration: e.Registration, Blinded: e.Blinded, Commitment: e.Commitment, Ticket: e.Ticket.Hash,
		Stage: Keyed, BaseGen: r.Gen, BaseKV: r.KV, Until: now + registrationTime, Material: e.Material,
	}
	s.Pending = q
	o := r.changed(wire.OK, LogRegBegin, e.Registration)
	o.Left, o.Max = 0, 0
	return q.evaluate(o)
}

func (q *Pending) evaluate(o Outcome) Outcome {
	o.Attempt, o.Material = q.Current, &q.Material
	return o
}

// fits reports whether r is still what q was begun on.
func (q *Pending) fits(r *Row) bool { return q.BaseGen == r.Gen && q.BaseKV == r.KV }

// shown returns the registration if it is under way and who asks knows its secret.
func (s *State) shown(now int64, registration [16]byte, commitment [32]byte) *Pending {
	q := s.Pending
	if q == nil || now >= q.Until || q.Registration != registration || !equal(q.Commitment, commitment) {
		return nil
	}
	return q
}

// A RegPut is what a client registers.
type RegPut struct {
	Registration [16]byte
	Commitment   [32]byte // SHA-256 of the secret that was shown
	Record       [wire.RecordSize]byte
	KV           uint32
	Keyring      []byte
	OwnerKey     [32]byte
	Upload       [32]byte // the hash of the four
}

// RegPut stores what is registered. It counts for nothing yet.
func (p *Policy) RegPut(s *State, now int64, e RegPut) Outcome {
	q := s.shown(now, e.Registration, e.Commitment)
	switch {
	case q == nil:
		return told(wire.Stale, 0)
	case q.Stage != Keyed:
		if q.Upload == e.Upload {
			return told(wire.OK, 0)
		}
		return told(wire.Stale, 0)
	}
	q.Stage, q.Upload = Stored, e.Upload
	q.Record, q.KV, q.Keyring, q.OwnerKey = e.Record, e.KV, e.Keyring, e.OwnerKey
	o := s.Row.changed(wire.OK, LogRegPut, e.Registration)
	o.Left, o.Max = 0, 0
	return o
}

// A RegTry asks for a login on what is registered.
type RegTry struct {
	Registration [16]byte
	Commitment   [32]byte
	Attempt      [16]byte
	Hash         [32]byte // SHA-256 of its KE1
}

// RegTry begins the one login on a registration. Whoever else sees what was uploaded could
// test a password with another.
func (p *Policy) RegTry(s *State, now int64, e RegTry) Outcome {
	q := s.shown(now, e.Registration, e.Commitment)
	switch {
	case q == nil || q.Stage == Keyed:
		return told(wire.Stale, 0)
	case q.Current != nil && q.Current.ID == e.Attempt && q.Current.Hash == e.Hash:
		return q.evaluate(Outcome{Code: wire.OK})
	case q.Current != nil:
		return told(wire.Stale, 0)
	}
	q.Current = &Attempt{ID: e.Attempt, Ver: s.Row.Ver + 1, Hash: e.Hash, Until: q.Until}
	o := s.Row.changed(wire.OK, LogRegTry, e.Registration)
	o.Left, o.Max = 0, 0
	return q.evaluate(o)
}

// A RegDone ends a registration whose login has succeeded: the caller has verified KE3.
type RegDone struct {
	Proof
	NewGen uint64
	// Signed reports whether the owner key of the record that is there, r, has signed the
	// registration and what was uploaded. It is nil if no signature came.
	Signed func(r *Row, q *Pending) bool
}

// RegDone makes the registration the record, if nothing live is there or its owner key
// allows it. Otherwise it waits for a login on what is there.
func (p *Policy) RegDone(s *State, now int64, e RegDone) Outcome {
	r, q := s.Row, s.Pending
	if r == nil {
		return told(wire.Stale, 0)
	}
	if o, ok := r.again(e.Attempt, e.Ver, [32]byte{}); ok {
		return o
	}
	if q == nil || now >= q.Until || q.Current == nil || q.Current.ID != e.Attempt || q.Current.Ver != e.Ver {
		return told(wire.Stale, 0)
	}
	if !q.fits(r) {
		return told(wire.Conflict, 0)
	}
	live := !r.Virtual && r.Status != Dead
	switch {
	case live && r.Status == Frozen && r.FrozenByOperator:
		return told(wire.Frozen, r.frost())
	case live && (e.Signed == nil || !e.Signed(r, q)):
		if q.Stage == Verified {
			return told(wire.NeedOwner, 0)
		}
		q.Stage = Verified
		o := r.changed(wire.NeedOwner, LogRegVerified, q.Registration)
		o.Left, o.Max = 0, 0
		return o
	}
	registration := q.Registration
	p.swap(s, e.NewGen)
	r = s.Row
	r.Done = &Done{ID: e.Attempt, Ver: e.Ver, Code: wire.OK, Receipt: wire.Receipt{Ver: r.Ver + 1, Gen: r.Gen, KV: r.KV}}
	o := r.changed(wire.OK, LogRegistered, registration)
	o.Receipt = &r.Done.Receipt
	return o
}

// swap makes the registration the record. What was there goes with this write.
func (p *Policy) swap(s *State, gen uint64) {
	r, q := s.Row, s.Pending
	clear(r.Keyring)
	clear(r.Key.Blob)
	s.Row = &Row{
		Ver: r.Ver, Gen: gen, Status: Active, Max: p.Max, Left: p.Max,
		Done: r.Done, Used: r.Used, Forgotten: r.Forgotten, ID: r.ID, Material: q.Material,
	}
	s.Pending = nil
}
