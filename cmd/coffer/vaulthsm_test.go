//go:build linux && cgo

package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/coffer-backup/coffer/internal/tokentest"
)

func TestVaultHSM(t *testing.T) {
	s := tokentest.SoftHSM(t)
	p := vaultParams(map[string]string{"SOFTHSM2_CONF": s.Conf, "HSM": tokenURI(s, s.Module), "PIN": s.PIN})
	p.Dir = "testdata/vaulthsm"
	setup := p.Setup
	p.Setup = func(e *testscript.Env) error {
		if err := os.WriteFile(filepath.Join(e.WorkDir, "pin"), []byte(s.PIN+"\n"), 0o600); err != nil {
			return err
		}
		return setup(e)
	}
	testscript.Run(t, p)
}
