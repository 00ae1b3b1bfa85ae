package bolt_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"go.etcd.io/bbolt"
	"go.uber.org/goleak"

	"github.com/coffer-backup/coffer/internal/durable"
	"github.com/coffer-backup/coffer/vault/store"
	"github.com/coffer-backup/coffer/vault/store/bolt"
	"github.com/coffer-backup/coffer/vault/store/storetest"
)

func open(t testing.TB, path string) *bolt.Store {
	t.Helper()
	s, err := bolt.Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func put(t testing.TB, s store.Store, index store.Index, c store.Change) {
	t.Helper()
	err := s.Update(t.Context(), index, func(store.Cells) (store.Change, error) { return c, nil })
	if err != nil {
		t.Fatal(err)
	}
}

func TestStore(t *testing.T) {
	defer goleak.VerifyNone(t)
	storetest.Run(t, func(t testing.TB, dir string) store.Store {
		s, err := bolt.Open(filepath.Join(dir, "store"), nil)
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}

// The suite again, with the file compacted all the time.
func TestCompactMeanwhile(t *testing.T) {
	needCompact(t)
	storetest.Run(t, func(t testing.TB, dir string) store.Store {
		s, err := bolt.Open(filepath.Join(dir, "store"), nil)
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan int)
		go func() {
			for n := 0; ; n++ {
				if err := s.Compact(context.Background()); err != nil {
					if !errors.Is(err, fs.ErrClosed) {
						t.Error(err)
					}
					ended <- n
					return
				}
			}
		}()
		return &compacting{s, ended}
	})
}

type compacting struct {
	*bolt.Store
	ended chan int
}

func (c *compacting) Close() error {
	err := c.Store.Close()
	if c.ended != nil {
		<-c.ended
		c.ended = nil
	}
	return err
}

func needCompact(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("an open file cannot be replaced here")
	}
}

// A refusal and what changes nothing leave the file alone: no transaction, no sync.
func TestNothingIsWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	s := open(t, path)
	index := store.Index{1}
	put(t, s, index, store.Change{Row: []byte("a"), Due: 5})
	before := read(t, path)
	refusal := errors.New("refused")
	for range 10 {
		put(t, s, index, store.Change{Due: 7})
		err := s.Update(t.Context(), index, func(store.Cells) (store.Change, error) {
			return store.Change{Row: []byte("b")}, refusal
		})
		if err != refusal {
			t.Fatal(err)
		}
		if _, err := s.View(t.Context(), index); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(read(t, path), before) {
		t.Error("the file has changed")
	}
	put(t, s, index, store.Change{Row: []byte("b")})
	if bytes.Equal(read(t, path), before) {
		t.Error("the file does not show what is written: this test sees nothing")
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "store")
	if _, err := bolt.Open(path, &bolt.Options{Existing: true}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Existing without a file: %v", err)
	}
	wantNames(t, dir)
	s := open(t, path)
	if info, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && info.Mode() != 0o600 {
		t.Errorf("the file is %v, %v", info.Mode(), err)
	}
	wantNames(t, dir, "store")
	if _, err := bolt.Open(path, nil); err == nil || !strings.Contains(err.Error(), "another process has it") {
		t.Errorf("opened twice: %v", err)
	}
	put(t, s, store.Index{1}, store.Change{Row: []byte("a")})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err := bolt.Open(path, &bolt.Options{Existing: true}); err != nil {
		t.Errorf("Existing with a file: %v", err)
	} else if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := bolt.Open(filepath.Join(dir, "none", "store"), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a directory: %v", err)
	}
}

func wantNames(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("the directory has %q, not %q", got, want)
	}
}

// What is no store is refused and left as it is.
func TestForeignFiles(t *testing.T) {
	dir := t.TempDir()
	whole := filepath.Join(dir, "whole")
	s := open(t, whole)
	for i := range byte(50) {
		put(t, s, store.Index{i}, store.Change{Row: make([]byte, 4000)})
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	ofAnother := boltFile(t, filepath.Join(dir, "another"), "accounts", "")
	later := boltFile(t, filepath.Join(dir, "later"), "meta", "coffer vault store 2")
	for _, test := range []struct {
		name    string
		content []byte
		want    string
	}{
		{"empty", nil, "empty"},
		{"a line", []byte("vault\n"), "no store of a vault"},
		{"zeros", make([]byte, 64<<10), "no store of a vault"},
		{"noise", noise(64 << 10), "no store of a vault"},
		{"a bolt file of another program", ofAnother, "no store of a vault"},
		{"of a later version", later, `another version than "coffer vault store 1"`},
		{"cut short", read(t, whole)[:32<<10], "cut short"},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "store")
			if err := os.WriteFile(path, test.content, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := bolt.Open(path, nil); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("opened, or not for %q: %v", test.want, err)
			}
			if !bytes.Equal(read(t, path), test.content) {
				t.Error("the file has changed")
			}
		})
	}
}

// boltFile returns a bbolt file with one bucket, which says that format.
func boltFile(t *testing.T, path, bucket, format string) []byte {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucket([]byte(bucket))
		return errors.Join(err, b.Put([]byte("format"), []byte(format)))
	})
	if err != nil {
		t.Fatal(err)
	}
	return read(t, path)
}

