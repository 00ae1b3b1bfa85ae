package vault

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coffer-backup/coffer/vault/evaluator"
	"github.com/coffer-backup/coffer/vault/internal/machine"
	"github.com/coffer-backup/coffer/vault/store"
	"github.com/coffer-backup/coffer/vault/store/storetest"
	"github.com/coffer-backup/coffer/vault/wire"
)

var errFault = errors.New("a fault that was planted")

// evaluatorFaults are the ways in which a token does not answer.
var evaluatorFaults = map[string]func(context.Context) error{
	"fails": func(context.Context) error { return errFault },
	"hangs": func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
	"panics": func(context.Context) error {
		panic(errFault)
	},
}

// try sends a request as a server of HTTP does: it waits for so long, and outlives a
// panic. It returns 0 where there is no reply.
func (v *testVault) try(s *Server, r wire.Request) (code wire.Code) {
	ctx, cancel := context.WithTimeout(v.t.Context(), 8*time.Second)
	defer cancel()
	defer func() {
		if p := recover(); p != nil && p != errFault {
			panic(p)
		}
	}()
	frame, err := s.Call(ctx, wire.AppendRequest(nil, r))
	if err != nil {
		return 0
	}
	reply, err := wire.ParseReply(frame, r.Call())
	if err != nil {
		v.t.Fatal(err)
	}
	return reply.Code
}

// sweepAnyhow is what Run does each second, whatever comes of it.
func (v *testVault) sweepAnyhow(s *Server) {
	ctx, cancel := context.WithTimeout(v.t.Context(), 8*time.Second)
	defer cancel()
	defer func() {
		if p := recover(); p != nil && p != errFault {
			panic(p)
		}
	}()
	if err := s.sweep(ctx); err == nil {
		v.t.Error("swept by an evaluator that does not work")
	}
}

// TestEvaluatorFaults has each of the evaluator's methods not work. One attempt at most
// is lost, at one record; nothing is counted from then on until it works again, and
// nobody need ask for that.
func TestEvaluatorFaults(t *testing.T) {
	for _, method := range []string{"MAC", "Evaluate", "Agree", "Sign", "NewKey"} {
		for how, fault := range evaluatorFaults {
			t.Run(method+" "+how, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { evaluatorFault(t, method, fault) })
			})
		}
	}
}

func evaluatorFault(t *testing.T, method string, fault func(context.Context) error) {
	v := newTestVault(t)
	v.registered(alice, password)
	s, ev := v.frailNode()
	flight := v.guess(alice, password).on(s)
	ev.set(func(ctx context.Context, m string) error {
		if m == method {
			return fault(ctx)
		}
		return nil
	})
	if method != "Evaluate" && method != "Agree" && method != "NewKey" {
		if code := v.try(s, flight.ends(release)); code == wire.OK {
			t.Errorf("Finish: %v", code)
		}
	}
	counted := v.count(machine.LogStart)
	for range 5 {
		time.Sleep(20 * time.Minute) // no ticket and no delay stands in the way
		for _, who := range []string{alice, "nobody"} {
			requests := []wire.Request{&v.guess(who, password).start, &v.enrol(who, password, 2).begin}
			for n, r := range requests {
				// A token that makes no keys any more is no harm to logins.
				if code := v.try(s, r); code == wire.OK && (method != "NewKey" || n > 0) {
					t.Errorf("%v: %v", r.Call(), code)
				}
			}
		}
		if method != "MAC" && method != "NewKey" { // what a probe cannot see costs nobody an attempt
			v.sweepAnyhow(s)
		}
	}
	if lost := v.count(machine.LogStart) - counted; lost > 1 && method != "NewKey" {
		t.Errorf("%d attempts are lost", lost)
	}
	if err := s.Health(t.Context()); !errors.Is(err, errUnavailable) {
		t.Errorf("health: %v", err)
	}
	ev.set(nil)
	v.expect(s, &v.guess(alice, password).start, wire.Unavailable) // it has not proved itself
	sweep(t, s)
	if err := s.Health(t.Context()); err != nil {
		t.Errorf("health: %v", err)
	}
	time.Sleep(20 * time.Minute)
	if r := v.expect(s, v.guess(alice, password).on(s).ends(release), wire.OK); r.Left != DefaultAttempts {
		t.Errorf("%+v", r)
	}
}

