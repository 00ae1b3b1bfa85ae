package engine_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/coffer-backup/coffer/backends"
	"github.com/coffer-backup/coffer/backends/software"
	"github.com/coffer-backup/coffer/engine"
	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/keys"
)

// openAt opens the first size bytes of src.
func openAt(ctx context.Context, src io.ReaderAt, size int, opts *engine.ReaderOptions) (*engine.File, error) {
	return engine.Open(ctx, src, int64(size), []keys.Identity{testKey}, opts)
}

// readPieces reads what random access gives, all of it: the catalog and the data.
func readPieces(f *engine.File) error {
	for _, err := range f.Catalog() {
		if err != nil {
			return err
		}
	}
	_, err := f.ReadAt(make([]byte, f.Size()), 0)
	return err
}

// readAt opens the first size bytes of src, and reads all at random.
func readAt(ctx context.Context, src io.ReaderAt, size int, opts *engine.ReaderOptions) error {
	f, err := openAt(ctx, src, size, opts)
	if err != nil {
		return err
	}
	defer f.Close()
	return readPieces(f)
}

// info is an info frame with a payload of n bytes.
func info(n int) []byte { return skippable(format.MagicInfoFirst, make([]byte, n)) }

// filled returns content of n bytes: short, an info frame and the table.
func filled(n int) []byte {
	short := frame([]byte("short"))
	return withTable(short, info(n-len(withTable(short, info(0)))))
}

// Tables that say of the frames what is not so, in ways that reading at random shows
// as well as reading the whole.
func TestTableAgainstFrames(t *testing.T) {
	short := frame([]byte("short"))
	shortEntry := format.SeekEntry{Compressed: uint32(len(short)), Decompressed: 5}
	of := func(sizes ...int) (entries []format.SeekEntry) { // of frames without plaintext
		for _, n := range sizes {
			entries = append(entries, format.SeekEntry{Compressed: uint32(n)})
		}
		return entries
	}
	entry := record(format.CatalogEntry{Path: "x"})
	entryFrame := bytes.Clone(entry[format.SkippableHeaderSize:])
	content := func(table []byte, frames ...[]byte) []byte { return append(bytes.Join(frames, nil), table...) }
	patched := func(at int, v byte, frames ...[]byte) []byte {
		b := withTable(frames...)
		b[len(b)-format.SeekFooterSize+at] = v
		return b
	}
	for _, test := range []struct {
		name    string
		content []byte
		opens   bool // at random, and the fault shows when the catalog is read
	}{
		{"an empty table with a descriptor", patched(4, 1), false},
		{"more entries than the content has room for", patched(0, 17, short), false},
		{"no room for the footer", content(skippable(format.MagicSeekTable, make([]byte, 5)), short), false},
		{"an entry for a table", withTable(short, table(shortEntry)), false},
		{"an entry for the start of a data frame", content(table(of(8, len(short)-8, 8)...), short, info(0)), false},
		{"an entry for a data frame and the next one", content(table(append([]format.SeekEntry{{Compressed: uint32(len(short) + 60), Decompressed: 5}}, of(8)...)...), short, info(52), info(0)), false},
		{"the first frame without data is longer", content(table(append([]format.SeekEntry{shortEntry}, of(9, 10, 8)...)...), short, info(2), info(1), info(0)), false},
		{"the last frame is longer", content(table(of(8, 10, 9)...), info(0), info(1), info(2)), false},
		{"a frame behind the catalog is longer", content(table(of(len(entry), 10, 9, 8)...), entry, info(1), info(2), info(0)), true},
		{"an entry of 7 bytes", content(table(of(8, 7, 9, 8)...), info(0), info(0), info(0), info(0)), false},
		{"a catalog frame longer than any", withTable(skippable(format.MagicCatalog, make([]byte, format.MaxFrameSize(64<<10)+1))), true},
		{"an entry for the end of a catalog frame", content(table(of(len(entry), 8)...), skippable(format.MagicCatalog, append(entryFrame, info(0)...))), false},
	} {
		c := newForger(t).container(test.content)
		_, streamErr := open(c, nil)
		f, randomErr := openAt(t.Context(), bytes.NewReader(c), len(c), nil)
		if (randomErr == nil) != test.opens {
			t.Errorf("%s: Open: %v", test.name, randomErr)
		}
		if randomErr == nil {
			randomErr = readPieces(f)
			f.Close()
		}
		for _, err := range []error{streamErr, randomErr} {
			if syntax := (*format.SyntaxError)(nil); !errors.As(err, &syntax) {
				t.Errorf("%s: stream: %v, at random: %v", test.name, streamErr, randomErr)
			}
		}
	}
}

