package conformance_test

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/coffer-backup/coffer/internal/need"
	"github.com/coffer-backup/coffer/vectors/conformance"
)

// python is the system's, which has the libraries of its packages.
const python = "/usr/bin/python3"

// TestReferenceDecoder: the decoder that was written from SPEC.md alone agrees with
// every case.
func TestReferenceDecoder(t *testing.T) {
	need.Command(t, python, "apt-get install python3")
	imports := exec.Command(python, "-c", "import cryptography, zstandard, argon2")
	need.That(t, imports.Run() == nil, "needs libraries: apt-get install python3-cryptography python3-zstandard python3-argon2")
	command := []string{python, filepath.Join("..", "ref", "decode.py")}
	report, err := conformance.Run(t.Context(), command, &conformance.Options{Lacks: []string{"kind-5"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range report.Failed() {
		t.Error(r)
	}
	for _, a := range report.Areas() {
		t.Logf("%s: %d of %d wrong", a.Name, a.Failed, a.Runs)
	}
}
