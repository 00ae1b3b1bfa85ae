package vault

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coffer-backup/coffer/keys"
	"github.com/coffer-backup/coffer/vault/internal/machine"
	"github.com/coffer-backup/coffer/vault/wire"
)

// lossy returns a transport that loses requests some times each: on the way there, on the
// way back, or because the vault says that it is not available. lost is a call, or 0 for
// all of them. What is sent again with a change is another request, and so is lost, too.
func lossy(v *testVault, lost wire.Call, how string, times int) *wiretap {
	seen := map[string]int{}
	lose := func(call wire.Call, request []byte) bool {
		if lost != 0 && call != lost {
			return false
		}
		seen[string(request)]++
		return seen[string(request)] <= times
	}
	tap := &wiretap{Transport: v}
	switch how {
	case "request":
		tap.before = func(_ int, call wire.Call, request []byte) ([]byte, error) {
			if lose(call, request) {
				return nil, io.ErrUnexpectedEOF
			}
			return nil, nil
		}
	case "reply":
		tap.after = func(_ int, call wire.Call, request, reply []byte) ([]byte, error) {
			if lose(call, request) {
				return nil, io.ErrUnexpectedEOF
			}
			return reply, nil
		}
	case "unavailable":
		tap.after = func(_ int, call wire.Call, request, reply []byte) ([]byte, error) {
			if lose(call, request) {
				return wire.AppendReply(nil, &wire.Reply{Call: call, Code: wire.Unavailable}), nil
			}
			return reply, nil
		}
	}
	return tap
}

var losses = []string{"request", "reply", "unavailable"}

// TestLost loses every request as often as a client bears it: everything goes as usual,
// and counts once.
func TestLost(t *testing.T) {
	for _, how := range losses {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				v := newTestVault(t)
				story(t, v, lossy(v, 0, how, len(pauses)))
			})
		})
	}
}

// story is one of every kind of request.
func story(t *testing.T, v *testVault, tap *wiretap) {
	c, ctx := v.client(tap), t.Context()
	ring := newTestRing(t, 1)
	first, err := c.Register(ctx, alice, password, ring, nil)
	if err != nil {
		t.Fatal(err)
	}
	var wrong *WrongPasswordError
	if _, err := c.Recover(ctx, alice, password2); !errors.As(err, &wrong) || wrong.Left != 9 {
		t.Fatalf("%v", err)
	}
	if r, err := c.Recover(ctx, alice, password); err != nil || r.Failures != 1 || !sameRing(r.Keyring, ring) {
		t.Fatalf("%+v, %v", r, err)
	}
	key := keys.GenerateAccountKey()
	if put, err := c.Put(ctx, alice, password, func(k *Keyring) (*Keyring, error) { return k.Append(key) }); err != nil || put.KV != first.KV+1 {
		t.Fatalf("%+v, %v", put, err)
	}
	changed, err := c.ChangePassword(ctx, alice, password, password2)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := c.Recover(ctx, alice, password2); err != nil || len(r.Keyring.Keys()) != 2 || r.Receipt.Gen != changed.Gen {
		t.Fatalf("%+v, %v", r, err)
	}
	if _, err := c.FreezeByKey(ctx, alice, key, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.DeleteByKey(ctx, alice, key); err != nil {
		t.Fatal(err)
	}
	buried(t, c, wire.CauseOwner)
	for kind, want := range map[uint8]int{
		machine.LogStart: 6, machine.LogSuccess: 5, machine.LogFailed: 1, machine.LogPut: 1, machine.LogDestroyed: 1,
		machine.LogFrozen: 1, machine.LogRegBegin: 2, machine.LogRegPut: 2, machine.LogRegTry: 2, machine.LogRegistered: 2,
	} {
		if got := v.count(kind); got != want {
			t.Errorf("%d events of kind %d in the log, want %d", got, kind, want)
		}
	}
}

// TestLostForGood never answers a call: there is an error, nothing is tried anew, and at
// most one attempt is counted.
func TestLostForGood(t *testing.T) {
	for _, lost := range []wire.Call{wire.CallStart, wire.CallFinish, wire.CallAbort} {
		for _, how := range losses {
			t.Run(lost.String()+" "+how, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					v := newTestVault(t)
					ctx := t.Context()
					if _, err := v.client(v).Register(ctx, alice, password, newTestRing(t, 1), nil); err != nil {
						t.Fatal(err)
					}
					tap := lossy(v, lost, how, 1000)
					try := password
					if lost == wire.CallAbort {
						try = password2
					}
					_, err := v.client(tap).Recover(ctx, alice, try)
					var wrong *WrongPasswordError
					switch {
					case lost == wire.CallAbort:
						if !errors.As(err, &wrong) || wrong.Left != 9 {
							t.Errorf("%v", err)
						}
					case how == "unavailable":
						if codeOf(err) != wire.Unavailable {
							t.Errorf("%v", err)
						}
					case !errors.Is(err, io.ErrUnexpectedEOF):
						t.Errorf("%v", err)
					}
					n := 0
					for _, call := range tap.calls() {
						if call == lost.String() {
							n++
						}
					}
					if n != 1+len(pauses) {
						t.Errorf("sent %d times", n)
					}
					if n := v.count(machine.LogStart); n > 1 {
						t.Errorf("%d attempts were counted", n)
					}
				})
			})
		}
	}
}

