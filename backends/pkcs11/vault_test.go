//go:build cgo

package pkcs11_test

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	p11 "github.com/miekg/pkcs11"

	"github.com/coffer-backup/coffer/backends"
	"github.com/coffer-backup/coffer/backends/pkcs11"
	"github.com/coffer-backup/coffer/internal/tokentest"
)

var vaultRef = pkcs11.VaultRef{Wrapping: "v-kek", MAC: "v-mac", Signing: "v-sign", Agreement: []string{"v-agree-1", "v-agree-2"}}

func newECDH(t testing.TB) *ecdh.PrivateKey {
	t.Helper()
	k, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// checkVault compares what the keys do with software.
func checkVault(ctx context.Context, v *pkcs11.VaultKeys, key pkcs11.ECKey, mine ...*ecdh.PrivateKey) error {
	var remote []*ecdh.PublicKey
	for _, k := range mine {
		remote = append(remote, k.PublicKey())
	}
	is := func(got [][]byte, err error, theirs *ecdh.PublicKey) error {
		for i := range mine {
			want, err2 := mine[i].ECDH(theirs)
			if err = errors.Join(err, err2); err != nil {
				return err
			}
			if len(got) != len(mine) || !bytes.Equal(got[i], want) {
				return errWrong
			}
		}
		return err
	}
	got, err := v.ECDH(ctx, key, remote...)
	if err := is(got, err, key.Public); err != nil {
		return err
	}
	got, err = v.Agree(ctx, "v-agree-2", remote...)
	if err := is(got, err, v.AgreementKey("v-agree-2")); err != nil {
		return err
	}
	return v.SelfTest(ctx) // the signature
}

// TestVaultKeys makes the keys of a vault in two independent tokens, and finds them in
// another session.
func TestVaultKeys(t *testing.T) {
	for name, c := range map[string]pkcs11.Config{"SoftHSM": softConfig(tokentest.SoftHSM(t)), "NSS": nssConfig(tokentest.NSS(t))} {
		t.Run(name, func(t *testing.T) {
			token := openToken(t, c)
			v, err := token.GenerateVaultKeys(t.Context(), vaultRef)
			if err != nil {
				t.Fatal(err)
			}
			key, err := v.NewKey(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			mac, err := v.MAC(t.Context(), []byte("message"))
			if err != nil {
				t.Fatal(err)
			}
			if err := checkVault(t.Context(), v, key, newECDH(t), newECDH(t)); err != nil {
				t.Error(err)
			}
			again, err := openToken(t, c).VaultKeys(t.Context(), vaultRef)
			if err != nil {
				t.Fatal(err)
			}
			if err := checkVault(t.Context(), again, key, newECDH(t), newECDH(t)); err != nil {
				t.Error(err)
			}
			if got, err := again.MAC(t.Context(), []byte("message")); err != nil || got != mac {
				t.Errorf("another MAC, %v", err)
			}
			if text := fmt.Sprintf("%v %+v %#v", v, v, v); strings.Contains(text, c.Module) || !strings.Contains(text, "v-kek") {
				t.Errorf("it is shown as %s", text)
			}
			for _, ref := range []pkcs11.VaultRef{
				vaultRef, {MAC: "new", Signing: "v-kek"}, {MAC: "new", Agreement: []string{"v-mac"}},
			} {
				if _, err := token.GenerateVaultKeys(t.Context(), ref); !errors.Is(err, pkcs11.ErrKeyExists) {
					t.Errorf("%+v: %v, want %v", ref, err, pkcs11.ErrKeyExists)
				}
			}
			if _, err := token.VaultKeys(t.Context(), pkcs11.VaultRef{MAC: "new"}); !errors.Is(err, pkcs11.ErrKeyNotFound) {
				t.Errorf("%v: one of the keys was made", err)
			}
		})
	}
}

// TestVaultAttributes reads what keeps made keys as they are.
func TestVaultAttributes(t *testing.T) {
	soft := tokentest.SoftHSM(t)
	token := openToken(t, softConfig(soft))
	if _, err := token.GenerateVaultKeys(t.Context(), vaultRef); err != nil {
		t.Fatal(err)
	}
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
	found, _, err := p.FindObjects(session, 100)
	if err != nil || len(found) != 8 { // three pairs
		t.Fatalf("%d objects, %v", len(found), err)
	}
	for _, o := range found {
		got, err := p.GetAttributeValue(session, o, []*p11.Attribute{{Type: p11.CKA_MODIFIABLE}, {Type: p11.CKA_COPYABLE}, {Type: p11.CKA_LABEL}, {Type: p11.CKA_CLASS}})
		if err != nil {
			t.Fatal(err)
		}
		copyable := bytes.Equal(got[3].Value, p11.NewAttribute(0, uint(p11.CKO_PUBLIC_KEY)).Value)
		if isTrue := got[1].Value[0] == 1; got[0].Value[0] == 1 || isTrue != copyable {
			t.Errorf("%s: modifiable %d, copyable %d", got[2].Value, got[0].Value, got[1].Value)
		}
	}
}

// TestVaultImported has a token compute with keys that the test knows.
func TestVaultImported(t *testing.T) {
	soft := tokentest.SoftHSM(t)
	mine, secret := newECDH(t), bytes.Repeat([]byte{5}, 32)
	soft.ImportMAC("mac", secret)
	soft.ImportEC("agree", mine.Bytes(), tokentest.Derive)
	soft.ImportEC("sign", mine.Bytes(), tokentest.Sign)
	soft.ImportAES("kek", bytes.Repeat([]byte{6}, 32), tokentest.Wrap)
	token := openToken(t, softConfig(soft))
	v, err := token.VaultKeys(t.Context(), pkcs11.VaultRef{Wrapping: "kek", MAC: "mac", Signing: "sign", Agreement: []string{"agree"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{0, 1, 64, 1000} {
		message := make([]byte, n)
		h := hmac.New(sha256.New, secret)
		h.Write(message)
		if got, err := v.MAC(t.Context(), message); err != nil || !bytes.Equal(got[:], h.Sum(nil)) {
			t.Errorf("%d bytes: %x, %v", n, got, err)
		}
	}
	if !v.AgreementKey("agree").Equal(mine.PublicKey()) {
		t.Error("the agreement key is another one")
	}
	if public, err := v.SigningKey().ECDH(); err != nil || !public.Equal(mine.PublicKey()) {
		t.Error("the signing key is another one")
	}
	// The token opens what it wrapped elsewhere, so that a blob needs nothing but the key.
	key, err := v.NewKey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	wrapped := soft.WrapEC("kek", p11.CKM_AES_KEY_WRAP_PAD, mine.Bytes())
	blob := append(bytes.Clone(key.Blob[:len(key.Blob)-len(wrapped)]), wrapped...)
	other := newECDH(t)
	want, err := mine.ECDH(other.PublicKey())
	if err != nil {
		t.Fatal(err)
	}
	got, err := v.ECDH(t.Context(), pkcs11.ECKey{Blob: blob, Public: mine.PublicKey()}, other.PublicKey())
	if err != nil || !bytes.Equal(got[0], want) {
		t.Errorf("%x, %v", got, err)
	}
}

// TestVaultRefuses has references and blobs that name nothing, or something else.
func TestVaultRefuses(t *testing.T) {
	soft := tokentest.SoftHSM(t)
	soft.ImportAES("aes", keyBytes["kw"], tokentest.Encrypt)
	soft.ImportEC("twice", newECDH(t).Bytes(), tokentest.Derive)
	soft.ImportEC("twice", newECDH(t).Bytes(), tokentest.Derive)
	token := openToken(t, softConfig(soft))
	v, err := token.GenerateVaultKeys(t.Context(), vaultRef)
	if err != nil {
		t.Fatal(err)
	}
	for name, ref := range map[string]pkcs11.VaultRef{
		"no such key":   {MAC: "other"},
		"another class": {Signing: "v-mac"},
		"another type":  {Wrapping: "v-mac"},
		"several":       {Agreement: []string{"twice"}},
	} {
		if _, err := token.VaultKeys(t.Context(), ref); !errors.Is(err, pkcs11.ErrKeyNotFound) || errors.Is(err, backends.ErrUnavailable) {
			t.Errorf("%s: %v, want %v", name, err, pkcs11.ErrKeyNotFound)
		}
	}
	for name, ref := range map[string]pkcs11.VaultRef{
		"a key that may not wrap":   {Wrapping: "aes"},
		"a key that may not sign":   {Signing: "v-agree-1"},
		"a key that may not derive": {Agreement: []string{"v-sign"}},
	} {
		if _, err := token.VaultKeys(t.Context(), ref); !errors.Is(err, backends.ErrUnavailable) || !errors.Is(err, pkcs11.ErrFailed) {
			t.Errorf("%s: %v, want %v", name, err, backends.ErrUnavailable)
		}
	}
	for name, ref := range map[string]pkcs11.VaultRef{
		"an empty label": {MAC: "x", Agreement: []string{""}}, "one label for two": {MAC: "x", Signing: "x"},
	} {
		if _, err := token.GenerateVaultKeys(t.Context(), ref); err == nil || !strings.Contains(err.Error(), "a label of its own") {
			t.Errorf("%s: %v", name, err)
		}
	}
	testBlobs(t, token, v)
}

func testBlobs(t *testing.T, token *pkcs11.Token, v *pkcs11.VaultKeys) {
	t.Helper()
	mine := newECDH(t)
	key, err := v.NewKey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i := range key.Blob {
		blob := bytes.Clone(key.Blob)
		blob[i] ^= 1
		if _, err := v.ECDH(t.Context(), pkcs11.ECKey{Blob: blob, Public: key.Public}, mine.PublicKey()); err == nil {
			t.Errorf("a blob with byte %d changed was used", i)
		}
	}
	other, err := token.GenerateVaultKeys(t.Context(), pkcs11.VaultRef{Wrapping: "other"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.ECDH(t.Context(), key, mine.PublicKey()); !errors.Is(err, pkcs11.ErrKeyNotFound) {
		t.Errorf("a blob of another wrapping key: %v, want %v", err, pkcs11.ErrKeyNotFound)
	}
	for name, call := range map[string]func() error{
		"MAC":   func() error { _, err := other.MAC(t.Context(), nil); return err },
		"Sign":  func() error { _, err := other.Sign(t.Context(), [32]byte{}); return err },
		"Agree": func() error { _, err := other.Agree(t.Context(), "v-agree-1", mine.PublicKey()); return err },
	} {
		if err := call(); !errors.Is(err, pkcs11.ErrKeyNotFound) {
			t.Errorf("%s with a key that was not named: %v, want %v", name, err, pkcs11.ErrKeyNotFound)
		}
	}
	if err := checkVault(t.Context(), v, key, mine); err != nil {
		t.Error(err)
	}
}

// TestVaultReplaced has another process put other keys in the place of those in use.
func TestVaultReplaced(t *testing.T) {
	soft := tokentest.SoftHSM(t)
	soft.ImportMAC("mac", bytes.Repeat([]byte{1}, 32))
	soft.ImportEC("sign", newECDH(t).Bytes(), tokentest.Sign)
	v, err := openToken(t, softConfig(soft)).VaultKeys(t.Context(), pkcs11.VaultRef{MAC: "mac", Signing: "sign"})
	if err != nil {
		t.Fatal(err)
	}
	soft.Destroy("mac")
	soft.ImportMAC("mac", bytes.Repeat([]byte{2}, 32))
	if _, err := v.MAC(t.Context(), []byte("message")); !errors.Is(err, pkcs11.ErrKeyNotFound) {
		t.Errorf("another key: %v, want %v", err, pkcs11.ErrKeyNotFound)
	}
	soft.Destroy("mac")
	if _, err := v.MAC(t.Context(), []byte("message")); !errors.Is(err, pkcs11.ErrKeyNotFound) {
		t.Errorf("no key: %v, want %v", err, pkcs11.ErrKeyNotFound)
	}
	soft.ImportMAC("mac", bytes.Repeat([]byte{1}, 32))
	if _, err := v.MAC(t.Context(), []byte("message")); err != nil {
		t.Errorf("the key again: %v", err)
	}
}

// TestExposures takes keys out of tokens, or sees that it cannot.
func TestExposures(t *testing.T) {
	soft := tokentest.SoftHSM(t)
	soft.ImportAES("imported", keyBytes["kw"], tokentest.Wrap)
	const (
		extractable = "a wrapped key can be unwrapped as one that may leave the token"
		generic     = "a wrapped key can be unwrapped as a generic secret"
		asAES       = "a wrapped key can be unwrapped as an AES key"
		again       = "a key in use can be wrapped under another key"
		copied      = "a copy of the wrapping key can be made that decrypts"
		modifiable  = "the wrapping key's attributes can be changed"
	)
	for name, c := range map[string]struct {
		cfg   pkcs11.Config
		label string
		want  []string
	}{
		"SoftHSM": {softConfig(soft), "made", nil},
		// Nothing is asked of what it unwraps, and it may be changed.
		"imported": {softConfig(soft), "imported", []string{extractable, generic, asAES, copied, modifiable}},
		"NSS":      {nssConfig(tokentest.NSS(t)), "made", []string{extractable, generic, again, copied}},
	} {
		t.Run(name, func(t *testing.T) {
			token, ref := openToken(t, c.cfg), pkcs11.VaultRef{Wrapping: c.label}
			open := token.GenerateVaultKeys
			if c.label == "imported" {
				open = token.VaultKeys
			}
			v, err := open(t.Context(), ref)
			if err != nil {
				t.Fatal(err)
			}
			got, err := v.Exposures(t.Context())
			if err != nil || !slices.Equal(got, c.want) {
				t.Errorf("%v: %q, want %q", err, got, c.want)
			}
		})
	}
}

// TestExposuresUnclear has a token that gives no reason for what it refuses, and one that
// fails.
func TestExposuresUnclear(t *testing.T) {
	r := newVaultRig(t, 5*time.Second)
	r.shim.Set("C_CopyObject GENERAL_ERROR")
	got, err := r.vault.Exposures(t.Context())
	if err != nil || len(got) != 1 || !strings.Contains(got[0], "does not say that it refuses") {
		t.Errorf("%v: %q, want one that is unclear", err, got)
	}
	r.shim.Set("C_CopyObject DEVICE_REMOVED")
	if got, err := r.vault.Exposures(t.Context()); !errors.Is(err, pkcs11.ErrFailed) {
		t.Errorf("%q, %v, want %v", got, err, pkcs11.ErrFailed)
	}
}
