package machine

import (
	"bytes"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"github.com/coffer-backup/coffer/vault/internal/codec"
	"github.com/coffer-backup/coffer/vault/wire"
)

const now = int64(1_800_000_000)

var policy = Policy{Max: 10, Delays: []int64{86400, 86400, 28800, 7200, 1800, 300, 30}}

func id(n byte) [16]byte { return [16]byte{n} }

func ticket(n byte) Ticket { return Ticket{Hash: id(n), Expires: now + 600} }

// real returns a state with a record of gen 7.
func real() *State {
	return &State{Row: &Row{
		Ver: 4, Gen: 7, Status: Active, Max: 10, Left: 10, ID: "anna",
		Material: Material{KV: 3, Keyring: []byte("ring"), OwnerKey: [32]byte{9}},
	}}
}

// start begins attempt n at time at.
func start(s *State, at int64, n byte) Outcome {
	o := policy.Start(s, at, Start{Attempt: id(n), Hash: [32]byte{n}, Ticket: Ticket{id(n), at + 600}, Virtual: Row{Gen: 1}})
	if o.Changed {
		s.Row.Ver++
	}
	return o
}

func finish(s *State, n byte, ver uint64, m *wire.Command) Outcome {
	o := policy.Finish(s, now, Finish{Proof: Proof{id(n), 7, ver}, Hash: [32]byte{byte(m.Op)}, Command: m, NewGen: 8})
	if o.Changed {
		s.Row.Ver++
	}
	return o
}

func fail(s *State, at int64, n byte, ver uint64) Outcome {
	o := policy.Fail(s, at, Proof{id(n), s.Row.Gen, ver})
	if o.Changed {
		s.Row.Ver++
	}
	return o
}

func wantCode(t *testing.T, what string, o Outcome, code wire.Code, changed bool) {
	t.Helper()
	if o.Code != code || o.Changed != changed {
		t.Errorf("%s: %v, changed %v; want %v, %v", what, o.Code, o.Changed, code, changed)
	}
}

// TestDelays: the schedule, from the first failure to the end.
func TestDelays(t *testing.T) {
	s, at := real(), now
	for n, want := range []int64{0, 0, 30, 300, 1800, 7200, 28800, 86400, 86400} {
		o := start(s, at, byte(n))
		wantCode(t, "start", o, wire.OK, true)
		if o := start(s, at+59, 99); o.Code != wire.Busy || o.Until != at+60 {
			t.Errorf("attempt %d: %+v while it is under way", n, o)
		}
		vanished := *s.Row
		o = fail(s, at+10, byte(n), s.Row.Current.Ver)
		wantCode(t, "failure", o, wire.Failed, true)
		if o.Left != byte(9-n) {
			t.Errorf("failure %d: %d left", n+1, o.Left)
		}
		if want == 0 {
			if o.Until != 0 {
				t.Errorf("failure %d: until %d", n+1, o.Until)
			}
		} else {
			if o.Until != at+10+want {
				t.Errorf("failure %d: until %d, want %d", n+1, o.Until-at-10, want)
			}
			wait := start(s, at+10+want-1, 99)
			wantCode(t, "too early", wait, wire.Wait, false)
			// One that vanished counts from its deadline.
			wait = start(&State{Row: &vanished}, at+60+want-1, 99)
			if wait.Code != wire.Wait || wait.Until != at+60+want {
				t.Errorf("vanished %d: %+v, want until %d", n+1, wait, at+60+want)
			}
		}
		at += 10 + want
		for i := range s.Row.Used {
			s.Row.Used[i].Expires = at - 1 // the tickets are old by now
		}
	}
	wantCode(t, "last start", start(s, at, 50), wire.OK, true)
	o := fail(s, at+1, 50, s.Row.Current.Ver)
	wantCode(t, "last failure", o, wire.Dead, true)
	if o.Cause != wire.CauseAttempts || len(s.Row.Keyring) != 0 || s.Row.Key.Blob != nil || s.Row.ID != "anna" {
		t.Errorf("after the end: %+v", s.Row)
	}
	wantCode(t, "start on the dead", start(s, at+100, 51), wire.Dead, false)
}

