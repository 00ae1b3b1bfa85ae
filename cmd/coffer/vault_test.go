package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/coffer-backup/coffer/archive/archivetest"
	"github.com/coffer-backup/coffer/vault"
	"github.com/coffer-backup/coffer/vault/httpapi"
	"github.com/coffer-backup/coffer/vault/wire"
)

func TestVaultScripts(t *testing.T) {
	p := vaultParams(nil)
	p.Dir = "testdata/vault"
	testscript.Run(t, p)
}

// vaultParams are those of a script that runs vaults.
func vaultParams(environment map[string]string) testscript.Params {
	p := scriptParams(environment)
	setup := p.Setup
	p.Setup = func(e *testscript.Env) error {
		e.Setenv("XDG_STATE_HOME", filepath.Join(e.WorkDir, "state"))
		// The least that clients take.
		e.Setenv("WEAK", "--argon2=t=2,m=19MiB,p=1")
		return setup(e)
	}
	vaults := new(servers)
	p.Cmds["serve"] = vaults.serve
	p.Cmds["stop"] = vaults.stop
	return p
}

// servers are the vaults that scripts have started, by script and name.
type servers struct{ running sync.Map }

type server struct {
	cmd    *exec.Cmd
	stderr *bytes.Buffer
}

func (s *servers) key(ts *testscript.TestScript, name string) string {
	return ts.Getenv("WORK") + "\x00" + name
}

// serve NAME ARG...: runs coffer vault serve ARG... on a free port of the loopback, with
// its address in the variable NAME, without the vault's id in NAME_HOST, and what it said on stdout in the file NAME.said.
func (s *servers) serve(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: serve NAME ARG...")
	}
	name := args[0]
	r := &server{exec.Command("coffer", append([]string{"vault", "serve", "--listen", "127.0.0.1:0"}, args[1:]...)...), new(bytes.Buffer)}
	r.cmd.Dir, r.cmd.Stderr = ts.MkAbs("."), r.stderr
	for _, variable := range []string{"GORACE", "SOFTHSM2_CONF", "TMPDIR", "PATH", "WORK", "HOME"} {
		r.cmd.Env = append(r.cmd.Env, variable+"="+ts.Getenv(variable))
	}
	stdout, err := r.cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(r.cmd.Start())
	ts.Defer(func() {
		if _, left := s.running.LoadAndDelete(s.key(ts, name)); left {
			_ = r.cmd.Process.Kill()
			_ = r.cmd.Wait()
		}
	})
	s.running.Store(s.key(ts, name), r)
	var said strings.Builder
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		fmt.Fprintln(&said, lines.Text())
		if strings.HasPrefix(lines.Text(), "https://") {
			ts.Setenv(name, lines.Text())
			host, _, _ := strings.Cut(lines.Text(), "#")
			ts.Setenv(name+"_HOST", host)
			ts.Check(os.WriteFile(ts.MkAbs(name+".said"), []byte(said.String()), 0o600))
			return
		}
	}
	_ = r.cmd.Wait()
	ts.Fatalf("coffer vault serve gave no address\n%s", r.stderr)
}

// stop NAME: ends it by SIGTERM, which it obeys at once and with status 0. What it logged
// is in the file NAME.log.
func (s *servers) stop(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: stop NAME")
	}
	found, ok := s.running.LoadAndDelete(s.key(ts, args[0]))
	if !ok {
		ts.Fatalf("no vault %s is running", args[0])
	}
	r := found.(*server)
	ts.Check(r.cmd.Process.Signal(syscall.SIGTERM))
	err := r.cmd.Wait()
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".log"), r.stderr.Bytes(), 0o600))
	if err != nil {
		ts.Fatalf("coffer vault serve: %v\n%s", err, r.stderr)
	}
}

func TestClassifyVault(t *testing.T) {
	for _, test := range []struct {
		err  error
		want exitStatus
		left int // in the error object; below 0: none
	}{
		{&vault.WrongPasswordError{Left: 3, Max: 10}, statusRefused, 3},
		{&vault.WrongPasswordError{Left: 0, Max: 10}, statusRefused, 0},
		{&vault.StateError{Call: wire.CallStart, Code: wire.Busy}, statusRefused, -1},
		{&vault.StateError{Call: wire.CallStart, Code: wire.Wait, Left: 2, Max: 10, Until: time.Unix(1e9, 0)}, statusRefused, 2},
		{&vault.StateError{Call: wire.CallStart, Code: wire.Unavailable}, statusUnreachable, -1},
		{&vault.TombstoneError{Cause: wire.CauseAttempts}, statusDestroyed, 0},
		{vault.ErrRefused, statusRefused, -1},
		{vault.ErrOverloaded, statusUnreachable, -1},
		{vault.ErrForged, statusUnreachable, -1},
		{vault.ErrDescriptor, statusUnreachable, -1},
		{httpapi.ErrUnreachable, statusUnreachable, -1},
		{httpapi.ErrNotVault, statusUnreachable, -1},
		{vault.ErrCredential, statusUsage, -1},
	} {
		err := fmt.Errorf("doing it: %w", test.err)
		if got := classify(err); got != test.want {
			t.Errorf("%v: status %d, want %d", test.err, got.code, test.want.code)
		}
		left := -1
		if r := newRefusal(err); r.AttemptsLeft != nil {
			left = int(*r.AttemptsLeft)
		}
		if left != test.left {
			t.Errorf("%v: %d attempts left, want %d", test.err, left, test.left)
		}
	}
}

