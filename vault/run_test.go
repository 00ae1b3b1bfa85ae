package vault

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coffer-backup/coffer/vault/evaluator"
	"github.com/coffer-backup/coffer/vault/internal/machine"
	"github.com/coffer-backup/coffer/vault/store"
	"github.com/coffer-backup/coffer/vault/store/storetest"
	"github.com/coffer-backup/coffer/vault/wire"
)

// busy makes events of the log.
func (v *testVault) busy(n int) {
	v.t.Helper()
	for range n {
		v.expect(v.Server, v.guess(alice, password).on(v.Server).ends(release), wire.OK)
	}
}

func (v *testVault) logged() []store.Entry {
	return must(v.store.Log(context.Background(), 0, 1_000_000))
}

// TestHead has heads signed, at most one a second, and each of all that was before.
func TestHead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, l := newTestVault(t), new(listener)
		first := must(v.Head(t.Context()))
		if first == nil || first.Seq != 0 || first.Hash != [32]byte{} {
			t.Fatalf("of an empty log: %+v", first)
		}
		v.registered(alice, password)
		_, stop := v.run(l)
		defer stop()
		heads := map[uint64]bool{}
		for n := range 100 {
			v.busy(1)
			time.Sleep(100 * time.Millisecond)
			h := must(v.Head(t.Context()))
			heads[h.Seq] = true
			if e := v.logged()[h.Seq-1]; e.Hash != h.Hash || h.Time < e.Time {
				t.Fatalf("%+v of %+v", h, e)
			}
			if !v.verify(h.digest(v.id), h.Signature) {
				t.Fatal("the signature is wrong")
			}
			other := *h
			other.Seq++
			if v.verify(other.digest(v.id), h.Signature) || v.verify(h.digest(v.id+"x"), h.Signature) {
				t.Fatal("the signature is of anything")
			}
			if n%8 == 7 { // there is no more room for tickets
				time.Sleep(13 * time.Minute)
			}
		}
		if len(heads) < 10 || len(heads) > 40 {
			t.Errorf("%d heads in ten seconds and some pauses", len(heads))
		}
		time.Sleep(tick)
		last := must(v.Head(t.Context()))
		time.Sleep(time.Hour)
		if h := must(v.Head(t.Context())); *h != *last || int(h.Seq) != len(v.logged()) {
			t.Errorf("%+v, after an hour of nothing %+v", last, h)
		}
		v.node(nil)
	})
}

// altered is a store with another log.
type altered struct {
	store.Store
	alter func([]store.Entry) []store.Entry
}

func (a *altered) Log(ctx context.Context, after uint64, max int) ([]store.Entry, error) {
	all, err := a.Store.Log(ctx, 0, 1_000_000)
	if err != nil {
		return nil, err
	}
	all = a.alter(all)
	rest := all[min(after, uint64(len(all))):]
	return rest[:min(max, len(rest))], nil
}

// alterations are what somebody may do to a log of n entries.
func alterations(n int) map[string]func([]store.Entry) []store.Entry {
	change := func(i int, f func(*store.Entry)) func([]store.Entry) []store.Entry {
		return func(all []store.Entry) []store.Entry { f(&all[i]); return all }
	}
	return map[string]func([]store.Entry) []store.Entry{
		"the last, changed":   change(n-1, func(e *store.Entry) { e.Left++ }),
		"another, changed":    change(n/2, func(e *store.Entry) { e.Kind = machine.LogFrozen }),
		"the first, changed":  change(0, func(e *store.Entry) { e.Time++ }),
		"a hash, changed":     change(n-2, func(e *store.Entry) { e.Hash[0] ^= 1 }),
		"the last, taken off": func(all []store.Entry) []store.Entry { return all[:n-1] },
		"all, taken off":      func([]store.Entry) []store.Entry { return nil },
		"one, taken out":      func(all []store.Entry) []store.Entry { return append(all[:n/2], all[n/2+1:]...) },
		"two, swapped":        func(all []store.Entry) []store.Entry { all[1], all[2] = all[2], all[1]; return all },
		"made anew": func(all []store.Entry) []store.Entry { // in a chain that is right
			all[n/2].Left++
			var last store.Entry
			for i, e := range all {
				last = store.Next(last, e.Event)
				all[i] = last
			}
			return all
		},
	}
}

