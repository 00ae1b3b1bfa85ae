//go:build linux

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coffer-backup/coffer/internal/need"
)

// Every system call that writing a container makes fails or is the last one, in
// turn: success means that it is there, failure that the old one is, and no fault
// leaves what the next run does not take away.
func TestEverySyscallFails(t *testing.T) {
	strace := need.Command(t, "strace", "apt-get install strace")
	p := newPlace(t)
	writeFile(t, p.path("data"), bytes.Repeat([]byte("data"), 50_000))
	p.ok("seal", "--key-file", "k", "-o", "old", "data")
	points := 0
	for _, call := range []string{"openat", "flock", "read", "write", "fsync", "renameat", "renameat2", "unlinkat", "close"} {
		for _, fault := range []string{"error=EIO", "error=ENOSPC", "signal=KILL"} {
			n := 1
			for p.sealWithFault(strace, call, fault, n) {
				n++
			}
			points += n - 1
		}
	}
	t.Logf("%d faults", points)
	if points < 50 {
		t.Errorf("only %d faults were injected", points)
	}
}

// sealWithFault replaces a container with a fault at the nth such call of each
// thread. It returns false if none makes so many.
func (p place) sealWithFault(strace, call, fault string, n int) (hit bool) {
	what := fmt.Sprintf("%s %d %s", call, n, fault)
	old, err := os.ReadFile(p.path("old"))
	if err != nil {
		p.t.Fatal(err)
	}
	writeFile(p.t, p.path("out"), old)
	log := p.path("log")
	c := exec.Command(strace, "-f", "-o", log, "-e", "trace="+call, "-e", fmt.Sprintf("inject=%s:%s:when=%d", call, fault, n),
		"coffer", "seal", "-q", "--key-file", "k", "--level", "store", "--force", "-o", "out", "data")
	c.Dir = p.dir
	code, stderr := status(p.t, c)
	trace, err := os.ReadFile(log)
	if err != nil {
		p.t.Fatal(err)
	}
	killed := bytes.Contains(trace, []byte("killed by SIGKILL"))
	hit = killed || bytes.Contains(trace, []byte("(INJECTED)"))
	now, err := os.ReadFile(p.path("out"))
	if err != nil {
		p.t.Fatalf("%s: the file is gone: %v", what, err)
	}
	switch {
	case !bytes.Equal(now, old):
		p.ok("verify", "--key-file", "k", "out")
		if code != 0 && !killed && !strings.Contains(stderr, "may not survive a power cut") {
			p.t.Errorf("%s: the file was replaced, and yet: exit status %d, %s", what, code, stderr)
		}
	case code == 0:
		p.t.Errorf("%s: exit status 0, but the file is the old one", what)
	}
	if !killed && call != "unlinkat" {
		p.noTemps()
	}
	p.ok("seal", "--key-file", "k", "--force", "-o", "next", "data")
	if left, _ := filepath.Glob(p.path(".coffer-tmp-*")); len(left) > 0 {
		p.t.Fatalf("%s: the next run leaves %q", what, left)
	}
	return hit
}
