package machine

import (
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
	o := policy.Start(s, at, Start{Attempt: id(n), Hash: [32]byte{n}, Ticket: ticket(n), Virtual: Row{Gen: 1}})
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

	for n := byte(2); len(s.Row.Used) < MaxUsed; n++ {
		s.Row.Used = append(s.Row.Used, ticket(n))
	}
	if o := start(s, now, 99); o.Code != wire.Wait || o.Until != now+601 {
		t.Errorf("no room: %+v", o)
	}
	wantCode(t, "no room", policy.RegBegin(s, now, RegBegin{Ticket: ticket(99)}), wire.Wait, false)
	if o := start(s, now+601, 99); o.Code != wire.OK || len(s.Row.Used) != 1 {
		t.Errorf("room again: %+v, %d tickets", o, len(s.Row.Used))
	}
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
	wantCode(t, "start after it", start(s, now+1_000_000, 8), wire.OK, true)
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
	put := RegPut{Registration: id(n), Commitment: [32]byte{n, n}, KV: kv, Keyring: []byte("new"), OwnerKey: [32]byte{n}}
	try := RegTry{Registration: id(n), Commitment: [32]byte{n, n}, Attempt: id(n + 1), Hash: [32]byte{n}}
	step := func(what string, event func() Outcome) Outcome {
		t.Helper()
		o := event()
		wantCode(t, what, o, wire.OK, true)
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
	changed.Keyring = []byte("other")
	wantCode(t, "another put", policy.RegPut(s, now, changed), wire.Stale, false)
	spy := try
	spy.Commitment[9] = 1
	wantCode(t, "try without the secret", policy.RegTry(s, now, spy), wire.Stale, false)
	o := step("try", func() Outcome { return policy.RegTry(s, now, try) })
	guess := try
	guess.Hash[9] = 1
	wantCode(t, "another KE1", policy.RegTry(s, now, guess), wire.Stale, false)
	return o.Attempt.Ver
}

func regDone(s *State, n byte, ver uint64, at int64, signed func([32]byte, uint64, [16]byte) bool) Outcome {
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

	yes := func(key [32]byte, gen uint64, registration [16]byte) bool {
		return key == [32]byte{9} && gen == 7 && registration == id(20)
	}
	s := real()
	ver := register(t, s, 20, 4)
	if s.Row.Gen != 7 || string(s.Row.Keyring) != "ring" || s.Row.Left != 10 {
		t.Errorf("a registration touched the record: %+v", s.Row)
	}
	wantCode(t, "another login", regDone(s, 20, ver+1, now, yes), wire.Stale, false)
	wantCode(t, "a forged signature", regDone(s, 20, ver, now, func([32]byte, uint64, [16]byte) bool { return false }), wire.NeedOwner, true)
	wantCode(t, "a ticket alone", regDone(s, 20, ver, now, nil), wire.NeedOwner, false)
	wantCode(t, "too late", regDone(s, 20, ver, now+600, yes), wire.Stale, false)
	wantCode(t, "the owner key", regDone(s, 20, ver, now, yes), wire.OK, true)

	// By a login on the record.
	swap := &wire.Command{Op: wire.OpSwap, Registration: id(20)}
	s = real()
	ver = register(t, s, 20, 4)
	start(s, now, 1)
	wantCode(t, "swap before it is verified", finish(s, 1, s.Row.Current.Ver, swap), wire.Conflict, true)
	if s.Row.Left != 10 || s.Row.Gen != 7 {
		t.Errorf("after the conflict: %+v", s.Row)
	}
	wantCode(t, "verified", regDone(s, 20, ver, now, nil), wire.NeedOwner, true)
	start(s, now, 2)
	started := s.Row.Current.Ver
	o := finish(s, 2, started, swap)
	wantCode(t, "swap", o, wire.OK, true)
	if s.Row.Gen != 8 || string(s.Row.Keyring) != "new" || s.Row.Ver != o.Receipt.Ver {
		t.Errorf("swapped: %+v", s.Row)
	}
	wantCode(t, "swap again", finish(s, 2, started, swap), wire.OK, false)

	// The record changes meanwhile.
	s = real()
	ver = register(t, s, 20, 4)
	start(s, now, 1)
	put := &wire.Command{Op: wire.OpPut, KV: 4, Keyring: []byte("put")}
	wantCode(t, "put", finish(s, 1, s.Row.Current.Ver, put), wire.OK, true)
	wantCode(t, "a registration on what was", regDone(s, 20, ver, now, yes), wire.Conflict, false)
	start(s, now, 2)
	wantCode(t, "put on what was", finish(s, 2, s.Row.Current.Ver, put), wire.Conflict, true)
	if string(s.Row.Keyring) != "put" {
		t.Errorf("keyring %q", s.Row.Keyring)
	}

	s = real()
	begin := RegBegin{Registration: id(1), Commitment: [32]byte{1}, Ticket: ticket(1)}
	policy.RegBegin(s, now, begin)
	wantCode(t, "an old keyring", policy.RegPut(s, now, RegPut{Registration: id(1), Commitment: [32]byte{1}, KV: 3}), wire.Conflict, false)
	wantCode(t, "sweep", policy.Sweep(s, now+599), 0, false)
	o = policy.Sweep(s, now+600)
	if !o.Changed || s.Pending != nil {
		t.Errorf("lapsed: %+v", o)
	}

	// Tries are counted.
	s = real()
	register(t, s, 20, 4)
	for n := range byte(3) {
		o := policy.RegTry(s, now, RegTry{Registration: id(20), Commitment: [32]byte{20, 20}, Attempt: id(100 + n)})
		want := wire.OK
		if n == 2 {
			want = wire.Wait
		}
		wantCode(t, "try", o, want, n < 2)
	}

	// What the operator froze stays.
	s = real()
	ver = register(t, s, 20, 4)
	policy.Operator(s, now, Operator{Op: wire.OpFreeze})
	wantCode(t, "on the operator's freeze", regDone(s, 20, ver, now, yes), wire.Frozen, false)
}

// TestVirtual: what was never registered counts like what was.
func TestVirtual(t *testing.T) {
	s := new(State)
	if o := policy.Status(s, now); o.Code != wire.OK || o.Left != 10 || o.Max != 10 {
		t.Errorf("status of none: %+v", o)
	}
	o := start(s, now, 1)
	wantCode(t, "start", o, wire.OK, true)
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
		for _, at := range []*int64{&row.Ready, &row.FrozenUntil, &row.Died, &pending.Until} {
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
