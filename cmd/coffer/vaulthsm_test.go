//go:build linux && cgo

package main

import (
	"os"
	"path/filepath"
	"strings"
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

// An init that fails after it has made keys says which, and one that made none does not.
func TestVaultInitLeavesKeys(t *testing.T) {
	s := tokentest.SoftHSM(t)
	t.Setenv("SOFTHSM2_CONF", s.Conf)
	shim := tokentest.Shim(t, s.Module)
	p := newPlace(t)
	if err := os.WriteFile(p.path("pin"), []byte(s.PIN+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	shim.Set("C_DeriveKey TEMPLATE_INCONSISTENT")
	c := p.cmd("vault", "init", "v", "--mode", "hsm", "--label", "mine", "--hsm", tokenURI(s, shim.Module), "--hsm-pin-file", "pin")
	code, stderr := status(t, c)
	if code != 1 || !strings.Contains(stderr, "keys whose labels begin with mine- may be left in the token") {
		t.Errorf("exit status %d\n%s", code, stderr)
	}
	if entries, err := os.ReadDir(p.path("v")); err != nil || len(entries) > 0 {
		t.Errorf("%v, %v", entries, err)
	}
	shim.Clear()
	c = p.cmd("vault", "init", "v", "--mode", "hsm", "--label", "mine", "--hsm", tokenURI(s, shim.Module), "--hsm-pin-file", "pin")
	if code, stderr = status(t, c); code != 1 || !strings.Contains(stderr, "nothing was made: give another --label") {
		t.Errorf("they are not there: exit status %d\n%s", code, stderr)
	}
	c = p.cmd("vault", "init", "v", "--mode", "hsm", "--hsm", tokenURI(s, shim.Module)+"&pin-source=/nonexistent")
	if code, stderr = status(t, c); code == 0 || strings.Contains(stderr, "may be left") {
		t.Errorf("exit status %d\n%s", code, stderr)
	}
}
