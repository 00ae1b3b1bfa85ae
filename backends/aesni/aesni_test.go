package aesni_test

import (
	"testing"

	"github.com/coffer-backup/coffer/backends/aesni"
	"github.com/coffer-backup/coffer/backends/backendtest"
	"github.com/coffer-backup/coffer/internal/need"
)

func TestBackend(t *testing.T) {
	b := aesni.New()
	need.That(t, len(b.Suites()) > 0, "needs a CPU with AES instructions")
	backendtest.Run(t, b)
}

func TestWithoutInstructions(t *testing.T) {
	b := new(aesni.Backend)
	if s := b.Suites(); len(s) > 0 {
		t.Errorf("Suites() = %v, want none", s)
	}
	backendtest.Run(t, b)
}
