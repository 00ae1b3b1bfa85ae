package engine_test

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"sync"
	"testing"

	"github.com/coffer-backup/coffer/engine"
	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/internal/need"
	"github.com/coffer-backup/coffer/keys"
	"github.com/coffer-backup/coffer/vectors"
)

// demandError reads c, which is damaged, with both readers, and demands an error
// and nothing but a prefix of plain. The classes must agree, but where only one
// copy of the header is damaged.
func demandError(t *testing.T, what string, at int, c, plain []byte) {
	t.Helper()
	got, streamErr := open(c, &engine.ReaderOptions{Workers: 1 + at%2})
	if streamErr == nil || !bytes.HasPrefix(plain, got) {
		t.Errorf("%s %d: stream: %v, prefix: %v", what, at, streamErr, bytes.HasPrefix(plain, got))
	}
	got, fileErr := openFile(c, nil)
	if fileErr == nil || !bytes.HasPrefix(plain, got) {
		t.Errorf("%s %d: file: %v, prefix: %v", what, at, fileErr, bytes.HasPrefix(plain, got))
	}
	if class(streamErr) != class(fileErr) && class(fileErr) != vectors.DamagedCopy {
		t.Errorf("%s %d: stream: %v, file: %v", what, at, streamErr, fileErr)
	}
}

// class is the verdict that an error gives (SPEC § 8.3). The warning skew is no
// error, and so not told from ok here.
func class(err error) vectors.Class {
	if err == nil {
		return vectors.OK
	}
	for _, c := range []struct {
		class vectors.Class
		err   error
	}{
		{vectors.Magic, format.ErrMagic}, {vectors.Version, format.ErrVersion}, {vectors.Auth, engine.ErrAuth},
		{vectors.Truncated, engine.ErrTruncated}, {vectors.Trailing, engine.ErrTrailingData}, {vectors.Limit, engine.ErrLimit},
		{vectors.Context, engine.ErrContext}, {vectors.DamagedCopy, engine.ErrDamagedCopy}, {vectors.NoKey, keys.ErrNoMatch},
		{vectors.Content, errArchive},
	} {
		if errors.Is(err, c.err) {
			return c.class
		}
	}
	var syntax *format.SyntaxError
	switch {
	case !errors.As(err, &syntax):
		return "none"
	case syntax.Struct == "header":
		return vectors.Header
	}
	return vectors.Content
}

// parallel calls f(0) … f(n-1) on all processors.
func parallel(n int, f func(i int)) {
	var wg sync.WaitGroup
	p := runtime.GOMAXPROCS(0)
	for k := range p {
		wg.Go(func() {
			for i := k; i < n; i += p {
				f(i)
			}
		})
	}
	wg.Wait()
}

func TestEveryBitFlip(t *testing.T) {
	plain := []byte("a few bytes of plaintext, and a catalog")
	tiny := seal(t, plain, &engine.WriterOptions{HeaderSize: 4096, SegmentSize: 64 << 10, Pad: true}, format.CatalogEntry{Path: "x"})
	parallel(8*len(tiny), func(i int) {
		if inZeros(tiny, i/8) && i%64 != 9 && !need.Long() { // one bit of every eight bytes will do
			return
		}
		c := bytes.Clone(tiny)
		c[i/8] ^= 1 << (i % 8)
		demandError(t, "tiny, bit", i, c, plain)
	})
}

func TestEveryBitFlipOfThreePackages(t *testing.T) {
	plain := noise(150<<10, 1)
	three := seal(t, plain, &engine.WriterOptions{HeaderSize: 4096, SegmentSize: 64 << 10})
	parallel(8*len(three), func(i int) {
		at := (i/8 - 4096) % format.MaxPackageSize
		edge := i/8 >= 4096 && i/8 < len(three)-4096 && (at < 17 || at >= format.MaxPackageSize-17)
		if !edge && i%997 != 0 && !need.Long() {
			return
		}
		c := bytes.Clone(three)
		c[i/8] ^= 1 << (i % 8)
		demandError(t, "three packages, bit", i, c, plain)
	})
}

