//go:build linux

package process_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/coffer-backup/coffer/internal/need"
)

// faults are what a store's file can meet: an error of a write or of a flush, and a death in
// the midst of one.
var faults = []string{
	"fdatasync:error=EIO", "fdatasync:signal=SIGKILL",
	"pwrite64:error=EIO", "pwrite64:error=ENOSPC", "pwrite64:signal=SIGKILL",
}

// TestFaults is TestKilled with a disk that fails: each process meets one fault at some
// write or flush of its store. It evaluates nothing after that, what it has acknowledged is
// there after the next start, and nobody has got more guesses than are allowed.
func TestFaults(t *testing.T) {
	strace := need.Command(t, "strace", "apt-get install strace")
	err := exec.Command(strace, "-D", "-f", "-qq", "-A", "-o", os.DevNull, "true").Run()
	need.That(t, err == nil, fmt.Sprintf("needs the right to trace: %v", err))
	attempts := 450
	if need.Long() {
		attempts = 5_000
	}
	p, _ := newSoftware(t, func(c *config) { c.Spy = true })
	trace := p.file("trace")
	testKilled(t, p, attempts, kills{
		least: 100 * time.Millisecond, most: 600 * time.Millisecond,
		faults: func() []string {
			return []string{
				strace, "-D", "-f", "-qq", "-A", "-o", trace, "-e", "trace=fdatasync,pwrite64", "-e", "signal=none",
				"-e", fmt.Sprintf("inject=%s:when=%d+", faults[rand.IntN(len(faults))], 1+rand.IntN(24)), // of a thread
			}
		},
	})
	text, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	n := bytes.Count(text, []byte("(INJECTED)"))
	if t.Logf("%d faults", n); n < 10 {
		t.Errorf("%d faults: this test has seen nothing", n)
	}
}
