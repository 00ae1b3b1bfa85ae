//go:build cgo

package pkcs11_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	p11 "github.com/miekg/pkcs11"

	"github.com/coffer-backup/coffer/backends"
	"github.com/coffer-backup/coffer/backends/pkcs11"
	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/internal/need"
	"github.com/coffer-backup/coffer/internal/tokentest"
	"github.com/coffer-backup/coffer/keys"
)

// A rig is a SoftHSM behind a shim, with a token open that has a key for AES-GCM,
// "gcm", and one for AES-KW, "kw".
type rig struct {
	*tokentest.Soft
	ctx  context.Context // of the test, for what outlives a part of it
	shim *tokentest.ShimModule
	cfg  pkcs11.Config
	pins atomic.Int32 // calls of cfg.PIN

	token *pkcs11.Token
	keys  map[string]*pkcs11.Key
	bulk  backends.Backend // or nil
	aead  backends.AEAD    // of bulk

	core   format.Core
	fk     *keys.FileKey
	slots  map[string]format.Slot // what the keys wrapped when all was well
	sealed []byte                 // what aead sealed then
	made   int                    // keys that were generated
}

// keyBytes are those of the rig's keys.
var keyBytes = map[string][]byte{"gcm": bytes.Repeat([]byte{1}, 32), "kw": bytes.Repeat([]byte{2}, 32)}

