//go:build cgo

package pkcs11_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	p11 "github.com/miekg/pkcs11"

	"github.com/coffer-backup/coffer/backends/pkcs11"
	"github.com/coffer-backup/coffer/internal/need"
	"github.com/coffer-backup/coffer/internal/tokentest"
)

// TestReinitialized initializes the token again, by another program, while it is open.
// Its keys are gone: no key is made instead, and nothing is wrapped under what is no
// more.
func TestReinitialized(t *testing.T) {
	r := newRig(t, 5*time.Second)
	r.Reinit(r.Label)
	for _, do := range []string{"wrap gcm", "unwrap gcm", "wrap kw", "unwrap kw", "find gcm"} {
		r.wantTyped(t, operations[do](t.Context(), r), pkcs11.ErrKeyNotFound, 0)
	}
	if n := r.shim.Calls("C_GenerateKey"); n > 0 {
		t.Errorf("%d keys were made", n)
	}
	r.ImportAES("gcm", keyBytes["gcm"], tokentest.Encrypt)
	r.ImportAES("kw", keyBytes["kw"], tokentest.Wrap)
	r.works(t)
}

// TestDeleted deletes the token's files while it is open.
func TestDeleted(t *testing.T) {
	r := newRig(t, 5*time.Second)
	if err := os.RemoveAll(filepath.Join(r.Dir, "tokens")); err != nil {
		t.Fatal(err)
	}
	for _, do := range []string{"wrap gcm", "unwrap gcm", "wrap kw", "unwrap kw", "find gcm"} {
		r.wantTyped(t, operations[do](t.Context(), r), pkcs11.ErrKeyNotFound, 0)
	}
}

// TestDestroyed destroys keys by another program.
func TestDestroyed(t *testing.T) {
	r := newRig(t, 5*time.Second)
	for name, usage := range map[string]tokentest.Usage{"gcm": tokentest.Encrypt, "kw": tokentest.Wrap} {
		r.Destroy(name)
		for _, do := range []string{"wrap ", "unwrap ", "find "} {
			r.wantTyped(t, operations[do+name](t.Context(), r), pkcs11.ErrKeyNotFound, 0)
		}
		// Another key of that name is another key.
		r.ImportAES(name, bytes.Repeat([]byte{9}, 32), usage)
		for _, do := range []string{"wrap ", "unwrap "} {
			r.wantTyped(t, operations[do+name](t.Context(), r), pkcs11.ErrKeyNotFound, 0)
		}
		// The same one under its name, and one more.
		r.Destroy(name)
		r.ImportAES(name, keyBytes[name], usage)
	}
	r.works(t)
	r.ImportAES("gcm", keyBytes["gcm"], tokentest.Encrypt)
	r.wantTyped(t, operations["find gcm"](t.Context(), r), pkcs11.ErrKeyNotFound, 0)
}

// TestWrongPIN counts logins: tokens lock after a few.
func TestWrongPIN(t *testing.T) {
	r := newRig(t, 5*time.Second)
	r.close(t)
	for _, wrong := range []string{"000000", ""} {
		logins, asked := r.shim.Calls("C_Login"), 0
		cfg := r.cfg
		cfg.PIN = func(context.Context) ([]byte, error) { asked++; return []byte(wrong), nil }
		token, err := pkcs11.Open(t.Context(), cfg)
		if token != nil {
			t.Fatalf("the PIN %q was accepted", wrong)
		}
		if !errors.Is(err, pkcs11.ErrPIN) {
			t.Errorf("%v, want %v", err, pkcs11.ErrPIN)
		}
		if n := r.shim.Calls("C_Login") - logins; n > 1 || asked != 1 {
			t.Errorf("%d logins, and the PIN was asked for %d times", n, asked)
		}
	}
	r.works(t)
}

