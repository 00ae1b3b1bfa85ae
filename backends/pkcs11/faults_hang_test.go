//go:build cgo

package pkcs11_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	p11 "github.com/miekg/pkcs11"

	"github.com/coffer-backup/coffer/backends/pkcs11"
	"github.com/coffer-backup/coffer/internal/need"
)

// TestOnce lets each call fail once. What failed for its session, its login, its handles
// or the library is done again, so that the caller sees nothing. In no case are the data
// to blame.
func TestOnce(t *testing.T) {
	r := newRig(t, 5*time.Second)
	for i, site := range sites {
		if site.fn == "C_Login" {
			continue // once is enough
		}
		t.Run(site.do+"/"+site.fn, func(t *testing.T) {
			for _, code := range codesAt(i, site.do) {
				r.prepare(t, site.do)
				logins := r.shim.Calls("C_Login")
				r.shim.Set(fmt.Sprintf("%s %#x 1", site.fn, code))
				err := operations[site.do](t.Context(), r)
				emptySlot := site.do == "open" && errors.Is(err, pkcs11.ErrTokenNotFound)
				if err != nil && !slices.Contains(requestCodes, code) && !emptySlot {
					t.Errorf("%#x: %v, want another try", code, err)
				}
				if err != nil {
					r.wantFailure(t, site.do, site.fn, code, err)
				}
				r.shim.Clear()
				r.works(t)
				if n := r.shim.Calls("C_Login") - logins; n > 1 {
					t.Errorf("%#x: %d logins", code, n)
				}
				if t.Failed() {
					t.Fatalf("after %s failed once with %#x", site.fn, code)
				}
			}
		})
	}
}

// TestHang lets each function hang, in each operation that calls it if there is time. The deadline ends the waiting, other calls fail at
// once, and all is well when the library answers.
func TestHang(t *testing.T) {
	const timeout = 250 * time.Millisecond
	r := newRig(t, timeout)
	done := map[string]bool{}
	for _, site := range sites {
		if done[site.fn] && !need.Long() {
			continue
		}
		done[site.fn] = true
		t.Run(site.do+"/"+site.fn, func(t *testing.T) {
			r.prepare(t, site.do)
			r.shim.Set(site.fn + " hang")
			start := time.Now()
			err := operations[site.do](t.Context(), r)
			if took := time.Since(start); took < timeout || took > timeout+2*time.Second {
				t.Errorf("it took %v, the deadline is %v", took, timeout)
			}
			r.wantTyped(t, err, pkcs11.ErrTimeout, 0)
			if r.token != nil {
				if err := r.token.Health(); !errors.Is(err, pkcs11.ErrTimeout) {
					t.Errorf("Health: %v, want %v", err, pkcs11.ErrTimeout)
				}
				start = time.Now()
				r.wantTyped(t, operations["wrap gcm"](t.Context(), r), pkcs11.ErrTimeout, 0)
				if took := time.Since(start); took > timeout/2 {
					t.Errorf("the next call took %v", took)
				}
			}
			r.shim.Clear()
			r.settle(t)
			r.works(t)
		})
	}
}

// settle waits until the library has answered what hung.
func (r *rig) settle(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if r.token == nil {
			var err error
			if r.token, err = pkcs11.Open(t.Context(), r.cfg); err == nil {
				r.close(t)
				return
			}
		} else if r.wrap(t.Context(), "gcm") == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the token does not come back")
		}
	}
}

// TestCancel holds that a context ends the waiting too.
func TestCancel(t *testing.T) {
	r := newRig(t, 10*time.Second)
	for _, do := range []string{"wrap gcm", "unwrap kw", "find gcm", "info"} {
		r.shim.Set("* hang")
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		start := time.Now()
		err := operations[do](ctx, r)
		cancel()
		if took := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || took > 2*time.Second {
			t.Errorf("%s: %v after %v, want the error of the context", do, err, took)
		}
		r.shim.Clear()
		r.settle(t)
		r.works(t)
	}
}

