//go:build cgo

package pkcs11_test

import (
	"context"
	"crypto/ecdh"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	p11 "github.com/miekg/pkcs11"

	"github.com/coffer-backup/coffer/backends/pkcs11"
	"github.com/coffer-backup/coffer/internal/need"
	"github.com/coffer-backup/coffer/internal/tokentest"
)

// A vaultRig is a SoftHSM behind a shim with the keys of a vault.
type vaultRig struct {
	*tokentest.Soft
	shim  *tokentest.ShimModule
	token *pkcs11.Token
	vault *pkcs11.VaultKeys
	mine  *ecdh.PrivateKey
	key   pkcs11.ECKey
	made  int // vaults
}

func newVaultRig(t *testing.T, timeout time.Duration) *vaultRig {
	t.Helper()
	r := &vaultRig{Soft: tokentest.SoftHSM(t), mine: newECDH(t)}
	r.shim = tokentest.Shim(t, r.Module)
	r.token = openToken(t, pkcs11.Config{Module: r.shim.Module, Token: r.Label, Timeout: timeout, PIN: pin(r.PIN)})
	t.Cleanup(r.shim.Clear)
	var err error
	if r.vault, err = r.token.GenerateVaultKeys(t.Context(), vaultRef); err != nil {
		t.Fatal(err)
	}
	if r.key, err = r.vault.NewKey(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r
}

// vaultOperations are what a caller does with a vault.
var vaultOperations = map[string]func(context.Context, *vaultRig) error{
	"generate": func(ctx context.Context, r *vaultRig) error {
		r.made++
		label := fmt.Sprintf("made %d ", r.made)
		_, err := r.token.GenerateVaultKeys(ctx, pkcs11.VaultRef{Wrapping: label + "kek", MAC: label + "mac", Signing: label + "sign"})
		return err
	},
	"find": func(ctx context.Context, r *vaultRig) error {
		_, err := r.token.VaultKeys(ctx, vaultRef)
		return err
	},
	"make": func(ctx context.Context, r *vaultRig) error {
		_, err := r.vault.NewKey(ctx)
		return err
	},
	"derive": func(ctx context.Context, r *vaultRig) error {
		_, err := r.vault.ECDH(ctx, r.key, r.mine.PublicKey(), r.key.Public)
		return err
	},
	"agree": func(ctx context.Context, r *vaultRig) error {
		_, err := r.vault.Agree(ctx, "v-agree-1", r.mine.PublicKey(), r.key.Public)
		return err
	},
	"mac": func(ctx context.Context, r *vaultRig) error {
		_, err := r.vault.MAC(ctx, []byte("message"))
		return err
	},
	"sign": func(ctx context.Context, r *vaultRig) error {
		_, err := r.vault.Sign(ctx, [32]byte{1})
		return err
	},
}

// vaultSites are the calls that they make. harmless: the operation may succeed without.
var vaultSites = []struct {
	do, fn   string
	harmless bool
}{
	{"generate", "C_GenerateKey", false},
	{"generate", "C_GenerateKeyPair", false},
	{"generate", "C_GetAttributeValue", false},
	{"find", "C_FindObjects", false},
	{"find", "C_CreateObject", false},
	{"find", "C_WrapKey", false},
	{"find", "C_DeriveKey", false},
	{"make", "C_GenerateKeyPair", false},
	{"make", "C_GetAttributeValue", false},
	{"make", "C_WrapKey", false},
	{"make", "C_UnwrapKey", false},
	{"make", "C_DeriveKey", false},
	{"make", "C_DestroyObject", true},
	{"derive", "C_UnwrapKey", false},
	{"derive", "C_DeriveKey", false},
	{"derive", "C_GetAttributeValue", false},
	{"derive", "C_DestroyObject", true},
	{"agree", "C_DeriveKey", false},
	{"agree", "C_GetAttributeValue", false},
	{"agree", "C_DestroyObject", true},
	{"mac", "C_SignInit", false},
	{"mac", "C_Sign", false},
	{"sign", "C_SignInit", false},
	{"sign", "C_Sign", false},
}

// vaultCodes are one of each class, or all if there is much time.
func vaultCodes(number int) []uint {
	if need.Long() {
		return slices.Concat(requestCodes, sessionCodes, deviceCodes)
	}
	return []uint{
		p11.CKR_GENERAL_ERROR, p11.CKR_MECHANISM_INVALID, sessionCodes[number%len(sessionCodes)], deviceCodes[number%len(deviceCodes)],
	}
}

// works demands that all is well and that objects are as many as there were.
func (r *vaultRig) works(t *testing.T, objects int) {
	t.Helper()
	if n := countObjects(t, r.Soft); n != objects {
		t.Errorf("%d objects, there were %d", n, objects)
	}
	if err := checkVault(t.Context(), r.vault, r.key, r.mine, newECDH(t)); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	if n := countObjects(t, r.Soft); n != objects {
		t.Errorf("afterwards %d objects, there were %d", n, objects)
	}
	if err := r.token.Health(); err != nil {
		t.Errorf("the token is not well: %v", err)
	}
}

// TestVaultCodes lets each call fail with codes of each class, for as long as an operation
// lasts. No object stays, of those that were being made neither.
func TestVaultCodes(t *testing.T) {
	r := newVaultRig(t, 5*time.Second)
	for i, site := range vaultSites {
		t.Run(site.do+"/"+site.fn, func(t *testing.T) {
			for _, code := range vaultCodes(i) {
				objects, calls := countObjects(t, r.Soft), r.shim.Calls(site.fn)
				r.shim.Set(fmt.Sprintf("%s %#x", site.fn, code))
				err := vaultOperations[site.do](t.Context(), r)
				if r.shim.Calls(site.fn) == calls {
					t.Fatalf("%s is not called", site.fn)
				}
				var typed *pkcs11.Error
				if err == nil != site.harmless || err != nil && (!errors.As(err, &typed) || !errors.Is(err, pkcs11.ErrFailed)) {
					t.Errorf("%#x: %v, want %v", code, err, pkcs11.ErrFailed)
				}
				if err != nil && site.do != "generate" && site.do != "find" && r.token.Health() == nil {
					t.Errorf("%#x: the token is well", code)
				}
				r.shim.Clear()
				r.works(t, objects)
				if t.Failed() {
					t.Fatalf("after %s failed with %#x", site.fn, code)
				}
			}
		})
	}
}

// TestVaultOnce lets each call fail once for its session or its handles: the caller sees
// nothing of it.
func TestVaultOnce(t *testing.T) {
	r := newVaultRig(t, 5*time.Second)
	for i, site := range vaultSites {
		if site.do == "generate" || site.do == "find" {
			continue // the first one gives what was made up, the other tries several ways
		}
		code, objects := sessionCodes[i%len(sessionCodes)], countObjects(t, r.Soft)
		r.shim.Set(fmt.Sprintf("%s %#x 1", site.fn, code))
		if err := vaultOperations[site.do](t.Context(), r); err != nil {
			t.Errorf("%s: %s failed once with %#x: %v", site.do, site.fn, code, err)
		}
		r.shim.Clear()
		r.works(t, objects)
	}
}

// TestVaultHang lets calls hang. The deadline ends the waiting, and when the library
// answers nothing of what was begun is left.
func TestVaultHang(t *testing.T) {
	const timeout = 250 * time.Millisecond
	r := newVaultRig(t, timeout)
	for _, site := range vaultSites {
		if site.do != "derive" && site.fn != "C_Sign" && !need.Long() {
			continue
		}
		t.Run(site.do+"/"+site.fn, func(t *testing.T) {
			objects := countObjects(t, r.Soft)
			r.shim.Set(site.fn + " hang")
			start := time.Now()
			err := vaultOperations[site.do](t.Context(), r)
			if took := time.Since(start); !errors.Is(err, pkcs11.ErrTimeout) || took > timeout+2*time.Second {
				t.Errorf("%v after %v, want %v", err, took, pkcs11.ErrTimeout)
			}
			if err := r.token.Health(); !errors.Is(err, pkcs11.ErrTimeout) {
				t.Errorf("Health: %v, want %v", err, pkcs11.ErrTimeout)
			}
			r.shim.Clear()
			for deadline := time.Now().Add(5 * time.Second); r.vault.SelfTest(t.Context()) != nil; time.Sleep(5 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("the token does not come back")
				}
			}
			if site.do == "generate" {
				return // what was made when nobody waited is there
			}
			r.works(t, objects)
		})
	}
}

// TestVaultShort lets outputs lack a byte.
func TestVaultShort(t *testing.T) {
	r := newVaultRig(t, 5*time.Second)
	for _, c := range []struct{ do, fn string }{
		{"mac", "C_Sign"}, {"sign", "C_Sign"}, {"make", "C_WrapKey"}, {"make", "C_GetAttributeValue"}, {"find", "C_GetAttributeValue"},
	} {
		objects := countObjects(t, r.Soft)
		r.shim.Set(c.fn + " short")
		if err := vaultOperations[c.do](t.Context(), r); !errors.Is(err, pkcs11.ErrFailed) {
			t.Errorf("%s, %s: %v, want %v", c.do, c.fn, err, pkcs11.ErrFailed)
		}
		r.shim.Clear()
		r.works(t, objects)
	}
}
