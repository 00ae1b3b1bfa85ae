package vault

import (
	"context"
	"crypto/ed25519"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coffer-backup/coffer/vault/internal/machine"
	"github.com/coffer-backup/coffer/vault/wire"
)

// A thief has tickets for everything and neither password nor account key. They may have
// what an owner once sent, too.
type thief struct {
	*testVault
	rand    *rand.Rand
	nodes   []*Server
	owner   ed25519.PrivateKey // their own
	patient bool               // waits until an attempt can be
	guesses []*guess           // of theirs that have begun
	pending []*enrolment
	stolen  []wire.Request // what an owner sent
	said    map[wire.Call]map[wire.Code]int
	sleeps  int
}

// any returns one of list, most often the last.
func oneOf[T any](t *thief, list []T) (one T) {
	if len(list) == 0 {
		return one
	}
	if t.rand.IntN(3) > 0 {
		return list[len(list)-1]
	}
	return list[t.rand.IntN(len(list))]
}

// send sends to some server.
func (t *thief) send(r wire.Request) *wire.Reply {
	t.t.Helper()
	frame, err := t.nodes[t.rand.IntN(len(t.nodes))].Call(context.Background(), wire.AppendRequest(nil, r))
	reply := new(wire.Reply)
	if err == nil {
		reply = must(wire.ParseReply(frame, r.Call()))
	} else if err != ErrRefused {
		t.t.Fatal(err)
	}
	if t.said[r.Call()] == nil {
		t.said[r.Call()] = map[wire.Code]int{}
	}
	t.said[r.Call()][reply.Code]++
	return reply
}

// act makes one call.
func (t *thief) act() {
	t.t.Helper()
	switch n := t.rand.IntN(100); {
	case n < 20:
		t.start()
	case n < 50:
		t.end()
	case n < 70:
		t.register()
	case n < 80 && len(t.stolen) > 0:
		t.replay()
	case n < 92:
		t.own()
	default:
		t.send(&wire.Status{Ticket: t.ticket(alice, TicketStatus)})
	}
}

func (t *thief) start() {
	g := t.guess(alice, []byte{byte(t.rand.Uint32()), 1})
	if old := oneOf(t, t.guesses); old != nil && t.rand.IntN(2) == 0 {
		old := old.start
		switch t.rand.IntN(4) {
		case 0:
			g.start = old
		case 1:
			g.start.Ticket = old.Ticket
		case 2:
			g.start.Attempt = old.Attempt
		case 3:
			g.start.Attempt, g.start.KE1 = old.Attempt, old.KE1
		}
	}
	reply := t.send(&g.start)
	switch {
	case reply.Code == wire.OK:
		g.login = reply.Login
		t.guesses = append(t.guesses, g)
	case reply.Until > 0 && t.patient && t.rand.IntN(4) == 0:
		t.sleeps++
		time.Sleep(time.Until(time.Unix(reply.Until, 0)))
	}
}

// token is one that they got, whole or with a byte changed.
func (t *thief) token() (token [wire.TokenSize]byte) {
	if g := oneOf(t, t.guesses); g != nil {
		token = g.login.Token
	}
	if t.rand.IntN(3) == 0 {
		if e := oneOf(t, t.pending); e != nil && e.login != nil {
			token = e.login.Token
		}
	}
	if t.rand.IntN(4) == 0 {
		token[t.rand.IntN(len(token))] ^= 1 << t.rand.IntN(8)
	}
	return token
}

func (t *thief) end() {
	if t.rand.IntN(3) == 0 {
		t.send(&wire.Abort{Token: t.token()})
		return
	}
	r := &wire.Finish{Token: t.token()}
	if e := oneOf(t, t.pending); e != nil && e.session != nil && t.rand.IntN(2) == 0 {
		r.KE3 = e.session.KE3 // a proof that is right, of something else
		r.Command = seal(e.session.SessionKey, labelCommand, e.start.Attempt, []byte{byte(wire.OpDelete)})
	}
	t.send(r)
}

func (t *thief) register() {
	if len(t.pending) == 0 || t.rand.IntN(3) == 0 {
		e := t.enrol(alice, []byte("their own"), t.rand.Uint32N(4)*1e9)
		if reply := t.send(&e.begin); reply.Code == wire.OK {
			e.begun(reply.Begun)
			t.pending = append(t.pending, e)
		}
		return
	}
	e := oneOf(t, t.pending)
	switch t.rand.IntN(4) {
	case 0:
		t.send(&e.put)
	case 1:
		if reply := t.send(&e.try); reply.Code == wire.OK {
			e.tried(reply.Login)
		}
	default:
		if t.rand.IntN(2) == 0 {
			e.sign(t.owner, t.gen())
		}
		t.send(&e.done)
	}
}

func (t *thief) gen() uint64 {
	if s := t.send(&wire.Status{Ticket: t.ticket(alice, TicketStatus)}).State; s != nil {
		return s.Gen
	}
	return 0
}

func (t *thief) own() {
	ops := []wire.Op{wire.OpFreeze, wire.OpUnfreeze, wire.OpDelete}
	t.send(t.orders(alice, t.owner, ops[t.rand.IntN(len(ops))], t.gen(), 0))
}