// What the table says is not asked of memory beyond MaxMemory: 8 bytes an entry.
func TestTableOverMaxMemory(t *testing.T) {
	const memory, n = 4 << 20, 4<<20/format.SeekEntrySize + 1
	c := newForger(t).container(append(bytes.Repeat(info(0), n), table(slices.Repeat([]format.SeekEntry{{Compressed: 8}}, n)...)...))
	opts := &engine.ReaderOptions{MaxMemory: memory, Workers: 1}
	if _, err := openAt(t.Context(), bytes.NewReader(c), len(c), opts); !errors.Is(err, engine.ErrLimit) {
		t.Errorf("Open: %v", err)
	}
	if _, err := open(c, opts); err != nil {
		t.Errorf("a stream reader needs no index: %v", err)
	}
}

// A block in the place of the tail that cannot be one.
func TestTailThatIsNone(t *testing.T) {
	f := newForger(t)
	whole := f.container(withTable())
	lone := whole[len(whole)-4096-100:] // 2H bytes is the least that a file has
	if _, err := openAt(t.Context(), bytes.NewReader(lone), len(lone), nil); !errors.Is(err, format.ErrMagic) {
		t.Errorf("a lone block: %v", err)
	}
	f = newForger(t)
	f.header.Size = 8192
	c := f.container(withTable())
	f.header.Size = 4096
	copy(c[len(c)-8192:], append(f.block(f.header), make([]byte, 4096)...))
	if _, err := open(c, nil); !errors.Is(err, engine.ErrAuth) {
		t.Errorf("a shorter block: stream: %v", err)
	}
	if _, err := openFile(c, nil); !errors.Is(err, engine.ErrDamagedCopy) {
		t.Errorf("a shorter block: file: %v", err)
	}
}

// A final package whose header is wrong is not asked for its length, which passes the
// end of the file.
func TestWrongHeaderWithLongPayload(t *testing.T) {
	c := newForger(t).container(withTable())
	c[4096+2], c[4096+3] = 0xff, 0xff
	c[4096+5] ^= 1
	_, streamErr := open(c, nil)
	_, fileErr := openAt(t.Context(), bytes.NewReader(c), len(c), nil)
	if !errors.Is(streamErr, engine.ErrAuth) || !errors.Is(fileErr, engine.ErrAuth) {
		t.Errorf("stream: %v, file: %v", streamErr, fileErr)
	}
}

// Both readers name one place where a container was cut in a package's header, in the
// final package or behind it. (Within another package they need not: its header says
// that one follows, and that is the one which is missed at random.)
func TestPlaceOfTheCut(t *testing.T) {
	c := seal(t, noise(150<<10, 1), &engine.WriterOptions{HeaderSize: 4096, SegmentSize: 64 << 10})
	for _, n := range []int{4096, 4096 + 5, 4096 + format.MaxPackageSize, 4096 + format.MaxPackageSize + 5, 4096 + 2*format.MaxPackageSize, 4096 + 2*format.MaxPackageSize + 15, len(c) - 4096 - 10, len(c) - 4096, len(c) - 10} {
		_, streamErr := open(c[:n], nil)
		demand := func(src []byte) {
			t.Helper()
			_, fileErr := openAt(t.Context(), bytes.NewReader(src), n, nil)
			var file, stream *engine.Error
			if !errors.As(fileErr, &file) || !errors.As(streamErr, &stream) || file.Part != stream.Part || file.Offset != stream.Offset || !errors.Is(fileErr, engine.ErrTruncated) {
				t.Errorf("%d bytes: stream: %v, file: %v", n, streamErr, fileErr)
			}
		}
		demand(c[:n])
		if n > len(c)-5000 {
			demand(c) // only size says where the file ends
		}
	}
}

// Damage in a package that has only frames without plaintext, and the beginning of
// the table's footer or not.
func TestDamageBeforeTheTable(t *testing.T) {
	for _, n := range []int{format.MaxPayload + 3, format.MaxPayload + 100} {
		c := newForger(t).container(filled(n))
		if err := readAt(t.Context(), bytes.NewReader(c), len(c), nil); err != nil {
			t.Fatal(err)
		}
		c[4096+1000] ^= 1
		if err := readAt(t.Context(), bytes.NewReader(c), len(c), nil); !errors.Is(err, engine.ErrAuth) {
			t.Errorf("%d bytes of content: %v", n, err)
		}
	}
}