// TestLastAttempt: the last attempt is worth what the others are, and is not cut short.
func TestLastAttempt(t *testing.T) {
	last := func() (*State, uint64) {
		s := real()
		s.Row.Left = 1
		wantCode(t, "last start", start(s, now, 1), wire.OK, true)
		return s, s.Row.Current.Ver
	}
	s, ver := last()
	if o := finish(s, 1, ver, &wire.Command{Op: wire.OpRelease}); o.Code != wire.OK || s.Row.Left != 10 || o.Failures != 9 || string(o.Material.Keyring) != "ring" {
		t.Errorf("right password: %+v", o)
	}
	s, ver = last()
	for _, at := range []int64{now + 61, now + 659} {
		wantCode(t, "sweep too early", policy.Sweep(s, at), 0, false)
		if o := start(s, at, 2); o.Code != wire.Wait || o.Until != now+660 {
			t.Errorf("start while the last attempt is out: %+v", o)
		}
	}
	if s.Due() != now+660 {
		t.Errorf("due %d", s.Due())
	}
	late := *s.Row
	if o := finish(&State{Row: &late}, 1, ver, &wire.Command{Op: wire.OpRelease}); o.Code != wire.OK {
		t.Errorf("right password, late: %+v", o)
	}
	wantCode(t, "sweep", policy.Sweep(s, now+660), wire.Dead, true)
	if s.Row.Status != Dead || s.Due() != 0 {
		t.Errorf("swept: %+v", s.Row)
	}
	// Frozen in its midst it is over, and nothing is destroyed.
	s, ver = last()
	o := policy.Owner(s, now, Owner{Op: wire.OpFreeze, Gen: 7, Until: now + 9, Ticket: ticket(9), Signed: func([32]byte) bool { return true }})
	wantCode(t, "freeze", o, wire.OK, true)
	wantCode(t, "finish of the frozen", finish(s, 1, ver, &wire.Command{Op: wire.OpRelease}), wire.Stale, false)
	if o := start(s, now+700, 3); o.Code != wire.Wait || o.Left != 0 || o.Until != 0 {
		t.Errorf("start with none left: %+v", o)
	}
	wantCode(t, "sweep of the frozen", policy.Sweep(s, now+7000), 0, false)
}

// TestProof: an attempt is ended by what was made for it, and by nothing else.
func TestProof(t *testing.T) {
	release := &wire.Command{Op: wire.OpRelease}
	s := real()
	start(s, now, 1)
	ver := s.Row.Current.Ver
	for what, f := range map[string]Proof{
		"another attempt": {id(2), 7, ver}, "another gen": {id(1), 8, ver}, "another ver": {id(1), 7, ver + 1},
	} {
		wantCode(t, what, policy.Finish(s, now, Finish{Proof: f, Command: release}), wire.Stale, false)
		wantCode(t, what, policy.Fail(s, now, f), wire.Stale, false)
	}
	done := finish(s, 1, ver, release)
	wantCode(t, "success", done, wire.OK, true)
	// The same id and KE1 again, by a thief who then plays the owner's Finish.
	o := policy.Start(s, now+1, Start{Attempt: id(1), Hash: [32]byte{1}, Ticket: ticket(77)})
	wantCode(t, "the id again", o, wire.OK, true)
	s.Row.Ver++
	left := s.Row.Left
	again := finish(s, 1, ver, release)
	wantCode(t, "the finish again", again, wire.OK, false)
	if s.Row.Left != left || s.Row.Current == nil || *again.Receipt != *done.Receipt {
		t.Errorf("a finish played again: %+v, %+v", s.Row, again)
	}
	wantCode(t, "another command", finish(s, 1, ver, &wire.Command{Op: wire.OpDelete}), wire.Stale, false)
}

