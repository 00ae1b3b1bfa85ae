package main

import (
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// TestPin: the process has the cores that were asked for, and then those that it had.
func TestPin(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cores := func() int {
		var set unix.CPUSet
		if err := unix.SchedGetaffinity(0, &set); err != nil {
			t.Fatal(err)
		}
		return set.Count()
	}
	before := cores()
	unpin, err := pin(1)
	if err != nil || cores() != 1 {
		t.Fatalf("%d cores, %v", cores(), err)
	}
	if err := unpin(); err != nil || cores() != before {
		t.Errorf("%d cores after, %d before, %v", cores(), before, err)
	}
	if _, err := pin(before + 1); err == nil {
		t.Error("there are more cores than there are")
	}
}