// Two packages with FINAL: the content is whole up to the first one, and the table in
// the second speaks of both. No way to read takes the first one for the end.
func TestTwoFinalPackages(t *testing.T) {
	f := newForger(t)
	first := filled(format.MaxPayload)
	c := f.container(slices.Concat(first, info(5), table(
		format.SeekEntry{Compressed: format.MaxPayload, Decompressed: format.MaxPayload}, format.SeekEntry{Compressed: uint32(len(info(5)))})))
	copy(c[4096:], f.body(first)) // sealed as the only package
	if _, err := open(c, nil); !errors.Is(err, engine.ErrAuth) {
		t.Errorf("stream: %v", err)
	}
	if err := readAt(t.Context(), bytes.NewReader(c), len(c), nil); !errors.Is(err, engine.ErrAuth) {
		t.Errorf("at random: %v", err)
	}
	file, err := openAt(t.Context(), bytes.NewReader(c), len(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	r, err := file.NewReader(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if plain, err := io.ReadAll(r); !errors.Is(err, engine.ErrAuth) {
		t.Errorf("the whole file: %d bytes, %v", len(plain), err)
	}
}

func TestReadAtTheEdges(t *testing.T) {
	plain := text(70000, 1)
	c := seal(t, plain, &engine.WriterOptions{SegmentSize: 64 << 10})
	f, err := openAt(t.Context(), bytes.NewReader(c), len(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 10)
	if n, err := f.ReadAt(b, 69997); n != 3 || err != io.EOF || !bytes.Equal(b[:3], plain[69997:]) {
		t.Errorf("across the end: %d, %v", n, err)
	}
	for _, off := range []int64{70000, 70001, 1 << 62} {
		if n, err := f.ReadAt(b, off); n != 0 || err != io.EOF {
			t.Errorf("at %d: %d, %v", off, n, err)
		}
	}
	if n, err := f.ReadAt(b, -1); n != 0 || err == nil || err == io.EOF {
		t.Errorf("at -1: %d, %v", n, err)
	}
}

// A hookedAt calls hook before each read, with the number of those before.
type hookedAt struct {
	io.ReaderAt
	reads int
	hook  func(n int, r *hookedAt)
}

func (r *hookedAt) ReadAt(p []byte, off int64) (int, error) {
	r.hook(r.reads, r)
	r.reads++
	return r.ReaderAt.ReadAt(p, off)
}

// catalogOfTwo is a container whose second catalog frame begins in another package
// than the first one.
func catalogOfTwo(t *testing.T) []byte {
	long := strings.Repeat("x", 60000)
	return newForger(t).container(withTable(frame(noise(10000, 1)),
		record(format.CatalogEntry{Path: long}), record(format.CatalogEntry{Offset: 512, Path: long})))
}

// Whenever the context ends, everything fails with its cause.
func TestCancelledFile(t *testing.T) {
	c, gone := catalogOfTwo(t), errors.New("gone")
	for at := 0; ; at++ {
		ctx, cancel := context.WithCancelCause(t.Context())
		src := &hookedAt{ReaderAt: bytes.NewReader(c), hook: func(n int, _ *hookedAt) {
			if n == at {
				cancel(gone)
			}
		}}
		err := readAt(ctx, src, len(c), nil)
		cancel(nil)
		if src.reads <= at {
			if err != nil || at < 5 {
				t.Fatalf("%d reads, %v", src.reads, err)
			}
			return
		}
		if err != nil && !errors.Is(err, gone) {
			t.Errorf("cancelled in read %d: %v", at, err)
		}
	}
}

// A source that gets shorter after it was opened was cut.
func TestFileThatShrinks(t *testing.T) {
	c := seal(t, noise(300<<10, 1), nil)
	src := &hookedAt{ReaderAt: bytes.NewReader(c), hook: func(int, *hookedAt) {}}
	f, err := openAt(t.Context(), src, len(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	src.ReaderAt = bytes.NewReader(c[:100<<10])
	if _, err := f.ReadAt(make([]byte, 300<<10), 0); !errors.Is(err, engine.ErrTruncated) {
		t.Error(err)
	}
}

// A source that fails behind the container is not a damaged one.
func TestFailingSourceBehindTheEnd(t *testing.T) {
	c := append(newForger(t).container(withTable()), make([]byte, 100)...)
	size := int64(len(c))
	for from := int64(4096); from < size; from += 50 {
		_, err := openAt(t.Context(), failingAt{bytes.NewReader(c), from, from + 50}, len(c), nil)
		if !errors.Is(err, errDisk) && !errors.Is(err, engine.ErrTrailingData) {
			t.Errorf("failing at %d: %v", from, err)
		}
	}
}

// An exhaustedBackend makes n AEADs and no more.
type exhaustedBackend struct {
	backends.Backend
	n *atomic.Int32
}

func (b exhaustedBackend) NewAEAD(ctx context.Context, s format.Suite, key []byte) (backends.AEAD, error) {
	if b.n.Add(-1) < 0 {
		return nil, errDisk
	}
	return b.Backend.NewAEAD(ctx, s, key)
}

func TestExhaustedBackend(t *testing.T) {
	c := seal(t, []byte("x"), nil)
	for n := range int32(2) {
		var left atomic.Int32
		left.Store(n)
		f, err := openAt(t.Context(), bytes.NewReader(c), len(c), &engine.ReaderOptions{Backend: exhaustedBackend{software.New(), &left}})
		if err == nil {
			_, err = f.NewReader(t.Context())
			f.Close()
		}
		if !errors.Is(err, errDisk) {
			t.Errorf("after %d AEADs: %v", n, err)
		}
	}
}

// Open itself keeps MaxMemory.
func TestOpenOverMaxMemory(t *testing.T) {
	c := seal(t, []byte("x"), nil)
	if f, err := openAt(t.Context(), bytes.NewReader(c), len(c), &engine.ReaderOptions{MaxMemory: 1 << 20}); f != nil || !errors.Is(err, engine.ErrLimit) {
		t.Error(err)
	}
}