// TestLogAltered: a log that was changed or cut is refused at the start, and while a
// server runs no head is signed of it.
func TestLogAltered(t *testing.T) {
	v := newTestVault(t)
	v.registered(alice, password)
	v.busy(3)
	n := len(v.logged())
	old := v.store
	for name, alter := range alterations(n) {
		// Without a head of it: what is new does not follow.
		s := v.node(nil)
		s.store = &altered{v.store, alter}
		if name == "the last, taken off" || name == "all, taken off" || name == "made anew" {
			continue // nobody could know
		}
		if err := s.signHead(t.Context()); !errors.Is(err, store.ErrChain) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if h := must(v.Head(t.Context())); h.Seq != 0 {
		t.Fatalf("%+v", h)
	}
	sweep(t, v.Server)
	v.busy(1) // not in the head
	for name, alter := range alterations(n) {
		c := v.config(v.signed)
		c.Store = &altered{old, alter}
		if _, err := NewServer(t.Context(), c); !errors.Is(err, store.ErrChain) {
			t.Errorf("%s: %v", name, err)
		}
	}
	v.node(nil)
}

// TestLogLong has a log of more than what is read at once.
func TestLogLong(t *testing.T) {
	v := newTestVault(t)
	v.registered(alice, password)
	err := v.store.Update(t.Context(), store.Index{1}, func(store.Cells) (store.Change, error) {
		return store.Change{Log: make([]store.Event, 2*roundCount+10)}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	sweep(t, v.Server)
	n := len(v.logged())
	if h := must(v.Head(t.Context())); int(h.Seq) != n {
		t.Errorf("%+v of %d", h, n)
	}
	v.node(nil)
	for i, bad := range map[int]bool{n - 1: true, n - roundCount + 1: true, 3: false} { // all of it would take too long
		c := v.config(v.signed)
		c.Store = &altered{v.store, func(all []store.Entry) []store.Entry { all[i].Left++; return all }}
		if _, err := NewServer(t.Context(), c); errors.Is(err, store.ErrChain) != bad {
			t.Errorf("entry %d: %v", i, err)
		}
	}
}

// TestForeignStore has the store of another vault, and heads that this one did not sign.
func TestForeignStore(t *testing.T) {
	v := newTestVault(t)
	v.registered(alice, password)
	sweep(t, v.Server)
	refused := func(what string, change func(*Config)) {
		t.Helper()
		c := v.config(v.signed)
		change(&c)
		if s, err := NewServer(t.Context(), c); err == nil {
			t.Errorf("%s: %+v", what, s.Guarantees())
		}
	}
	other := newTestVault(t)
	other.registered(alice, password)
	refused("another vault's store", func(c *Config) { c.Store = other.store })
	refused("another MAC key", func(c *Config) {
		secrets := *v.secrets
		secrets.MAC[0] ^= 1
		c.Evaluator = must(evaluator.NewSoftware(&secrets))
	})
	refused("another AKE key", func(c *Config) {
		secrets := *v.secrets
		secrets.AKE = map[uint16]evaluator.Scalar{1: evaluator.NewScalar()}
		c.Evaluator = must(evaluator.NewSoftware(&secrets))
	})
	refused("another statement key", func(c *Config) {
		secrets := *v.secrets
		secrets.Statement = evaluator.NewScalar()
		c.Evaluator = must(evaluator.NewSoftware(&secrets))
	})
	refused("another vault's id", func(c *Config) { c.ID = other.issuer.Vault })
	refused("another vault's descriptor", func(c *Config) { c.Descriptor = other.signed })
	row := must(v.store.View(t.Context(), v.own)).Row
	for what, cell := range map[string][]byte{
		"no signature": with(row, 60, row[60]^1), "another seq": with(row, 7, row[7]^1), "another hash": with(row, 8, row[8]^1),
		"another time": with(row, 47, row[47]^1), "a short head": row[1:], "a long head": append(bytes.Clone(row), 0),
	} {
		put := func(row []byte) {
			err := v.store.Update(t.Context(), v.own, func(store.Cells) (store.Change, error) { return store.Change{Row: row}, nil })
			if err != nil {
				t.Fatal(err)
			}
		}
		put(cell)
		refused(what, func(*Config) {})
		put(row)
	}
	v.node(nil)
}

// TestSweep ends what is due, once, whatever the store says of it.
func TestSweep(t *testing.T) {
	v := newTestVault(t)
	v.registered(alice, password)
	for n, fault := range []storetest.Fault{storetest.LostUnknown, storetest.KeptUnknown, storetest.LateUnknown} {
		e := v.enrol(alice, password2, 2)
		e.begun(v.expect(v.Server, &e.begin, wire.OK).Begun)
		v.ahead += 9 * time.Minute
		sweep(t, v.Server)
		v.ahead += 2 * time.Minute
		v.store.Inject(func(i store.Index, _ store.Change) storetest.Fault {
			if i == v.own {
				return storetest.NoFault
			}
			return fault
		})
		if err := v.sweep(t.Context()); (err == nil) != (fault == storetest.KeptUnknown) {
			t.Errorf("fault %d: %v", fault, err)
		}
		v.store.Inject(nil)
		v.store.Deliver()
		sweep(t, v.Server)
		if got := v.count(machine.LogRegLapsed); got != n+1 {
			t.Errorf("%d lapsed of %d", got, n+1)
		}
		v.expect(v.Server, &e.put, wire.Stale)
		v.ahead += 20 * time.Minute
	}
}

// TestSweepDamaged has a record that does not open: the others are swept all the same,
// heads are signed, and it is told of.
func TestSweepDamaged(t *testing.T) {
	v := newTestVault(t)
	v.registered(alice, password)
	v.damage(alice)
	v.registered("bob", password)
	v.spend(v.Server, "bob", 0)
	v.ahead += time.Hour
	if err := v.sweep(t.Context()); !errors.Is(err, errCell) || !strings.Contains(err.Error(), "record ") {
		t.Errorf("%v", err)
	}
	if r := v.status(v.Server, "bob"); r.Code != wire.Dead {
		t.Errorf("%+v", r)
	}
	if h := must(v.Head(t.Context())); int(h.Seq) != len(v.logged()) {
		t.Errorf("head %d of %d", h.Seq, len(v.logged()))
	}
	v.unwritten(func() { v.expect(v.Server, &v.guess(alice, password).start, wire.Unavailable) })
	if err := v.Health(t.Context()); err != nil {
		t.Errorf("%v", err)
	}
}
