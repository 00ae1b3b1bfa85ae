package tokentest

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coffer-backup/coffer/internal/need"
)

// compile makes out of a file of C, with the headers of PKCS#11 that the Go binding
// has.
func compile(t testing.TB, source, out string, flags ...string) {
	t.Helper()
	gcc := need.Command(t, "gcc", "apt-get install gcc libc6-dev")
	goTool := need.Command(t, "go", "it finds the headers of PKCS#11")
	headers, err := exec.Command(goTool, "list", "-m", "-f", "{{.Dir}}", "github.com/miekg/pkcs11").Output()
	if err != nil {
		t.Fatalf("finding the headers of PKCS#11: %v", err)
	}
	file := filepath.Join(t.TempDir(), "source.c")
	write(t, file, source)
	args := append(flags, "-O2", "-Wall", "-Wextra", "-Werror", "-isystem", strings.TrimSpace(string(headers)), "-o", out, file, "-ldl", "-pthread")
	run(t, exec.Command(gcc, args...))
}
