//go:build cgo

package hsm_test

import (
	"errors"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/miekg/pkcs11"

	backend "github.com/coffer-backup/coffer/backends/pkcs11"
	"github.com/coffer-backup/coffer/internal/tokentest"
	"github.com/coffer-backup/coffer/vault/evaluator"
	"github.com/coffer-backup/coffer/vault/evaluator/hsm"
)

// countObjects counts the token's objects and those of every session of this process.
func countObjects(t testing.TB, soft *tokentest.Soft) int {
	t.Helper()
	p := pkcs11.New(soft.Module)
	slots, err := p.GetSlotList(true)
	if err != nil {
		t.Fatal(err)
	}
	session, err := p.OpenSession(slots[0], pkcs11.CKF_SERIAL_SESSION)
	if err != nil {
		t.Fatal(err)
	}
	defer p.CloseSession(session)
	if err := p.FindObjectsInit(session, nil); err != nil {
		t.Fatal(err)
	}
	found, _, err := p.FindObjects(session, 10_000)
	if err != nil {
		t.Fatal(err)
	}
	return len(found)
}

// TestFaults lets the calls of an evaluation fail, or hang. It fails, leaves nothing
// behind, and the next one is right.
func TestFaults(t *testing.T) {
	soft := tokentest.SoftHSM(t)
	shim := tokentest.Shim(t, soft.Module)
	config := softConfig(soft)
	config.Module, config.Timeout = shim.Module, 300*time.Millisecond
	_, e := generate(t, openToken(t, config), inHSM)
	key, err := e.NewKey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	objects := countObjects(t, soft)
	for rule, want := range map[string]error{
		"C_UnwrapKey GENERAL_ERROR":            backend.ErrFailed,
		"C_UnwrapKey DEVICE_ERROR":             backend.ErrFailed,
		"C_UnwrapKey SESSION_HANDLE_INVALID 1": nil,
		"C_DeriveKey FUNCTION_FAILED":          backend.ErrFailed,
		"C_DeriveKey OBJECT_HANDLE_INVALID 1":  nil,
		"C_DeriveKey hang":                     backend.ErrTimeout,
		"C_GetAttributeValue DEVICE_REMOVED":   backend.ErrFailed,
		"C_GetAttributeValue hang":             backend.ErrTimeout,
		"C_DestroyObject GENERAL_ERROR":        nil,
		"C_DestroyObject hang":                 backend.ErrTimeout,
	} {
		shim.Set(rule)
		p, err := e.Evaluate(t.Context(), key, key.Public)
		if !errors.Is(err, want) || errors.Is(err, evaluator.ErrPoint) || (err == nil) == (p == evaluator.Point{}) {
			t.Errorf("%s: %x, %v, want %v", rule, p, err, want)
		}
		shim.Clear()
		err = login(t, e, key)
		for deadline := time.Now().Add(5 * time.Second); err != nil && time.Now().Before(deadline); err = login(t, e, key) {
			time.Sleep(5 * time.Millisecond) // what hung comes back
		}
		if err != nil {
			t.Errorf("%s: afterwards: %v", rule, err)
		}
		if n := countObjects(t, soft); n != objects {
			t.Errorf("%s: %d objects, there were %d", rule, n, objects)
		}
	}
	// A byte less is no multiple of anything.
	shim.Set("C_GetAttributeValue short")
	if p, err := e.Evaluate(t.Context(), key, key.Public); err == nil {
		t.Errorf("x-coordinates of 31 bytes gave %x", p)
	}
}

// TestSoak logs in time and again in more goroutines than the token has sessions for.
// Nothing piles up.
func TestSoak(t *testing.T) {
	soft := tokentest.SoftHSM(t)
	shim := tokentest.Shim(t, soft.Module)
	config := softConfig(soft)
	config.Module, config.Sessions = shim.Module, 2
	_, e := generate(t, openToken(t, config), inHSM)
	key, err := e.NewKey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	soak := func(n int) {
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range n {
					if err := login(t, e, key); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
	}
	soak(5)
	sessions := func() int { return shim.Calls("C_OpenSession") - shim.Calls("C_CloseSession") }
	objects, open, goroutines := countObjects(t, soft), sessions(), runtime.NumGoroutine()
	soak(50)
	if n := countObjects(t, soft); n != objects {
		t.Errorf("%d objects, there were %d", n, objects)
	}
	if n := sessions(); n > open {
		t.Errorf("%d sessions, there were %d", n, open)
	}
	for range 100 { // goroutines that have done their work are gone soon
		if runtime.NumGoroutine() <= goroutines {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Errorf("%d goroutines, there were %d", runtime.NumGoroutine(), goroutines)
}

// BenchmarkLogin is what a token does for a login: an evaluation, an agreement, and three
// MACs.
func BenchmarkLogin(b *testing.B) {
	config := softConfig(tokentest.SoftHSM(b))
	config.Sessions = 2
	_, e := generate(b, openToken(b, config), inHSM)
	key, err := e.NewKey(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := e.Evaluate(b.Context(), key, key.Public); err != nil {
				b.Error(err)
			}
			if _, err := e.Agree(b.Context(), hsm.FirstAKE, key.Public); err != nil {
				b.Error(err)
			}
			for range 3 {
				if _, err := e.MAC(b.Context(), []byte("message")); err != nil {
					b.Error(err)
				}
			}
		}
	})
}
