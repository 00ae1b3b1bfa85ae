//go:build cgo

package wycheproof_test

import (
	"context"
	"testing"

	"github.com/coffer-backup/coffer/backends"
	"github.com/coffer-backup/coffer/backends/pkcs11"
	"github.com/coffer-backup/coffer/internal/tokentest"
)

// softHSM returns the backend of a token that computes AES-256-GCM as it is asked to.
func softHSM(t *testing.T) backends.Backend {
	t.Helper()
	soft := tokentest.SoftHSM(t)
	token, err := pkcs11.Open(t.Context(), pkcs11.Config{
		Module: soft.Module,
		Token:  soft.Label,
		PIN:    func(context.Context) ([]byte, error) { return []byte(soft.PIN), nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := token.Close(); err != nil {
			t.Error(err)
		}
	})
	bulk, err := token.Bulk(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return bulk
}