// TestPINChanged lets the PIN be refused when the token has to be logged into once
// more. It is tried once, then never again.
func TestPINChanged(t *testing.T) {
	for _, code := range []string{"PIN_INCORRECT", "PIN_LOCKED"} {
		t.Run(code, func(t *testing.T) {
			r := newRig(t, 5*time.Second)
			elsewhere(t, r, func(p *p11.Ctx, session p11.SessionHandle, _ uint) error { return p.Logout(session) })
			logins, asked := r.shim.Calls("C_Login"), r.pins.Load()
			r.shim.Set("C_Login " + code)
			for range 3 {
				for _, do := range []string{"wrap gcm", "unwrap kw", "find gcm", "bulk"} {
					if err := operations[do](t.Context(), r); !errors.Is(err, pkcs11.ErrPIN) {
						t.Errorf("%s: %v, want %v", do, err, pkcs11.ErrPIN)
					}
				}
			}
			if err := r.token.Health(); !errors.Is(err, pkcs11.ErrPIN) {
				t.Errorf("Health: %v, want %v", err, pkcs11.ErrPIN)
			}
			if n, m := r.shim.Calls("C_Login")-logins, r.pins.Load()-asked; n != 1 || m != 1 {
				t.Errorf("%d logins, and the PIN was asked for %d times", n, m)
			}
			// Only opening the token anew asks for a PIN.
			r.shim.Clear()
			if err := operations["wrap gcm"](t.Context(), r); !errors.Is(err, pkcs11.ErrPIN) {
				t.Errorf("%v, want %v", err, pkcs11.ErrPIN)
			}
			r.close(t)
			r.works(t)
		})
	}
}

// TestPINErased holds that what Config.PIN returned is overwritten, and that its error
// is passed on.
func TestPINErased(t *testing.T) {
	r := newRig(t, 5*time.Second)
	r.close(t)
	given := []byte(r.PIN)
	cfg := r.cfg
	cfg.PIN = func(context.Context) ([]byte, error) { return given, nil }
	token, err := pkcs11.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := token.Close(); err != nil {
		t.Error(err)
	}
	if !bytes.Equal(given, make([]byte, len(given))) {
		t.Error("the PIN was not erased")
	}
	failure := errors.New("nobody knows")
	cfg.PIN = func(context.Context) ([]byte, error) { return nil, failure }
	if _, err := pkcs11.Open(t.Context(), cfg); !errors.Is(err, failure) {
		t.Errorf("%v, want %v", err, failure)
	}
}

// elsewhere does something in this process by another user of the library.
func elsewhere(t *testing.T, r *rig, do func(p *p11.Ctx, session p11.SessionHandle, slot uint) error) {
	t.Helper()
	p := p11.New(r.Module)
	if err := p.Initialize(); err != p11.Error(p11.CKR_CRYPTOKI_ALREADY_INITIALIZED) {
		t.Fatalf("C_Initialize: %v", err)
	}
	slots, err := p.GetSlotList(true)
	if err != nil {
		t.Fatal(err)
	}
	session, err := p.OpenSession(slots[0], p11.CKF_SERIAL_SESSION)
	if err == nil {
		err = do(p, session, slots[0])
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestElsewhere ends the login or the sessions under the backend.
func TestElsewhere(t *testing.T) {
	for name, do := range map[string]func(p *p11.Ctx, session p11.SessionHandle, slot uint) error{
		"C_Logout":           func(p *p11.Ctx, session p11.SessionHandle, _ uint) error { return p.Logout(session) },
		"C_CloseAllSessions": func(p *p11.Ctx, _ p11.SessionHandle, slot uint) error { return p.CloseAllSessions(slot) },
		"C_Finalize":         func(p *p11.Ctx, _ p11.SessionHandle, _ uint) error { return p.Finalize() },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, 5*time.Second)
			for _, op := range []string{"wrap gcm", "unwrap gcm", "wrap kw", "unwrap kw", "find gcm", "bulk", "seal", "unseal"} {
				r.prepare(t, op)
				logins := r.shim.Calls("C_Login")
				elsewhere(t, r, do)
				if err := operations[op](t.Context(), r); err != nil {
					t.Errorf("%s: %v", op, err)
				}
				if n := r.shim.Calls("C_Login") - logins; n > 1 {
					t.Errorf("%s: %d logins", op, n)
				}
			}
			r.works(t)
		})
	}
}

