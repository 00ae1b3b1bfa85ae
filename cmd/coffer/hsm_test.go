//go:build linux && cgo

package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/coffer-backup/coffer/backends/pkcs11"
	"github.com/coffer-backup/coffer/internal/tokentest"
)

// Each script has a SoftHSM of its own, with an empty token.
func TestHSM(t *testing.T) {
	scripts, err := filepath.Glob("testdata/hsm/*.txtar")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range scripts {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			s := tokentest.SoftHSM(t)
			s.Init("second")
			p := scriptParams(map[string]string{
				"SOFTHSM2_CONF": s.Conf,
				"MODULE":        s.Module,
				"HSM":           tokenURI(s, s.Module),
			})
			p.Files = []string{file}
			testscript.Run(t, p)
		})
	}
}

// A second token, of another make.
func TestNSS(t *testing.T) {
	n := tokentest.NSS(t)
	uri := pkcs11.URI{Config: pkcs11.Config{Module: n.Module, InitArgs: n.InitArgs, Token: n.Label}}
	p := scriptParams(map[string]string{"HSM": uri.String()})
	p.Dir = "testdata/nss"
	testscript.Run(t, p)
}

func tokenURI(s *tokentest.Soft, module string) string {
	return (&pkcs11.URI{Config: pkcs11.Config{Module: module, Token: s.Label}}).String()
}

// A tokenPlace is a place with a token behind a shim, whose key is hsm, and a PIN file.
type tokenPlace struct {
	place
	*tokentest.Soft
	shim *tokentest.ShimModule
	hsm  string // URI
}

func newTokenPlace(t *testing.T) tokenPlace {
	t.Helper()
	p := tokenPlace{place: newPlace(t), Soft: tokentest.SoftHSM(t)}
	p.shim = tokentest.Shim(t, p.Module)
	t.Cleanup(p.shim.Clear) // what hangs ends
	writeFile(t, p.path("pin"), []byte(p.PIN+"\n"))
	c := p.cmd("hsm", "init", "--hsm", tokenURI(p.Soft, p.shim.Module), "--hsm-pin-file", "pin")
	var uri bytes.Buffer
	c.Stdout = &uri
	if code, stderr := status(t, c); code != 0 {
		t.Fatalf("coffer hsm init: exit status %d\n%s", code, stderr)
	}
	p.hsm = strings.TrimSpace(uri.String())
	return p
}

// flags are those that the token is opened with.
func (p tokenPlace) flags(more ...string) []string {
	return append([]string{"--hsm", p.hsm, "--hsm-pin-file", "pin"}, more...)
}

// A bulkBackup is a seal in the token that has read half of its input.
type bulkBackup struct {
	tokenPlace
	cmd    *exec.Cmd
	stderr bytes.Buffer
	stdin  io.WriteCloser
}

const bulkHalf = 8 << 20

func (p tokenPlace) startBulk(more ...string) *bulkBackup {
	p.t.Helper()
	writeFile(p.t, p.path("out"), []byte("old"))
	args := append([]string{"seal", "--backend", "pkcs11", "--level", "store", "--force", "-o", "out"}, p.flags(more...)...)
	b := &bulkBackup{tokenPlace: p, cmd: p.place.cmd(args...)}
	b.cmd.Stderr = &b.stderr
	var err error
	if b.stdin, err = b.cmd.StdinPipe(); err != nil {
		p.t.Fatal(err)
	}
	if err := b.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	if _, err := io.CopyN(b.stdin, newTextReader(bulkHalf), bulkHalf); err != nil {
		p.t.Fatalf("%v\n%s", err, &b.stderr)
	}
	waitFor(p.t, "the temporary file", p.hasTemp)
	return b
}

// finish gives it the rest and returns how it ended, and how long that took.
func (b *bulkBackup) finish() (state *os.ProcessState, took time.Duration) {
	start := time.Now()
	go func() {
		_, _ = io.CopyN(b.stdin, newTextReader(bulkHalf), bulkHalf) // it fails when the command ends
		b.stdin.Close()
	}()
	stuck := time.AfterFunc(30*time.Second, func() { _ = b.cmd.Process.Kill() })
	defer stuck.Stop()
	_ = b.cmd.Wait()
	return b.cmd.ProcessState, time.Since(start)
}

// wantOld demands that the file which was to be replaced is as it was.
func (b *bulkBackup) wantOld() {
	b.t.Helper()
	if now, err := os.ReadFile(b.path("out")); string(now) != "old" {
		b.t.Errorf("the old file is now %d bytes, %v", len(now), err)
	}
}

// works demands that the token does all again.
func (p tokenPlace) works() {
	p.t.Helper()
	p.shim.Clear()
	p.ok(append([]string{"seal", "--backend", "pkcs11", "--verify", "--force", "-o", "again", "k"}, p.flags()...)...)
	p.ok(append([]string{"open", "--force", "-o", "opened", "again"}, p.flags()...)...)
}

