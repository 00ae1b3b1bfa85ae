package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/keys"
)

// newTail gives the container the second header copy that a rewrap would leave which
// went no further: authentic, and of the next generation.
func (p place) newTail(name string) {
	p.t.Helper()
	container, err := os.ReadFile(p.path(name))
	if err != nil {
		p.t.Fatal(err)
	}
	key := p.key()
	h, _, err := format.ReadHeader(bytes.NewReader(container))
	if err != nil {
		p.t.Fatal(err)
	}
	slot, _, err := h.Entries[0].Slot()
	if err != nil {
		p.t.Fatal(err)
	}
	fk, err := key.Unwrap(p.t.Context(), h.Core(), slot)
	if err != nil {
		p.t.Fatal(err)
	}
	h.Generation++
	block, err := h.AppendBinary(nil)
	if err != nil {
		p.t.Fatal(err)
	}
	h.MAC = keys.NewSchedule(fk, &h.Salt).HeaderMAC(block)
	if block, err = h.AppendBinary(nil); err != nil {
		p.t.Fatal(err)
	}
	copy(container[len(container)-len(block):], block)
	writeFile(p.t, p.path(name), container)
}

// Every command that opens a container tells that its header copies differ.
func TestSkewWarning(t *testing.T) {
	const warning = "a rewrap was interrupted"
	p := newPlace(t)
	p.ok("backup", "--key-file", "k", "-o", "b", "k")
	p.newTail("b")
	for _, args := range [][]string{{"verify", "b"}, {"ls", "b"}, {"open", "-o", "x", "b"}, {"restore", "-C", "out", "b"}} {
		code, stderr := status(t, p.cmd(append(args, "--key-file", "k")...))
		if code != 0 || strings.Count(stderr, warning) != 1 {
			t.Errorf("%s: exit status %d\n%s", args[0], code, stderr)
		}
	}
	b, err := os.ReadFile(p.path("b"))
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"verify", "-"}, {"ls", "-"}} {
		c := p.cmd(append(args, "--json", "--key-file", "k")...)
		var stdout bytes.Buffer
		c.Stdin, c.Stdout = bytes.NewReader(b), &stdout
		if code, stderr := status(t, c); code != 0 {
			t.Fatalf("%s: exit status %d\n%s", args[0], code, stderr)
		}
		lines := strings.Split(strings.TrimSpace(stdout.String()), "\n")
		found := 0
		for _, line := range lines {
			if !strings.HasPrefix(line, `{"type":"`) {
				t.Errorf("%s: the line is no object: %s", args[0], line)
			}
			if strings.HasPrefix(line, `{"type":"warning"`) && strings.Contains(line, warning) {
				found++
			}
		}
		if found != 1 {
			t.Errorf("%s: %d warnings in %q", args[0], found, lines)
		}
	}
}
