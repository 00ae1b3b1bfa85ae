//go:build linux

package process_test

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// Needles are texts to be searched for, thousands at a time.
type needles struct {
	begins  [1 << 16]bool // by their first two bytes
	byHead  map[[headSize]byte][]needle
	longest int
}

type needle struct {
	name string
	text []byte
}

const headSize = 8

func newNeedles() *needles { return &needles{byHead: make(map[[headSize]byte][]needle)} }

func (n *needles) add(name string, text []byte) {
	n.begins[int(text[0])<<8|int(text[1])] = true
	head := [headSize]byte(text)
	n.byHead[head] = append(n.byHead[head], needle{name, text})
	n.longest = max(n.longest, len(text))
}

// secret adds all that a secret may look like: each half of it in both byte orders and in
// hexadecimal, and its base64 wherever it begins in what was encoded.
func (n *needles) secret(name string, secret []byte) {
	for _, half := range [][]byte{secret[:len(secret)/2], secret[len(secret)/2:]} {
		turned := slices.Clone(half)
		slices.Reverse(turned)
		n.add(name+", raw", half)
		n.add(name+", turned round", turned)
		n.add(name+", hex", []byte(hex.EncodeToString(half)))
		n.add(name+", hex", []byte(strings.ToUpper(hex.EncodeToString(half))))
	}
	for before := range 3 {
		in := append(make([]byte, before), secret...)
		// Characters that have bits of what is before or behind are left out.
		first, last := (before*8+5)/6, len(in)*8/6
		n.add(name+", base64", []byte(base64.StdEncoding.EncodeToString(in)[first:last]))
		n.add(name+", base64url", []byte(base64.URLEncoding.EncodeToString(in)[first:last]))
	}
}

// in adds the names of those that are in b to found.
func (n *needles) in(b []byte, found map[string]bool) {
	for i := 0; i+headSize <= len(b); i++ {
		if !n.begins[int(b[i])<<8|int(b[i+1])] {
			continue
		}
		for _, x := range n.byHead[[headSize]byte(b[i:])] {
			if bytes.HasPrefix(b[i:], x.text) {
				found[x.name] = true
			}
		}
	}
}

// inFile returns the names of those in a file.
func (n *needles) inFile(t *testing.T, file string) map[string]bool {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]bool)
	n.in(b, found)
	t.Logf("%s: %d KiB searched", file, len(b)>>10)
	return found
}

// inMemory returns the names of those in the memory of a process.
func (n *needles) inMemory(t *testing.T, p *process) map[string]bool {
	t.Helper()
	maps, err := os.Open(p.proc("maps"))
	if err != nil {
		t.Fatal(err)
	}
	defer maps.Close()
	memory, err := os.Open(p.proc("mem"))
	if err != nil {
		t.Fatal(err)
	}
	defer memory.Close()
	found, size := make(map[string]bool), int64(0)
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		var begin, end int64
		var mode string
		if _, err := fmt.Sscanf(lines.Text(), "%x-%x %s", &begin, &end, &mode); err != nil {
			continue // above all addresses of processes
		}
		if mode[0] != 'r' || strings.Contains(lines.Text(), "[v") { // the kernel's: vvar, vdso
			continue
		}
		size += end - begin
		if err := n.inRegion(memory, begin, end, found); err != nil {
			t.Errorf("reading %s: %v", lines.Text(), err)
		}
	}
	t.Logf("%d MiB of memory searched", size>>20)
	return found
}

func (n *needles) inRegion(memory *os.File, begin, end int64, found map[string]bool) error {
	buffer := make([]byte, 1<<20)
	for begin < end {
		b := buffer[:min(int64(len(buffer)), end-begin)]
		if _, err := memory.ReadAt(b, begin); err != nil {
			return err
		}
		n.in(b, found)
		if begin += int64(len(b)); begin < end {
			begin -= int64(n.longest) // what lies across
		}
	}
	return nil
}

func TestNeedles(t *testing.T) {
	secret := []byte("\x00\xff\x10 one that is of 32 bytes \x01\x02\x03\xfe!")[:32]
	n := newNeedles()
	n.secret("it", secret)
	turned := slices.Clone(secret)
	slices.Reverse(turned)
	hidden := func(b []byte) string { return "before " + string(b) + " after" }
	for _, text := range []string{
		hidden(secret), hidden(secret[:16]), hidden(secret[16:]), hidden(turned[:16]), hidden(turned[16:]),
		hidden([]byte(hex.EncodeToString(secret))), hidden([]byte(strings.ToUpper(hex.EncodeToString(secret[16:])))),
		base64.StdEncoding.EncodeToString([]byte(hidden(secret))), base64.RawURLEncoding.EncodeToString([]byte("x" + hidden(secret))),
		base64.URLEncoding.EncodeToString([]byte("xy" + hidden(secret))), base64.StdEncoding.EncodeToString(secret),
	} {
		found := make(map[string]bool)
		if n.in([]byte(text), found); len(found) == 0 {
			t.Errorf("not found in %q", text)
		}
	}
	found, other := make(map[string]bool), slices.Clone(secret)
	other[7], other[31] = '?', '?'
	if n.in([]byte(hidden(other)+hex.EncodeToString(other)), found); len(found) > 0 {
		t.Errorf("found %v in another", found)
	}
	begins, file := 1<<20-5, t.TempDir()+"/long"
	if err := os.WriteFile(file, append(make([]byte, begins), secret...), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := n.inRegion(f, 0, int64(begins+len(secret)), found); err != nil || len(found) == 0 {
		t.Errorf("across two reads: %v, %v", found, err)
	}
}