// inZeros reports whether byte i lies within the zero padding of a header block.
func inZeros(c []byte, i int) bool {
	return i >= 8 && i < len(c)-8 && bytes.Equal(c[i-8:i+8], make([]byte, 16))
}

func TestEveryLength(t *testing.T) {
	plain := noise(150<<10, 1)
	c := seal(t, plain, &engine.WriterOptions{HeaderSize: 4096, SegmentSize: 64 << 10})
	boundaries := []int{0, 96, 4096, len(c) - 4096, len(c)}
	for at := 4096; at < len(c)-4096; at += format.MaxPackageSize {
		boundaries = append(boundaries, at, at+16, at+format.MaxPackageSize-16)
	}
	near := func(n int) bool {
		for _, b := range boundaries {
			if n >= b-40 && n <= b+40 {
				return true
			}
		}
		return false
	}
	parallel(len(c), func(n int) {
		if near(n) || n%499 == 0 || need.Long() {
			demandError(t, "length", n, c[:n], plain)
		}
	})
	demandError(t, "and another", 0, append(bytes.Clone(c), seal(t, plain, nil)...), plain)
	for _, n := range []int{1, 2, 15, 16, 17, 32, 33, 4096, 65568, 100000} {
		longer := append(bytes.Clone(c), make([]byte, n)...)
		demandError(t, "longer by", n, longer, plain)
		_, err := open(longer, nil)
		wantError(t, "trailing zeros", err, engine.ErrTrailingData)
		demandError(t, "doubled by", n, append(bytes.Clone(c), c[:n]...), plain)
	}
}

func TestPackagesOutOfPlace(t *testing.T) {
	plain, other := noise(400<<10, 1), noise(400<<10, 2)
	opts := &engine.WriterOptions{HeaderSize: 4096}
	c, foreign := seal(t, plain, opts), seal(t, other, opts)
	p := func(c []byte, i int) []byte {
		at := 4096 + i*format.MaxPackageSize
		return c[at:min(at+format.MaxPackageSize, len(c)-4096)]
	}
	n := (len(c) - 8192 + format.MaxPackageSize - 1) / format.MaxPackageSize
	build := func(order ...int) []byte {
		out := bytes.Clone(c[:4096])
		for _, i := range order {
			out = append(out, p(c, i)...)
		}
		return append(out, c[len(c)-4096:]...)
	}
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	for i := range n {
		demandError(t, "dropped", i, build(append(append([]int{}, all[:i]...), all[i+1:]...)...), plain)
		demandError(t, "doubled", i, build(append(append([]int{}, all[:i+1]...), all[i:]...)...), plain)
		for k := range i {
			swapped := append([]int{}, all...)
			swapped[i], swapped[k] = k, i
			demandError(t, "swapped", i, build(swapped...), plain)
		}
		spliced := bytes.Clone(c)
		copy(p(spliced, i), p(foreign, i))
		demandError(t, "spliced", i, spliced, plain)
		c2 := bytes.Clone(c)
		copy(c2[4096:], foreign[4096:len(foreign)-4096])
		demandError(t, "foreign body", i, c2, plain)
	}
}

// What a Reader fails with, it fails with for ever, whoever asks.
func TestErrorsStick(t *testing.T) {
	c := seal(t, noise(3<<20, 1), nil)
	c[len(c)/2] ^= 1
	r, err := engine.NewReader(t.Context(), bytes.NewReader(c), []keys.Identity{testKey}, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, first := io.Copy(io.Discard, r)
	for range 3 {
		if n, err := r.Read(make([]byte, 10)); n != 0 || err != first || !errors.Is(err, engine.ErrAuth) {
			t.Errorf("Read = %d, %v after %v", n, err, first)
		}
		if n, err := r.WriteTo(io.Discard); n != 0 || err != first {
			t.Errorf("WriteTo = %d, %v", n, err)
		}
	}
	var place *engine.Error
	if !errors.As(first, &place) || place.Offset < int64(len(c)/2-format.MaxPackageSize) || place.Offset > int64(len(c)/2) {
		t.Errorf("the error's place is %+v", place)
	}
}
