package vault

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coffer-backup/coffer/keys"
	"github.com/coffer-backup/coffer/vault/wire"
)

const alice = "alice@example.org"

var (
	password  = []byte("correct horse battery staple")
	password2 = []byte("tr0ub4dor&3")
)

// TestClient is the life of a record.
func TestClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newTestVault(t)
		c, ctx := v.client(v), t.Context()
		ring := newTestRing(t, 1)
		first, err := c.Register(ctx, alice, password, ring, nil)
		if err != nil {
			t.Fatal(err)
		}
		expect := func(password []byte, ring *Keyring, failures int) *Recovered {
			t.Helper()
			r, err := c.Recover(ctx, alice, password)
			if err != nil {
				t.Fatal(err)
			}
			if !sameRing(r.Keyring, ring) || r.Failures != failures || r.Outdated {
				t.Fatalf("recovered %d keys, %d failures, outdated %v", len(r.Keyring.Keys()), r.Failures, r.Outdated)
			}
			return r
		}
		wrong := func(password []byte, left uint8) {
			t.Helper()
			var e *WrongPasswordError
			if _, err := c.Recover(ctx, alice, password); !errors.As(err, &e) || e.Left != left || e.Max != 10 || !e.Ready.IsZero() {
				t.Fatalf("%v; want %d left", err, left)
			}
		}
		if r := expect(password, ring, 0); r.Receipt.Gen != first.Gen || r.Receipt.KV != first.KV || r.Receipt.Ver <= first.Ver {
			t.Errorf("receipts %v, then %v", first, r.Receipt)
		}
		wrong(password2, 9)
		wrong([]byte(string(password)+" "), 8)
		if s, err := c.Status(ctx, alice); err != nil || s.Left != 8 || s.Max != 10 || s.Frozen {
			t.Errorf("%+v, %v", s, err)
		}
		expect(password, ring, 2)

		second := keys.GenerateAccountKey()
		put, err := c.Put(ctx, alice, password, func(k *Keyring) (*Keyring, error) { return k.Append(second) })
		if err != nil || put.KV != first.KV+1 || put.Gen != first.Gen {
			t.Fatalf("%v, %v after %v", put, err, first)
		}
		two, _ := ring.Append(second)
		expect(password, two, 0)

		time.Sleep(20 * time.Minute) // the tickets are forgotten
		if _, err := c.Register(ctx, alice, password2, ring, nil); codeOf(err) != wire.NeedOwner {
			t.Fatalf("registering over a record: %v", err)
		}
		if _, err := c.Register(ctx, alice, password2, ring, ring.Newest()); codeOf(err) != wire.NeedOwner {
			t.Fatalf("registering over a record with a key that is not its newest: %v", err)
		}
		expect(password, two, 0)
		changed, err := c.ChangePassword(ctx, alice, password, password2)
		if err != nil || changed.Gen == first.Gen || changed.KV <= put.KV {
			t.Fatalf("%v, %v", changed, err)
		}
		wrong(password, 9)
		expect(password2, two, 1)
		three := newTestRing(t, 3)
		time.Sleep(20 * time.Minute)
		if _, err := c.Register(ctx, alice, password, three, second); err != nil {
			t.Fatal(err)
		}
		wrong(password2, 9)
		expect(password, three, 1)

		until := time.Now().Add(48 * time.Hour).Truncate(time.Second)
		if _, err := c.FreezeByKey(ctx, alice, second, until); codeOf(err) != wire.Stale {
			t.Fatalf("freezing with the key of an old record: %v", err)
		}
		if _, err := c.FreezeByKey(ctx, alice, three.Newest(), until); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Recover(ctx, alice, password); codeOf(err) != wire.Frozen {
			t.Fatalf("recovering while frozen: %v", err)
		}
		if s, err := c.Status(ctx, alice); err != nil || !s.Frozen || !s.FrozenUntil.Equal(until) {
			t.Errorf("%+v, %v", s, err)
		}
		if _, err := c.UnfreezeByKey(ctx, alice, three.Newest()); err != nil {
			t.Fatal(err)
		}
		expect(password, three, 0)
		time.Sleep(20 * time.Minute)
		until = time.Now().Add(time.Hour).Truncate(time.Second)
		if _, err := c.Freeze(ctx, alice, password, until); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Recover(ctx, alice, password); codeOf(err) != wire.Frozen {
			t.Fatalf("recovering while frozen: %v", err)
		}
		time.Sleep(time.Hour)
		expect(password, three, 0)
		if _, err := c.Freeze(ctx, alice, password, time.Time{}); err == nil {
			t.Error("frozen until the year 1")
		}

		if _, err := c.Delete(ctx, alice, password); err != nil {
			t.Fatal(err)
		}
		buried(t, c, wire.CauseOwner)
		again, err := c.Register(ctx, alice, password, ring, three.Newest())
		if err != nil || again.Ver <= first.Ver {
			t.Fatalf("%v, %v", again, err)
		}
		expect(password, ring, 0)
		if _, err := c.DeleteByKey(ctx, alice, ring.Newest()); err != nil {
			t.Fatal(err)
		}
		buried(t, c, wire.CauseOwner)
	})
}

