package main

import (
	"context"
	"errors"
	"os"
	"testing"
)

// A read that waits ends with the reason.
func TestInterruptible(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close() // first: it ends the read of r
	ctx, cancel := context.WithCancel(t.Context())
	in := interruptible(ctx, r)
	cancel()
	if _, err := in.Read(make([]byte, 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