// TestEvaluatorOneKey has one record's key not open: that costs its owner attempts, and
// nobody else anything.
func TestEvaluatorOneKey(t *testing.T) {
	v := newTestVault(t)
	v.registered(alice, password)
	v.registered("bob", password)
	u := must(v.subject(t.Context(), alice))
	key := must(u.open(must(v.store.View(t.Context(), u.index)))).Row.Key
	broken := &brokenKey{public: key.Public}
	s := v.node(func(c *Config) { broken.Evaluator, c.Evaluator = c.Evaluator, broken })
	for n := range 3 {
		v.expect(s, &v.guess(alice, password).start, wire.Unavailable)
		v.expect(s, &v.guess("bob", password).start, wire.Unavailable) // until the evaluator has proved itself
		sweep(t, s)
		v.expect(s, v.guess("bob", password).on(s).ends(release), wire.OK)
		v.ahead += 2 * time.Minute
		if left := v.status(s, alice).Left; int(left) != DefaultAttempts-1-n {
			t.Errorf("%d left after %d attempts", left, n+1)
		}
	}
}

type brokenKey struct {
	evaluator.Evaluator
	public evaluator.Point
}

func (b *brokenKey) Evaluate(ctx context.Context, key evaluator.Key, p evaluator.Point) (evaluator.Point, error) {
	if key.Public == b.public {
		return evaluator.Point{}, errFault
	}
	return b.Evaluator.Evaluate(ctx, key, p)
}

// TestCallerGone: that a caller gives up says nothing of the evaluator.
func TestCallerGone(t *testing.T) {
	v := newTestVault(t)
	v.registered(alice, password)
	s, ev := v.frailNode()
	for _, method := range []string{"MAC", "Evaluate", "Agree", "Sign"} {
		ctx, cancel := context.WithCancel(t.Context())
		ev.set(func(ctx context.Context, m string) error {
			if m == method {
				cancel()
				return ctx.Err()
			}
			return nil
		})
		frame, err := s.Call(ctx, wire.AppendRequest(nil, &v.guess(alice, password).start))
		if err != nil || wire.Code(frame[2]) != wire.Unavailable {
			t.Errorf("%s: %x, %v", method, frame[:8], err)
		}
		if err := s.Health(t.Context()); err != nil {
			t.Errorf("%s: %v", method, err)
		}
		v.ahead += 2 * time.Minute
	}
}

// deed sends what is answered by code.
type deed func(r wire.Request, code wire.Code) *wire.Reply

// deeds is one of each of the calls that write. now has it wait until others need not.
func (v *testVault) deeds(do deed) {
	register := func(e *enrolment, code wire.Code) {
		e.begun(do(&e.begin, wire.OK).Begun)
		do(&e.put, wire.OK)
		e.tried(do(&e.try, wire.OK).Login)
		do(&e.done, code)
	}
	login := func(password []byte) *guess {
		g := v.guess(alice, password)
		g.take(do(&g.start, wire.OK).Login)
		return g
	}
	first := v.enrol(alice, password, 1)
	register(first, wire.OK)
	do(login(password2).aborts(), wire.Failed)
	wrong := login(password2)
	do(wrong.ends(release), wire.Failed)
	g := login(password)
	if r := g.released(do(g.ends(release), wire.OK)); r.Failures != 2 {
		v.t.Errorf("%d failures", r.Failures)
	}
	owner := first.owner
	second := v.enrol(alice, password2, 2)
	register(second, wire.NeedOwner)
	g = login(password)
	swapped := g.released(do(g.ends(second.swap()), wire.OK)).Gen
	g = login(password2)
	gen := g.released(do(g.ends(&wire.Command{Op: wire.OpPut, Gen: swapped, KV: 3, Keyring: keyring, OwnerKey: first.put.OwnerKey}), wire.OK)).Gen
	do(v.orders(alice, owner, wire.OpFreeze, gen, v.now().Unix()+3600), wire.OK)
	do(v.orders(alice, owner, wire.OpUnfreeze, gen, 0), wire.OK)
	do(v.orders(alice, owner, wire.OpDelete, gen, 0), wire.OK)
	g = v.guess(alice, password2)
	if r := do(&g.start, wire.Dead); r.Tombstone.Cause != wire.CauseOwner {
		v.t.Errorf("%+v", r.Tombstone)
	}
}

