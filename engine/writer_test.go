package engine_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"go.uber.org/goleak"

	"github.com/coffer-backup/coffer/backends"
	"github.com/coffer-backup/coffer/backends/software"
	"github.com/coffer-backup/coffer/engine"
	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/internal/need"
	"github.com/coffer-backup/coffer/keys"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errDisk = errors.New("disk full")

// limitedWriter takes n bytes and then fails.
type limitedWriter struct{ n int }

func (w *limitedWriter) Write(p []byte) (int, error) {
	if len(p) > w.n {
		n := w.n
		w.n = 0
		return n, errDisk
	}
	w.n -= len(p)
	return len(p), nil
}

func TestFailingDestination(t *testing.T) {
	plain := noise(2<<20, 1)
	opts := &engine.WriterOptions{SegmentSize: 64 << 10, HeaderSize: 4096}
	size := len(seal(t, plain, opts))
	for n := 0; n < size; n += 1 + size/40 {
		w, err := engine.NewWriter(t.Context(), &limitedWriter{n}, []keys.Recipient{testKey}, opts)
		if n < 4096 {
			if !errors.Is(err, errDisk) {
				t.Fatalf("room for %d bytes: NewWriter: %v", n, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		_, writeErr := w.Write(plain)
		closeErr := w.Close()
		if !errors.Is(closeErr, errDisk) || writeErr != nil && !errors.Is(writeErr, errDisk) {
			t.Errorf("room for %d of %d bytes: Write: %v, Close: %v", n, size, writeErr, closeErr)
		}
		if _, err := w.Write([]byte{1}); !errors.Is(err, errDisk) {
			t.Errorf("Write after the failure: %v", err)
		}
		w.Abort()
	}
}

func TestShortWrite(t *testing.T) {
	for _, says := range []func(int) int{
		func(n int) int { return n / 2 },
		func(n int) int { return 2 * n }, // the bytes of what it makes of them, perhaps
	} {
		dst := writerFunc(func(p []byte) (int, error) { return says(len(p)), nil })
		if _, err := engine.NewWriter(t.Context(), dst, []keys.Recipient{testKey}, nil); !errors.Is(err, io.ErrShortWrite) {
			t.Error(err)
		}
	}
}

// A source that says it read more than it was asked to has read who knows what.
func TestLyingSource(t *testing.T) {
	for _, n := range []int{-1, 200 << 10} {
		w, err := engine.NewWriter(t.Context(), io.Discard, []keys.Recipient{testKey}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := w.ReadFrom(readerFunc(func([]byte) (int, error) { return n, nil })); got != 0 || err == nil {
			t.Errorf("%d: %d, %v", n, got, err)
		}
		w.Abort()
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestAbortAndClose(t *testing.T) {
	var out bytes.Buffer
	w, err := engine.NewWriter(t.Context(), &out, []keys.Recipient{testKey}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(make([]byte, 5<<20)); err != nil {
		t.Fatal(err)
	}
	w.Abort()
	w.Abort()
	for what, err := range map[string]error{"Close": w.Close(), "Write": second(w.Write([]byte{1})), "AddCatalogEntry": w.AddCatalogEntry(format.CatalogEntry{})} {
		if err == nil {
			t.Error(what, "worked after Abort")
		}
	}
	if _, err := open(out.Bytes(), nil); err == nil {
		t.Error("an aborted container opens")
	}

	out.Reset()
	w, err = engine.NewWriter(t.Context(), &out, []keys.Recipient{testKey}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	w.Abort()
	if w.Close() == nil || second(w.Write([]byte{1})) == nil || second(w.ReadFrom(strings.NewReader("x"))) == nil {
		t.Error("a closed writer goes on")
	}
	if _, err := open(out.Bytes(), nil); err != nil {
		t.Error(err)
	}
}

func second[T any](_ T, err error) error { return err }

func TestCancel(t *testing.T) {
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	w, err := engine.NewWriter(ctx, io.Discard, []keys.Recipient{testKey}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(make([]byte, 3<<20)); err != nil {
		t.Fatal(err)
	}
	cancel(cause)
	if _, err := w.Write(make([]byte, 30<<20)); err != cause {
		t.Errorf("Write: %v", err)
	}
	if err := w.Close(); err != cause {
		t.Errorf("Close: %v", err)
	}

	c := seal(t, make([]byte, 30<<20), &engine.WriterOptions{Level: engine.Store})
	ctx, cancel = context.WithCancelCause(t.Context())
	r, err := engine.NewReader(ctx, bytes.NewReader(c), []keys.Identity{testKey}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := io.CopyN(io.Discard, r, 1<<20); err != nil {
		t.Fatal(err)
	}
	cancel(cause)
	if _, err := io.Copy(io.Discard, r); err != cause {
		t.Errorf("Read: %v", err)
	}
}

// A destination or source that hangs must not hang who gives up on it.
func TestHangingPeers(t *testing.T) {
	release := make(chan struct{})
	first := true
	dst := writerFunc(func(p []byte) (int, error) {
		if !first {
			<-release
		}
		first = false
		return len(p), nil
	})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	w, err := engine.NewWriter(ctx, dst, []keys.Recipient{testKey}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(noise(100<<20, 1)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Write: %v", err)
	}
	w.Abort()

	c := seal(t, noise(4<<20, 1), nil)
	pr, pw := io.Pipe()
	go func() { _, _ = pw.Write(c[:len(c)/2]) }()
	r, err := engine.NewReader(ctx, pr, []keys.Identity{testKey}, nil)
	if err == nil {
		_, err = io.Copy(io.Discard, r)
		r.Close()
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Read: %v", err)
	}
	close(release)
	pr.Close()
}

func TestReadFrom(t *testing.T) {
	plain := text(300<<10, 3)
	for name, src := range map[string]io.Reader{
		"plain": bytes.NewReader(plain), "half": iotest.HalfReader(bytes.NewReader(plain)), "data err": iotest.DataErrReader(bytes.NewReader(plain)),
	} {
		var out bytes.Buffer
		w, err := engine.NewWriter(t.Context(), &out, []keys.Recipient{testKey}, &engine.WriterOptions{SegmentSize: 64 << 10})
		if err != nil {
			t.Fatal(err)
		}
		if n, err := io.Copy(w, src); n != int64(len(plain)) || err != nil {
			t.Fatal(name, n, err)
		}
		if _, err := w.Write([]byte("and more")); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if got, err := open(out.Bytes(), nil); err != nil || string(got) != string(plain)+"and more" {
			t.Error(name, len(got), err)
		}
	}
	w, err := engine.NewWriter(t.Context(), io.Discard, []keys.Recipient{testKey}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	if _, err := w.ReadFrom(iotest.ErrReader(errDisk)); err != errDisk {
		t.Error(err)
	}
}

func TestWriterOptions(t *testing.T) {
	ok := []keys.Recipient{testKey}
	many := make([]keys.Recipient, 33)
	for i := range many {
		many[i] = testKey
	}
	for name, test := range map[string]struct {
		to   []keys.Recipient
		opts engine.WriterOptions
	}{
		"nobody":            {nil, engine.WriterOptions{}},
		"33 recipients":     {many, engine.WriterOptions{}},
		"too many slots":    {many[:32], engine.WriterOptions{HeaderSize: 64}},
		"odd segment":       {ok, engine.WriterOptions{SegmentSize: 100000}},
		"small segment":     {ok, engine.WriterOptions{SegmentSize: 32 << 10}},
		"large segment":     {ok, engine.WriterOptions{SegmentSize: 128 << 20}},
		"odd header":        {ok, engine.WriterOptions{HeaderSize: 5000}},
		"large header":      {ok, engine.WriterOptions{HeaderSize: 128 << 10}},
		"long context":      {ok, engine.WriterOptions{Context: make([]byte, 65536)}},
		"no such suite":     {ok, engine.WriterOptions{Suite: 9}},
		"no such level":     {ok, engine.WriterOptions{Level: 17}},
		"suite and backend": {ok, engine.WriterOptions{Suite: 9, Backend: software.New()}},
		"compressor fails":  {ok, engine.WriterOptions{NewCompressor: func() (engine.Compressor, error) { return nil, errDisk }}},
		"recipient fails":   {[]keys.Recipient{failingRecipient{}}, engine.WriterOptions{}},
		"backend fails":     {ok, engine.WriterOptions{Backend: failingBackend{software.New()}}},
	} {
		out := new(bytes.Buffer)
		if w, err := engine.NewWriter(t.Context(), out, test.to, &test.opts); err == nil || out.Len() > 0 {
			t.Errorf("%s: %v, wrote %d bytes", name, err, out.Len())
			w.Abort()
		}
	}
	c := seal(t, []byte("x"), &engine.WriterOptions{SegmentSize: 64 << 20, Context: []byte("largest of all")})
	if _, err := open(c, &engine.ReaderOptions{Context: []byte("largest of all"), MaxMemory: 1 << 20}); !errors.Is(err, engine.ErrLimit) {
		t.Errorf("64 MiB segments in 1 MiB of memory: %v", err)
	}
	if _, err := open(c, &engine.ReaderOptions{Context: []byte("largest of all")}); err != nil {
		t.Error(err)
	}
}

// bigRecipient makes slots of n bytes, of a kind that no reader knows.
type bigRecipient int

func (n bigRecipient) Wrap(context.Context, format.Core, *keys.FileKey) (format.Slot, error) {
	s := format.Slot{Kind: 0x7000, Wrapped: make([]byte, n)}
	rand.Read(s.Salt[:])
	return s, nil
}

// The header grows with the slots, as far as one can.
func TestManySlots(t *testing.T) {
	for _, test := range []struct {
		big    bigRecipient
		n      int
		header int
	}{{1168, 1, 8192}, {1168, 31, 40960}, {4200, 15, 65536}, {4200, 31, 0}} {
		out := new(bytes.Buffer)
		to := []keys.Recipient{testKey}
		for range test.n {
			to = append(to, test.big)
		}
		w, err := engine.NewWriter(t.Context(), out, to, nil)
		if test.header == 0 {
			if !errors.Is(err, engine.ErrLimit) || out.Len() > 0 {
				t.Errorf("%d slots of %d bytes: %v", test.n, test.big, err)
			}
			continue
		}
		if err == nil {
			err = w.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
		r, err := engine.NewReader(t.Context(), out, []keys.Identity{testKey}, nil)
		if err != nil || r.Info().Header.Size != test.header {
			t.Fatalf("%d slots of %d bytes: %v", test.n, test.big, err)
		}
		if _, err := io.Copy(io.Discard, r); err != nil {
			t.Error(err)
		}
		r.Close()
	}
}

type failingRecipient struct{}

func (failingRecipient) Wrap(context.Context, format.Core, *keys.FileKey) (format.Slot, error) {
	return format.Slot{}, errDisk
}

type failingBackend struct{ backends.Backend }

func (failingBackend) NewAEAD(context.Context, format.Suite, []byte) (backends.AEAD, error) {
	return nil, errDisk
}

func TestProgress(t *testing.T) {
	plain := noise(5<<20+1, 1)
	var last engine.Progress
	c := seal(t, plain, &engine.WriterOptions{Progress: func(p engine.Progress) {
		if p.Plain < last.Plain || p.Sealed < last.Sealed {
			t.Errorf("%+v after %+v", p, last)
		}
		last = p
	}})
	if last.Plain != int64(len(plain)) || last.Sealed == 0 || last.Sealed > int64(len(c)) {
		t.Errorf("writer: %+v", last)
	}
	last = engine.Progress{}
	if _, err := open(c, &engine.ReaderOptions{Progress: func(p engine.Progress) { last = p }}); err != nil {
		t.Fatal(err)
	}
	if last.Plain != int64(len(plain)) || last.Sealed == 0 || last.Sealed > int64(len(c)) {
		t.Errorf("reader: %+v of %d", last, len(c))
	}
}

// The padded length says nothing but the class of the length.
func TestPadding(t *testing.T) {
	sizes := make(map[int]bool)
	for n := 100000; n < 100400; n += 7 {
		c := seal(t, noise(n, 1), &engine.WriterOptions{Pad: true})
		sizes[len(c)] = true
		if _, err := openFile(c, nil); err != nil {
			t.Fatal(err)
		}
	}
	if len(sizes) > 2 {
		t.Errorf("%d different lengths", len(sizes))
	}
}

// In the steady state a segment costs no allocation, on either side (the growth
// of the seek table's spool apart: one chunk for 8192 segments).
func TestNoAllocationsPerSegment(t *testing.T) {
	if testing.Short() || raceEnabled {
		t.Skip("the race detector allocates")
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	const seg = 64 << 10
	for _, level := range []engine.Level{engine.Store, engine.Fast} {
		plain := text(100*seg, 1)
		w, err := engine.NewWriter(t.Context(), io.Discard, []keys.Recipient{testKey}, &engine.WriterOptions{Level: level, SegmentSize: seg})
		if err != nil {
			t.Fatal(err)
		}
		write := func() {
			if _, err := w.Write(plain); err != nil {
				t.Fatal(err)
			}
		}
		write()
		if n := testing.AllocsPerRun(10, write); n > 3 {
			t.Errorf("%v: %v allocations for 100 segments written", level, n)
		}
		w.Abort()

		c := seal(t, text(2000*seg, 1), &engine.WriterOptions{Level: level, SegmentSize: seg})
		r, err := engine.NewReader(t.Context(), bytes.NewReader(c), []keys.Identity{testKey}, nil)
		if err != nil {
			t.Fatal(err)
		}
		read := func() {
			if _, err := io.CopyN(io.Discard, r, 100*seg); err != nil {
				t.Fatal(err)
			}
		}
		read()
		if n := testing.AllocsPerRun(10, read); n > 3 {
			t.Errorf("%v: %v allocations for 100 segments read", level, n)
		}
		r.Close()
	}
}

// The memory in use does not grow with the data.
func TestMemoryIsBounded(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector multiplies memory")
	}
	total := int64(256 << 20)
	if need.Long() {
		total = 10 << 30
	}
	if os.Getenv("COFFER_TEST_MEMORY") == "" { // other tests have grown this process
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestMemoryIsBounded$", "-test.v")
		cmd.Env = append(os.Environ(), "COFFER_TEST_MEMORY=1")
		out, err := cmd.CombinedOutput()
		if t.Logf("%s", out); err != nil {
			t.Error(err)
		}
		return
	}
	pr, pw := io.Pipe()
	done := make(chan error, 1)
	go func() {
		w, err := engine.NewWriter(context.Background(), pw, []keys.Recipient{testKey}, &engine.WriterOptions{Workers: 2})
		if err == nil {
			chunk := text(1<<20, 1)
			for n := int64(0); n < total && err == nil; n += int64(len(chunk)) {
				_, err = w.Write(chunk)
			}
			if err == nil {
				err = w.Close()
			}
		}
		pw.CloseWithError(err)
		done <- err
	}()
	r, err := engine.NewReader(t.Context(), pr, []keys.Identity{testKey}, &engine.ReaderOptions{Workers: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	peak := uint64(0)
	for {
		_, err := io.CopyN(io.Discard, r, 16<<20)
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		peak = max(peak, m.HeapSys-m.HeapReleased)
		if err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	t.Logf("%d MiB through a Writer and a Reader: heap at most %d MiB", total>>20, peak>>20)
	if peak > 64<<20 {
		t.Errorf("the heap had %d MiB", peak>>20)
	}
}

func ExampleWriter() {
	key := keys.GenerateAccountKey()
	var backup bytes.Buffer
	w, err := engine.NewWriter(context.Background(), &backup, []keys.Recipient{key}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer w.Abort() // gives up the container, unless Close came first
	if _, err := io.WriteString(w, "to be kept"); err != nil {
		fmt.Println(err)
		return
	}
	if err := w.Close(); err != nil { // only now is it whole
		fmt.Println(err)
		return
	}

	r, err := engine.NewReader(context.Background(), &backup, []keys.Identity{key}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer r.Close()
	plain, err := io.ReadAll(r) // no error means whole and authentic
	fmt.Printf("%s, %v\n", plain, err)
	// Output: to be kept, <nil>
}

func ExampleOpen() {
	key := keys.GenerateAccountKey()
	var backup bytes.Buffer
	w, err := engine.NewWriter(context.Background(), &backup, []keys.Recipient{key}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer w.Abort()
	fmt.Fprint(w, "0123456789")
	if err := w.Close(); err != nil {
		fmt.Println(err)
		return
	}

	src := bytes.NewReader(backup.Bytes()) // or an *os.File, or an object in a store
	f, err := engine.Open(context.Background(), src, src.Size(), []keys.Identity{key}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer f.Close()
	part := make([]byte, 3)
	_, err = f.ReadAt(part, 4)
	fmt.Printf("%s of %d bytes, %v\n", part, f.Size(), err)
	// Output: 456 of 10 bytes, <nil>
}