// TestTickets: each is worth one thing, and a record remembers a number of them.
func TestTickets(t *testing.T) {
	s := real()
	start(s, now, 1)
	same := Start{Attempt: id(1), Hash: [32]byte{1}, Ticket: ticket(1)}
	o := policy.Start(s, now+5, same)
	wantCode(t, "the same again", o, wire.OK, false)
	if o.Attempt.Ver != s.Row.Current.Ver {
		t.Errorf("the same again is ver %d", o.Attempt.Ver)
	}
	other := same
	other.Hash[0] = 99
	wantCode(t, "another KE1", policy.Start(s, now+5, other), wire.Used, false)
	fail(s, now, 1, s.Row.Current.Ver)
	wantCode(t, "the ticket again", policy.Start(s, now+5, other), wire.Used, false)
	wantCode(t, "for a registration", policy.RegBegin(s, now, RegBegin{Ticket: ticket(1)}), wire.Used, false)
	wantCode(t, "for an owner", policy.Owner(s, now, Owner{Op: wire.OpDelete, Gen: 7, Ticket: ticket(1), Signed: func([32]byte) bool { return true }}), wire.Used, false)

	// Registrations leave places to attempts, and both to the owner key.
	fill := func(max int) {
		for n := byte(len(s.Row.Used) + 1); len(s.Row.Used) < max; n++ {
			s.Row.Used = append(s.Row.Used, Ticket{id(n), now + 500 + int64(n)})
		}
	}
	begin := func() Outcome { return policy.RegBegin(s, now, RegBegin{Ticket: ticket(99)}) }
	owner := func(signed bool) Outcome {
		e := Owner{Op: wire.OpUnfreeze, Gen: 7, Ticket: ticket(98), Signed: func([32]byte) bool { return signed }}
		return policy.Owner(&State{Row: s.Row}, now, e)
	}
	s.Row.Used = nil
	fill(8)
	if o := begin(); o.Code != wire.Wait || o.Until != now+502 {
		t.Errorf("a registration with 8 used: %+v", o)
	}
	copied := *s.Row
	wantCode(t, "an attempt with 8 used", start(&State{Row: &copied}, now, 99), wire.OK, true)
	fill(12)
	if o := start(s, now, 99); o.Code != wire.Wait || o.Until != now+502 {
		t.Errorf("an attempt with 12 used: %+v", o)
	}
	fill(15)
	wantCode(t, "another's request with 15 used", owner(false), wire.Stale, false)
	wantCode(t, "the owner's request with 15 used", owner(true), wire.OK, true)
	s.Row.Done = nil
	if len(s.Row.Used) != 16 {
		t.Errorf("%d tickets", len(s.Row.Used))
	}
	if o := policy.Owner(s, now, Owner{Op: wire.OpFreeze, Gen: 7, Ticket: ticket(97), Signed: func([32]byte) bool { return true }}); o.Code != wire.Wait {
		t.Errorf("the owner's request with 16 used: %+v", o)
	}
	o = policy.Start(s, now+601, Start{Attempt: id(1), Ticket: Ticket{id(100), now + 900}})
	if o.Code != wire.OK || len(s.Row.Used) != 1 || s.Row.Forgotten != now+600 {
		t.Errorf("room again: %+v, %d tickets, forgotten until %d", o, len(s.Row.Used), s.Row.Forgotten-now)
	}
	wantCode(t, "as old as one that was forgotten", policy.RegBegin(s, now, RegBegin{Ticket: ticket(101)}), wire.Used, false)
}

