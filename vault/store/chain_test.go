package store

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"reflect"
	"testing"
)

// chain returns entries in which no field is zero or that of the one before.
func chain(n int) []Entry {
	var all []Entry
	var last Entry
	for i := range byte(n) {
		e := Event{
			Index:   Index(bytes.Repeat([]byte{0x10 + i}, 32)),
			Time:    -1 - int64(i),
			Ver:     math.MaxUint64 - uint64(i),
			Gen:     1<<63 + uint64(i),
			Kind:    0x30 + i,
			Left:    0x40 + i,
			Attempt: [16]byte(bytes.Repeat([]byte{0x50 + i}, 16)),
		}
		last = Next(last, e)
		all = append(all, last)
	}
	return all
}

func TestChain(t *testing.T) {
	all := chain(5)
	last, err := Verify(Entry{}, all)
	if err != nil || last != all[4] {
		t.Errorf("the whole: %v, %v", last, err)
	}
	for i := range all {
		if last, err := Verify(all[i], all[i+1:]); err != nil || last != all[4] {
			t.Errorf("from entry %d: %v, %v", i+1, last, err)
		}
	}
	if last, err := Verify(all[2], nil); err != nil || last != all[2] {
		t.Errorf("nothing: %v, %v", last, err)
	}
}

func TestEntryBytes(t *testing.T) {
	for _, e := range append(chain(3), Entry{}, Next(Entry{}, Event{})) {
		b := e.Append([]byte("front"))
		if string(b[:5]) != "front" || len(b) != 5+EntrySize {
			t.Fatalf("appended %x", b)
		}
		if back, err := ParseEntry(b[5:]); err != nil || back != e {
			t.Errorf("%v comes back as %v, %v", e, back, err)
		}
	}
	e := chain(1)[0]
	whole := e.Append(nil)
	for n := range len(whole) {
		if _, err := ParseEntry(whole[:n]); err == nil {
			t.Errorf("%d bytes are an entry", n)
		}
	}
	if _, err := ParseEntry(append(whole, 0)); err == nil {
		t.Error("a byte too many is an entry")
	}
}

// The format as bytes, so that a log of today is one in ten years. The hash is
// Python's SHA-256 of 32 zero bytes and the 82 bytes before it.
func TestEntryVector(t *testing.T) {
	const want = "0000000000000001" +
		"1010101010101010101010101010101010101010101010101010101010101010" +
		"ffffffffffffffff" + "ffffffffffffffff" + "8000000000000000" + "30" + "40" +
		"50505050505050505050505050505050" +
		"74f8946eba5a1f5ad79c8cdb194038d5b7bc65e2accb56860cc8a2071ae630a0"
	if got := hex.EncodeToString(chain(1)[0].Append(nil)); got != want {
		t.Errorf("the first entry is\n%s, not\n%s", got, want)
	}
}

// Any byte of any entry that is another, a pair that is swapped and an entry that is
// missing or doubled are found where they are.
func TestVerifyFinds(t *testing.T) {
	const n = 4
	for i := range n {
		for at := range EntrySize {
			all := chain(n)
			b := all[i].Append(nil)
			b[at] ^= 1
			var err error
			if all[i], err = ParseEntry(b); err != nil {
				t.Fatal(err)
			}
			last, err := Verify(Entry{}, all)
			if !errors.Is(err, ErrChain) || last.Seq != uint64(i) {
				t.Errorf("byte %d of entry %d: %v after %d", at, i+1, err, last.Seq)
			}
		}
	}
	for i := range n - 1 {
		all := chain(n)
		all[i], all[i+1] = all[i+1], all[i]
		wantBroken(t, "swapped", i, all)
		wantBroken(t, "missing", i, append(chain(n)[:i:i], chain(n)[i+1:]...))
		wantBroken(t, "doubled", i+1, append(chain(n)[:i+1:i+1], chain(n)[i:]...))
	}
	// A chain that somebody has made anew from an entry on does not follow the head.
	forged := chain(n)
	forged[1].Left++
	for i := 1; i < n; i++ {
		forged[i] = Next(forged[i-1], forged[i].Event)
	}
	if last, err := Verify(Entry{}, forged); err != nil || last.Hash == chain(n)[n-1].Hash {
		t.Errorf("a forged chain has the same head: %v", err)
	}
}

func wantBroken(t *testing.T, what string, after int, all []Entry) {
	t.Helper()
	if last, err := Verify(Entry{}, all); !errors.Is(err, ErrChain) || last.Seq != uint64(after) {
		t.Errorf("%s after entry %d: %v after %d", what, after, err, last.Seq)
	}
}

// What an entry gains, its bytes and hash must have too.
func TestEntryIsWhole(t *testing.T) {
	size := 8 + len(Entry{}.Hash)
	e := reflect.TypeFor[Event]()
	for i := range e.NumField() {
		size += int(e.Field(i).Type.Size())
	}
	if size != EntrySize {
		t.Errorf("the fields of an entry have %d bytes, and as bytes it has %d", size, EntrySize)
	}
}
