// Package need is for tests that want something a machine may lack: a program,
// root, a device. Where it is absent the test is skipped and says how to get it;
// in CI, where everything is installed, a skip would hide a test that no longer
// runs, so there (CI=true in the environment) it is a failure.
package need

import (
	"os"
	"os/exec"
	"testing"
)

// Command returns the path of program name. install is the line that brings it,
// as "apt-get install zstd".
func Command(t testing.TB, name, install string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	That(t, err == nil, "needs the program "+name+": "+install)
	return path
}

// Root skips t unless it runs as root.
func Root(t testing.TB) {
	t.Helper()
	That(t, os.Geteuid() == 0, "needs root: run it with sudo")
}

// That skips t unless ok; lack says what is missing and how to get it.
func That(t testing.TB, ok bool, lack string) {
	t.Helper()
	switch {
	case ok:
	case os.Getenv("CI") == "true":
		t.Fatalf("CI must not skip this test: %s", lack)
	default:
		t.Skip(lack)
	}
}

// Long reports whether COFFER_LONG=1 asks for the forms of tests that take minutes.
func Long() bool { return os.Getenv("COFFER_LONG") == "1" }