// TestFrozen: an owner's freeze ends by itself, an operator's by an operator.
func TestFrozen(t *testing.T) {
	signed := func(key [32]byte) bool { return key == [32]byte{9} }
	owner := func(s *State, op wire.Op, n byte, at int64) Outcome {
		o := policy.Owner(s, at, Owner{Op: op, Gen: 7, Until: now + 100, Ticket: ticket(n), Hash: [32]byte{n}, Signed: signed})
		if o.Changed {
			s.Row.Ver++
		}
		return o
	}
	s := real()
	start(s, now, 1)
	ver, left := s.Row.Current.Ver, s.Row.Left
	first := owner(s, wire.OpFreeze, 2, now)
	wantCode(t, "freeze", first, wire.OK, true)
	again := owner(s, wire.OpFreeze, 2, now)
	wantCode(t, "freeze again", again, wire.OK, false)
	if *again.Receipt != *first.Receipt {
		t.Errorf("again: %+v, %+v", again.Receipt, first.Receipt)
	}
	wantCode(t, "finish", finish(s, 1, ver, &wire.Command{Op: wire.OpRelease}), wire.Stale, false)
	if o := start(s, now+99, 3); o.Code != wire.Frozen || o.Until != now+100 {
		t.Errorf("start on the frozen: %+v", o)
	}
	if o := policy.Status(s, now+99); o.Code != wire.Frozen || o.Gen != 7 {
		t.Errorf("status: %+v", o)
	}
	wantCode(t, "unfreeze", owner(s, wire.OpUnfreeze, 4, now), wire.OK, true)
	if s.Row.Left != left {
		t.Errorf("unfrozen with %d left, frozen with %d", s.Row.Left, left)
	}
	owner(s, wire.OpFreeze, 5, now)
	wantCode(t, "start after the freeze", start(s, now+100, 6), wire.OK, true)
	if s.Row.Status != Active {
		t.Errorf("status %d", s.Row.Status)
	}

	wantCode(t, "the operator's unfreeze of the active", policy.Operator(s, now, Operator{Op: wire.OpUnfreeze}), wire.OK, false)
	wantCode(t, "the operator's freeze", policy.Operator(s, now, Operator{Op: wire.OpFreeze}), wire.OK, true)
	wantCode(t, "the owner's unfreeze", owner(s, wire.OpUnfreeze, 7, now), wire.Frozen, false)
	wantCode(t, "start", start(s, now+1_000_000, 8), wire.Frozen, false)
	wantCode(t, "the operator's freeze again", policy.Operator(s, now, Operator{Op: wire.OpFreeze}), wire.OK, false)
	wantCode(t, "the operator's unfreeze", policy.Operator(s, now, Operator{Op: wire.OpUnfreeze}), wire.OK, true)
	wantCode(t, "start after it", start(s, now+300, 8), wire.OK, true)
	owner(s, wire.OpFreeze, 9, now)
	policy.Operator(s, now, Operator{Op: wire.OpFreeze})
	policy.Operator(s, now, Operator{Op: wire.OpUnfreeze})
	wantCode(t, "start on the owner's freeze below it", start(s, now+99, 11), wire.Frozen, false)
	wantCode(t, "the operator's end", policy.Operator(s, now, Operator{Op: wire.OpDelete}), wire.OK, true)
	wantCode(t, "the operator's end again", policy.Operator(s, now, Operator{Op: wire.OpDelete}), wire.OK, false)
	if o := start(s, now, 10); o.Code != wire.Dead || o.Cause != wire.CauseOperator {
		t.Errorf("after it: %+v", o)
	}
	wantCode(t, "release by an operator", policy.Operator(real(), now, Operator{Op: wire.OpRelease}), wire.Conflict, false)

	for what, e := range map[string]Owner{
		"another gen":   {Op: wire.OpDelete, Gen: 8, Ticket: ticket(1), Signed: signed},
		"no signature":  {Op: wire.OpDelete, Gen: 7, Ticket: ticket(1), Signed: func([32]byte) bool { return false }},
		"another order": {Op: wire.OpRelease, Gen: 7, Ticket: ticket(1), Signed: signed},
	} {
		wantCode(t, what, policy.Owner(real(), now, e), wire.Stale, false)
	}
	virtual := real()
	virtual.Row.Virtual = true
	for what, s := range map[string]*State{"none": {}, "virtual": virtual} {
		wantCode(t, what, owner(s, wire.OpDelete, 1, now), wire.Stale, false)
		wantCode(t, what, policy.Operator(s, now, Operator{Op: wire.OpDelete}), wire.Stale, false)
	}
}

// register brings a registration to its login, whose ver it returns.
func register(t *testing.T, s *State, n byte, kv uint32) uint64 {
	t.Helper()
	begin := RegBegin{
		Registration: id(n), Blinded: [32]byte{n}, Commitment: [32]byte{n, n}, Ticket: ticket(n), Virtual: Row{Gen: 1, ID: "anna"},
		Material: Material{AKE: 2},
	}
	put := RegPut{Registration: id(n), Commitment: [32]byte{n, n}, KV: kv, Keyring: []byte("new"), OwnerKey: [32]byte{n}, Upload: [32]byte{n, 7}}
	try := RegTry{Registration: id(n), Commitment: [32]byte{n, n}, Attempt: id(n + 1), Hash: [32]byte{n}}
	step := func(what string, event func() Outcome) Outcome {
		t.Helper()
		o := event()
		wantCode(t, what, o, wire.OK, true)
		if o.Left != 0 || o.Max != 0 {
			t.Errorf("%s: tells of %d attempts", what, o.Left)
		}
		s.Row.Ver++
		wantCode(t, what+" again", event(), wire.OK, false)
		return o
	}
	wantCode(t, "put before begin", policy.RegPut(s, now, put), wire.Stale, false)
	step("begin", func() Outcome { return policy.RegBegin(s, now, begin) })
	wantCode(t, "try before put", policy.RegTry(s, now, try), wire.Stale, false)
	other := begin
	other.Blinded[9] = 1
	wantCode(t, "begin with another point", policy.RegBegin(s, now, other), wire.Stale, false)
	stranger := put
	stranger.Commitment[9] = 1
	wantCode(t, "put without the secret", policy.RegPut(s, now, stranger), wire.Stale, false)
	step("put", func() Outcome { return policy.RegPut(s, now, put) })
	changed := put
	changed.Upload[9] = 1
	wantCode(t, "another put", policy.RegPut(s, now, changed), wire.Stale, false)
	spy := try
	spy.Commitment[9] = 1
	wantCode(t, "try without the secret", policy.RegTry(s, now, spy), wire.Stale, false)
	o := step("try", func() Outcome { return policy.RegTry(s, now, try) })
	guess := try
	guess.Hash[9] = 1
	wantCode(t, "another KE1", policy.RegTry(s, now, guess), wire.Stale, false)
	guess.Attempt[9] = 1
	wantCode(t, "another login", policy.RegTry(s, now, guess), wire.Stale, false)
	for what, late := range map[string]Outcome{
		"put": policy.RegPut(s, now+600, put), "try": policy.RegTry(s, now+600, try),
	} {
		wantCode(t, what+" when it has lapsed", late, wire.Stale, false)
	}
	return o.Attempt.Ver
}

