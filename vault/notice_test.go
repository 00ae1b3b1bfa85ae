package vault

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coffer-backup/coffer/vault/store"
	"github.com/coffer-backup/coffer/vault/wire"
)

// A listener is told what owners are told.
type listener struct {
	mu    sync.Mutex
	heard []string
	fault func(context.Context, Notice) error
}

func (l *listener) hear(ctx context.Context, n Notice) error {
	l.mu.Lock()
	fault := l.fault
	l.mu.Unlock()
	if fault != nil {
		if err := fault(ctx, n); err != nil {
			return err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.heard = append(l.heard, fmt.Sprintf("%s %s %d", n.Credential, n.What, n.Left))
	return nil
}

func (l *listener) set(fault func(context.Context, Notice) error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fault = fault
}

// expect checks what was heard since the last time, in whatever order.
func (l *listener) expect(t *testing.T, what string, want ...string) {
	t.Helper()
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	slices.Sort(l.heard)
	slices.Sort(want)
	if !slices.Equal(l.heard, want) {
		t.Errorf("%s: heard %q, want %q", what, l.heard, want)
	}
	l.heard = nil
}

// run starts a server that tells l, and returns how to stop it.
func (v *testVault) run(l *listener) (s *Server, stop func()) {
	v.t.Helper()
	s = v.node(func(c *Config) { c.Notify = l.hear })
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); s.Run(ctx) }()
	return s, func() { cancel(); <-done }
}

// aliceBut uses up attempts of alice until so many are left.
func (v *testVault) aliceBut(left uint8) {
	v.t.Helper()
	for v.status(v.Server, alice).Left > left {
		v.expect(v.Server, v.guess(alice, password2).on(v.Server).aborts(), wire.Failed)
	}
}

const tick = 1100 * time.Millisecond // more than what a Run waits

// TestNotices has owners hear of all that they should, and of nothing else.
func TestNotices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, l := newTestVault(t), new(listener)
		s, stop := v.run(l)
		defer stop()
		hear := func(what string, want ...string) { t.Helper(); time.Sleep(tick); l.expect(t, what, want...) }
		e := v.registered(alice, password)
		hear("a registration", alice+" registered 10")
		v.aliceBut(8)
		v.expect(s, v.guess(alice, password).on(s).ends(release), wire.OK)
		hear("success after two failures")
		v.aliceBut(7)
		hear("a third failure", alice+" failed 7")
		g := v.guess(alice, password).on(s)
		time.Sleep(50 * time.Second)
		v.expect(s, g.ends(release), wire.OK)
		time.Sleep(2 * time.Minute)
		hear("a slow success")
		v.aliceBut(8)
		v.guess(alice, password).on(s)
		time.Sleep(58 * time.Second)
		hear("an attempt under way")
		hear("one that vanished", alice+" failed 7")
		for range 4 {
			v.expect(s, v.guess("nobody", password).on(s).aborts(), wire.Failed)
		}
		v.guess("nobody", password).on(s)
		time.Sleep(2 * time.Minute)
		hear("attempts on nothing")

		time.Sleep(20 * time.Minute)
		gen := v.state(s, alice).Row.Gen
		v.expect(s, v.orders(alice, e.owner, wire.OpFreeze, gen, v.now().Unix()+100), wire.OK)
		v.expect(s, v.orders(alice, e.owner, wire.OpUnfreeze, gen, 0), wire.OK)
		hear("an owner's requests", alice+" frozen 7", alice+" unfrozen 7")
		v.expect(s, v.orders(alice, v.registered("mallory", password).owner, wire.OpDelete, gen, 0), wire.Stale)
		hear("requests of others", "mallory registered 10")
		thief := v.enrol(alice, password2, 2).upTo(s)
		v.expect(s, &thief.done, wire.NeedOwner)
		v.expect(s, &thief.done, wire.NeedOwner)
		hear("somebody tries to replace the record", alice+" waiting 7")
		v.expect(s, v.guess(alice, password).on(s).ends(&wire.Command{Op: wire.OpPut, Gen: gen, KV: 2, Keyring: keyring}), wire.OK)
		hear("a new keyring", alice+" changed 10")
		for _, order := range []Order{OrderFreeze, OrderFreeze, OrderUnfreeze, OrderDestroy, OrderDestroy} {
			if err := s.Operate(t.Context(), alice, order); err != nil {
				t.Error(err)
			}
		}
		hear("an operator's orders", alice+" frozen 10", alice+" unfrozen 10", alice+" destroyed 0")
		v.registered(alice, password)
		time.Sleep(20 * time.Minute)
		v.aliceBut(1)
		v.guess(alice, password2).on(s)
		l.expect(t, "attempts", alice+" registered 10") // the rest has not been looked at
		time.Sleep(12 * time.Minute)
		var all []string
		for left := 7; left >= 0; left-- {
			all = append(all, fmt.Sprint(alice, " failed ", left))
		}
		l.expect(t, "the last attempt vanishes", append(all, alice+" failed 0", alice+" destroyed 0")...)
	})
}

