package engine_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coffer-backup/coffer/backends"
	"github.com/coffer-backup/coffer/backends/software"
	"github.com/coffer-backup/coffer/engine"
	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/keys"
)

// After Abort, or a Close that failed, dst is the caller's: a second container may
// be written to the same file.
func TestDestinationIsFreeAfterAbort(t *testing.T) {
	plain := noise(1<<20, 1)
	for range 20 {
		var inside, after atomic.Int32
		var released atomic.Bool
		slow := writerFunc(func(p []byte) (int, error) {
			if inside.Add(1); released.Load() {
				after.Add(1)
			}
			time.Sleep(time.Millisecond)
			inside.Add(-1)
			return len(p), nil
		})
		w, err := engine.NewWriter(t.Context(), slow, []keys.Recipient{testKey}, &engine.WriterOptions{SegmentSize: 64 << 10})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(plain); err != nil {
			t.Fatal(err)
		}
		w.Abort()
		released.Store(true)
		if inside.Load() > 0 {
			t.Fatal("Abort returned during a Write of dst")
		}
		time.Sleep(2 * time.Millisecond)
		if after.Load() > 0 {
			t.Fatal("dst was written to after Abort")
		}
	}
}

// After Close, src is the caller's.
func TestSourceIsFreeAfterClose(t *testing.T) {
	c := seal(t, noise(8<<20, 1), nil)
	for range 20 {
		var reads atomic.Int32
		src := bytes.NewReader(c)
		r, err := engine.NewReader(t.Context(), readerFunc(func(p []byte) (int, error) {
			reads.Add(1)
			return src.Read(p[:min(len(p), 10000)])
		}), []keys.Identity{testKey}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyN(io.Discard, r, 1); err != nil {
			t.Fatal(err)
		}
		r.Close()
		n := reads.Load()
		time.Sleep(time.Millisecond)
		if reads.Load() != n {
			t.Fatal("src was read after Close")
		}
		if _, err := r.Read(make([]byte, 1)); err == nil {
			t.Error("a closed Reader reads")
		}
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// io.EOF from elsewhere must not pass for the end of a sound container.
func TestForeignEOF(t *testing.T) {
	c := append(seal(t, []byte("x"), nil, format.CatalogEntry{Path: "x"}), "trailing"...)
	if _, err := open(c, &engine.ReaderOptions{OnCatalog: func(format.CatalogEntry) error { return io.EOF }}); err == nil {
		t.Error("OnCatalog's io.EOF became the Reader's")
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	r, err := engine.NewReader(ctx, bytes.NewReader(c), []keys.Identity{testKey}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cancel(io.EOF)
	if _, err := io.Copy(io.Discard, r); err == nil {
		t.Error("the context's io.EOF became the Reader's")
	}
}

// A catalog that lacks an entry is never closed.
func TestCatalogErrorsStick(t *testing.T) {
	for name, second := range map[string]format.CatalogEntry{
		"order":    {Offset: 0, Path: "again"},
		"multiple": {Offset: 513, Path: "odd"},
		"too long": {Offset: 512, Path: string(make([]byte, 70000))},
	} {
		w, err := engine.NewWriter(t.Context(), io.Discard, []keys.Recipient{testKey}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.AddCatalogEntry(format.CatalogEntry{Path: "x"}); err != nil {
			t.Fatal(err)
		}
		first := w.AddCatalogEntry(second)
		if first == nil {
			t.Errorf("%s: accepted", name)
		}
		if err := w.AddCatalogEntry(format.CatalogEntry{Offset: 1024, Path: "y"}); err != first {
			t.Errorf("%s: then %v", name, err)
		}
		if err := w.Close(); err != first {
			t.Errorf("%s: Close: %v", name, err)
		}
	}
	// The last offset there is has no successor.
	last := format.CatalogEntry{Offset: math.MaxUint64 - 511, Path: "last"}
	one := func(e format.CatalogEntry) []byte { return record(e) }
	c := newForger(t).container(withTable(one(format.CatalogEntry{Path: "x"}), one(last), one(format.CatalogEntry{Offset: 512, Path: "y"})))
	if _, err := open(c, nil); err == nil {
		t.Error("offsets that wrap were accepted")
	}
}

// A record that does not fit a segment is refused: no record crosses a frame.
func TestCatalogEntryOverSegment(t *testing.T) {
	const most = 64<<10 - 4 - 34 // of path, beside len and the fixed fields
	for n, want := range map[int]error{most: nil, most + 1: engine.ErrLimit} {
		w, err := engine.NewWriter(t.Context(), io.Discard, []keys.Recipient{testKey}, &engine.WriterOptions{SegmentSize: 64 << 10})
		if err != nil {
			t.Fatal(err)
		}
		if err := w.AddCatalogEntry(format.CatalogEntry{Path: string(make([]byte, n))}); !errors.Is(err, want) {
			t.Errorf("a path of %d bytes: %v", n, err)
		}
		w.Abort()
	}
}

// failingAt fails reads at and past an offset.
type failingAt struct {
	io.ReaderAt
	from, to int64
}

func (f failingAt) ReadAt(p []byte, off int64) (int, error) {
	if off < f.to && off+int64(len(p)) > f.from {
		return 0, errDisk
	}
	return f.ReaderAt.ReadAt(p, off)
}

// A failing source is not a damaged container.
func TestFailingSource(t *testing.T) {
	c := seal(t, noise(300<<10, 1), &engine.WriterOptions{HeaderSize: 4096})
	size := int64(len(c))
	for from := int64(0); from < size; from += 4096 {
		f, err := engine.Open(t.Context(), failingAt{bytes.NewReader(c), from, from + 4096}, size, []keys.Identity{testKey}, nil)
		if err == nil {
			r, rerr := f.NewReader(t.Context())
			if rerr != nil {
				t.Fatal(rerr)
			}
			_, err = io.Copy(io.Discard, r)
			r.Close()
			f.Close()
		}
		if !errors.Is(err, errDisk) {
			t.Errorf("failing at %d: %v", from, err)
		}
	}
}

// A countingBackend counts the AEADs that are open.
type countingBackend struct {
	backends.Backend
	open *atomic.Int32
}

func (b countingBackend) NewAEAD(ctx context.Context, s format.Suite, key []byte) (backends.AEAD, error) {
	a, err := b.Backend.NewAEAD(ctx, s, key)
	b.open.Add(1)
	return countingAEAD{a, b.open}, err
}

type countingAEAD struct {
	backends.AEAD
	open *atomic.Int32
}

func (a countingAEAD) Close() error { a.open.Add(-1); return a.AEAD.Close() }

func TestEverythingIsClosed(t *testing.T) {
	var n atomic.Int32
	b := countingBackend{software.New(), &n}
	c := seal(t, noise(1<<20, 1), &engine.WriterOptions{Backend: b})
	f, err := engine.Open(t.Context(), bytes.NewReader(c), int64(len(c)), []keys.Identity{testKey}, &engine.ReaderOptions{Backend: b})
	if err != nil {
		t.Fatal(err)
	}
	parallel(16, func(i int) {
		if _, err := f.ReadAt(make([]byte, 1000), int64(i)*1000); err != nil {
			t.Error(err)
		}
	})
	r, err := f.NewReader(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if _, err := io.Copy(io.Discard, r); err != nil {
		t.Errorf("a Reader after its File was closed: %v", err)
	}
	r.Close()
	if n.Load() != 0 {
		t.Errorf("%d AEADs are open", n.Load())
	}
	if _, err := f.ReadAt(make([]byte, 1), 0); !errors.Is(err, os.ErrClosed) {
		t.Errorf("ReadAt after Close: %v", err)
	}
	if _, err := f.NewReader(t.Context()); !errors.Is(err, os.ErrClosed) {
		t.Errorf("NewReader after Close: %v", err)
	}
	f.Close()
}

func TestAbsurdOptions(t *testing.T) {
	c := seal(t, []byte("x"), &engine.WriterOptions{Workers: math.MaxInt})
	if _, err := openFile(c, &engine.ReaderOptions{Workers: math.MaxInt}); err != nil {
		t.Error(err)
	}
	if _, err := openFile(c, &engine.ReaderOptions{MaxMemory: 1}); !errors.Is(err, engine.ErrLimit) {
		t.Errorf("a File in one byte of memory: %v", err)
	}
	r, err := engine.NewReader(t.Context(), bytes.NewReader(c), []keys.Identity{testKey}, &engine.ReaderOptions{MaxMemory: 1})
	if r != nil || !errors.Is(err, engine.ErrLimit) {
		t.Errorf("a Reader in one byte of memory: %v, %v", r, err)
	}
}

// A slot that was relabelled in one copy is still tried in the other: the bytes are
// the same, the slot is not.
func TestRelabelledSlot(t *testing.T) {
	f := newForger(t)
	f.editTail = func(h *format.Header) { h.Generation = 2 }
	slot, err := testKey.Wrap(t.Context(), f.header.Core(), f.fk)
	if err != nil {
		t.Fatal(err)
	}
	entry := slot.Entry()
	f.header.Entries = []format.Entry{entry}
	c := f.container(withTable())
	// The tail, which comes first, calls it a passphrase slot with these costs.
	tail := c[len(c)-4096:]
	h, err := format.ParseHeader(tail)
	if err != nil {
		t.Fatal(err)
	}
	h.Entries[0].Kind = 77
	copy(tail, f.block(*h))
	n := 0
	id := countingIdentity{77, &n, keys.ErrNoMatch}
	if _, err := engine.Open(t.Context(), bytes.NewReader(c), int64(len(c)), []keys.Identity{id, testKey}, nil); err != nil || n != 0 {
		t.Errorf("%d attempts, %v", n, err)
	}
}

// Close and NewReader may meet: a Reader has all its keys or there is none.
func TestNewReaderAgainstClose(t *testing.T) {
	c := seal(t, noise(200<<10, 1), nil)
	for range 30 {
		f, err := engine.Open(t.Context(), bytes.NewReader(c), int64(len(c)), []keys.Identity{testKey}, nil)
		if err != nil {
			t.Fatal(err)
		}
		go f.Close()
		r, err := f.NewReader(t.Context())
		if err == nil {
			_, err = io.Copy(io.Discard, r)
			r.Close()
		}
		if err != nil && !errors.Is(err, os.ErrClosed) {
			t.Fatal(err)
		}
	}
}