func regDone(s *State, n byte, ver uint64, at int64, signed func(*Row, *Pending) bool) Outcome {
	o := policy.RegDone(s, at, RegDone{Proof: Proof{Attempt: id(n + 1), Ver: ver}, NewGen: 8, Signed: signed})
	if o.Changed {
		s.Row.Ver++
	}
	return o
}

// TestRegister: what is there decides who may replace it.
func TestRegister(t *testing.T) {
	dead := real()
	dead.Row.destroy(wire.CauseOwner, now)
	for what, s := range map[string]*State{"none": {}, "dead": dead} {
		ver := register(t, s, 20, 1)
		o := regDone(s, 20, ver, now, nil)
		wantCode(t, what, o, wire.OK, true)
		if r := s.Row; r.Virtual || r.Status != Active || r.Left != 10 || r.Gen != 8 || string(r.Keyring) != "new" || s.Pending != nil || r.AKE != 2 {
			t.Errorf("%s: %+v", what, r)
		}
		again := regDone(s, 20, ver, now, nil)
		wantCode(t, what+" again", again, wire.OK, false)
		if *again.Receipt != *o.Receipt {
			t.Errorf("%s again: %+v, %+v", what, again.Receipt, o.Receipt)
		}
	}

	yes := func(r *Row, q *Pending) bool {
		return r.OwnerKey == [32]byte{9} && r.Gen == 7 && q.Registration == id(20) && q.Upload == [32]byte{20, 7}
	}
	s := real()
	ver := register(t, s, 20, 4)
	if s.Row.Gen != 7 || string(s.Row.Keyring) != "ring" || s.Row.Left != 10 {
		t.Errorf("a registration touched the record: %+v", s.Row)
	}
	wantCode(t, "another login", regDone(s, 20, ver+1, now, yes), wire.Stale, false)
	wantCode(t, "a forged signature", regDone(s, 20, ver, now, func(*Row, *Pending) bool { return false }), wire.NeedOwner, true)
	wantCode(t, "a ticket alone", regDone(s, 20, ver, now, nil), wire.NeedOwner, false)
	wantCode(t, "too late", regDone(s, 20, ver, now+600, yes), wire.Stale, false)
	wantCode(t, "the owner key", regDone(s, 20, ver, now, yes), wire.OK, true)

	// By a login on the record.
	swap := &wire.Command{Op: wire.OpSwap, Registration: id(20), Upload: [32]byte{20, 7}}
	s = real()
	ver = register(t, s, 20, 4)
	start(s, now, 1)
	wantCode(t, "swap before it is verified", finish(s, 1, s.Row.Current.Ver, swap), wire.Conflict, true)
	if s.Row.Left != 10 || s.Row.Gen != 7 {
		t.Errorf("after the conflict: %+v", s.Row)
	}
	wantCode(t, "verified", regDone(s, 20, ver, now, nil), wire.NeedOwner, true)
	for n, other := range []*wire.Command{
		{Op: wire.OpSwap, Registration: id(21), Upload: swap.Upload}, {Op: wire.OpSwap, Registration: id(20), Upload: [32]byte{20}},
	} {
		start(s, now, byte(10+n))
		wantCode(t, "swap of another", finish(s, byte(10+n), s.Row.Current.Ver, other), wire.Conflict, true)
	}
	lapsed, begun := *s.Row, *s.Pending
	begun.Until = now
	late := &State{&lapsed, &begun}
	start(late, now, 12)
	wantCode(t, "swap when it has lapsed", finish(late, 12, late.Row.Current.Ver, swap), wire.Conflict, true)
	moved, base := *s.Row, *s.Pending
	base.BaseKV--
	other := &State{&moved, &base}
	start(other, now, 13)
	wantCode(t, "swap on what was", finish(other, 13, other.Row.Current.Ver, swap), wire.Conflict, true)
	start(s, now, 2)
	started := s.Row.Current.Ver
	o := finish(s, 2, started, swap)
	wantCode(t, "swap", o, wire.OK, true)
	if s.Row.Gen != 8 || string(s.Row.Keyring) != "new" || s.Row.Ver != o.Receipt.Ver {
		t.Errorf("swapped: %+v", s.Row)
	}
	if again := finish(s, 2, started, swap); again.Code != wire.OK || again.Changed || string(again.Material.Keyring) != "new" {
		t.Errorf("swap again: %+v", again)
	}
	s.Row.Gen++
	if again := policy.Finish(s, now, Finish{Proof: Proof{id(2), 7, started}, Hash: [32]byte{byte(swap.Op)}, Command: swap}); again.Material != nil {
		t.Error("what was done on one registration is told of another")
	}

	// The record changes meanwhile.
	s = real()
	ver = register(t, s, 20, 4)
	start(s, now, 1)
	put := &wire.Command{Op: wire.OpPut, Gen: 7, KV: 4, Keyring: []byte("put")}
	elsewhere := *put
	elsewhere.Gen = 8
	wantCode(t, "put on another registration", finish(s, 1, s.Row.Current.Ver, &elsewhere), wire.Conflict, true)
	start(s, now, 3)
	wantCode(t, "put", finish(s, 3, s.Row.Current.Ver, put), wire.OK, true)
	wantCode(t, "a registration on what was", regDone(s, 20, ver, now, yes), wire.Conflict, false)
	start(s, now, 2)
	wantCode(t, "put on what was", finish(s, 2, s.Row.Current.Ver, put), wire.Conflict, true)
	if string(s.Row.Keyring) != "put" {
		t.Errorf("keyring %q", s.Row.Keyring)
	}

	s = real()
	policy.RegBegin(s, now, RegBegin{Registration: id(1), Commitment: [32]byte{1}, Ticket: ticket(1)})
	if s.Due() != now+600 {
		t.Errorf("due %d", s.Due()-now)
	}
	wantCode(t, "the same ticket", policy.RegBegin(s, now, RegBegin{Registration: id(2), Ticket: ticket(1)}), wire.Used, false)
	wantCode(t, "sweep", policy.Sweep(s, now+599), 0, false)
	o = policy.Sweep(s, now+600)
	if !o.Changed || s.Pending != nil {
		t.Errorf("lapsed: %+v", o)
	}

	// What the operator froze stays.
	s = real()
	ver = register(t, s, 20, 4)
	policy.Operator(s, now, Operator{Op: wire.OpFreeze})
	wantCode(t, "on the operator's freeze", regDone(s, 20, ver, now, yes), wire.Frozen, false)
	policy.Operator(s, now, Operator{Op: wire.OpUnfreeze})
	s.Row.FrozenUntil = now + 1000
	s.Row.freeze()
	wantCode(t, "on the owner's", regDone(s, 20, ver, now, yes), wire.OK, true)
	if s.Row.Status != Active {
		t.Errorf("status %d", s.Row.Status)
	}
}