// A token that fails in the middle of a backup fails the backup: nothing else encrypts
// in its place, and the old file stays.
func TestBulkFails(t *testing.T) {
	p := newTokenPlace(t)
	for _, c := range []struct {
		rule, want string
		more       []string
		limit      time.Duration
	}{
		{"C_Encrypt DEVICE_REMOVED", "coffer: ", nil, 15 * time.Second},
		{"* DEVICE_ERROR", "coffer: ", nil, 15 * time.Second},
		{"C_Encrypt hang", "--hsm-timeout sets how long to wait", []string{"--hsm-timeout", "1s"}, 10 * time.Second},
		{"* hang", "--hsm-timeout sets how long to wait", []string{"--hsm-timeout", "1s"}, 10 * time.Second},
	} {
		b := p.startBulk(c.more...)
		p.shim.Set(c.rule)
		state, took := b.finish()
		if state.ExitCode() != 1 || took > c.limit {
			t.Errorf("%s: %v after %v\n%s", c.rule, state, took, &b.stderr)
		}
		if !strings.Contains(b.stderr.String(), c.want) || !strings.Contains(b.stderr.String(), p.Label) {
			t.Errorf("%s: it says\n%s", c.rule, &b.stderr)
		}
		b.wantOld()
		p.noTemps()
		p.works()
	}
}

// A library that dies takes the command with it, and leaves nothing under the name.
func TestBulkAborts(t *testing.T) {
	p := newTokenPlace(t)
	b := p.startBulk()
	p.shim.Set("C_Encrypt abort")
	state, _ := b.finish()
	if state.Success() {
		t.Errorf("%v\n%s", state, &b.stderr)
	}
	b.wantOld()
	p.works()
	p.ok("seal", "--key-file", "k", "--force", "-o", "next", "k")
	p.noTemps()
}

// A library that hangs does not keep a command that was told to end, nor what it says.
func TestInterruptedToken(t *testing.T) {
	p := newTokenPlace(t)
	interrupt := func(what string, c *exec.Cmd, said *bytes.Buffer, want string) {
		t.Helper()
		start := time.Now()
		if err := c.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		_ = c.Wait()
		if code, took := c.ProcessState.ExitCode(), time.Since(start); code != exitInterrupted || took > grace+time.Second {
			t.Errorf("%s: exit status %d after %v", what, code, took)
		}
		if said.String() != want {
			t.Errorf("%s: it says %q", what, said)
		}
	}
	for _, fn := range []string{"C_Initialize", "C_Login", "C_EncryptInit"} {
		p.shim.Set(fn + " hang")
		before := p.shim.Calls(fn)
		c := p.place.cmd(append([]string{"seal", "--json", "-o", "fresh", "k"}, p.flags()...)...)
		var stdout bytes.Buffer
		c.Stdout = &stdout
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		waitFor(t, fn, func() bool { return p.shim.Calls(fn) > before })
		interrupt(fn, c, &stdout, `{"type":"error","code":130,"class":"interrupted","message":"interrupted"}`+"\n")
		p.noTemps()
		if _, err := os.Lstat(p.path("fresh")); err == nil {
			t.Errorf("%s: there is a file", fn)
		}
	}
	p.shim.Clear()

	b := p.startBulk()
	before := p.shim.Calls("C_Encrypt")
	p.shim.Set("C_Encrypt hang")
	go func() { _, _ = io.CopyN(b.stdin, newTextReader(bulkHalf), bulkHalf) }()
	waitFor(t, "C_Encrypt", func() bool { return p.shim.Calls("C_Encrypt") > before })
	interrupt("bulk", b.cmd, &b.stderr, "coffer: interrupted\n")
	b.wantOld()
	p.works()
}

