package engine_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coffer-backup/coffer/engine"
	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/keys"
)

// The final package ends where a run of packages does, so that nothing of the tail
// was read with it.
func TestTailAfterFullRun(t *testing.T) {
	const run = 16 * format.MaxPayload
	c := newForger(t).container(filled(run))
	for name, test := range map[string]struct {
		c    []byte
		want error
	}{
		"whole":    {c, nil},
		"cut":      {c[:len(c)-100], engine.ErrTruncated},
		"no tail":  {c[:len(c)-4096], engine.ErrTruncated},
		"trailing": {append(bytes.Clone(c), 0), engine.ErrTrailingData},
	} {
		if _, err := open(test.c, nil); !errors.Is(err, test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A source that gives its last bytes together with an error has failed, even if it
// then says io.EOF.
func TestErrorWithTheLastBytes(t *testing.T) {
	c := seal(t, []byte("x"), &engine.WriterOptions{HeaderSize: 4096})
	src := bytes.NewReader(c)
	r, err := engine.NewReader(t.Context(), readerFunc(func(p []byte) (int, error) {
		before := src.Len()
		n, err := src.Read(p)
		if before > 0 && src.Len() == 0 {
			err = errDisk
		}
		return n, err
	}), []keys.Identity{testKey}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := io.ReadAll(r); !errors.Is(err, errDisk) {
		t.Error(err)
	}
}

// After its context has ended a Reader begins no Read of src.
func TestNoReadAfterCancel(t *testing.T) {
	c := seal(t, []byte("x"), &engine.WriterOptions{HeaderSize: 4096})
	src := bytes.NewReader(c)
	var reads atomic.Int32
	begun, release := make(chan struct{}), make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, err := engine.NewReader(ctx, readerFunc(func(p []byte) (int, error) {
		if src.Len() <= len(c)-4096 {
			if reads.Add(1) == 1 {
				close(begun)
				<-release
			}
			p = p[:1]
		}
		return src.Read(p)
	}), []keys.Identity{testKey}, nil)
	if err != nil {
		t.Fatal(err)
	}
	<-begun
	cancel()
	r.Close()
	close(release)
	time.Sleep(100 * time.Millisecond) // none begins later
	if n := reads.Load(); n != 1 {
		t.Errorf("%d reads", n)
	}
}

func TestWriteToFails(t *testing.T) {
	c := seal(t, noise(200<<10, 1), &engine.WriterOptions{SegmentSize: 64 << 10})
	for name, test := range map[string]struct {
		dst  io.Writer
		n    int64
		want error
	}{
		"full":              {&limitedWriter{100 << 10}, 100 << 10, errDisk},
		"short":             {writerFunc(func(p []byte) (int, error) { return len(p) - 1, nil }), 64<<10 - 1, io.ErrShortWrite},
		"long":              {writerFunc(func(p []byte) (int, error) { return 2 * len(p), nil }), 64 << 10, io.ErrShortWrite},
		"less than nothing": {writerFunc(func(p []byte) (int, error) { return -1, nil }), 0, io.ErrShortWrite},
	} {
		r, err := engine.NewReader(t.Context(), bytes.NewReader(c), []keys.Identity{testKey}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := r.WriteTo(test.dst); n != test.n || err != test.want {
			t.Errorf("%s: %d, %v", name, n, err)
		}
		r.Close()
	}
}

// OnCatalog is not called again once it has failed.
func TestRefusedCatalog(t *testing.T) {
	c, refused, n := seal(t, nil, nil, format.CatalogEntry{Path: "x"}, format.CatalogEntry{Offset: 512, Path: "y"}), errors.New("refused"), 0
	_, err := open(c, &engine.ReaderOptions{OnCatalog: func(format.CatalogEntry) error { n++; return refused }})
	if !errors.Is(err, refused) || n != 1 {
		t.Errorf("%d calls, %v", n, err)
	}
}

// TestCloseWithFullQueues closes a Reader whose goroutines all wait for the next Read:
// one package holds more frames than there are buffers.
func TestCloseWithFullQueues(t *testing.T) {
	const seg = 64 << 10
	c := seal(t, make([]byte, 100*seg), &engine.WriterOptions{SegmentSize: seg})
	synctest.Test(t, func(t *testing.T) {
		r, err := engine.NewReader(t.Context(), bytes.NewReader(c), []keys.Identity{testKey}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(r, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		r.Close() // and all goroutines end, or Test does not
	})
}