// TestDue: the earlier of two times.
func TestDue(t *testing.T) {
	for _, until := range []int64{now + 100, now + 600, now + 700} {
		s := real()
		s.Row.Left, s.Row.Current = 0, &Attempt{Until: now}
		s.Pending = &Pending{Until: until}
		if s.Due() != min(until, now+600) {
			t.Errorf("due %d", s.Due()-now)
		}
		s.Row.Left = 1
		if s.Due() != until {
			t.Errorf("with attempts left: due %d", s.Due()-now)
		}
	}
}

// TestWiped: what is destroyed or replaced is overwritten where it lies.
func TestWiped(t *testing.T) {
	for what, end := range map[string]func(*State){
		"destroyed": func(s *State) { policy.Operator(s, now, Operator{Op: wire.OpDelete}) },
		"replaced":  func(s *State) { s.Pending = &Pending{}; policy.swap(s, 8) },
	} {
		s := real()
		s.Row.FrozenUntil, s.Row.FrozenByOperator = now+9, true
		keyring, blob := s.Row.Keyring, []byte("blob")
		s.Row.Key.Blob = blob
		end(s)
		if !bytes.Equal(keyring, make([]byte, len(keyring))) || !bytes.Equal(blob, make([]byte, len(blob))) {
			t.Errorf("%s: %q and %q are left", what, keyring, blob)
		}
		if s.Row.FrozenUntil != 0 || s.Row.FrozenByOperator {
			t.Errorf("%s: frozen", what)
		}
	}
}

