package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain makes the command available as coffer to the scripts and, through PATH,
// to the other tests.
func TestMain(m *testing.M) {
	os.Setenv("GORACE", noRaceSleep)
	testscript.Main(m, map[string]func(){"coffer": tellingMain})
}

// peakFile names, in the environment of a command, the file that it leaves its
// /proc/self/status in.
const peakFile = "COFFER_TEST_PEAK_FILE"

// tellingMain is main that tells its peak memory. What the kernel counts for a parent has
// the parent's own as a floor.
func tellingMain() {
	code := run()
	if name := os.Getenv(peakFile); name != "" {
		status, err := os.ReadFile("/proc/self/status")
		if err == nil {
			err = os.WriteFile(name, status, 0o600)
		}
		if err != nil {
			panic(err)
		}
	}
	os.Exit(code)
}

// noRaceSleep is GORACE for the commands: under -race each would sleep for a second
// at its end.
const noRaceSleep = "atexit_sleep_ms=0"

func TestScripts(t *testing.T) {
	p := scriptParams(nil)
	p.Dir = "testdata/script"
	testscript.Run(t, p)
}

// scriptParams are those of a script, with more in its environment.
func scriptParams(environment map[string]string) testscript.Params {
	return testscript.Params{
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("TZ", "UTC")
			e.Setenv("GORACE", noRaceSleep)
			// The least that Argon2id takes: these tests are not about its cost.
			e.Setenv("CHEAP", "--argon2=t=1,m=8KiB,p=1")
			for name, value := range environment {
				e.Setenv(name, value)
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"status": cmdStatus,
			"flip":   cmdFlip,
			"cut":    cmdCut,
			"mode":   cmdMode,
			"keyset": cmdKeyset,
		},
		Condition: func(cond string) (bool, error) {
			switch cond {
			case "root":
				return os.Geteuid() == 0, nil
			case "cgo":
				return hasCgo, nil
			case "libzstd":
				return len(linked()) > 0, nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
	}
}

// status CODE PROGRAM [ARG...]: the program ends with this exit status.
func cmdStatus(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status CODE PROGRAM [ARG...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
}

// flip FILE OFFSET: flips a bit; a negative offset counts from the end.
func cmdFlip(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: flip FILE OFFSET")
	}
	path := ts.MkAbs(args[0])
	b, err := os.ReadFile(path)
	ts.Check(err)
	at, err := strconv.Atoi(args[1])
	ts.Check(err)
	if at < 0 {
		at += len(b)
	}
	b[at] ^= 1
	ts.Check(os.WriteFile(path, b, 0o600))
}

// cut FILE N: removes the last N bytes.
func cmdCut(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: cut FILE N")
	}
	path := ts.MkAbs(args[0])
	info, err := os.Stat(path)
	ts.Check(err)
	n, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	ts.Check(os.Truncate(path, info.Size()-n))
}

// mode FILE MODE: the file has this mode, as fs.FileMode prints it.
func cmdMode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: mode FILE MODE")
	}
	info, err := os.Lstat(ts.MkAbs(args[0]))
	ts.Check(err)
	if got := info.Mode().String(); got != args[1] {
		ts.Fatalf("%s has mode %s, want %s", args[0], got, args[1])
	}
}
