package storetest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/coffer-backup/coffer/vault/store"
)

// noise returns n bytes that no other call has returned.
func noise(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return b
}

// increment counts in both cells, the log and the time.
func increment(c store.Cells, index store.Index) store.Change {
	n := count(c) + 1
	b := binary.BigEndian.AppendUint64(nil, n)
	return store.Change{Row: b, Pending: b, Due: int64(n), Log: []store.Event{{Index: index, Ver: n}}}
}

func count(c store.Cells) uint64 {
	if c.Row == nil {
		return 0
	}
	return binary.BigEndian.Uint64(c.Row)
}

func update(t testing.TB, s store.Store, index store.Index, c store.Change) {
	t.Helper()
	err := s.Update(t.Context(), index, func(store.Cells) (store.Change, error) { return c, nil })
	if err != nil {
		t.Error(err)
	}
}

func view(t testing.TB, s store.Store, index store.Index) store.Cells {
	t.Helper()
	c, err := s.View(t.Context(), index)
	if err != nil {
		t.Error(err)
	}
	return c
}

func want(t testing.TB, s store.Store, index store.Index, row, pending []byte) {
	t.Helper()
	c := view(t, s, index)
	if !bytes.Equal(c.Row, row) || (c.Row == nil) != (row == nil) {
		t.Errorf("the row is %.20q…, not %.20q…", c.Row, row)
	}
	if !bytes.Equal(c.Pending, pending) || (c.Pending == nil) != (pending == nil) {
		t.Errorf("the other cell is %.20q…, not %.20q…", c.Pending, pending)
	}
}

func wantDue(t testing.TB, s store.Store, now int64, list []store.Index) {
	t.Helper()
	got, err := s.Due(t.Context(), now, 1000)
	if err != nil || !slices.Equal(got, list) {
		t.Errorf("due at %d: %x, %v, not %x", now, got, err, list)
	}
}

func wantCancelled(t testing.TB, name string, err error) {
	t.Helper()
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%s with a cancelled context: %v", name, err)
	}
}

// logOf reads the whole log in pages.
func logOf(t testing.TB, s store.Store) (all []store.Entry) {
	t.Helper()
	for {
		page, err := s.Log(t.Context(), uint64(len(all)), 64)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			return all
		}
		all = append(all, page...)
	}
}

func checkLog(t testing.TB, s store.Store) {
	t.Helper()
	if _, err := store.Verify(store.Entry{}, logOf(t, s)); err != nil {
		t.Error(err)
	}
}
