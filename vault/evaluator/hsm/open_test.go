//go:build cgo

package hsm_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/coffer-backup/coffer/backends"
	backend "github.com/coffer-backup/coffer/backends/pkcs11"
	"github.com/coffer-backup/coffer/internal/tokentest"
	"github.com/coffer-backup/coffer/vault/evaluator"
	"github.com/coffer-backup/coffer/vault/evaluator/hsm"
)

// generate makes a vault and opens it.
func generate(t testing.TB, token *backend.Token, c hsm.Config) (hsm.Config, evaluator.Evaluator) {
	t.Helper()
	var err error
	if c.AKE, err = hsm.Generate(t.Context(), token, c); err != nil {
		t.Fatal(err)
	}
	e, err := hsm.Open(t.Context(), token, c)
	if err != nil {
		t.Fatal(err)
	}
	return c, e
}

// login is what a vault has an evaluator do for one login, and compares what can be.
func login(t testing.TB, e evaluator.Evaluator, key evaluator.Key) error {
	scalar := evaluator.Scalar{31: byte(1 + rand.IntN(255))}
	for public, multiply := range map[evaluator.Point]func(evaluator.Point) (evaluator.Point, error){
		key.Public: func(p evaluator.Point) (evaluator.Point, error) { return e.Evaluate(t.Context(), key, p) },
		e.Info().AKE[hsm.FirstAKE]: func(p evaluator.Point) (evaluator.Point, error) {
			return e.Agree(t.Context(), hsm.FirstAKE, p)
		},
	} {
		want, err := scalar.Mul(public)
		if err != nil {
			return err
		}
		got, err := multiply(scalar.Public())
		if err != nil {
			return err
		}
		if got != want {
			return fmt.Errorf("%x, want %x", got, want)
		}
	}
	for range 3 {
		if _, err := e.MAC(t.Context(), []byte("message")); err != nil {
			return err
		}
	}
	return nil
}

