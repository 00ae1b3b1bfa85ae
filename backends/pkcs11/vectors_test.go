//go:build cgo

package pkcs11_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"path"
	"testing"

	"github.com/coffer-backup/coffer/backends/pkcs11"
	"github.com/coffer-backup/coffer/engine"
	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/internal/tokentest"
	"github.com/coffer-backup/coffer/keys"
	"github.com/coffer-backup/coffer/vectors"
)

// vectorTokens has a token for each mech, with the key of the vectors in it.
type vectorTokens struct {
	soft *tokentest.Soft
	nss  *tokentest.NSSToken
	shim *tokentest.ShimModule
	keys map[format.Mech]vectors.Hex // that were imported, by the mech's name
}

// config imports the key if it is new.
func (v *vectorTokens) config(t *testing.T, mech format.Mech, key vectors.Hex) pkcs11.Config {
	t.Helper()
	old, known := v.keys[mech]
	if known && !bytes.Equal(old, key) {
		t.Fatalf("the vectors have more than one key for %v", mech)
	}
	v.keys[mech] = key
	switch label := mech.String(); {
	case known:
	case mech == format.MechAESGCM:
		v.soft.ImportAES(label, key, tokentest.Encrypt)
	case mech == format.MechRSAOAEP:
		v.nss.ImportRSA(label, key)
	default:
		v.soft.ImportAES(label, key, tokentest.Wrap)
	}
	if mech == format.MechRSAOAEP { // SoftHSM has OAEP with SHA-1 alone
		return pkcs11.Config{Module: v.nss.Module, InitArgs: v.nss.InitArgs, Token: v.nss.Label, PIN: pin(v.nss.PIN)}
	}
	cfg := pkcs11.Config{Module: v.soft.Module, Token: v.soft.Label, PIN: pin(v.soft.PIN)}
	if mech == format.MechAESKWP {
		cfg.Module = v.shim.Module
	}
	return cfg
}

func pin(text string) func(context.Context) ([]byte, error) {
	return func(context.Context) ([]byte, error) { return []byte(text), nil }
}

// TestVectors opens the vectors of kind 3 with keys in tokens that are not ours:
// AES-GCM and AES-KW in SoftHSM as it is, AES-KWP in SoftHSM, which has it under
// another number, and RSA-OAEP in NSS.
func TestVectors(t *testing.T) {
	manifest, err := vectors.Load()
	if err != nil {
		t.Fatal(err)
	}
	tokens := &vectorTokens{soft: tokentest.SoftHSM(t), nss: tokentest.NSS(t), keys: map[format.Mech]vectors.Hex{}}
	tokens.shim = tokentest.Shim(t, tokens.soft.Module)
	tokens.shim.Set("mech 0x2109 hide", "mech 0x210B as 0x210A")
	ran := map[format.Mech]int{}
	for _, c := range manifest.Cases {
		if c.Needs != "kind-3" {
			continue
		}
		container, err := vectors.Files.ReadFile(c.File)
		if err != nil {
			t.Fatal(err)
		}
		mech := mechOf(t, container)
		ran[mech]++
		t.Run(path.Base(c.File), func(t *testing.T) {
			if len(c.Inputs.OtherKeys) != 1 {
				t.Fatalf("%d keys for tokens", len(c.Inputs.OtherKeys))
			}
			cfg := tokens.config(t, mech, c.Inputs.OtherKeys[0].Key)
			runVector(t, &c, container, cfg, mech)
		})
	}
	want := map[format.Mech]int{format.MechAESGCM: 4, format.MechAESKW: 2, format.MechAESKWP: 2, format.MechRSAOAEP: 4}
	if !maps.Equal(ran, want) {
		t.Errorf("ran %v, want %v", ran, want)
	}
}

func mechOf(t *testing.T, container []byte) format.Mech {
	t.Helper()
	h, _, err := format.ReadHeader(bytes.NewReader(container))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range h.Entries {
		if slot, _, err := e.Slot(); err == nil && slot.Kind == format.KindPKCS11 {
			p, err := slot.PKCS11Params()
			if err != nil {
				t.Fatal(err)
			}
			return p.Mech
		}
	}
	t.Fatal("there is no slot of kind 3")
	return 0
}

func runVector(t *testing.T, c *vectors.Case, container []byte, cfg pkcs11.Config, mech format.Mech) {
	token, err := pkcs11.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer token.Close()
	key, err := token.Key(t.Context(), pkcs11.KeyRef{Label: mech.String()})
	if err != nil {
		t.Fatal(err)
	}
	if key.Mech() != mech {
		t.Errorf("the key is for %v, want %v", key.Mech(), mech)
	}
	with := []keys.Identity{key}
	for _, k := range c.Inputs.AccountKeys {
		account, err := keys.AccountKeyFrom(k)
		if err != nil {
			t.Fatal(err)
		}
		with = append(with, account)
	}
	plain, err := readAll(t.Context(), container, with, &engine.ReaderOptions{AllowAnonymous: c.Inputs.AllowAnonymous})
	if got := vectorClass(err); got != c.Class {
		t.Errorf("the verdict is %q (%v), want %q", got, err, c.Class)
	}
	if want := c.Plaintext.Bytes()[:c.Released]; !bytes.Equal(plain, want) {
		t.Errorf("%d bytes %q were released, want %d bytes", len(plain), plain, len(want))
	}
	if err := token.Health(); err != nil {
		t.Errorf("the token is not well: %v", err)
	}
}

func readAll(ctx context.Context, container []byte, with []keys.Identity, opts *engine.ReaderOptions) ([]byte, error) {
	r, err := engine.NewReader(ctx, bytes.NewReader(container), with, opts)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// vectorClass knows the verdicts that the vectors of kind 3 have.
func vectorClass(err error) vectors.Class {
	var failure *pkcs11.Error
	switch {
	case err == nil:
		return vectors.OK
	case errors.As(err, &failure):
		return "failure of the token"
	case errors.Is(err, keys.ErrNoMatch):
		return vectors.NoKey
	case errors.Is(err, engine.ErrLimit):
		return vectors.Limit
	}
	return "another"
}