// TestRefused has a vault that does not look at a request: it is not sent again.
func TestRefused(t *testing.T) {
	v := newTestVault(t)
	tap := &wiretap{Transport: v}
	c := v.client(tap)
	for name, ticket := range map[string]string{"none": "", "no ticket": "a.b.c", "for something else": must(v.issuer.Ticket(alice, TicketStatus, v.now()))} {
		tap.sizes = nil
		c.tickets = func(context.Context, string, TicketOp) (string, error) { return ticket, nil }
		if _, err := c.Recover(t.Context(), alice, password); !errors.Is(err, ErrRefused) || len(tap.sizes) != 1 {
			t.Errorf("ticket %s: %v after %v", name, err, tap.sizes)
		}
	}
	tap.sizes = nil
	c.tickets = func(context.Context, string, TicketOp) (string, error) {
		return string(make([]byte, wire.MaxTicket+1)), nil
	}
	if _, err := c.Recover(t.Context(), alice, password); err == nil || len(tap.sizes) != 0 {
		t.Errorf("too long a ticket: %v", err)
	}
	c.tickets = func(context.Context, string, TicketOp) (string, error) { return "", io.ErrClosedPipe }
	if _, err := c.Recover(t.Context(), alice, password); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("no ticket: %v", err)
	}
	if _, err := c.DeleteByKey(t.Context(), alice, keys.GenerateAccountKey()); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("no ticket: %v", err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestCancelled gives up while a client waits for a vault that does not answer.
func TestCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newTestVault(t)
		gone := errors.New("the user went home")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(300*time.Millisecond, func() { cancel(gone) })
		tap := lossy(v, wire.CallStart, "request", 1000)
		began := time.Now()
		if _, err := v.client(tap).Recover(ctx, alice, password); !errors.Is(err, gone) || time.Since(began) != 300*time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

// TestOverloaded has a vault with too much to do for a while.
func TestOverloaded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newTestVault(t)
		busy := 3
		tap := &wiretap{Transport: v, before: func(int, wire.Call, []byte) ([]byte, error) {
			if busy--; busy >= 0 {
				return nil, ErrOverloaded
			}
			return nil, nil
		}}
		if s, err := v.client(tap).Status(t.Context(), alice); err != nil || s.Left != DefaultAttempts {
			t.Errorf("%+v, %v", s, err)
		}
		busy = 1000
		if _, err := v.client(tap).Status(t.Context(), alice); !errors.Is(err, ErrOverloaded) {
			t.Errorf("%v", err)
		}
	})
}