func newRig(t *testing.T, timeout time.Duration) *rig {
	t.Helper()
	r := &rig{Soft: tokentest.SoftHSM(t), ctx: t.Context(), core: format.Core{1, 2, 3}, fk: keys.NewFileKey()}
	r.ImportAES("gcm", keyBytes["gcm"], tokentest.Encrypt)
	r.ImportAES("kw", keyBytes["kw"], tokentest.Wrap)
	r.shim = tokentest.Shim(t, r.Module)
	r.cfg = pkcs11.Config{Module: r.shim.Module, Token: r.Label, Timeout: timeout, PIN: func(context.Context) ([]byte, error) {
		r.pins.Add(1)
		return []byte(r.PIN), nil
	}}
	r.slots = map[string]format.Slot{}
	r.open(t)
	t.Cleanup(func() {
		r.shim.Clear()
		r.close(t)
	})
	for name, key := range r.keys {
		var err error
		if r.slots[name], err = key.Wrap(t.Context(), r.core, r.fk); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func (r *rig) open(t *testing.T) {
	t.Helper()
	var err error
	if r.token, err = pkcs11.Open(t.Context(), r.cfg); err != nil {
		t.Fatal(err)
	}
	r.findKeys(t)
}

func (r *rig) findKeys(t *testing.T) {
	t.Helper()
	r.keys = map[string]*pkcs11.Key{}
	for name := range keyBytes {
		var err error
		if r.keys[name], err = r.token.Key(t.Context(), pkcs11.KeyRef{Label: name}); err != nil {
			t.Fatal(err)
		}
	}
}

func (r *rig) close(t *testing.T) {
	t.Helper()
	if r.bulk != nil {
		if err := r.aead.Close(); err != nil {
			t.Errorf("closing the AEAD: %v", err)
		}
		r.bulk = nil
	}
	if r.token == nil {
		return
	}
	if err := r.token.Close(); err != nil {
		t.Errorf("closing the token: %v", err)
	}
	r.token = nil
}

// openBulk makes the AEAD, and what it seals while all is well.
func (r *rig) openBulk(t *testing.T) {
	t.Helper()
	bulk, err := r.token.Bulk(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if r.aead, err = bulk.NewAEAD(r.ctx, format.AES256GCM, make([]byte, backends.KeySize)); err != nil {
		t.Fatal(err)
	}
	r.bulk = bulk
	if r.sealed, err = r.aead.Seal(nil, make([]byte, backends.NonceSize), message, nil); err != nil {
		t.Fatal(err)
	}
}

var message = bytes.Repeat([]byte("a message "), 100)

// errWrong is what an operation returns that says it succeeded and did not.
var errWrong = errors.New("the result is wrong")

// operations are what a caller does with an open token.
var operations = map[string]func(context.Context, *rig) error{
	"open": func(ctx context.Context, r *rig) (err error) {
		r.keys = nil // those of the token that was closed
		r.token, err = pkcs11.Open(ctx, r.cfg)
		return err
	},
	"info": func(ctx context.Context, r *rig) error {
		info, err := r.token.Info(ctx)
		if err == nil && info.Label != r.Label {
			return errWrong
		}
		return err
	},
	"find gcm": func(ctx context.Context, r *rig) error { return r.find(ctx, "gcm") },
	"find kw":  func(ctx context.Context, r *rig) error { return r.find(ctx, "kw") },
	"wrap gcm": func(ctx context.Context, r *rig) error { return r.wrap(ctx, "gcm") },
	"wrap kw":  func(ctx context.Context, r *rig) error { return r.wrap(ctx, "kw") },
	"unwrap gcm": func(ctx context.Context, r *rig) error {
		return r.unwrap(ctx, "gcm", r.slots["gcm"])
	},
	"unwrap kw": func(ctx context.Context, r *rig) error {
		return r.unwrap(ctx, "kw", r.slots["kw"])
	},
	"generate": func(ctx context.Context, r *rig) error {
		r.made++
		_, err := r.token.GenerateKey(ctx, pkcs11.KeySpec{Label: fmt.Sprintf("made %d", r.made), Mech: format.MechAESGCM})
		return err
	},
	"bulk": func(ctx context.Context, r *rig) error {
		_, err := r.token.Bulk(ctx)
		return err
	},
	"aead": func(ctx context.Context, r *rig) error {
		aead, err := r.bulk.NewAEAD(ctx, format.AES256GCM, make([]byte, backends.KeySize))
		if err != nil {
			return err
		}
		return aead.Close()
	},
	"seal": func(ctx context.Context, r *rig) error {
		got, err := r.aead.Seal(nil, make([]byte, backends.NonceSize), message, nil)
		if err == nil && !bytes.Equal(got, r.sealed) {
			return errWrong
		}
		return err
	},
	"unseal": func(ctx context.Context, r *rig) error {
		got, err := r.aead.Open(nil, make([]byte, backends.NonceSize), r.sealed, nil)
		if err == nil && !bytes.Equal(got, message) {
			return errWrong
		}
		return err
	},
}

func (r *rig) find(ctx context.Context, name string) error {
	key, err := r.token.Key(ctx, pkcs11.KeyRef{Label: name})
	if err == nil && key.CheckValue() != r.keys[name].CheckValue() {
		return errWrong
	}
	return err
}

// wrap keeps the slot: it must open when all is well again.
func (r *rig) wrap(ctx context.Context, name string) error {
	slot, err := r.keys[name].Wrap(ctx, r.core, r.fk)
	if err == nil {
		r.slots[name] = slot
	}
	return err
}

func (r *rig) unwrap(ctx context.Context, name string, slot format.Slot) error {
	fk, err := r.keys[name].Unwrap(ctx, r.core, slot)
	if err == nil && !bytes.Equal(fk.Bytes(), r.fk.Bytes()) {
		return errWrong
	}
	return err
}

// anyCode is for errors that are of several calls.
const anyCode = ^uint(0)

// wantTyped demands an *Error that names the token, wraps want and has this code.
func (r *rig) wantTyped(t *testing.T, err error, want error, code uint) {
	t.Helper()
	var typed *pkcs11.Error
	switch {
	case !errors.As(err, &typed):
		t.Errorf("%v (%T) is no *Error", err, err)
	case !errors.Is(err, want):
		t.Errorf("%v, want %v", err, want)
	case code != anyCode && typed.Code != code:
		t.Errorf("%v has code %#x, want %#x", err, typed.Code, code)
	case !strings.Contains(typed.Token, r.Label) && !strings.Contains(typed.Token, r.cfg.Module):
		t.Errorf("%v names the token %q", err, typed.Token)
	case errors.Is(err, keys.ErrNoMatch) || errors.Is(err, backends.ErrAuth):
		t.Errorf("%v blames the data", err)
	}
}

// works demands that all is well again: what was wrapped opens, and so does what is
// wrapped now.
func (r *rig) works(t *testing.T) {
	t.Helper()
	logins := r.shim.Calls("C_Login")
	switch {
	case r.token == nil:
		r.open(t)
	case r.keys == nil:
		r.findKeys(t)
	}
	for name := range r.keys {
		if err := r.unwrap(t.Context(), name, r.slots[name]); err != nil {
			t.Errorf("opening what %s wrapped before: %v", name, err)
		} else if err := r.wrap(t.Context(), name); err != nil {
			t.Errorf("wrapping with %s: %v", name, err)
		} else if err := r.unwrap(t.Context(), name, r.slots[name]); err != nil {
			t.Errorf("opening what %s wrapped: %v", name, err)
		}
	}
	if r.bulk != nil {
		for _, do := range []string{"seal", "unseal", "aead"} {
			if err := operations[do](t.Context(), r); err != nil {
				t.Errorf("%s: %v", do, err)
			}
		}
	}
	if err := r.token.Health(); err != nil {
		t.Errorf("the token is not well: %v", err)
	}
	if n := r.shim.Calls("C_Login") - logins; n > 1 {
		t.Errorf("coming back took %d logins", n)
	}
}

// Codes that tokens fail with, by what is to be done: nothing, a new session, or to
// initialize the library anew.
var (
	requestCodes = []uint{
		p11.CKR_HOST_MEMORY, p11.CKR_GENERAL_ERROR, p11.CKR_FUNCTION_FAILED, p11.CKR_ARGUMENTS_BAD,
		p11.CKR_FUNCTION_CANCELED, p11.CKR_MECHANISM_INVALID, p11.CKR_PIN_INCORRECT, p11.CKR_PIN_LOCKED,
		p11.CKR_SESSION_COUNT, p11.CKR_BUFFER_TOO_SMALL,
	}
	sessionCodes = []uint{
		p11.CKR_KEY_HANDLE_INVALID, p11.CKR_OBJECT_HANDLE_INVALID, p11.CKR_OPERATION_ACTIVE, p11.CKR_OPERATION_NOT_INITIALIZED,
		p11.CKR_SESSION_CLOSED, p11.CKR_SESSION_HANDLE_INVALID, p11.CKR_USER_NOT_LOGGED_IN,
	}
	deviceCodes = []uint{
		p11.CKR_DEVICE_ERROR, p11.CKR_DEVICE_MEMORY, p11.CKR_DEVICE_REMOVED, p11.CKR_SLOT_ID_INVALID,
		p11.CKR_TOKEN_NOT_PRESENT, p11.CKR_TOKEN_NOT_RECOGNIZED, p11.CKR_CRYPTOKI_NOT_INITIALIZED,
	}
)

// codesAt returns the codes for a site. The library is not initialized time and again
// without a pause, so where that is needed not every site gets every code unless there
// is much time.
func codesAt(number int, do string) []uint {
	device := []uint{deviceCodes[number%len(deviceCodes)]}
	switch {
	case need.Long():
		return slices.Concat(requestCodes, sessionCodes, deviceCodes)
	case do == "open":
		return append(device, p11.CKR_GENERAL_ERROR, p11.CKR_PIN_INCORRECT, p11.CKR_SESSION_HANDLE_INVALID)
	}
	return slices.Concat(requestCodes, sessionCodes, device)
}

// sites are the calls that operations make. harmless: the operation may succeed
// without.
var sites = []struct {
	do, fn   string
	harmless bool
}{
	{"open", "C_Initialize", false},
	{"open", "C_GetSlotList", false},
	{"open", "C_GetTokenInfo", false},
	{"open", "C_OpenSession", false},
	{"open", "C_Login", false},
	{"info", "C_GetTokenInfo", false},
	{"find gcm", "C_FindObjectsInit", false},
	{"find gcm", "C_FindObjects", false},
	{"find gcm", "C_FindObjectsFinal", true},
	{"find gcm", "C_GetAttributeValue", false},
	{"find gcm", "C_EncryptInit", false},
	{"find gcm", "C_Encrypt", false},
	{"find kw", "C_CreateObject", false},
	{"find kw", "C_WrapKey", false},
	{"wrap gcm", "C_EncryptInit", false},
	{"wrap gcm", "C_Encrypt", false},
	{"unwrap gcm", "C_DecryptInit", false},
	{"unwrap gcm", "C_Decrypt", false},
	{"wrap kw", "C_CreateObject", false},
	{"wrap kw", "C_WrapKey", false},
	{"wrap kw", "C_DestroyObject", true},
	{"unwrap kw", "C_UnwrapKey", false},
	{"unwrap kw", "C_GetAttributeValue", false},
	{"unwrap kw", "C_DestroyObject", true},
	{"generate", "C_GenerateKey", false},
	{"aead", "C_OpenSession", false},
	{"aead", "C_CreateObject", false},
	{"bulk", "C_EncryptInit", false},
	{"bulk", "C_Encrypt", false},
	{"seal", "C_EncryptInit", false},
	{"seal", "C_Encrypt", false},
	{"unseal", "C_DecryptInit", false},
	{"unseal", "C_Decrypt", false},
}

// prepare brings the rig to where an operation starts.
func (r *rig) prepare(t *testing.T, do string) {
	t.Helper()
	switch {
	case do == "open":
		r.close(t)
	case r.token == nil:
		r.open(t)
	}
	if (do == "seal" || do == "unseal" || do == "aead") && r.bulk == nil {
		r.openBulk(t)
	}
}

// TestCodes lets each call of the library fail with each code, for as long as an
// operation lasts.
func TestCodes(t *testing.T) {
	r := newRig(t, 5*time.Second)
	for i, site := range sites {
		t.Run(site.do+"/"+site.fn, func(t *testing.T) {
			for _, code := range codesAt(i, site.do) {
				r.prepare(t, site.do)
				logins, calls := r.shim.Calls("C_Login"), r.shim.Calls(site.fn)
				r.shim.Set(fmt.Sprintf("%s %#x", site.fn, code))
				start := time.Now()
				err := operations[site.do](t.Context(), r)
				if took := time.Since(start); took > r.cfg.Timeout {
					t.Errorf("%#x: it took %v", code, took)
				}
				if r.shim.Calls(site.fn) == calls {
					t.Fatalf("%s is not called", site.fn)
				}
				if n := r.shim.Calls("C_Login") - logins; n > 1 {
					t.Errorf("%#x: %d logins", code, n)
				}
				if err != nil || !site.harmless {
					r.wantFailure(t, site.do, site.fn, code, err)
				}
				r.shim.Clear()
				r.works(t)
				if t.Failed() {
					t.Fatalf("after %s failed with %#x", site.fn, code)
				}
			}
		})
	}
}

// refusesPIN are what C_Login may say of a wrong PIN.
var refusesPIN = []uint{
	p11.CKR_PIN_INCORRECT, p11.CKR_PIN_LOCKED, p11.CKR_ARGUMENTS_BAD, p11.CKR_GENERAL_ERROR, p11.CKR_FUNCTION_FAILED,
}

// wantFailure demands the error of an operation in which fn fails with code.
func (r *rig) wantFailure(t *testing.T, do, fn string, code uint, err error) {
	t.Helper()
	want := pkcs11.ErrFailed
	switch {
	case fn == "C_Login" && slices.Contains(refusesPIN, code):
		want = pkcs11.ErrPIN
	case fn == "C_GetTokenInfo" && (code == p11.CKR_TOKEN_NOT_PRESENT || code == p11.CKR_TOKEN_NOT_RECOGNIZED):
		want, code = pkcs11.ErrTokenNotFound, anyCode // it may be like an empty slot
	case fn == "C_GetTokenInfo" && (do == "open" || code == p11.CKR_USER_NOT_LOGGED_IN) && !slices.Contains(deviceCodes, code):
		want = pkcs11.ErrTokenNotFound // a slot that cannot be read hides no other
	case strings.HasPrefix(do, "find"):
		code = anyCode // of the first mech that was tried
	}
	r.wantTyped(t, err, want, code)
}