// TestFreezeByPassword: until its time, and the attempts are given back before.
func TestFreezeByPassword(t *testing.T) {
	s := real()
	s.Row.Left = 5
	start(s, now, 1)
	o := finish(s, 1, s.Row.Current.Ver, &wire.Command{Op: wire.OpFreeze, Until: now + 100})
	if o.Code != wire.OK || len(o.Log) != 2 || o.Log[1].Kind != LogFrozen || s.Row.Left != 10 {
		t.Errorf("%+v, %+v", o, s.Row)
	}
	if o := start(s, now+99, 2); o.Code != wire.Frozen || o.Until != now+100 {
		t.Errorf("%+v", o)
	}
	if o := start(s, now+100, 2); o.Code != wire.OK || s.Row.Status != Active || s.Row.FrozenUntil != 0 {
		t.Errorf("%+v, %+v", o, s.Row)
	}
	start(s, now+200, 3)
	o = policy.Finish(s, now+200, Finish{Proof: Proof{id(3), 7, s.Row.Current.Ver}, Command: &wire.Command{Op: wire.OpDelete}})
	if o.Code != wire.OK || len(o.Log) != 2 || o.Log[1].Kind != LogDestroyed || s.Row.Cause != wire.CauseOwner {
		t.Errorf("%+v, %+v", o, s.Row)
	}
}

// TestNoDelay: a wait that is over is told no more.
func TestNoDelay(t *testing.T) {
	s := real()
	s.Row.Ready = now - 1
	start(s, now, 1)
	if s.Row.Ready != 0 {
		t.Errorf("ready %d", s.Row.Ready)
	}
}

// TestVirtual: what was never registered counts like what was.
func TestVirtual(t *testing.T) {
	s := new(State)
	if o := policy.Status(s, now); o.Code != wire.OK || o.Left != 10 || o.Max != 10 {
		t.Errorf("status of none: %+v", o)
	}
	o := start(s, now, 1)
	wantCode(t, "start", o, wire.OK, true)
	begun := new(State)
	policy.RegBegin(begun, now, RegBegin{Ticket: ticket(1), Virtual: Row{Gen: 1}})
	if r := begun.Row; !r.Virtual || r.Max != 10 || r.Left != 10 || r.Status != Active || len(r.Used) != 1 {
		t.Errorf("begun: %+v", r)
	}
	if !o.Virtual || o.Left != 9 || s.Row.Gen != 1 {
		t.Errorf("start: %+v", o)
	}
	wantCode(t, "finish", policy.Finish(s, now, Finish{Proof: Proof{id(1), 1, 1}, Command: &wire.Command{Op: wire.OpRelease}}), wire.Stale, false)
	wantCode(t, "fail", fail(s, now, 1, 1), wire.Failed, true)
	wantCode(t, "fail again", fail(s, now, 1, 1), wire.Failed, false)
	for _, o := range []Outcome{
		policy.Finish(new(State), now, Finish{}), policy.Fail(new(State), now, Proof{}), policy.RegDone(new(State), now, RegDone{}), policy.Sweep(new(State), now),
	} {
		wantCode(t, "on none", o, wire.Stale, false)
	}
}

