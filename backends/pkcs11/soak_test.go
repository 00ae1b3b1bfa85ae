//go:build cgo && linux

package pkcs11_test

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	p11 "github.com/miekg/pkcs11"

	"github.com/coffer-backup/coffer/backends/pkcs11"
	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/internal/need"
	"github.com/coffer-backup/coffer/internal/tokentest"
	"github.com/coffer-backup/coffer/keys"
)

// softGrowth is how many bytes SoftHSM itself grows at most by a cycle in which it
// makes objects of a session; by one in which it makes none it does not grow.
const softGrowth = 1 << 10

// slack is what the memory of a process that does nothing new varies by.
const slack = 4 << 20

// TestSoak wraps and opens 100,000 times, or a part of that where it is not to take
// minutes, and demands that nothing piles up.
func TestSoak(t *testing.T) {
	for name, c := range map[string]struct {
		short  int
		growth int64
	}{"gcm": {20_000, 0}, "kw": {5_000, softGrowth}} {
		t.Run(name, func(t *testing.T) {
			soft := tokentest.SoftHSM(t)
			soft.ImportAES("gcm", keyBytes["gcm"], tokentest.Encrypt)
			soft.ImportAES("kw", keyBytes["kw"], tokentest.Wrap)
			token, err := pkcs11.Open(t.Context(), pkcs11.Config{Module: soft.Module, Token: soft.Label, PIN: pin(soft.PIN)})
			if err != nil {
				t.Fatal(err)
			}
			defer token.Close()
			key, err := token.Key(t.Context(), pkcs11.KeyRef{Label: name})
			if err != nil {
				t.Fatal(err)
			}
			n, growth := c.short, c.growth
			switch {
			case raceEnabled:
				n, growth = n/10, 1<<20 // the detector's own memory
			case need.Long():
				n = 100_000
			}
			soak(t, key, n/10)
			before := measure(t, soft)
			start := time.Now()
			soak(t, key, n)
			after := measure(t, soft)
			t.Logf("%d cycles in %v: %+v, then %+v", n, time.Since(start).Round(time.Millisecond), before, after)
			if rss := after.rss - before.rss; rss > slack+int64(n)*growth {
				t.Errorf("the memory grew by %d KiB", rss>>10)
			}
			if after.goroutines > before.goroutines || after.files > before.files || after.objects != before.objects {
				t.Errorf("there was %+v, and now is %+v", before, after)
			}
		})
	}
}

// TestSessions counts sessions by the calls that open and close them, which SoftHSM
// does not tell. Some operations fail, so that sessions are given up.
func TestSessions(t *testing.T) {
	r := newRig(t, 5*time.Second)
	open := func() int { return r.shim.Calls("C_OpenSession") - r.shim.Calls("C_CloseSession") }
	opened := r.shim.Calls("C_OpenSession")
	for i := range 24 {
		name := [2]string{"gcm", "kw"}[i%2]
		r.shim.Set([]string{"C_Decrypt GENERAL_ERROR 1", "C_UnwrapKey SESSION_HANDLE_INVALID 1"}[i%2])
		_ = r.wrap(t.Context(), name)
		r.shim.Clear()
		r.openBulk(t)
		if err := r.aead.Close(); err != nil {
			t.Fatal(err)
		}
		r.bulk = nil
		soak(t, r.keys[name], 12)
		// Those of the pool, and the one that stays logged in.
		if n := open(); n > 5 {
			t.Fatalf("%d sessions are open", n)
		}
	}
	if n := r.shim.Calls("C_OpenSession") - opened; n < 2*24 {
		t.Errorf("%d sessions were opened: none was given up", n)
	}
	r.close(t)
	if n := open(); n != 0 {
		t.Errorf("%d sessions were left open", n)
	}
}

// soak wraps and opens n times, in more goroutines than the pool has sessions.
func soak(t *testing.T, key *pkcs11.Key, n int) {
	t.Helper()
	const goroutines = 6
	var wg sync.WaitGroup
	for i := range goroutines {
		wg.Go(func() {
			fk := keys.NewFileKey()
			for range n / goroutines {
				core := format.Core{byte(i)}
				slot, err := key.Wrap(t.Context(), core, fk)
				if err != nil {
					t.Error(err)
					return
				}
				got, err := key.Unwrap(t.Context(), core, slot)
				if err != nil || !bytes.Equal(got.Bytes(), fk.Bytes()) {
					t.Errorf("%v", err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// A usage is what could leak.
type usage struct {
	objects, goroutines, files int
	rss                        int64
}

func measure(t *testing.T, soft *tokentest.Soft) (u usage) {
	t.Helper()
	u.objects = countObjects(t, soft)
	for range 10 { // goroutines that have done their work are gone soon
		runtime.GC()
		time.Sleep(2 * time.Millisecond)
	}
	u.goroutines = runtime.NumGoroutine()
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	u.files = len(files)
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	var size, pages int64
	if _, err := fmt.Sscan(string(statm), &size, &pages); err != nil {
		t.Fatal(err)
	}
	u.rss = pages * int64(os.Getpagesize())
	return u
}

// countObjects counts the token's objects and those of every session of this process.
func countObjects(t *testing.T, soft *tokentest.Soft) int {
	t.Helper()
	p := p11.New(soft.Module)
	slots, err := p.GetSlotList(true)
	if err != nil {
		t.Fatal(err)
	}
	session, err := p.OpenSession(slots[0], p11.CKF_SERIAL_SESSION)
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
