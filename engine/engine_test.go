package engine_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"

	"github.com/coffer-backup/coffer/engine"
	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/keys"
)

// text returns n bytes that compress like prose, the same for the same seed.
func text(n int, seed uint64) []byte {
	rnd := rand.New(rand.NewPCG(seed, 1))
	words := make([][]byte, 500)
	for i := range words {
		w := make([]byte, 2+rnd.IntN(9))
		for j := range w {
			w[j] = 'a' + byte(rnd.IntN(26))
		}
		words[i] = append(w, ' ')
	}
	out := make([]byte, 0, n+16)
	for len(out) < n {
		out = append(out, words[min(rnd.IntN(500), rnd.IntN(500))]...)
	}
	return out[:n]
}

// noise returns n bytes that do not compress.
func noise(n int, seed uint64) []byte {
	var key [32]byte
	key[0] = byte(seed)
	out := make([]byte, n)
	_, _ = rand.NewChaCha8(key).Read(out)
	return out
}

var testKey = keys.GenerateAccountKey()

// seal returns a container of plain for testKey.
func seal(t testing.TB, plain []byte, opts *engine.WriterOptions, catalog ...format.CatalogEntry) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := engine.NewWriter(t.Context(), &out, []keys.Recipient{testKey}, opts)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	if _, err := w.Write(plain); err != nil {
		t.Fatal(err)
	}
	for _, e := range catalog {
		if err := w.AddCatalogEntry(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// open reads a container with the sequential reader.
func open(container []byte, opts *engine.ReaderOptions, atEnd ...func(*engine.Reader)) ([]byte, error) {
	r, err := engine.NewReader(context.Background(), bytes.NewReader(container), []keys.Identity{testKey}, opts)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	plain, err := io.ReadAll(r)
	for _, f := range atEnd {
		f(r)
	}
	return plain, err
}

func openStream(container []byte, opts *engine.ReaderOptions) ([]byte, error) {
	return open(container, opts)
}

// openFile opens a container for random access and reads it twice: at random,
// and whole.
func openFile(container []byte, opts *engine.ReaderOptions) ([]byte, error) {
	f, err := engine.Open(context.Background(), bytes.NewReader(container), int64(len(container)), []keys.Identity{testKey}, opts)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	plain := make([]byte, f.Size())
	if _, err := f.ReadAt(plain, 0); err != nil && err != io.EOF {
		return nil, err
	}
	r, err := f.NewReader(context.Background())
	if err != nil {
		return nil, err
	}
	defer r.Close()
	whole, err := io.ReadAll(r)
	if err == nil && !bytes.Equal(whole, plain) {
		err = errors.New("random access and sequential reading differ")
	}
	return whole, err
}

func TestRoundTrip(t *testing.T) {
	const seg = 64 << 10
	sizes := []int{0, 1, 255, 256, seg - 1, seg, seg + 1, 2*seg - 13, 5*seg + 4711, 40 * seg}
	for _, level := range []engine.Level{engine.Store, engine.Fast, engine.Balanced, engine.Small} {
		for _, suite := range []format.Suite{format.AES256GCM, format.ChaCha20Poly1305} {
			for i, size := range sizes {
				for _, make := range []func(int, uint64) []byte{text, noise} {
					plain := make(size, uint64(i))
					opts := &engine.WriterOptions{Suite: suite, Level: level, SegmentSize: seg, Workers: 1 + i%3, Pad: i%2 == 1, SkipCheck: i%4 == 3}
					c := seal(t, plain, opts)
					for name, read := range map[string]func([]byte, *engine.ReaderOptions) ([]byte, error){"stream": openStream, "file": openFile} {
						got, err := read(c, &engine.ReaderOptions{Workers: 1 + i%4})
						if err != nil || !bytes.Equal(got, plain) {
							t.Fatalf("%s, %v, %v, %d bytes: got %d bytes, %v", name, level, suite, size, len(got), err)
						}
					}
				}
			}
		}
	}
}

func TestReadersOfAnyShape(t *testing.T) {
	plain := text(300<<10, 1)
	c := seal(t, plain, &engine.WriterOptions{SegmentSize: 64 << 10})
	for name, src := range map[string]io.Reader{
		"one byte": iotest.OneByteReader(bytes.NewReader(c)),
		"half":     iotest.HalfReader(bytes.NewReader(c)),
		"data err": iotest.DataErrReader(bytes.NewReader(c)),
	} {
		r, err := engine.NewReader(t.Context(), src, []keys.Identity{testKey}, nil)
		if err != nil {
			t.Fatal(name, err)
		}
		if err := iotest.TestReader(r, plain); err != nil {
			t.Error(name, err)
		}
	}
	r, err := engine.NewReader(t.Context(), iotest.TimeoutReader(iotest.OneByteReader(bytes.NewReader(c))), []keys.Identity{testKey}, nil)
	if !errors.Is(err, iotest.ErrTimeout) {
		t.Errorf("a failing source: %v, %v", r, err)
	}
	f, err := engine.Open(t.Context(), bytes.NewReader(c), int64(len(c)), []keys.Identity{testKey}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := iotest.TestReader(io.NewSectionReader(f, 0, f.Size()), plain); err != nil {
		t.Error("file", err)
	}
}

func TestCatalog(t *testing.T) {
	plain := text(200<<10, 1)
	var want []format.CatalogEntry
	for i := range 5000 {
		want = append(want, format.CatalogEntry{Offset: uint64(i) * 512, Size: 3, ModTime: int64(-i), Mode: 0o644, Type: '0', Path: fmt.Sprintf("dir/file-%d", i)})
	}
	c := seal(t, plain, &engine.WriterOptions{SegmentSize: 64 << 10, Pad: true}, want...)
	var got []format.CatalogEntry
	if _, err := open(c, &engine.ReaderOptions{OnCatalog: func(e format.CatalogEntry) error { got = append(got, e); return nil }}); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the stream gave %d entries", len(got))
	}
	f, err := engine.Open(t.Context(), bytes.NewReader(c), int64(len(c)), []keys.Identity{testKey}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got = nil
	for e, err := range f.Catalog() {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) || !f.IsArchive() {
		t.Errorf("the file gave %d entries", len(got))
	}
	refused := errors.New("refused")
	if _, err := open(c, &engine.ReaderOptions{OnCatalog: func(format.CatalogEntry) error { return refused }}); !errors.Is(err, refused) {
		t.Errorf("OnCatalog's error came back as %v", err)
	}
}

// TestMixedSegments has the writer guess wrong, both ways, whether a segment will be
// compressed: it reads it to where a stored frame has it, or not.
func TestMixedSegments(t *testing.T) {
	const seg = 128 << 10
	words, random := text(seg, 1), noise(seg, 1)
	var plain []byte
	for _, s := range []string{"tnntttnnnnnntnntt", "ntn"} {
		for i, c := range s {
			segment := words
			if c == 'n' {
				segment = random
			}
			if i == len(s)-1 { // a last one that is not full
				segment = segment[:seg-1000]
			}
			plain = append(plain, segment...)
		}
		for _, workers := range []int{1, 3} {
			for _, skip := range []bool{false, true} {
				c := seal(t, plain, &engine.WriterOptions{SegmentSize: seg, Workers: workers, SkipCheck: skip})
				if got, err := openStream(c, nil); err != nil || !bytes.Equal(got, plain) {
					t.Errorf("%s, %d workers: other bytes, or %v", s, workers, err)
				}
				if got, err := openFile(c, nil); err != nil || !bytes.Equal(got, plain) {
					t.Errorf("%s, %d workers: other bytes at random, or %v", s, workers, err)
				}
			}
		}
		plain = nil
	}
}