// TestShared holds that a library that somebody else initialized is not finalized.
func TestShared(t *testing.T) {
	r := newRig(t, 5*time.Second)
	r.close(t)
	p := p11.New(r.Module)
	if err := p.Initialize(); err != nil {
		t.Fatal(err)
	}
	r.works(t)
	r.close(t)
	if _, err := p.GetSlotList(true); err != nil {
		t.Errorf("the library was taken away: %v", err)
	}
	if err := p.Finalize(); err != nil {
		t.Error(err)
	}
}

// TestNotThere opens what is not there.
func TestNotThere(t *testing.T) {
	gcc := need.Command(t, "gcc", "apt-get install gcc")
	soft := tokentest.SoftHSM(t)
	soft.Init("twice")
	soft.Init("twice")
	dir := t.TempDir()
	text, empty := filepath.Join(dir, "text.so"), filepath.Join(dir, "empty.so")
	if err := os.WriteFile(text, []byte("no library\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(gcc, "-shared", "-x", "c", "-o", empty, "-")
	cmd.Stdin = strings.NewReader("int nothing;\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, c := range []struct {
		name, module, token string
		want                error
		says                string
	}{
		{"no file", filepath.Join(dir, "none.so"), "", pkcs11.ErrFailed, "no such file"},
		{"a folder", dir, "", pkcs11.ErrFailed, dir},
		{"no library", text, "", pkcs11.ErrFailed, text},
		{"no module", empty, "", pkcs11.ErrFailed, "C_GetFunctionList"},
		{"no token", soft.Module, "none", pkcs11.ErrTokenNotFound, "none"},
		{"two tokens", soft.Module, "twice", pkcs11.ErrTokenNotFound, "twice"},
	} {
		t.Run(c.name, func(t *testing.T) {
			token, err := pkcs11.Open(t.Context(), pkcs11.Config{Module: c.module, Token: c.token, PIN: pin(soft.PIN)})
			var typed *pkcs11.Error
			if token != nil || !errors.As(err, &typed) || !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), c.module) {
				t.Errorf("%v, want %v that says %q and %q", err, c.want, c.says, c.module)
			}
		})
	}
	for _, module := range []string{"", "libsofthsm2.so", "./text.so"} {
		if _, err := pkcs11.Open(t.Context(), pkcs11.Config{Module: module}); err == nil || !strings.Contains(err.Error(), "absolute") {
			t.Errorf("module %q: %v, want a demand for an absolute path", module, err)
		}
	}
	infos, err := pkcs11.List(t.Context(), pkcs11.Config{Module: soft.Module})
	labels := func() (all []string) {
		for _, i := range infos {
			if i.Initialized {
				all = append(all, i.Label)
			}
		}
		slices.Sort(all)
		return all
	}()
	if want := []string{soft.Label, "twice", "twice"}; err != nil || !slices.Equal(labels, want) {
		t.Errorf("List gives %q, %v, want %q", labels, err, want)
	}
}

// TestNoConfiguration takes the library's configuration away.
func TestNoConfiguration(t *testing.T) {
	soft := tokentest.SoftHSM(t)
	t.Setenv("SOFTHSM2_CONF", filepath.Join(soft.Dir, "none"))
	_, err := pkcs11.Open(t.Context(), pkcs11.Config{Module: soft.Module, Token: soft.Label, PIN: pin(soft.PIN)})
	var typed *pkcs11.Error
	if !errors.As(err, &typed) || !errors.Is(err, pkcs11.ErrFailed) || typed.Code != p11.CKR_GENERAL_ERROR || !strings.Contains(err.Error(), "SOFTHSM2_CONF") {
		t.Errorf("%v, want %v with CKR_GENERAL_ERROR and what may be missing", err, pkcs11.ErrFailed)
	}
	t.Setenv("SOFTHSM2_CONF", soft.Conf)
	token, err := pkcs11.Open(t.Context(), pkcs11.Config{Module: soft.Module, Token: soft.Label, PIN: pin(soft.PIN)})
	if err != nil {
		t.Fatal(err)
	}
	if err := token.Close(); err != nil {
		t.Error(err)
	}
}