// Programs are told when to try again, in UTC.
func TestRefusalObject(t *testing.T) {
	var b bytes.Buffer
	u := &ui{json: true, result: &b}
	u.error(&vault.StateError{Call: wire.CallStart, Code: wire.Wait, Left: 2, Max: 10, Until: time.Unix(1e9, 0)})
	const want = `"attempts_left":2,"retry_at":"2001-09-09T01:46:40Z"}` + "\n"
	if !strings.HasPrefix(b.String(), `{"type":"error","code":14,"class":"vault-refused",`) || !strings.HasSuffix(b.String(), want) {
		t.Errorf("%s, want %s at the end", &b, want)
	}
}

func TestEscapeCredential(t *testing.T) {
	for id, want := range map[string]string{
		"alice@example.org": "alice@example.org", "Alice": "%41lice", ".": "%2e", "..": "%2e%2e", "a.b.": "a.b%2e", "~x": "~x",
	} {
		if got := escapeCredential(id); got != want {
			t.Errorf("%q: %q, want %q", id, got, want)
		}
	}
}

func TestMemberName(t *testing.T) {
	for root, want := range map[string]string{".": ".", "..": ".", "../..": ".", "/": "", "/a/b/": "a/b", "../a": "a", "a/../b": "b", "./a": "a"} {
		if got := memberName(root); got != filepath.FromSlash(want) {
			t.Errorf("%q: %q, want %q", root, got, want)
		}
	}
}

// Every difference is found, and nothing else.
func TestComparison(t *testing.T) {
	for name, test := range map[string]struct {
		change func(dir string) error
		want   string
	}{
		"same":    {func(string) error { return nil }, ""},
		"content": {func(dir string) error { return os.WriteFile(filepath.Join(dir, "d/f"), []byte("other"), 0o600) }, "d/f: its content is another one"},
		"longer":  {func(dir string) error { return os.WriteFile(filepath.Join(dir, "d/f"), []byte("contentx"), 0o600) }, "d/f: its content is another one"},
		"mode":    {func(dir string) error { return os.Chmod(filepath.Join(dir, "d/f"), 0o640) }, "d/f: its mode is -rw-r-----, not -rw-------"},
		"gone":    {func(dir string) error { return os.Remove(filepath.Join(dir, "d/f")) }, "d/f: it is missing"},
		"more":    {func(dir string) error { return os.Mkdir(filepath.Join(dir, "d/e"), 0o700) }, "d/e: it was not there before"},
		"link": {func(dir string) error {
			return errors.Join(os.Remove(filepath.Join(dir, "l")), os.Symlink("x", filepath.Join(dir, "l")))
		}, "l: it points to x, not to d"},
		"type": {func(dir string) error {
			return errors.Join(os.Remove(filepath.Join(dir, "l")), os.Mkdir(filepath.Join(dir, "l"), 0o700))
		}, "l: its mode is drwx------, not L---------"},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := t.TempDir(), t.TempDir()
			for _, dir := range []string{a, b} {
				if err := errors.Join(
					os.Mkdir(filepath.Join(dir, "d"), 0o700), os.Symlink("d", filepath.Join(dir, "l")),
					os.WriteFile(filepath.Join(dir, "d/f"), []byte("content"), 0o600),
				); err != nil {
					t.Fatal(err)
				}
			}
			if err := test.change(b); err != nil {
				t.Fatal(err)
			}
			var said []string
			c := comparison{ctx: t.Context(), differs: func(f string, args ...any) { said = append(said, fmt.Sprintf(f, args...)) }}
			if err := c.compare(a, b); err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(said, "\n"); got != test.want {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
}

// The whole story over a tree with every kind of entry, of which nothing is left.
func TestQuickstart(t *testing.T) {
	p := newPlace(t)
	src := p.mkdir("src")
	archivetest.Populate(t, src)
	t.Cleanup(func() { _ = os.Chmod(filepath.Join(src, "readonly"), 0o755) })
	t.Setenv("TMPDIR", p.mkdir("tmp"))
	var stdout bytes.Buffer
	c := p.cmd("quickstart", "src")
	c.Stdout = &stdout
	// A socket in the tree is left out, and that is told.
	if code, stderr := status(t, c); code != 0 && (code != 3 || !strings.Contains(stderr, "socket")) {
		t.Fatalf("exit status %d\n%s%s", code, &stdout, stderr)
	}
	for _, step := range []string{"made a vault", "which the vault keeps under the password", "backed up", "9 of 10 attempts are left", "got key", "restored"} {
		if !strings.Contains(stdout.String(), step) {
			t.Errorf("stdout lacks %q:\n%s", step, &stdout)
		}
	}
	if left, err := os.ReadDir(p.path("tmp")); err != nil || len(left) > 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
}