// kinds returns how many events of each kind are in the log.
func (v *testVault) kinds() map[uint8]int {
	all := map[uint8]int{}
	for _, e := range must(v.store.Log(context.Background(), 0, 1000)) {
		all[e.Kind]++
	}
	return all
}

// TestStoreFaults has each write of each call fail in each way. What is answered is true,
// who asks again gets what they asked for, and it happens once.
func TestStoreFaults(t *testing.T) {
	plain := newTestVault(t)
	plain.deeds(func(r wire.Request, code wire.Code) *wire.Reply { return plain.expect(plain.Server, r, code) })
	want := plain.kinds()
	type fault struct {
		update     error // of Update itself: nothing is written
		kind       storetest.Fault
		blind      bool // the store cannot be read afterwards
		known      bool // what happened can be found out
		late, died bool
	}
	for name, f := range map[string]fault{
		"refused": {update: errFault}, "lost": {kind: storetest.LostUnknown}, "kept": {kind: storetest.KeptUnknown, known: true},
		"kept, blind": {kind: storetest.KeptUnknown, blind: true}, "lost, blind": {kind: storetest.LostUnknown, blind: true},
		"late": {kind: storetest.LateUnknown, late: true}, "too late": {kind: storetest.LateUnknown},
		"crash before": {kind: storetest.CrashBefore, died: true}, "crash after": {kind: storetest.CrashAfter, died: true},
	} {
		t.Run(name, func(t *testing.T) {
			v := newTestVault(t)
			memory, tries := v.store, 0
			bad := func() *Server { // the server that meets the fault
				s := &frailStore{Store: memory}
				writes := 0
				memory.Inject(func(store.Index, store.Change) storetest.Fault {
					if writes++; writes > 1 {
						t.Error("it was written a second time")
					}
					tries++
					if f.blind {
						s.set(func(_ context.Context, method string) error { return errFault })
					}
					return f.kind
				})
				node := v.node(func(c *Config) { c.Store = s })
				s.set(func(_ context.Context, method string) error {
					if method == "Update" {
						return f.update
					}
					return nil
				})
				return node
			}
			v.deeds(func(r wire.Request, code wire.Code) *wire.Reply {
				if code == wire.Dead { // nothing is written
					return v.expect(v.Server, r, code)
				}
				expected := wire.Unavailable
				if f.known {
					expected = code
				}
				v.expect(bad(), r, expected)
				if memory.Inject(nil); f.late {
					memory.Deliver()
				}
				if f.died {
					memory = memory.Open()
					v.store = memory
					v.Server = v.node(nil)
				}
				return v.expect(v.Server, r, code)
			})
			memory.Deliver()
			if got := v.kinds(); !maps.Equal(got, want) {
				t.Errorf("events %v, want %v", got, want)
			}
			if f.update == nil && tries < 20 {
				t.Errorf("%d faults", tries)
			}
		})
	}
}

// TestStoreBlind has a store that cannot be read: nothing is counted.
func TestStoreBlind(t *testing.T) {
	v := newTestVault(t)
	owner := v.registered(alice, password).owner
	gen := v.status(v.Server, alice).State.Gen
	s := &frailStore{Store: v.store}
	node := v.node(func(c *Config) { c.Store = s })
	s.set(func(context.Context, string) error { return fmt.Errorf("disk: %w", errFault) })
	v.unwritten(func() {
		for _, r := range []wire.Request{
			&v.guess(alice, password).start, &v.enrol(alice, password, 2).begin, v.orders(alice, owner, wire.OpDelete, gen, 0),
			&wire.Status{Ticket: v.ticket(alice, TicketStatus)},
		} {
			v.expect(node, r, wire.Unavailable)
		}
		if err := node.Operate(t.Context(), alice, OrderDestroy); !errors.Is(err, errFault) {
			t.Errorf("%v", err)
		}
	})
}