// replay plays what an owner sent, as it was or with a token of their own.
func (t *thief) replay() {
	switch r := t.stolen[t.rand.IntN(len(t.stolen))].(type) {
	case *wire.Start:
		again := *r
		if t.rand.IntN(2) == 0 {
			again.Ticket = t.ticket(alice, TicketRecover)
		}
		if reply := t.send(&again); reply.Code == wire.OK {
			t.guesses = append(t.guesses, &guess{v: t.testVault, start: again, login: reply.Login})
		}
	case *wire.Finish:
		again := *r
		if t.rand.IntN(2) == 0 {
			again.Token = t.token()
		}
		t.send(&again)
	case *wire.RegDone:
		again := *r
		if t.rand.IntN(2) == 0 {
			again.Token = t.token()
		}
		t.send(&again)
	default:
		t.send(r)
	}
}

// TestThief makes thousands of calls against a record. It is untouched, or has ended as
// it says in the log: by all attempts failing, over more than two days.
func TestThief(t *testing.T) {
	for name, tc := range map[string]struct {
		patient, stolen bool
		ends            bool
		calls           int
	}{
		"in a hurry": {calls: 1500}, "patient": {patient: true, ends: true, calls: 2000},
		"in a hurry, with what was sent": {stolen: true, calls: 1500}, "patient, with what was sent": {patient: true, stolen: true, ends: true, calls: 2000},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				v := newTestVault(t)
				v.revise(func(d *Descriptor) { d.Delays = DefaultDelays() })
				first := v.registered(alice, password)
				th := &thief{
					testVault: v, rand: rand.New(rand.NewPCG(7, 7)), nodes: []*Server{v.Server, v.node(nil), v.node(nil)},
					patient: tc.patient, said: map[wire.Call]map[wire.Code]int{},
				}
				_, th.owner, _ = ed25519.GenerateKey(nil)
				if tc.stolen {
					th.steal(first)
				}
				before := v.state(v.Server, alice).Row
				from := len(must(v.store.Log(t.Context(), 0, 1_000_000)))
				for range tc.calls {
					th.act()
					if th.rand.IntN(30) == 0 {
						sweep(t, v.Server)
						time.Sleep(time.Duration(th.rand.IntN(60)) * time.Second)
					}
				}
				th.judge(t, before, from, tc.ends)
				t.Log(th.said)
			})
		})
	}
}

// steal has an owner log in, put, and change the password, and the thief see it all.
func (t *thief) steal(first *enrolment) {
	v, s := t.testVault, t.Server
	login := func(m *wire.Command) {
		g := v.guess(alice, password).on(s)
		finish := g.ends(m)
		v.expect(s, finish, wire.OK)
		t.stolen = append(t.stolen, &g.start, finish, g.aborts())
	}
	login(release)
	login(&wire.Command{Op: wire.OpPut, Gen: v.status(s, alice).State.Gen, KV: 2, Keyring: keyring, OwnerKey: first.put.OwnerKey})
	gen := v.status(s, alice).State.Gen
	until := v.now().Unix() + 60
	freeze, unfreeze := v.orders(alice, first.owner, wire.OpFreeze, gen, until), v.orders(alice, first.owner, wire.OpUnfreeze, gen, 0)
	v.expect(s, freeze, wire.OK)
	v.expect(s, unfreeze, wire.OK)
	e := v.enrol(alice, password, 3).upTo(s)
	v.expect(s, &e.done, wire.NeedOwner)
	login(e.swap())
	login(&wire.Command{Op: wire.OpFreeze, Until: v.now().Unix() + 1})
	time.Sleep(2 * time.Second)
	login(release)
	t.stolen = append(t.stolen, freeze, unfreeze, &e.begin, &e.put, &e.try, &e.done)
}

// judge looks at what became of the record.
func (t *thief) judge(test *testing.T, before *machine.Row, from int, ends bool) {
	test.Helper()
	var starts []int64
	var end int64
	for _, e := range must(t.store.Log(test.Context(), 0, 1_000_000))[from:] {
		switch e.Kind {
		case machine.LogStart:
			starts = append(starts, e.Time)
		case machine.LogDestroyed:
			end = e.Time
		case machine.LogFailed, machine.LogRegBegin, machine.LogRegPut, machine.LogRegTry, machine.LogRegVerified, machine.LogRegLapsed:
		case machine.LogRegistered:
			if end == 0 {
				test.Error("the record was replaced")
			}
		default:
			test.Errorf("event %d", e.Kind)
		}
		if end != 0 {
			break
		}
	}
	row := t.state(t.Server, alice).Row
	if ends {
		took := time.Duration(end-starts[0]) * time.Second
		if end == 0 || len(starts) != int(DefaultAttempts) || took < 58*time.Hour+35*time.Minute+30*time.Second {
			test.Errorf("%d attempts in %v, ended %v", len(starts), took, end != 0)
		}
		return
	}
	if end != 0 || len(starts) == 0 || len(starts) >= int(DefaultAttempts) {
		test.Errorf("%d attempts, ended %v", len(starts), end != 0)
	}
	if row.Gen != before.Gen || row.Status != machine.Active || row.KV != before.KV || row.Record != before.Record || row.OwnerKey != before.OwnerKey ||
		!slices.Equal(row.Keyring, before.Keyring) || !slices.Equal(row.Key.Blob, before.Key.Blob) || int(row.Left) != DefaultAttempts-len(starts) {
		test.Errorf("%+v, before %+v", row, before)
	}
	time.Sleep(48 * time.Hour)
	g := t.guess(alice, password).on(t.Server)
	if r := g.released(t.expect(t.Server, g.ends(release), wire.OK)); int(r.Failures) != len(starts) {
		test.Errorf("%d failures after %d attempts", r.Failures, len(starts))
	}
}