// TestDead is the library of a token on another machine that went away: everything
// fails until the library is initialized again.
func TestDead(t *testing.T) {
	r := newRig(t, 5*time.Second)
	r.shim.Set("* DEVICE_ERROR until-initialize")
	logins := r.shim.Calls("C_Login")
	if err := r.wrap(t.Context(), "gcm"); err != nil { // it may come back within the call
		r.wantTyped(t, err, pkcs11.ErrFailed, p11.CKR_DEVICE_ERROR)
	}
	r.works(t)
	if n := r.shim.Calls("C_Login") - logins; n != 1 {
		t.Errorf("%d logins", n)
	}
}

// TestAbort shows that a library that crashes takes the process with it.
func TestAbort(t *testing.T) {
	const variable = "COFFER_TEST_ABORT"
	if os.Getenv(variable) == "1" {
		r := newRig(t, 5*time.Second)
		r.shim.Set("C_Encrypt abort")
		_ = r.wrap(t.Context(), "gcm")
		t.Log("still there")
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestAbort$", "-test.v")
	cmd.Env = append(os.Environ(), variable+"=1")
	out, err := cmd.CombinedOutput()
	if err == nil || !bytes.Contains(out, []byte("SIGABRT")) || bytes.Contains(out, []byte("still there")) {
		t.Errorf("%v, want SIGABRT:\n%s", err, out)
	}
}

// TestShort lets outputs lack a byte.
func TestShort(t *testing.T) {
	r := newRig(t, 5*time.Second)
	for _, c := range []struct{ do, fn string }{
		{"wrap gcm", "C_Encrypt"}, {"unwrap gcm", "C_Decrypt"}, {"wrap kw", "C_WrapKey"}, {"unwrap kw", "C_GetAttributeValue"},
		{"find gcm", "C_Encrypt"}, {"find kw", "C_WrapKey"}, {"bulk", "C_Encrypt"}, {"seal", "C_Encrypt"}, {"unseal", "C_Decrypt"},
	} {
		t.Run(c.do+"/"+c.fn, func(t *testing.T) {
			r.prepare(t, c.do)
			r.shim.Set(c.fn + " short")
			code := uint(0)
			if strings.HasPrefix(c.do, "find") {
				code = anyCode // of the mechs that were tried afterwards
			}
			r.wantTyped(t, operations[c.do](t.Context(), r), pkcs11.ErrFailed, code)
			r.shim.Clear()
			r.works(t)
		})
	}
}

// TestFaultsComeAndGo wraps and opens in many goroutines while the token fails on and
// off. What is said to be wrapped opens.
func TestFaultsComeAndGo(t *testing.T) {
	r := newRig(t, 5*time.Second)
	logins := r.shim.Calls("C_Login")
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var failed, succeeded [8]int
	for i := range failed {
		name := [2]string{"gcm", "kw"}[i%2]
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				slot, err := r.keys[name].Wrap(t.Context(), r.core, r.fk)
				if err == nil {
					err = r.unwrap(t.Context(), name, slot)
				}
				if err == nil {
					succeeded[i]++
					continue
				}
				failed[i]++
				var typed *pkcs11.Error
				if !errors.As(err, &typed) || !errors.Is(err, pkcs11.ErrFailed) {
					t.Errorf("%v", err)
				}
			}
		})
	}
	faults := []string{"C_Encrypt DEVICE_ERROR", "C_WrapKey SESSION_HANDLE_INVALID", "* DEVICE_REMOVED until-initialize", "C_Decrypt GENERAL_ERROR", "* TOKEN_NOT_PRESENT"}
	for _, fault := range faults {
		r.shim.Set(fault)
		time.Sleep(50 * time.Millisecond)
		r.shim.Clear()
		time.Sleep(50 * time.Millisecond)
	}
	close(stop)
	wg.Wait()
	r.works(t)
	for i := range failed {
		if failed[i] == 0 || succeeded[i] == 0 {
			t.Errorf("goroutine %d failed %d times and succeeded %d times", i, failed[i], succeeded[i])
		}
	}
	if n := r.shim.Calls("C_Login") - logins; n > 2*len(faults) {
		t.Errorf("%d logins for %d faults", n, len(faults))
	}
}