// buried checks that every way to the record of alice ends at its tombstone.
func buried(t *testing.T, c *Client, cause uint8) {
	t.Helper()
	ctx := t.Context()
	_, recovered := c.Recover(ctx, alice, password)
	_, status := c.Status(ctx, alice)
	_, frozen := c.FreezeByKey(ctx, alice, keys.GenerateAccountKey(), time.Now().Add(time.Hour))
	_, deleted := c.Delete(ctx, alice, password)
	for _, err := range []error{recovered, status, frozen, deleted} {
		var dead *TombstoneError
		if !errors.As(err, &dead) || dead.Cause != cause || time.Since(dead.Time).Abs() > 2*time.Hour {
			t.Errorf("not buried: %v", err)
		}
	}
}

// TestClientAttempts has the last attempt succeed, and then fail.
func TestClientAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newTestVault(t)
		v.revise(func(d *Descriptor) { d.Max, d.Delays = 5, DefaultDelays() })
		c, ctx := v.client(v), t.Context()
		ring := newTestRing(t, 1)
		if _, err := c.Register(ctx, alice, password, ring, nil); err != nil {
			t.Fatal(err)
		}
		fail := func(n int) {
			t.Helper()
			for range n {
				_, err := c.Recover(ctx, alice, password2)
				var e *WrongPasswordError
				if !errors.As(err, &e) || !e.Ready.After(time.Now()) {
					t.Fatalf("%v", err)
				}
				if _, err := c.Recover(ctx, alice, password); codeOf(err) != wire.Wait {
					t.Fatalf("too early: %v", err)
				}
				time.Sleep(time.Until(e.Ready))
			}
		}
		fail(4)
		if r, err := c.Recover(ctx, alice, password); err != nil || r.Failures != 4 {
			t.Fatalf("the last attempt, with the right password: %+v, %v", r, err)
		}
		fail(4)
		var dead *TombstoneError
		if _, err := c.Recover(ctx, alice, password2); !errors.As(err, &dead) || dead.Cause != wire.CauseAttempts {
			t.Fatalf("the last attempt: %v", err)
		}
		buried(t, c, wire.CauseAttempts)
		// An id without a record has the same life.
		for left := range 4 {
			_, err := c.Recover(ctx, "nobody", password)
			var e *WrongPasswordError
			if !errors.As(err, &e) || int(e.Left) != 4-left {
				t.Fatalf("%v", err)
			}
			time.Sleep(time.Until(e.Ready))
		}
		if _, err := c.Recover(ctx, "nobody", password); !errors.As(err, &dead) {
			t.Fatalf("%v", err)
		}
	})
}

