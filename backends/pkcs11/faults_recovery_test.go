//go:build cgo

package pkcs11_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	p11 "github.com/miekg/pkcs11"

	"github.com/coffer-backup/coffer/backends"
	"github.com/coffer-backup/coffer/backends/pkcs11"
	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/keys"
)

// recoveryTimeout is the deadline where a test waits for it to pass.
const recoveryTimeout = 500 * time.Millisecond

// soon waits until ok returns nil.
func soon(t *testing.T, what string, ok func() error) {
	t.Helper()
	var err error
	for range 100 {
		if err = ok(); err == nil {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Errorf("%s: %v", what, err)
}

// A renewal of the library that hangs, or that its caller gives up, is not the last one.
func TestRenewalIsGivenUp(t *testing.T) {
	for name, c := range map[string]struct{ timeout, patience time.Duration }{
		"hangs": {recoveryTimeout, time.Minute}, "is cancelled": {10 * time.Second, 300 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, c.timeout)
			r.shim.Set("C_Encrypt DEVICE_ERROR 1", "C_Initialize hang")
			ctx, cancel := context.WithTimeout(t.Context(), c.patience)
			defer cancel()
			if err := r.wrap(ctx, "gcm"); err == nil {
				t.Error("it did not fail")
			}
			r.shim.Clear()
			soon(t, "afterwards", func() error { return r.wrap(t.Context(), "gcm") })
			if err := r.token.Health(); err != nil {
				t.Errorf("Health: %v", err)
			}
		})
	}
}

// A call that comes for a session whose C_CloseSession hangs waits for no more than a
// deadline.
func TestCloseHangsBesideCall(t *testing.T) {
	r := newRig(t, recoveryTimeout)
	r.openBulk(t)
	r.shim.Set("C_CloseSession hang")
	closed := make(chan struct{})
	go func() { r.token.Close(); close(closed) }()
	time.Sleep(recoveryTimeout / 2)
	start := time.Now()
	if _, err := r.aead.Seal(nil, make([]byte, 12), message, nil); err == nil {
		t.Error("it did not fail")
	}
	if took := time.Since(start); took > 4*recoveryTimeout {
		t.Errorf("it took %v", took)
	}
	r.shim.Clear()
	<-closed
	// That Close could not finalize the library; whoever comes next does.
	soon(t, "afterwards", func() error {
		token, err := pkcs11.Open(t.Context(), r.cfg)
		if err != nil {
			return err
		}
		return token.Close()
	})
}

// A C_CloseSession that hangs after a call that was given up is seen.
func TestCleaningUpHangs(t *testing.T) {
	r := newRig(t, recoveryTimeout)
	r.shim.Set("C_EncryptInit hang 1", "C_CloseSession hang")
	ctx, cancel := context.WithTimeout(t.Context(), recoveryTimeout/4)
	defer cancel()
	if err := r.wrap(ctx, "gcm"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("cancelled: %v", err)
	}
	r.shim.Set("C_CloseSession hang") // C_EncryptInit returns
	soon(t, "Health is nil", func() error {
		if r.token.Health() == nil {
			return errors.New("nobody saw it")
		}
		return nil
	})
	r.shim.Clear()
	soon(t, "afterwards", func() error { return r.wrap(t.Context(), "gcm") })
}

// A PIN that is refused when nobody waits for the answer is not given again.
func TestPINIsRefusedLate(t *testing.T) {
	r := newRig(t, recoveryTimeout)
	elsewhere(t, r, func(p *p11.Ctx, session p11.SessionHandle, _ uint) error { return p.Logout(session) })
	r.PIN = "000000"
	logins := r.shim.Calls("C_Login")
	for range 3 {
		r.shim.Set("C_Login hang")
		if err := r.wrap(t.Context(), "gcm"); err == nil {
			t.Error("it did not fail")
		}
		r.shim.Clear()
		time.Sleep(recoveryTimeout)
	}
	if n := r.shim.Calls("C_Login") - logins; n != 1 {
		t.Errorf("%d logins", n)
	}
	if err := r.token.Health(); !errors.Is(err, pkcs11.ErrPIN) {
		t.Errorf("Health: %v", err)
	}
}

