//go:build linux

package bolt_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/coffer-backup/coffer/internal/need"
	"github.com/coffer-backup/coffer/vault/store"
	"github.com/coffer-backup/coffer/vault/store/bolt"
)

// TestDiskFull: after a commit that failed the store is used no more, and what was
// acknowledged is there when it is opened again.
func TestDiskFull(t *testing.T) {
	need.Root(t)
	dir := t.TempDir()
	err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=2m")
	need.That(t, err == nil, fmt.Sprintf("needs the right to mount: %v", err))
	defer func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	}()
	path := filepath.Join(dir, "store")
	s, err := bolt.Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	index := func(n int) (i store.Index) {
		binary.BigEndian.PutUint32(i[:], uint32(n))
		return i
	}
	row := make([]byte, 1536)
	set := func(store.Cells) (store.Change, error) {
		return store.Change{Row: row, Log: []store.Event{{Kind: 1}}}, nil
	}
	written := 0
	for err == nil && written < 10_000 {
		if err = s.Update(t.Context(), index(written), set); err == nil {
			written++
		}
	}
	if !errors.Is(err, store.ErrUnknown) || !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("after %d records: %v", written, err)
	}
	if again := s.Update(t.Context(), index(0), set); again == nil {
		t.Error("an update after the fence")
	}
	if _, err := s.View(t.Context(), index(0)); err == nil {
		t.Error("a view after the fence")
	}
	if _, err := s.Log(t.Context(), 0, 1); err == nil {
		t.Error("the log after the fence")
	}
	if err := s.Close(); err != nil {
		t.Logf("Close: %v", err)
	}

	err = syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "size=8m")
	need.That(t, err == nil, fmt.Sprintf("needs the right to mount: %v", err))
	s, err = bolt.Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for n := range written {
		if cells, err := s.View(t.Context(), index(n)); err != nil || len(cells.Row) != len(row) {
			t.Fatalf("record %d of %d: %d bytes, %v", n, written, len(cells.Row), err)
		}
	}
	var last store.Entry
	for {
		entries, err := s.Log(t.Context(), last.Seq, 1000)
		if err != nil {
			t.Fatal(err)
		}
		if len(entries) == 0 {
			break
		}
		if last, err = store.Verify(last, entries); err != nil {
			t.Fatal(err)
		}
	}
	if last.Seq < uint64(written) || last.Seq > uint64(written)+1 {
		t.Errorf("%d entries in the log of %d records", last.Seq, written)
	}
	if err := s.Update(t.Context(), index(written), set); err != nil {
		t.Errorf("with room again: %v", err)
	}
}