// TestClientPasswords has a password typed in other ways, and ones that are none.
func TestClientPasswords(t *testing.T) {
	v := newTestVault(t)
	c, ctx := v.client(v), t.Context()
	composed, decomposed := []byte("Bl\u00fcte \u212b"), []byte("Blu\u0308te A\u030a")
	if _, err := c.Register(ctx, alice, decomposed, newTestRing(t, 1), nil); err != nil {
		t.Fatal(err)
	}
	if string(decomposed) != "Blu\u0308te A\u030a" {
		t.Errorf("the caller's password was changed: %q", decomposed)
	}
	if _, err := c.Recover(ctx, alice, composed); err != nil {
		t.Errorf("NFC after NFD: %v", err)
	}
	var wrong *WrongPasswordError
	for _, other := range []string{string(composed) + " ", " " + string(composed), string(composed) + "\n", "bl\u00fcte \u00c5"} {
		if _, err := c.Recover(ctx, alice, []byte(other)); !errors.As(err, &wrong) {
			t.Errorf("%q: %v", other, err)
		}
	}
	starts := v.count(1)
	long := make([]byte, MaxPassword+1)
	for _, none := range [][]byte{nil, {}, {0xff}, long} {
		if _, err := c.Recover(ctx, alice, none); err == nil || errors.As(err, &wrong) {
			t.Errorf("a password of %d bytes: %v", len(none), err)
		}
		if _, err := c.Register(ctx, "bob", none, newTestRing(t, 1), nil); err == nil {
			t.Errorf("registered a password of %d bytes", len(none))
		}
	}
	for _, id := range []string{"", "alice bob", "a/b", string(long)} {
		if _, err := c.Recover(ctx, id, password); !errors.Is(err, ErrCredential) {
			t.Errorf("credential id %.20q: %v", id, err)
		}
	}
	if n := v.count(1); n != starts {
		t.Errorf("%d attempts with what is no password", n-starts)
	}
	if _, err := c.Register(ctx, "bob", long[:MaxPassword], newTestRing(t, 1), nil); err != nil {
		t.Errorf("a password of %d bytes: %v", MaxPassword, err)
	}
}

// TestClientDevices has devices add a key at the same time.
func TestClientDevices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newTestVault(t)
		ctx, devices := t.Context(), 3
		ring := newTestRing(t, 1)
		if _, err := v.client(v).Register(ctx, alice, password, ring, nil); err != nil {
			t.Fatal(err)
		}
		added := newTestRing(t, devices).Keys()
		var wg sync.WaitGroup
		for _, key := range added {
			wg.Go(func() {
				for range 100 {
					_, err := v.client(v).Put(ctx, alice, password, func(k *Keyring) (*Keyring, error) { return k.Append(key) })
					if codeOf(err) == wire.Busy || codeOf(err) == wire.Wait || codeOf(err) == wire.Conflict || codeOf(err) == wire.Stale {
						time.Sleep(time.Second)
						continue
					}
					if err != nil {
						t.Error(err)
					}
					return
				}
				t.Error("a hundred tries in vain")
			})
		}
		wg.Wait()
		time.Sleep(20 * time.Minute)
		r, err := v.client(v).Recover(ctx, alice, password)
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Keyring.Keys()) != 1+devices {
			t.Errorf("%d keys, want %d", len(r.Keyring.Keys()), 1+devices)
		}
		for _, key := range added {
			if !slices.ContainsFunc(r.Keyring.Keys(), func(k *keys.AccountKey) bool { return string(k.Bytes()) == string(key.Bytes()) }) {
				t.Error("a key is lost")
			}
		}
	})
}