// TestNoticesAfterCrash has what happened while nobody told of it told later, and what
// was told not told again.
func TestNoticesAfterCrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, l := newTestVault(t), new(listener)
		v.registered(alice, password)
		v.aliceBut(6) // committed, and not told
		_, stop := v.run(l)
		time.Sleep(tick)
		l.expect(t, "after a crash", alice+" registered 10", alice+" failed 7", alice+" failed 6")
		stop()
		v.guess(alice, password).on(v.Server)
		_, stop = v.run(l)
		time.Sleep(10 * time.Second)
		l.expect(t, "an attempt under way")
		stop() // with that one in its memory
		time.Sleep(time.Hour)
		_, stop = v.run(l)
		time.Sleep(tick)
		l.expect(t, "it vanished", alice+" failed 5")
		stop()
		_, stop = v.run(l)
		time.Sleep(tick)
		l.expect(t, "all is told")
		stop()
		// An attempt that succeeded while nobody looked.
		g := v.guess(alice, password).on(v.Server)
		v.expect(v.Server, g.ends(release), wire.OK)
		_, stop = v.run(l)
		time.Sleep(time.Hour)
		l.expect(t, "success")
		stop()
	})
}

// TestNoticesFail has a hook that fails and one that hangs. Attempts do not wait for it,
// and what it did not take is told again.
func TestNoticesFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, l := newTestVault(t), new(listener)
		tries := 0
		l.set(func(ctx context.Context, n Notice) error {
			if tries++; tries%2 == 0 {
				return errors.New("the mail does not go out")
			}
			<-ctx.Done()
			return ctx.Err()
		})
		s, stop := v.run(l)
		defer stop()
		v.registered(alice, password)
		v.aliceBut(6)
		began := time.Now()
		v.expect(s, v.guess(alice, password).on(s).ends(release), wire.OK)
		if took := time.Since(began); took > 0 {
			t.Errorf("an attempt waited for the hook: %v", took)
		}
		time.Sleep(time.Hour)
		l.expect(t, "a hook that does not work")
		if tries < 20 || tries > 60 { // of three notices, after 1, 2, 4 … seconds and then each ten minutes
			t.Errorf("%d tries in an hour", tries)
		}
		l.set(nil)
		time.Sleep(10*time.Minute + tick)
		l.expect(t, "a hook that works again", alice+" registered 10", alice+" failed 7", alice+" failed 6")
		if head := must(s.Head(t.Context())); head == nil || int(head.Seq) != len(must(v.store.Log(t.Context(), 0, 1000))) {
			t.Errorf("head %+v", head)
		}
	})
}

// TestNoticesLate has a hook that fails for one owner. The others hear at once, and that
// one is given up after a day, for good.
func TestNoticesLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, l := newTestVault(t), new(listener)
		l.set(func(_ context.Context, n Notice) error {
			if n.Credential == alice {
				return errors.New("the mailbox is full")
			}
			return nil
		})
		_, stop := v.run(l)
		v.registered(alice, password)
		v.registered("bob", password)
		time.Sleep(tick)
		l.expect(t, "the other", "bob registered 10")
		time.Sleep(23 * time.Hour)
		stop()
		_, stop = v.run(l)
		time.Sleep(tick)
		l.expect(t, "after a restart", "bob registered 10") // a second time, for alice's sake
		time.Sleep(2 * time.Hour)
		stop()
		l.set(nil)
		_, stop = v.run(l)
		defer stop()
		time.Sleep(time.Hour)
		l.expect(t, "given up")
	})
}

// TestNoticesApart has two records with attempts of one id, and one record with two.
func TestNoticesApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, l := newTestVault(t), new(listener)
		v.registered(alice, password)
		v.registered("bob", password)
		for range 2 {
			v.expect(v.Server, v.guess("bob", password2).on(v.Server).aborts(), wire.Failed)
		}
		v.aliceBut(8)
		s, stop := v.run(l)
		time.Sleep(tick)
		l.expect(t, "before", alice+" registered 10", "bob registered 10")
		a, b := v.guess(alice, password), v.guess("bob", password)
		b.start.Attempt = a.start.Attempt
		a.on(s)
		b.on(s)
		v.expect(s, a.ends(release), wire.OK)
		time.Sleep(62 * time.Second)
		l.expect(t, "one of two succeeds", "bob failed 7")
		stop()
		// A thief takes the same id each time, while nobody looks.
		for range 2 {
			c := v.guess("bob", password2)
			c.start.Attempt = b.start.Attempt
			c.on(s)
			time.Sleep(2 * time.Minute)
		}
		_, stop = v.run(l)
		defer stop()
		time.Sleep(tick)
		l.expect(t, "two of one id", "bob failed 6", "bob failed 5")
	})
}

// TestNoticesDamaged has a record that does not open: the others' owners hear all the
// same.
func TestNoticesDamaged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, l := newTestVault(t), new(listener)
		v.registered(alice, password)
		v.damage(alice)
		v.registered("bob", password)
		_, stop := v.run(l)
		defer stop()
		time.Sleep(tick)
		l.expect(t, "a damaged record", "bob registered 10")
	})
}

// damage changes a byte of a record.
func (v *testVault) damage(who string) {
	v.t.Helper()
	err := v.store.Update(context.Background(), must(v.subject(context.Background(), who)).index, func(c store.Cells) (store.Change, error) {
		c.Row[100] ^= 1
		return store.Change{Row: c.Row, Due: 1}, nil
	})
	if err != nil {
		v.t.Fatal(err)
	}
}
