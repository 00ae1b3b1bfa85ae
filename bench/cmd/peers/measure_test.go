package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/coffer-backup/coffer/internal/need"
)

// shell returns a pipeline of these scripts.
func shell(t *testing.T, scripts ...string) *pipeline {
	t.Helper()
	sh := need.Command(t, "sh", "apt-get install dash")
	log, err := os.OpenFile(filepath.Join(t.TempDir(), "log"), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	p := &pipeline{dir: t.TempDir(), env: []string{"PATH=" + os.Getenv("PATH")}, log: log}
	for _, script := range scripts {
		p.commands = append(p.commands, []string{sh, "-c", script})
	}
	return p
}

func TestPipeline(t *testing.T) {
	p := shell(t, "echo said >&2; printf one; sleep 0.2", "cat; printf two", "cat >out; env >env")
	u, err := p.run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if out, err := os.ReadFile(filepath.Join(p.dir, "out")); string(out) != "onetwo" {
		t.Errorf("through the pipeline came %q, %v", out, err)
	}
	if env, err := os.ReadFile(filepath.Join(p.dir, "env")); err != nil || strings.Contains(string(env), "HOME=") {
		t.Errorf("the environment is\n%s%v", env, err)
	}
	if u.wall < 200*time.Millisecond || u.wall > time.Minute {
		t.Errorf("took %v", u.wall)
	}
}

// TestUsage: children's time counts, and memory is the processes' own, not less for
// their being ended and not more for ours.
func TestUsage(t *testing.T) {
	need.That(t, runtime.GOOS == "linux", "memory is measured on Linux only")
	ours := make([]byte, 64<<20)
	for i := range ours {
		ours[i] = 1
	}
	busy := "sh -c 'i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done'; sleep 0.1"
	u, err := shell(t, busy, busy).run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if u.cpu < 20*time.Millisecond || u.cpu > 2*u.wall*time.Duration(runtime.NumCPU()) {
		t.Errorf("CPU time %v of %v", u.cpu, u.wall)
	}
	if u.peak < 512<<10 || u.peak > 32<<20 {
		t.Errorf("two shells took %d bytes", u.peak)
	}
	runtime.KeepAlive(ours)

	dd := need.Command(t, "dd", "apt-get install coreutils")
	large := shell(t)
	large.commands = [][]string{{dd, "if=/dev/zero", "of=/dev/null", "bs=200M", "count=10"}}
	if u, err = large.run(t.Context()); err != nil || u.peak < 200<<20 || u.peak > 210<<20 {
		t.Errorf("a buffer of 200 MiB takes %d bytes, %v", u.peak, err)
	}
}

func TestPipelineFails(t *testing.T) {
	for name, scripts := range map[string][]string{
		"first": {"echo what is wrong >&2; exit 3", "cat"},
		"last":  {"yes", "echo what is wrong >&2; exit 3"},
	} {
		_, err := shell(t, scripts...).run(t.Context())
		if err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "\nwhat is wrong") {
			t.Errorf("%s: %v", name, err)
		}
	}

	p := shell(t, "yes", "cat", "cat")
	p.commands[1][0] = filepath.Join(p.dir, "absent")
	if _, err := p.run(t.Context()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a program that is not there: %v", err)
	}
}

// A command that waits for something ends with the context.
func TestPipelineInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, cancel)
	start := time.Now()
	_, err := shell(t, "exec sleep 100", "exec sleep 100").run(ctx)
	if !errors.Is(err, context.Canceled) || time.Since(start) > 30*time.Second {
		t.Errorf("%v after %v", err, time.Since(start))
	}
}

func TestSameContent(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	long := strings.Repeat("0123456789abcdef", 1<<15) // two buffers
	source := write("source", long)
	for content, want := range map[string]bool{
		long:                                true,
		long[:len(long)-1]:                  false,
		long[:1<<18]:                        false,
		long + "0":                          false,
		"":                                  false,
		long[:len(long)-1] + "0":            false,
		"1" + long[1:]:                      false,
		long[:1<<18] + "1" + long[1<<18+1:]: false,
	} {
		if err := sameContent(source, write("restored", content)); (err == nil) != want {
			t.Errorf("a file of %d bytes that ends in %.1q: %v", len(content), content[max(0, len(content)-1):], err)
		}
	}
	if err := sameContent(source, filepath.Join(dir, "absent")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that was not restored: %v", err)
	}
}

func TestSize(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "a", "b"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, n := range map[string]int{"x": 1, "a/y": 20, "a/b/z": 300} {
		if err := os.WriteFile(filepath.Join(dir, name), make([]byte, n), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]int64{"": 321, "x": 1, "a": 320, "absent": 0} {
		if got, err := size(filepath.Join(dir, path)); got != want || err != nil {
			t.Errorf("size of %q is %d, %v", path, got, err)
		}
	}
}
