//go:build cgo

package pkcs11_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"strings"
	"testing"

	"github.com/coffer-backup/coffer/backends"
	"github.com/coffer-backup/coffer/backends/pkcs11"
	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/internal/tokentest"
)

func nssConfig(n *tokentest.NSSToken) pkcs11.Config {
	return pkcs11.Config{Module: n.Module, InitArgs: n.InitArgs, Token: n.Label, PIN: pin(n.PIN)}
}

// TestProbe shows what two independent tokens do, and why not the rest.
func TestProbe(t *testing.T) {
	const tooShort = "CKR_BUFFER_TOO_SMALL (the token gives a length that is too short"
	for name, c := range map[string]struct {
		cfg   pkcs11.Config
		lacks map[format.Mech]string // and why
	}{
		"SoftHSM": {softConfig(tokentest.SoftHSM(t)), map[format.Mech]string{format.MechAESKWP: "CKR_MECHANISM_INVALID", format.MechRSAOAEP: "CKR_ARGUMENTS_BAD"}},
		"NSS":     {nssConfig(tokentest.NSS(t)), map[format.Mech]string{format.MechAESGCM: tooShort, format.MechAESKWP: tooShort}},
	} {
		t.Run(name, func(t *testing.T) {
			token := openToken(t, c.cfg)
			modes, err := token.Probe(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for i, mode := range modes {
				why, lacks := c.lacks[mode.Mech]
				if mode.Mech != format.Mech(i+1) || lacks != (mode.Err != nil) || lacks && !strings.Contains(mode.Err.Error(), why) {
					t.Errorf("%v: %v, want %q", mode.Mech, mode.Err, why)
				}
			}
			if len(modes) != 4 || token.Health() != nil {
				t.Errorf("%v, %v", modes, token.Health())
			}
		})
	}
}

// TestNSS makes keys in a token that has AES-KW and RSA-OAEP.
func TestNSS(t *testing.T) {
	nss := tokentest.NSS(t)
	token := openToken(t, nssConfig(nss))
	for _, spec := range []pkcs11.KeySpec{{Label: "kw"}, {Label: "rsa", Mech: format.MechRSAOAEP}} {
		want := spec.Mech
		if want == 0 {
			want = format.MechAESKW
		}
		key, err := token.GenerateKey(t.Context(), spec)
		if err != nil || key.Mech() != want {
			t.Fatalf("%v, want a key for %v", err, want)
		}
		roundTrip(t, key)
		found, err := token.Key(t.Context(), pkcs11.KeyRef{ID: key.ID(), Check: key.CheckValue()})
		if err != nil || found.Label() != spec.Label {
			t.Errorf("%v", err)
		}
		// The token would replace the key.
		if _, err := token.GenerateKey(t.Context(), pkcs11.KeySpec{Label: "other", ID: key.ID(), Mech: want}); !errors.Is(err, pkcs11.ErrKeyExists) {
			t.Errorf("a second key of an id: %v, want %v", err, pkcs11.ErrKeyExists)
		}
		roundTrip(t, key)
	}
}

// TestNSSBulk has a token that the binding gets no AES-GCM from.
func TestNSSBulk(t *testing.T) {
	token := openToken(t, nssConfig(tokentest.NSS(t)))
	bulk, err := token.Bulk(t.Context())
	var typed *pkcs11.Error
	if bulk != nil || !errors.Is(err, backends.ErrUnavailable) || !errors.As(err, &typed) ||
		!strings.Contains(err.Error(), "CKR_BUFFER_TOO_SMALL") || strings.Count(err.Error(), "NSS Certificate DB") != 1 || !strings.Contains(err.Error(), "its keys may wrap") {
		t.Errorf("%v, want %v and why", err, backends.ErrUnavailable)
	}
	if err := token.Health(); err != nil {
		t.Errorf("Health: %v", err)
	}
}

// TestTypes has an AES and an RSA key under one label, which type= tells apart.
func TestTypes(t *testing.T) {
	nss := tokentest.NSS(t)
	secret, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	nss.ImportAES("both", keyBytes["kw"], tokentest.Wrap)
	nss.ImportRSA("both", private)
	token := openToken(t, nssConfig(nss))
	for typ, want := range map[string]format.Mech{pkcs11.TypeSecret: format.MechAESKW, pkcs11.TypePrivate: format.MechRSAOAEP} {
		key, err := token.Key(t.Context(), pkcs11.KeyRef{Label: "both", Type: typ})
		if err != nil || key.Mech() != want {
			t.Errorf("%s: %v, %v, want %v", typ, key, err, want)
			continue
		}
		roundTrip(t, key)
	}
	if _, err := token.Key(t.Context(), pkcs11.KeyRef{Label: "both"}); !errors.Is(err, pkcs11.ErrKeyNotFound) || strings.Count(err.Error(), `"both" (id `) != 2 {
		t.Errorf("%v, want %v and both ids", err, pkcs11.ErrKeyNotFound)
	}
}

// TestNoInitArgs leaves out what the library has to be told.
func TestNoInitArgs(t *testing.T) {
	cfg := nssConfig(tokentest.NSS(t))
	cfg.InitArgs = ""
	_, err := pkcs11.Open(t.Context(), cfg)
	if !errors.Is(err, pkcs11.ErrFailed) || !strings.Contains(err.Error(), "x-coffer-init-args") {
		t.Errorf("%v, want %v and what is missing", err, pkcs11.ErrFailed)
	}
}
