package tokentest

import (
	_ "embed"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

//go:embed testdata/rate.c
var rateSource string

// Rate compiles a program that does AES-256-GCM in the first token by plain calls of
// its library, without Go. What it returns runs the program: each of sessions seals or
// opens ("seal", "open") so many messages of 64 KiB, and how long that took is returned.
func (s *Soft) Rate(t testing.TB) func(do string, sessions, messages int) time.Duration {
	t.Helper()
	program := filepath.Join(t.TempDir(), "rate")
	compile(t, rateSource, program)
	return func(do string, sessions, messages int) time.Duration {
		t.Helper()
		cmd := exec.Command(program, s.Module, s.Label, s.PIN, do, strconv.Itoa(sessions), strconv.Itoa(messages))
		cmd.Env = append(os.Environ(), "SOFTHSM2_CONF="+s.Conf)
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v", cmd, err)
		}
		ns, err := strconv.ParseInt(strings.TrimSpace(string(out)), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return time.Duration(ns)
	}
}
