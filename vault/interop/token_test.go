//go:build cgo

package interop_test

import (
	"context"
	"testing"

	"github.com/coffer-backup/coffer/backends/pkcs11"
	"github.com/coffer-backup/coffer/internal/tokentest"
	"github.com/coffer-backup/coffer/vault/evaluator"
	"github.com/coffer-backup/coffer/vault/evaluator/hsm"
)

// A vault whose keys are in a token.
func TestToken(t *testing.T) {
	node := startNode(t)
	s := tokentest.SoftHSM(t)
	token, err := pkcs11.Open(t.Context(), pkcs11.Config{
		Module: s.Module, Token: s.Label, PIN: func(context.Context) ([]byte, error) { return []byte(s.PIN), nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := token.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, mode := range []string{evaluator.ModeHSM, evaluator.ModeSealed} {
		t.Run(mode, func(t *testing.T) {
			c := hsm.Config{Label: mode, Mode: mode}
			if c.AKE, err = hsm.Generate(t.Context(), token, c); err != nil {
				t.Fatal(err)
			}
			ev, err := hsm.Open(t.Context(), token, c)
			if err != nil {
				t.Fatal(err)
			}
			if got := ev.Info().Mode; got != mode {
				t.Fatalf("mode %s", got)
			}
			newWorld(t, node, ev).bothWays(1)
		})
	}
}
