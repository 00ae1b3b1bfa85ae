package tokentest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// An errand is what a child process does to the keys of a token. The child is the
// test's own program, which does nothing else if the environment says so.
type errand struct {
	Module, InitArgs, Token, PIN string

	Label   string
	AES     []byte
	Usage   Usage
	RSA     []byte // PKCS #8
	MAC     []byte
	EC      []byte // a scalar of P-256
	Wrap    uint   // by which mechanism the key with that label wraps EC
	Destroy bool
}

const errandVariable = "COFFER_TOKENTEST_ERRAND"

// run returns what the child printed.
func (e errand) run(t testing.TB, env ...string) []byte {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program)
	cmd.Stdin = bytes.NewReader(text)
	// The race detector would have the child sleep before it exits.
	return run(t, cmd, append(env, errandVariable+"=1", "GORACE=atexit_sleep_ms=0")...)
}

func init() {
	if os.Getenv(errandVariable) == "" {
		return
	}
	var e errand
	err := json.NewDecoder(os.Stdin).Decode(&e)
	if err == nil {
		err = e.do()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}