// A wrong PIN is given to the token once, whatever the command tries.
func TestWrongPINOnce(t *testing.T) {
	p := newTokenPlace(t)
	p.ok(append([]string{"seal", "-o", "c", "k"}, p.flags("--passphrase-command", "echo sesame", "--argon2", "t=1,m=8KiB,p=1")...)...)
	writeFile(t, p.path("wrong"), []byte("654321\n"))
	for _, args := range [][]string{
		{"open", "c"}, {"verify", "c"}, {"restore", "-C", "out", "c"}, {"seal", "-o", "x", "k"}, {"hsm", "status"}, {"hsm", "selftest"},
		{"hsm", "init"}, {"backends"}, {"verify", "--backend", "pkcs11", "c"},
	} {
		uri := p.hsm
		if args[len(args)-1] == "init" {
			uri = tokenURI(p.Soft, p.shim.Module)
		}
		before := p.shim.Calls("C_Login")
		code, stderr := status(t, p.cmd(append(args, "--hsm", uri, "--hsm-pin-file", "wrong")...))
		if code != statusNoKey.code || !strings.Contains(stderr, "it was tried once") {
			t.Errorf("%s: exit status %d\n%s", args, code, stderr)
		}
		if n := p.shim.Calls("C_Login") - before; n != 1 {
			t.Errorf("%s: the PIN was given %d times", args, n)
		}
	}
	for code, want := range map[string]string{"PIN_LOCKED": "security officer unlocks it", "PIN_EXPIRED": "change it with the token's own tool"} {
		p.shim.Set("C_Login " + code)
		rc, stderr := status(t, p.cmd("open", "--hsm", p.hsm, "--hsm-pin-file", "pin", "c"))
		if rc != statusNoKey.code || !strings.Contains(stderr, want) || strings.Contains(stderr, "tried once") {
			t.Errorf("%s: exit status %d\n%s", code, rc, stderr)
		}
	}
	p.shim.Clear()
	// Another key opens it all the same, and the failure is told.
	code, stderr := status(t, p.cmd("verify", "--hsm", p.hsm, "--hsm-pin-file", "wrong", "--passphrase-command", "echo sesame", "c"))
	if code != 0 || !strings.Contains(stderr, "another key opened it, as the token could not: ") {
		t.Errorf("with a passphrase: exit status %d\n%s", code, stderr)
	}
}

// The PIN is in no argument, no environment and nothing that a command says.
func TestPINStaysSecret(t *testing.T) {
	p := newTokenPlace(t)
	const pin = "Tr0ub4dor&3"
	p.PIN = pin
	p.Init("secretive")
	p.Label = "secretive"
	uri := tokenURI(p.Soft, p.shim.Module)
	writeFile(t, p.path("pin"), []byte(pin+"\n"))
	writeFile(t, p.path("wrong"), []byte(pin+"!\n"))
	said := func(env []string, args ...string) {
		t.Helper()
		for _, mode := range [][]string{nil, {"--json"}} {
			c := p.cmd(append(args, mode...)...)
			c.Env = append(os.Environ(), env...)
			out, _ := c.CombinedOutput()
			if len(out) == 0 || bytes.Contains(out, []byte(pin)) {
				t.Errorf("coffer %s: %q", strings.Join(args, " "), out)
			}
		}
	}
	said(nil, "hsm", "init", "--hsm", uri, "--hsm-pin-file", "pin")
	for _, file := range []string{"pin", "wrong"} {
		said(nil, "hsm", "status", "--hsm", uri, "--hsm-pin-file", file)
		said(nil, "hsm", "selftest", "--hsm", uri, "--hsm-pin-file", file)
		said(nil, "backends", "--hsm", uri, "--hsm-pin-file", file)
		said(nil, "seal", "--force", "-o", "c", "--hsm", uri, "--hsm-pin-file", file, "k")
		said([]string{"COFFER_HSM=" + uri, "COFFER_HSM_PIN_FILE=" + file}, "verify", "c")
	}
	for _, bad := range []string{uri + "&pin-value=" + "Tr0ub4dor%263", uri + "&pin-value=" + pin} {
		said(nil, "verify", "--hsm", bad, "c")
		said([]string{"COFFER_HSM=" + bad}, "verify", "c")
	}
	p.shim.Set("C_Login FUNCTION_FAILED")
	said(nil, "verify", "--hsm", uri, "--hsm-pin-file", "pin", "c")
}

// Every object of the hsm commands is one line of JSON with a type.
func TestHSMObjects(t *testing.T) {
	p := newTokenPlace(t)
	types := map[string]int{}
	for _, args := range [][]string{{"hsm", "status"}, {"hsm", "selftest"}, {"backends"}} {
		c := p.cmd(append(args, p.flags("--json")...)...)
		var stdout bytes.Buffer
		c.Stdout = &stdout
		if code, stderr := status(t, c); code != 0 || stderr != "" {
			t.Errorf("%s: exit status %d\n%s", args, code, stderr)
		}
		for line := range strings.Lines(stdout.String()) {
			var o struct{ Type, Token, Serial string }
			if err := json.Unmarshal([]byte(line), &o); err != nil || o.Type == "" {
				t.Errorf("%s: %q: %v", args, line, err)
			}
			if strings.HasPrefix(o.Type, "hsm-") && (o.Token != p.Label || o.Serial == "") {
				t.Errorf("%s: %q names no token", args, line)
			}
			types[o.Type]++
		}
	}
	for kind, want := range map[string]int{"token": 1, "hsm-key": 1, "hsm-mech": 8, "hsm-selftest": 1} {
		if types[kind] != want {
			t.Errorf("%d objects of type %s, want %d", types[kind], kind, want)
		}
	}
}
