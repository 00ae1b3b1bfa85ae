//go:build cgo

package hsm_test

import (
	"bytes"
	"context"
	"testing"

	"github.com/miekg/pkcs11"
	"go.uber.org/goleak"

	backend "github.com/coffer-backup/coffer/backends/pkcs11"
	"github.com/coffer-backup/coffer/internal/tokentest"
	"github.com/coffer-backup/coffer/vault/evaluator"
	"github.com/coffer-backup/coffer/vault/evaluator/evaluatortest"
	"github.com/coffer-backup/coffer/vault/evaluator/hsm"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	inHSM  = hsm.Config{Label: "vault", Mode: evaluator.ModeHSM}
	sealed = hsm.Config{Label: "vault", Mode: evaluator.ModeSealed}
)

// A device is a token that keys can be imported to.
type device interface {
	ImportAES(label string, key []byte, usage tokentest.Usage)
	ImportMAC(label string, key []byte)
	ImportEC(label string, scalar []byte, usage tokentest.Usage)
	WrapEC(label string, mechanism uint, scalar []byte) []byte
}

func softConfig(s *tokentest.Soft) backend.Config {
	return backend.Config{Module: s.Module, Token: s.Label, PIN: pin(s.PIN)}
}

func nssConfig(n *tokentest.NSSToken) backend.Config {
	return backend.Config{Module: n.Module, InitArgs: n.InitArgs, Token: n.Label, PIN: pin(n.PIN)}
}

func pin(text string) func(context.Context) ([]byte, error) {
	return func(context.Context) ([]byte, error) { return []byte(text), nil }
}

func openToken(t testing.TB, c backend.Config) *backend.Token {
	t.Helper()
	token, err := backend.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := token.Close(); err != nil {
			t.Error(err)
		}
	})
	return token
}

// TestSuite has two independent tokens in both modes.
func TestSuite(t *testing.T) {
	soft := func(t *testing.T) (device, backend.Config) {
		s := tokentest.SoftHSM(t)
		return s, softConfig(s)
	}
	nss := func(t *testing.T) (device, backend.Config) {
		n := tokentest.NSS(t)
		return n, nssConfig(n)
	}
	for _, c := range []struct {
		name string
		new  func(*testing.T) (device, backend.Config)
		mode hsm.Config
	}{
		{"SoftHSM/hsm", soft, inHSM}, {"SoftHSM/sealed", soft, sealed},
		{"NSS/hsm", nss, inHSM}, {"NSS/sealed", nss, sealed},
	} {
		t.Run(c.name, func(t *testing.T) {
			evaluatortest.Run(t, func(t *testing.T, s *evaluatortest.Secrets) (evaluator.Evaluator, []evaluator.Key) {
				device, token := c.new(t)
				return importAll(t, device, token, c.mode, s)
			})
		})
	}
}

// importAll makes a vault of these secrets.
func importAll(t *testing.T, d device, tc backend.Config, c hsm.Config, s *evaluatortest.Secrets) (e evaluator.Evaluator, keys []evaluator.Key) {
	t.Helper()
	d.ImportMAC("vault-mac", s.MAC[:])
	d.ImportEC("vault-statement", s.Statement[:], tokentest.Sign)
	c.AKE = map[uint16]evaluator.Key{}
	if c.Mode == evaluator.ModeHSM {
		d.ImportAES("vault-kek", bytes.Repeat([]byte{7}, 32), tokentest.Wrap)
		for id, scalar := range s.AKE {
			c.AKE[id] = evaluator.Key{Public: scalar.Public()}
			d.ImportEC(c.Label+"-ake-"+string('0'+rune(id)), scalar[:], tokentest.Derive)
		}
		for _, scalar := range s.OPRF {
			wrapped := d.WrapEC("vault-kek", pkcs11.CKM_AES_KEY_WRAP_PAD, scalar[:])
			keys = append(keys, evaluator.Key{Blob: wrapped, Public: scalar.Public()})
		}
	}
	token := openToken(t, tc)
	if c.Mode == evaluator.ModeSealed {
		vault, err := token.VaultKeys(t.Context(), backend.VaultRef{MAC: "vault-mac", Signing: "vault-statement"})
		if err != nil {
			t.Fatal(err)
		}
		for id, scalar := range s.AKE {
			if c.AKE[id], err = evaluator.SealAKE(t.Context(), vault, id, &scalar); err != nil {
				t.Fatal(err)
			}
		}
		for _, scalar := range s.OPRF {
			key, err := evaluator.SealOPRF(t.Context(), vault, &scalar)
			if err != nil {
				t.Fatal(err)
			}
			keys = append(keys, key)
		}
	}
	e, err := hsm.Open(t.Context(), token, c)
	if err != nil {
		t.Fatal(err)
	}
	if c.Mode == evaluator.ModeHSM {
		// What a blob has before what the token gave is the same in all of a vault.
		made, err := e.NewKey(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for i := range keys {
			head := made.Blob[:len(made.Blob)-len(keys[i].Blob)]
			keys[i].Blob = append(bytes.Clone(head), keys[i].Blob...)
		}
	}
	return e, keys
}
