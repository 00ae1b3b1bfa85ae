package software_test

import (
	"slices"
	"testing"

	"github.com/coffer-backup/coffer/backends/backendtest"
	"github.com/coffer-backup/coffer/backends/software"
	"github.com/coffer-backup/coffer/format"
)

func TestBackend(t *testing.T) { backendtest.Run(t, software.New()) }

func TestPrefersChaCha(t *testing.T) {
	want := []format.Suite{format.ChaCha20Poly1305, format.AES256GCM}
	if got := software.New().Suites(); !slices.Equal(got, want) {
		t.Errorf("Suites() = %v, want %v", got, want)
	}
}