// TestCells: what is stored is what was there.
func TestCells(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		row := rapid.Make[Row]().Draw(t, "row")
		row.Ver, row.Status = 0, Status(rapid.IntRange(1, 3).Draw(t, "status"))
		row.Left = min(row.Left, row.Max)
		row.ID = row.ID[:min(len(row.ID), 128)]
		row.Used = row.Used[:min(len(row.Used), MaxUsed)]
		pending := rapid.Make[Pending]().Draw(t, "pending")
		pending.Stage = Stage(rapid.IntRange(1, 3).Draw(t, "stage"))
		for _, at := range []*int64{&row.Ready, &row.FrozenUntil, &row.Died, &pending.Until, &row.Forgotten} {
			*at &= 1<<63 - 1
		}
		for i := range row.Used {
			row.Used[i].Expires &= 1<<32 - 1
		}
		for _, a := range []*Attempt{row.Current, pending.Current} {
			if a != nil {
				a.Until &= 1<<63 - 1
			}
		}
		for _, m := range []*Material{&row.Material, &pending.Material} {
			m.Key.Blob = m.Key.Blob[:min(len(m.Key.Blob), 256)]
			m.Keyring = m.Keyring[:min(len(m.Keyring), wire.MaxKeyring)]
		}
		var row2 Row
		if err := codec.ParseAll(codec.Append(nil, row.Fields), row2.Fields); err != nil {
			t.Fatal(err)
		}
		var pending2 Pending
		if err := codec.ParseAll(codec.Append(nil, pending.Fields), pending2.Fields); err != nil {
			t.Fatal(err)
		}
		a, b := codec.Append(nil, row2.Fields), codec.Append(nil, pending2.Fields)
		if !reflect.DeepEqual(a, codec.Append(nil, row.Fields)) || !reflect.DeepEqual(b, codec.Append(nil, pending.Fields)) ||
			row2.Gen != row.Gen || row2.ID != row.ID || (row2.Done == nil) != (row.Done == nil) || pending2.KV != pending.KV {
			t.Fatal("what is read is not what was written")
		}
	})
}

// TestLogged: what is in the log is what happened.
func TestLogged(t *testing.T) {
	signed := func([32]byte) bool { return true }
	owner := func(op wire.Op, n byte) func(*State) Outcome {
		return func(s *State) Outcome {
			return policy.Owner(s, now, Owner{Op: op, Gen: 7, Until: now + 9, Ticket: ticket(n), Signed: signed})
		}
	}
	operator := func(op wire.Op) func(*State) Outcome {
		return func(s *State) Outcome { return policy.Operator(s, now, Operator{Op: op}) }
	}
	s := real()
	for _, step := range []struct {
		event  func(*State) Outcome
		kind   uint8
		status Status
	}{
		{owner(wire.OpFreeze, 1), LogFrozen, Frozen},
		{owner(wire.OpUnfreeze, 2), LogUnfrozen, Active},
		{operator(wire.OpFreeze), LogFrozen, Frozen},
		{operator(wire.OpUnfreeze), LogUnfrozen, Active},
		{owner(wire.OpDelete, 3), LogDestroyed, Dead},
	} {
		o := step.event(s)
		if !o.Changed || len(o.Log) != 1 || o.Log[0].Kind != step.kind || s.Row.Status != step.status {
			t.Errorf("%+v, status %d; want kind %d, status %d", o, s.Row.Status, step.kind, step.status)
		}
	}
	// An operator's order on what an owner has ended is not his.
	wantCode(t, "delete of the deleted", operator(wire.OpDelete)(s), wire.Dead, false)
	s = real()
	if o := operator(wire.OpDelete)(s); len(o.Log) != 1 || o.Log[0].Kind != LogDestroyed {
		t.Errorf("%+v", o)
	}
	wantCode(t, "freeze of what an operator has ended", operator(wire.OpFreeze)(s), wire.Dead, false)
}

// TestRegDoneProof: a registration without a login is not done by any token.
func TestRegDoneProof(t *testing.T) {
	s := &State{}
	policy.RegBegin(s, now, RegBegin{Registration: id(1), Ticket: ticket(1)})
	wantCode(t, "no login", policy.RegDone(s, now, RegDone{}), wire.Stale, false)
	s.Row.Done = &Done{ID: id(3), Ver: 1, Code: wire.OK}
	wantCode(t, "another's ver", policy.RegDone(s, now, RegDone{Proof: Proof{Attempt: id(3), Ver: 2}}), wire.Stale, false)
	wantCode(t, "another's id", policy.RegDone(s, now, RegDone{Proof: Proof{Attempt: id(4), Ver: 1}}), wire.Stale, false)
	if o := regDone(s, 20, register(t, s, 20, 1), now, nil); o.Left != 10 || o.Max != 10 {
		t.Errorf("%+v", o)
	}
}
