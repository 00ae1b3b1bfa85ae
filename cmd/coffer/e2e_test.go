package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coffer-backup/coffer/archive/archivetest"
	"github.com/coffer-backup/coffer/internal/need"
)

// A place is a directory with a key, in which the command is run.
type place struct {
	t   *testing.T
	dir string
}

func newPlace(t *testing.T) place {
	t.Helper()
	p := place{t, t.TempDir()}
	p.ok("key", "new", "-o", "k")
	return p
}

// key returns the key of the place.
func (p place) key() key {
	p.t.Helper()
	found, err := readKeyFile(p.path("k"))
	if err != nil {
		p.t.Fatal(err)
	}
	return found[0]
}

func (p place) path(name string) string { return filepath.Join(p.dir, name) }

// cmd returns a command that was not started.
func (p place) cmd(args ...string) *exec.Cmd {
	c := exec.Command("coffer", args...)
	c.Dir = p.dir
	return c
}

// status runs c and returns its exit status and what it printed on stderr.
func status(t *testing.T, c *exec.Cmd) (code int, stderr string) {
	t.Helper()
	var b bytes.Buffer
	c.Stderr = &b
	err := c.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return c.ProcessState.ExitCode(), b.String()
}

// ok demands that the command succeeds.
func (p place) ok(args ...string) {
	p.t.Helper()
	if code, stderr := status(p.t, p.cmd(args...)); code != 0 {
		p.t.Fatalf("coffer %s: exit status %d\n%s", strings.Join(args, " "), code, stderr)
	}
}

// noTemps demands that no temporary file is left.
func (p place) noTemps() {
	p.t.Helper()
	if left, _ := filepath.Glob(p.path(".coffer-tmp-*")); len(left) > 0 {
		p.t.Errorf("left over: %q", left)
	}
}

// roundTrip backs up the directory tree and restores it beside the backup, and
// compares.
func (p place) roundTrip(tree string) {
	p.t.Helper()
	p.ok("backup", "--key-file", "k", "--verify", "--workers", "2", "-o", "b", tree)
	p.ok("restore", "--key-file", "k", "--workers", "2", "-C", "out", "b")
	restored := p.path(filepath.Join("out", strings.TrimLeft(tree, "/")))
	// What Populate makes read-only could not be removed by a plain user.
	p.t.Cleanup(func() { _ = os.Chmod(filepath.Join(restored, "readonly"), 0o755) })
	for _, difference := range archivetest.Diff(p.abs(tree), restored) {
		p.t.Error(difference)
	}
}

func (p place) abs(tree string) string {
	if filepath.IsAbs(tree) {
		return tree
	}
	return p.path(tree)
}

func (p place) mkdir(name string) string {
	p.t.Helper()
	if err := os.Mkdir(p.path(name), 0o755); err != nil {
		p.t.Fatal(err)
	}
	return p.path(name)
}

func TestRoundTrip(t *testing.T) {
	for name, populate := range map[string]func(t *testing.T, dir string){
		"every kind": func(t *testing.T, dir string) { archivetest.Populate(t, dir) },
		"empty dir":  func(*testing.T, string) {},
		"empty file": func(t *testing.T, dir string) { writeFile(t, filepath.Join(dir, "empty"), nil) },
		"deep path":  func(t *testing.T, dir string) { archivetest.Deep(t, dir, 4000-len("src/")) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t)
			populate(t, p.mkdir("src"))
			p.roundTrip("src")
		})
	}
}

func writeFile(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// A real tree, under its absolute name.
func TestGoTree(t *testing.T) {
	t.Parallel()
	out, err := exec.Command(need.Command(t, "go", "see go.dev/doc/install"), "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	tree := strings.TrimSpace(string(out))
	if !need.Long() {
		tree = filepath.Join(tree, "src")
	}
	newPlace(t).roundTrip(tree)
}

func TestSparseFile(t *testing.T) {
	t.Parallel()
	size := int64(512 << 20)
	if need.Long() {
		size = 10 << 30
	}
	p := newPlace(t)
	f, err := os.Create(filepath.Join(p.mkdir("src"), "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("in the middle"), size/2); err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	p.roundTrip("src")
}

func TestManyFiles(t *testing.T) {
	t.Parallel()
	dirs, files := 4, 500
	if need.Long() {
		dirs = 200 // 100,000 files
	}
	p := newPlace(t)
	src := p.mkdir("src")
	for d := range dirs {
		dir := filepath.Join(src, fmt.Sprint("dir", d))
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for f := range files {
			writeFile(t, filepath.Join(dir, fmt.Sprint("file", f)), fmt.Append(nil, d, f))
		}
	}
	p.roundTrip("src")
}
