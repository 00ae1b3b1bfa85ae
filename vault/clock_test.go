package vault

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/coffer-backup/coffer/vault/internal/machine"
	"github.com/coffer-backup/coffer/vault/wire"
)

// setBy returns the time that a machine shows whose clock was set while a program ran: by
// d, a number of seconds, against its monotonic clock. Package time has nothing for that.
func setBy(t testing.TB, now time.Time, d time.Duration) time.Time {
	t.Helper()
	set := now
	// In a time with a monotonic reading, the first word has the seconds of the wall
	// clock above 30 bits of nanoseconds.
	*(*uint64)(unsafe.Pointer(&set)) += uint64(d/time.Second) << 30
	if set.Sub(now) != 0 || set.Round(0).Sub(now.Round(0)) != d {
		t.Fatal("package time has changed: its Time is not what this test takes it for")
	}
	return set
}

// TestClock: what a clock is set by moves nothing, and is noticed if it is much.
func TestClock(t *testing.T) {
	var set time.Duration
	began := time.Now()
	c := newClock(func() time.Time { return setBy(t, time.Now(), set) })
	for _, tc := range []struct {
		set  time.Duration
		step bool
	}{{0, false}, {9, false}, {-9, false}, {11, true}, {-11, true}, {3600, true}, {-3600, true}, {365 * 86400, true}, {0, false}} {
		set = tc.set * time.Second
		if off := c.stepped(); (off != 0) != tc.step || tc.step && (off-set).Abs() > time.Second {
			t.Errorf("set by %v: stepped by %v", set, off)
		}
		if now := c.now(); now.Sub(began.Round(0)).Abs() > 5*time.Second {
			t.Errorf("set by %v: now is %v after the start", set, now.Sub(began.Round(0)))
		}
	}
	if c := newClock(nil); time.Since(c.now()).Abs() > time.Second || c.stepped() != 0 {
		t.Errorf("the machine's clock: %v", c.now())
	}
}

// TestClockSet sets the machine's clock while a server runs. No attempt is taken, none is
// counted, and those under way end as they would have.
func TestClockSet(t *testing.T) {
	for _, by := range []time.Duration{11 * time.Second, -11 * time.Second, 300 * time.Hour, -300 * time.Hour} {
		t.Run(by.String(), func(t *testing.T) {
			v := newTestVault(t)
			v.revise(func(d *Descriptor) { d.Delays = DefaultDelays() })
			var set time.Duration
			s := v.node(func(c *Config) { c.Now = func() time.Time { return setBy(t, v.now(), set) } })
			v.Server = s
			owner := v.registered(alice, password).owner
			gen := v.status(s, alice).State.Gen
			for range 3 {
				v.expect(s, v.guess(alice, password2).on(s).aborts(), wire.Failed)
			}
			ready := v.status(s, alice).Until
			v.ahead += time.Minute
			if ready > v.now().Unix() {
				t.Fatal("the delay is longer than it was")
			}
			e := v.enrol(alice, password, 2)
			e.begun(v.expect(s, &e.begin, wire.OK).Begun)
			v.expect(s, &e.put, wire.OK)
			g := v.guess(alice, password).on(s)
			set = by
			starts := v.count(machine.LogStart)
			v.unwritten(func() {
				v.expect(s, &v.guess(alice, password).start, wire.Unavailable)
				v.expect(s, &g.start, wire.Unavailable)
				v.expect(s, &v.guess("nobody", password).start, wire.Unavailable)
				v.expect(s, &v.enrol(alice, password, 3).begin, wire.Unavailable)
				v.expect(s, &e.try, wire.Unavailable)
			})
			if err := s.Health(t.Context()); !errors.Is(err, ErrClock) {
				t.Errorf("health: %v", err)
			}
			sweep(t, s)
			if v.count(machine.LogRegLapsed) > 0 {
				t.Error("a registration lapsed when the clock was set")
			}
			if r := v.expect(s, g.ends(release), wire.OK); g.released(r).Failures != 3 {
				t.Errorf("%+v", r)
			}
			// An owner gets through.
			v.expect(s, v.orders(alice, owner, wire.OpFreeze, gen, v.now().Unix()+5), wire.OK)
			if r := v.status(s, alice); r.Code != wire.Frozen || r.Left != DefaultAttempts {
				t.Errorf("%+v", r)
			}
			set = 0
			v.ahead += 5 * time.Second
			if err := s.Health(t.Context()); err != nil {
				t.Errorf("health: %v", err)
			}
			v.expect(s, v.guess(alice, password).on(s).ends(release), wire.OK)
			if n := v.count(machine.LogStart); n != starts+1 {
				t.Errorf("%d attempts were counted", n-starts)
			}
		})
	}
}

// TestClockLastAttempt sets the clock by an hour while the last attempt is under way: its
// record is not destroyed before its time.
func TestClockLastAttempt(t *testing.T) {
	v := newTestVault(t)
	var set time.Duration
	s := v.node(func(c *Config) { c.Now = func() time.Time { return setBy(t, v.now(), set) } })
	v.registered(alice, password)
	v.spend(s, alice, 1)
	v.ahead += 25 * time.Hour
	g := v.guess(alice, password).on(s)
	sweep(t, s)
	for _, set = range []time.Duration{time.Hour, -time.Hour} {
		v.unwritten(func() { sweep(t, s) })
	}
	v.expect(s, g.ends(release), wire.OK)
}

// TestClockBehind starts a server whose clock is behind its log.
func TestClockBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newTestVault(t)
		time.Sleep(time.Hour)
		v.registered(alice, password)
		sweep(t, v.Server)
		start := func(behind time.Duration, wasWrong bool) (*Server, error) {
			c := v.config(v.signed)
			at := time.Now().Add(-behind)
			c.Now, c.ClockWasWrong = func() time.Time { return at }, wasWrong
			return NewServer(t.Context(), c)
		}
		for _, behind := range []time.Duration{0, 10 * time.Second, -time.Hour} {
			if _, err := start(behind, false); err != nil {
				t.Errorf("%v behind: %v", behind, err)
			}
		}
		for _, behind := range []time.Duration{11 * time.Second, 24 * time.Hour} {
			if _, err := start(behind, false); !errors.Is(err, ErrClock) {
				t.Errorf("%v behind: %v", behind, err)
			}
		}
		// The clock was ahead by half an hour, and is right again.
		v.ahead = -30 * time.Minute
		if _, err := NewServer(t.Context(), v.config(v.signed)); !errors.Is(err, ErrClock) {
			t.Errorf("%v", err)
		}
		v.Server = v.node(func(c *Config) { c.ClockWasWrong = true })
		v.expect(v.Server, v.guess(alice, password).on(v.Server).ends(release), wire.OK)
		sweep(t, v.Server)
		if h := must(v.Head(t.Context())); h.Time != v.now().Unix() {
			t.Errorf("head of %d, it is %d", h.Time, v.now().Unix())
		}
		v.node(nil) // and need not be told a second time
	})
}