// The PIN of a token is not for another one that has its label now.
func TestAnotherTokenGetsNoPIN(t *testing.T) {
	r := newRig(t, 10*time.Second)
	tokens := filepath.Join(r.Dir, "tokens")
	if err := errors.Join(os.RemoveAll(tokens), os.Mkdir(tokens, 0o700)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("softhsm2-util", "--init-token", "--free", "--label", r.Label, "--so-pin", r.SOPIN, "--pin", "999999", "--module", r.Soft.Module)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	logins := r.shim.Calls("C_Login")
	r.shim.Set("* DEVICE_ERROR until-initialize")
	if err := r.wrap(t.Context(), "gcm"); !errors.Is(err, pkcs11.ErrTokenNotFound) {
		t.Errorf("%v, want %v", err, pkcs11.ErrTokenNotFound)
	}
	if n := r.shim.Calls("C_Login") - logins; n != 0 {
		t.Errorf("%d logins", n)
	}
}

// A fault that passes does not choose how a new key wraps, for good.
func TestFaultChoosesNoMech(t *testing.T) {
	r := newRig(t, 10*time.Second)
	for _, rule := range []string{"C_EncryptInit HOST_MEMORY 1", "C_OpenSession SESSION_COUNT 1", "C_EncryptInit FUNCTION_CANCELED 1", "C_Encrypt GENERAL_ERROR 1"} {
		r.shim.Set(rule)
		k, err := r.token.GenerateKey(t.Context(), pkcs11.KeySpec{Label: rule})
		if err == nil && k.Mech() != format.MechAESGCM {
			t.Errorf("%s: the new key is for %v", rule, k.Mech())
		}
	}
	r.shim.Clear()
	addKey(t, r, "all", p11.CKA_ENCRYPT, p11.CKA_DECRYPT, p11.CKA_WRAP, p11.CKA_UNWRAP)
	ref := pkcs11.KeyRef{Label: "all"}
	k, err := r.token.Key(t.Context(), ref)
	if err != nil || k.Mech() != format.MechAESGCM {
		t.Fatal(k, err)
	}
	ref.Check = k.CheckValue()
	r.shim.Set("C_EncryptInit HOST_MEMORY 1")
	if _, err := r.token.Key(t.Context(), ref); err == nil || errors.Is(err, pkcs11.ErrKeyNotFound) {
		t.Errorf("HOST_MEMORY: %v", err)
	}
}

// addKey imports an AES key that has these attributes, and no others of their sort.
func addKey(t *testing.T, r *rig, label string, has ...uint) {
	t.Helper()
	elsewhere(t, r, func(p *p11.Ctx, session p11.SessionHandle, slot uint) error {
		s, err := p.OpenSession(slot, p11.CKF_SERIAL_SESSION|p11.CKF_RW_SESSION)
		if err != nil {
			return err
		}
		defer p.CloseSession(s)
		template := []*p11.Attribute{
			p11.NewAttribute(p11.CKA_CLASS, p11.CKO_SECRET_KEY), p11.NewAttribute(p11.CKA_KEY_TYPE, p11.CKK_AES),
			p11.NewAttribute(p11.CKA_TOKEN, true), p11.NewAttribute(p11.CKA_PRIVATE, true),
			p11.NewAttribute(p11.CKA_LABEL, label), p11.NewAttribute(p11.CKA_ID, []byte(label)),
			p11.NewAttribute(p11.CKA_VALUE, bytes.Repeat([]byte{7}, 32)),
		}
		for _, kind := range []uint{p11.CKA_SENSITIVE, p11.CKA_EXTRACTABLE, p11.CKA_ENCRYPT, p11.CKA_DECRYPT, p11.CKA_WRAP, p11.CKA_UNWRAP} {
			template = append(template, p11.NewAttribute(kind, slices.Contains(has, kind)))
		}
		_, err = p.CreateObject(s, template)
		return err
	})
}

// A token that fails is not taken for a slot that does not fit, whatever mech the slot
// has.
func TestFaultIsNoMismatch(t *testing.T) {
	r := newRig(t, 10*time.Second)
	addKey(t, r, "all", p11.CKA_ENCRYPT, p11.CKA_DECRYPT, p11.CKA_WRAP, p11.CKA_UNWRAP)
	k, err := r.token.Key(t.Context(), pkcs11.KeyRef{Label: "all"})
	if err != nil {
		t.Fatal(err)
	}
	r.shim.Set("mech 0x1087 hide")
	kw, err := r.token.Key(t.Context(), pkcs11.KeyRef{Label: "all"})
	if err != nil || kw.Mech() != format.MechAESKW {
		t.Fatal(kw, err)
	}
	slot, err := kw.Wrap(t.Context(), r.core, r.fk)
	if err != nil {
		t.Fatal(err)
	}
	for _, code := range []string{"HOST_MEMORY", "0xb5", "GENERAL_ERROR"} {
		r.shim.Set("C_UnwrapKey " + code)
		if _, err := k.Unwrap(t.Context(), r.core, slot); err == nil || errors.Is(err, keys.ErrNoMatch) {
			t.Errorf("C_UnwrapKey %s: %v", code, err)
		}
	}
	r.shim.Clear()
	if fk, err := k.Unwrap(t.Context(), r.core, slot); err != nil || !bytes.Equal(fk.Bytes(), r.fk.Bytes()) {
		t.Errorf("afterwards: %v", err)
	}
}

// A token that fails for messages of some length is not taken for data that were forged.
func TestFaultIsNoForgery(t *testing.T) {
	r := newRig(t, 10*time.Second)
	r.openBulk(t)
	for _, rule := range []string{"C_Decrypt HOST_MEMORY", "C_Decrypt max 40", "C_Decrypt FUNCTION_CANCELED"} {
		r.shim.Set(rule)
		if _, err := r.aead.Open(nil, make([]byte, 12), r.sealed, nil); err == nil || errors.Is(err, backends.ErrAuth) {
			t.Errorf("%s: %v", rule, err)
		}
	}
}

// Another user of the library who has it initialized anew leaves no goroutine behind.
func TestRenewalsLeakNothing(t *testing.T) {
	r := newRig(t, 10*time.Second)
	other, err := pkcs11.Open(t.Context(), r.cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	key, err := other.Key(t.Context(), pkcs11.KeyRef{Label: "gcm"})
	if err != nil {
		t.Fatal(err)
	}
	before := runtime.NumGoroutine()
	const n = 6
	for range n {
		r.shim.Set("C_Encrypt DEVICE_ERROR 1")
		if err := r.wrap(t.Context(), "gcm"); err != nil {
			t.Fatal(err)
		}
		if _, err := key.Wrap(t.Context(), r.core, r.fk); err != nil {
			t.Fatal(err)
		}
	}
	soon(t, "goroutines", func() error {
		if runtime.NumGoroutine()-before >= n {
			return errors.New("as many more as there were renewals")
		}
		return nil
	})
}

// Nobody waits for a call that was given up: not Open, not Seal, not Close. What is left
// to do is done when the call returns.
func TestGivenUp(t *testing.T) {
	r := newRig(t, 10*time.Second)
	r.openBulk(t)
	bulk, err := r.token.Bulk(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	const patience = 100 * time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	aead, err := bulk.NewAEAD(ctx, format.AES256GCM, make([]byte, backends.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	r.shim.Set("* hang")
	time.AfterFunc(patience, cancel)
	start := time.Now()
	if _, err := aead.Seal(nil, make([]byte, backends.NonceSize), message, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("Seal: %v, want %v", err, context.Canceled)
	}
	brief, cancelOpen := context.WithTimeout(t.Context(), patience)
	defer cancelOpen()
	if _, err := pkcs11.Open(brief, r.cfg); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Open: %v, want %v", err, context.DeadlineExceeded)
	}
	for what, err := range map[string]error{"the AEAD": aead.Close(), "the token": r.token.Close()} {
		if err != nil {
			t.Errorf("closing %s: %v", what, err)
		}
	}
	if took := time.Since(start); took > r.cfg.Timeout/4 {
		t.Errorf("it took %v", took)
	}
	r.shim.Clear()
	r.token, r.keys = nil, nil
	r.bulk = nil
	soon(t, "the library was not finalized", func() error {
		if r.shim.Calls("C_Finalize") == 0 {
			return errors.New("C_Finalize is not called")
		}
		return nil
	})
	r.works(t)
}