// TestGenerate makes vaults, changes their AKE keys, and finds everything again.
func TestGenerate(t *testing.T) {
	soft := tokentest.SoftHSM(t)
	token := openToken(t, softConfig(soft))
	for _, c := range []hsm.Config{{Label: "one", Mode: evaluator.ModeHSM}, {Label: "two", Mode: evaluator.ModeSealed}} {
		t.Run(c.Mode, func(t *testing.T) {
			c, e := generate(t, token, c)
			if _, err := hsm.Generate(t.Context(), token, c); !errors.Is(err, backend.ErrKeyExists) {
				t.Errorf("again: %v, want %v", err, backend.ErrKeyExists)
			}
			key, err := e.NewKey(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			mac, err := e.MAC(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			second, err := hsm.GenerateAKE(t.Context(), token, c, 2)
			if err != nil {
				t.Fatal(err)
			}
			c.AKE = maps.Clone(c.AKE)
			c.AKE[2] = second
			if _, err := hsm.GenerateAKE(t.Context(), token, c, 2); err == nil {
				t.Error("an AKE key of the same id was made")
			}
			again, err := hsm.Open(t.Context(), openToken(t, softConfig(soft)), c)
			if err != nil {
				t.Fatal(err)
			}
			info := again.Info()
			if info.Mode != c.Mode || info.Statement != e.Info().Statement || info.AKE[1] != e.Info().AKE[1] || info.AKE[2] != second.Public || len(info.AKE) != 2 {
				t.Errorf("%+v, before %+v", info, e.Info())
			}
			if got, err := again.MAC(t.Context(), nil); err != nil || got != mac {
				t.Errorf("another MAC, %v", err)
			}
			if err := login(t, again, key); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestOpenRefuses has configurations that are not those of the token.
func TestOpenRefuses(t *testing.T) {
	token := openToken(t, softConfig(tokentest.SoftHSM(t)))
	one, _ := generate(t, token, hsm.Config{Label: "one", Mode: evaluator.ModeHSM})
	two, _ := generate(t, token, hsm.Config{Label: "two", Mode: evaluator.ModeSealed})
	scalar := evaluator.NewScalar()
	for name, c := range map[string]struct {
		config hsm.Config
		says   string
	}{
		"no label":               {hsm.Config{Mode: evaluator.ModeHSM}, "label"},
		"no mode":                {hsm.Config{Label: "one"}, `mode ""`},
		"mode software":          {hsm.Config{Label: "one", Mode: evaluator.ModeSoftware}, `mode "software"`},
		"another label":          {hsm.Config{Label: "three", Mode: evaluator.ModeHSM, AKE: one.AKE}, `"three-kek"`},
		"no AKE key":             {hsm.Config{Label: "one", Mode: evaluator.ModeHSM}, "no AKE key"},
		"no AKE key, sealed":     {hsm.Config{Label: "two", Mode: evaluator.ModeSealed}, "no AKE key"},
		"an AKE key of that id":  {hsm.Config{Label: "one", Mode: evaluator.ModeHSM, AKE: map[uint16]evaluator.Key{1: one.AKE[1], 7: {}}}, `"one-ake-7"`},
		"another AKE key":        {hsm.Config{Label: "one", Mode: evaluator.ModeHSM, AKE: map[uint16]evaluator.Key{1: {Public: scalar.Public()}}}, "AKE key 1"},
		"a sealed AKE key":       {hsm.Config{Label: "one", Mode: evaluator.ModeHSM, AKE: two.AKE}, "AKE key 1"},
		"a sealed vault as hsm":  {hsm.Config{Label: "two", Mode: evaluator.ModeHSM, AKE: two.AKE}, `"two-kek"`},
		"another vault's sealed": {hsm.Config{Label: "one", Mode: evaluator.ModeSealed, AKE: two.AKE}, "AKE key 1"},
	} {
		if e, err := hsm.Open(t.Context(), token, c.config); e != nil || err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
}

// TestGuarantees compares what is said of a token with what it does.
func TestGuarantees(t *testing.T) {
	said := func(t *testing.T, e evaluator.Evaluator, text string) bool {
		t.Helper()
		return slices.ContainsFunc(e.Info().Guarantees, func(g string) bool { return strings.Contains(g, text) })
	}
	soft := tokentest.SoftHSM(t)
	soft.ImportAES("plain-kek", make([]byte, 32), tokentest.Wrap) // it demands nothing of what it unwraps
	token := openToken(t, softConfig(soft))
	_, e := generate(t, token, inHSM)
	if !said(t, e, "Online guesses only") || said(t, e, "As sealed") || said(t, e, "Seen at this start") {
		t.Errorf("keys that were made: %q", e.Info().Guarantees)
	}
	plain := hsm.Config{Label: "plain", Mode: evaluator.ModeHSM}
	ref := backend.VaultRef{MAC: "plain-mac", Signing: "plain-statement", Agreement: []string{"plain-ake-1"}}
	keys, err := token.GenerateVaultKeys(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	public := keys.AgreementKey("plain-ake-1").Bytes()
	plain.AKE = map[uint16]evaluator.Key{1: {Public: evaluator.Point(append([]byte{2 + public[64]&1}, public[1:33]...))}}
	if e, err = hsm.Open(t.Context(), token, plain); err != nil {
		t.Fatal(err)
	}
	if said(t, e, "Online guesses only") || !said(t, e, "As sealed") || !said(t, e, "Seen at this start: a wrapped key can be unwrapped as one that may leave the token.") {
		t.Errorf("a wrapping key that demands nothing: %q", e.Info().Guarantees)
	}
	nss := openToken(t, nssConfig(tokentest.NSS(t)))
	_, e = generate(t, nss, inHSM)
	if said(t, e, "Online guesses only") || !said(t, e, "As sealed") || !said(t, e, "wrapped under another key") {
		t.Errorf("a token that ignores the template: %q", e.Info().Guarantees)
	}
	// Neither is a device, in whichever mode.
	for _, token := range []*backend.Token{token, nss} {
		for _, c := range []hsm.Config{{Label: "one", Mode: evaluator.ModeHSM}, {Label: "two", Mode: evaluator.ModeSealed}} {
			if _, e = generate(t, token, c); e.Info().Guarantees[0] != hsm.OnlyFiles || len(e.Info().Guarantees) < 3 {
				t.Errorf("%s: %q", c.Mode, e.Info().Guarantees)
			}
		}
	}
}

// TestUnable takes from a token what a mode needs: the start fails, before and after keys
// were made, and only that mode's.
func TestUnable(t *testing.T) {
	for what, rule := range map[string]string{
		"ECDH": "mech 0x1050 hide", "wrapping": "C_WrapKey FUNCTION_NOT_SUPPORTED", "a value that may be read": "C_DeriveKey TEMPLATE_INCONSISTENT",
	} {
		t.Run(what, func(t *testing.T) {
			soft := tokentest.SoftHSM(t)
			shim := tokentest.Shim(t, soft.Module)
			config := softConfig(soft)
			config.Module = shim.Module
			token := openToken(t, config)
			c, _ := generate(t, token, inHSM)
			shim.Set(rule)
			defer shim.Clear()
			if _, err := hsm.Open(t.Context(), token, c); !errors.Is(err, backends.ErrUnavailable) || !strings.Contains(err.Error(), "mode hsm") {
				t.Errorf("Open: %v, want %v", err, backends.ErrUnavailable)
			}
			if _, err := hsm.Generate(t.Context(), token, hsm.Config{Label: "new", Mode: evaluator.ModeHSM}); !errors.Is(err, backends.ErrUnavailable) {
				t.Errorf("Generate: %v, want %v", err, backends.ErrUnavailable)
			}
			generate(t, token, hsm.Config{Label: "other", Mode: evaluator.ModeSealed})
		})
	}
}