// TestClientConflict has another device add a key between the two logins of Put.
func TestClientConflict(t *testing.T) {
	v := newTestVault(t)
	c, ctx := v.client(v), t.Context()
	ring := newTestRing(t, 1)
	if _, err := c.Register(ctx, alice, password, ring, nil); err != nil {
		t.Fatal(err)
	}
	all, changes := ring, 0
	_, err := c.Put(ctx, alice, password, func(k *Keyring) (*Keyring, error) {
		if changes++; changes == 1 {
			other := keys.GenerateAccountKey()
			all, _ = all.Append(other)
			if _, err := v.client(v).Put(ctx, alice, password, func(k *Keyring) (*Keyring, error) { return k.Append(other) }); err != nil {
				t.Fatal(err)
			}
		}
		mine := keys.GenerateAccountKey()
		if changes == 2 {
			all, _ = all.Append(mine)
		}
		return k.Append(mine)
	})
	if err != nil || changes != 2 {
		t.Fatalf("%v after %d changes", err, changes)
	}
	if r, err := c.Recover(ctx, alice, password); err != nil || !sameRing(r.Keyring, all) {
		t.Errorf("%+v, %v", r, err)
	}
	refused := errors.New("no")
	if _, err := c.Put(ctx, alice, password, func(*Keyring) (*Keyring, error) { return nil, refused }); !errors.Is(err, refused) {
		t.Errorf("%v", err)
	}
}

// TestClientAnew registers again and again: each takes the place of the one before.
func TestClientAnew(t *testing.T) {
	v := newTestVault(t)
	c, ctx := v.client(v), t.Context()
	ring := newTestRing(t, 1)
	first, err := c.Register(ctx, alice, password, ring, nil)
	if err != nil {
		t.Fatal(err)
	}
	second, err := c.Register(ctx, alice, password2, ring, ring.Newest())
	if err != nil || second.Ver <= first.Ver || second.Gen == first.Gen {
		t.Fatalf("%+v after %+v, %v", second, first, err)
	}
	third, err := c.ChangePassword(ctx, alice, password2, password)
	if err != nil || third.KV != second.KV+1 || third.Ver <= second.Ver {
		t.Errorf("%+v after %+v, %v", third, second, err)
	}
}

// TestClientFullRing keeps as many keys as there can be.
func TestClientFullRing(t *testing.T) {
	v := newTestVault(t)
	c, ctx := v.client(v), t.Context()
	full := newTestRing(t, MaxKeys)
	most, _ := NewKeyring(full.Keys()[:MaxKeys-1]...)
	if _, err := c.Register(ctx, alice, password, most, nil); err != nil {
		t.Fatal(err)
	}
	put := func() error {
		_, err := c.Put(ctx, alice, password, func(k *Keyring) (*Keyring, error) { return k.Append(full.Newest()) })
		return err
	}
	if err := put(); err != nil {
		t.Fatal(err)
	}
	if r, err := c.Recover(ctx, alice, password); err != nil || !sameRing(r.Keyring, full) {
		t.Fatalf("%v", err)
	}
	if err := put(); err == nil {
		t.Error("one key more than there can be")
	}
	if r, err := c.Recover(ctx, alice, password); err != nil || !sameRing(r.Keyring, full) {
		t.Fatalf("%v", err)
	}
}

// TestNewClient has what is no client.
func TestNewClient(t *testing.T) {
	v := newTestVault(t)
	tickets := &ClientOptions{Tickets: v.client(v).tickets}
	if _, err := NewClient(v, v.issuer.Vault, tickets); err != nil {
		t.Error(err)
	}
	for _, id := range []string{"", v.issuer.Vault[1:], v.issuer.Vault + "A", "https://vault.example.org/"} {
		if _, err := NewClient(v, id, tickets); !errors.Is(err, ErrDescriptor) {
			t.Errorf("vault %q: %v", id, err)
		}
	}
	for _, o := range []*ClientOptions{nil, {}} {
		if _, err := NewClient(v, v.issuer.Vault, o); err == nil {
			t.Error("a client without tickets")
		}
	}
}