func noise(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

// The bytes of what was deleted or replaced are in the file until it is compacted.
func TestCompactForgets(t *testing.T) {
	needCompact(t)
	dir := t.TempDir()
	real := filepath.Join(dir, "store")
	s := open(t, real)
	var gone, kept [][]byte
	for i := range byte(100) {
		index := store.Index{i}
		old, row := noise(1536), noise(1536)
		put(t, s, index, store.Change{Row: old, Pending: noise(700), Due: 9, Log: []store.Event{{Index: index}}})
		if i%2 == 0 {
			put(t, s, index, store.Change{Row: row, Pending: []byte{}, Due: 8})
			kept = append(kept, row)
		} else {
			put(t, s, index, store.Change{Row: []byte{}, Pending: []byte{}})
		}
		gone = append(gone, old)
	}
	if found(read(t, real), gone) == 0 {
		t.Error("nothing old is in the file before: this test has seen nothing")
	}
	before, err := os.Stat(real)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantNames(t, dir, "store")
	after, err := os.Stat(real)
	if err != nil || os.SameFile(before, after) || after.Mode() != before.Mode() {
		t.Errorf("after compaction the file is %v, %v", after.Mode(), err)
	}
	for _, when := range []string{"compacted", "opened again"} {
		file := read(t, real)
		if n := found(file, gone); n != 0 {
			t.Errorf("%s: %d old rows of %d are in the file", when, n, len(gone))
		}
		if n := found(file, kept); n != len(kept) {
			t.Errorf("%s: %d rows of %d are in the file", when, n, len(kept))
		}
		if list, err := s.Due(t.Context(), 9, 1000); err != nil || len(list) != len(kept) {
			t.Errorf("%s: %d are due, not %d: %v", when, len(list), len(kept), err)
		}
		if log, err := s.Log(t.Context(), 0, 1000); err != nil || len(log) != len(gone) {
			t.Errorf("%s: the log has %d entries, %v", when, len(log), err)
		} else if _, err := store.Verify(store.Entry{}, log); err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, real)
	}
}

// found counts those of list that are in file, whole or any part of 64 bytes.
func found(file []byte, list [][]byte) (n int) {
	for _, b := range list {
		for part := b; len(part) >= 64; part = part[64:] {
			if bytes.Contains(file, part[:64]) {
				n++
				break
			}
		}
	}
	return n
}

// A week after the last compaction Open does the next, and not earlier.
func TestOpenCompacts(t *testing.T) {
	needCompact(t)
	path := filepath.Join(t.TempDir(), "store")
	if err := open(t, path).Close(); err != nil {
		t.Fatal(err)
	}
	setCompacted := func(seconds uint64) {
		db, err := bbolt.Open(path, 0, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		err = db.Update(func(tx *bbolt.Tx) error {
			return tx.Bucket([]byte("meta")).Put([]byte("compacted"), []byte{7: byte(seconds)})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	replaced := func() bool {
		before, err1 := os.Stat(path)
		err := open(t, path).Close()
		after, err2 := os.Stat(path)
		if err := errors.Join(err, err1, err2); err != nil {
			t.Fatal(err)
		}
		return !os.SameFile(before, after)
	}
	if replaced() {
		t.Error("a new file is compacted")
	}
	setCompacted(1) // of 1970
	if !replaced() {
		t.Error("an old file is not compacted")
	}
	if replaced() {
		t.Error("it is compacted again")
	}
}

// A symbolic link stays one, and a process that waits for the file while it is compacted
// does not get the one that has no name any more.
func TestCompactReplaces(t *testing.T) {
	needCompact(t)
	dir := t.TempDir()
	link := filepath.Join(dir, "link")
	real := filepath.Join(dir, "real")
	if err := os.Symlink("real", link); err != nil {
		t.Fatal(err)
	}
	if err := open(t, real).Close(); err != nil {
		t.Fatal(err)
	}
	s := open(t, link)
	put(t, s, store.Index{1}, store.Change{Row: []byte("before")})
	for range 2 {
		waiting := make(chan error)
		go func() {
			other, err := bolt.Open(real, nil)
			if err == nil {
				other.Close()
			}
			waiting <- err
		}()
		for waits := true; waits; {
			if err := s.Compact(t.Context()); err != nil {
				t.Fatal(err)
			}
			select {
			case err := <-waiting:
				if err == nil || !strings.Contains(err.Error(), "another process has it") {
					t.Errorf("the other process: %v", err)
				}
				waits = false
			default:
			}
		}
	}
	if target, err := os.Readlink(link); err != nil || target != "real" {
		t.Errorf("the link is %q, %v", target, err)
	}
	put(t, s, store.Index{1}, store.Change{Row: []byte("after")})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if c, err := open(t, real).View(t.Context(), store.Index{1}); err != nil || string(c.Row) != "after" {
		t.Errorf("the row is %q, %v", c.Row, err)
	}
	wantNames(t, dir, "link", "real")
}

// What a dead process has left of a compaction goes when the store is opened.
func TestLeftovers(t *testing.T) {
	if runtime.GOOS != "linux" && runtime.GOOS != "darwin" {
		t.Skip("without locks leftovers stay")
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "store")
	if err := open(t, path).Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, durable.TempPrefix+"x"), noise(100), 0o600); err != nil {
		t.Fatal(err)
	}
	open(t, path)
	wantNames(t, dir, "store")
}
