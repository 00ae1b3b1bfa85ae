package bench

import (
	"bytes"
	"fmt"
	"io"
	"runtime"
	"slices"
	"testing"

	"github.com/coffer-backup/coffer/bench/corpus"
	"github.com/coffer-backup/coffer/engine"
	"github.com/coffer-backup/coffer/keys"
)

// rounds is how often a corpus goes through one Writer: a container of 256 MiB, as
// the peers are given, needs no corpus that long.
const rounds = 4

// A point is one combination of what an end-to-end benchmark can vary.
type point struct {
	corpus     string
	compressor string
	level      engine.Level
	check      bool
	workers    int
	segment    byteSize
	cipher     cipher
}

func defaultPoint() point {
	return point{"chat", "klauspost", engine.Fast, true, runtime.GOMAXPROCS(0), defaultSegment, ciphers()[0]}
}

func (p point) String() string {
	check := "off"
	if p.check {
		check = "on"
	}
	return fmt.Sprintf("corpus=%s/compressor=%s/level=%v/check=%s/workers=%d/segment=%v/%v",
		p.corpus, p.compressor, p.level, check, p.workers, p.segment, p.cipher)
}

// readName is String without what does not matter to a Reader.
func (p point) readName() string {
	return fmt.Sprintf("corpus=%s/level=%v/workers=%d/segment=%v/%v", p.corpus, p.level, p.workers, p.segment, p.cipher)
}

// writer returns the options of the point. The engine's own compressor is left to
// the engine.
func (p point) writer() *engine.WriterOptions {
	o := &engine.WriterOptions{
		Backend:     p.cipher.backend,
		Suite:       p.cipher.suite,
		Level:       p.level,
		SegmentSize: int(p.segment),
		SkipCheck:   !p.check,
		Workers:     p.workers,
	}
	for _, c := range accelerated {
		if c.name == p.compressor {
			o.NewCompressor = func() (engine.Compressor, error) { return c.new(p.level, int(p.segment)) }
		}
	}
	return o
}

// An axis returns a point once for each value that one of its fields can have.
type axis func(point) []point

// along makes an axis of a field's values.
func along[T any](values []T, set func(*point, T)) axis {
	return func(p point) (all []point) {
		for _, v := range values {
			q := p
			set(&q, v)
			all = append(all, q)
		}
		return all
	}
}

// cross returns all combinations of the axes, from p.
func cross(p point, axes ...axis) []point {
	all := []point{p}
	for _, a := range axes {
		var next []point
		for _, q := range all {
			next = append(next, a(q)...)
		}
		all = next
	}
	return all
}

var (
	corpusAxis     = along(corpus.Names(), func(p *point, v string) { p.corpus = v })
	checkAxis      = along([]bool{true, false}, func(p *point, v bool) { p.check = v })
	compressorAxis = along(compressors, func(p *point, v compressor) { p.compressor = v.name })
	// Level store has no compressor, and stands with the first.
	compressionAxis = func(p point) []point {
		store := p
		store.level = engine.Store
		zstdAxis := along(zstdLevels, func(p *point, v engine.Level) { p.level = v })
		return append([]point{store}, cross(p, compressorAxis, zstdAxis)...)
	}
	levelAxis = along([]engine.Level{engine.Store, engine.Fast, engine.Balanced, engine.Small},
		func(p *point, v engine.Level) { p.level = v })
	workersAxis = along([]int{1, runtime.GOMAXPROCS(0)}, func(p *point, v int) { p.workers = v })
	segmentAxis = along(segments, func(p *point, v byteSize) { p.segment = v })
	cipherAxis  = along(ciphers(), func(p *point, v cipher) { p.cipher = v })
)

// distinct drops points that have the name of an earlier one.
func distinct(points []point, name func(point) string) (kept []point) {
	seen := map[string]bool{}
	for _, p := range points {
		if n := name(p); !seen[n] {
			seen[n] = true
			kept = append(kept, p)
		}
	}
	return kept
}

// BenchmarkWriter is the engine end to end, from memory to nowhere: every corpus at
// every level of every compressor, and at the default level without the check too; the
// other keys one at a time.
func BenchmarkWriter(b *testing.B) {
	d := defaultPoint()
	points := cross(d, corpusAxis, compressionAxis, checkAxis, workersAxis, segmentAxis, cipherAxis)
	if !*full {
		points = slices.Concat(cross(d, corpusAxis, compressionAxis), cross(d, corpusAxis, compressorAxis, checkAxis),
			workersAxis(d), segmentAxis(d), cipherAxis(d))
	}
	for _, p := range distinct(points, point.String) {
		b.Run(p.String(), func(b *testing.B) {
			plain := plaintext(b, p.corpus)
			var sealed counter
			loopBytes(b, rounds*len(plain), func() {
				sealed = 0
				write(b, &sealed, plain, p.writer())
			})
			b.ReportMetric(float64(rounds*len(plain))/float64(sealed), "ratio")
		})
	}
}

// BenchmarkReader is the way back, from memory to nowhere, of containers by the
// engine's own compressor.
func BenchmarkReader(b *testing.B) {
	d := defaultPoint()
	points := cross(d, corpusAxis, levelAxis, workersAxis, segmentAxis, cipherAxis)
	if !*full {
		points = slices.Concat(cross(d, corpusAxis, levelAxis), workersAxis(d), segmentAxis(d), cipherAxis(d))
	}
	for _, p := range distinct(points, point.readName) {
		b.Run(p.readName(), func(b *testing.B) {
			plain := plaintext(b, p.corpus)
			container := containerOf(b, plain, p.writer())
			opts := &engine.ReaderOptions{Backend: p.cipher.backend, Workers: p.workers}
			loopBytes(b, rounds*len(plain), func() { read(b, bytes.NewReader(container), opts) })
		})
	}
}

// write writes a container of plain, rounds times over.
func write(tb testing.TB, dst io.Writer, plain []byte, opts *engine.WriterOptions) {
	writeFrom(tb, dst, &repeat{block: plain, left: int64(rounds * len(plain))}, opts)
}

// writeFrom writes a container of what is in src.
func writeFrom(tb testing.TB, dst io.Writer, src io.Reader, opts *engine.WriterOptions) {
	w, err := engine.NewWriter(tb.Context(), dst, []keys.Recipient{key}, opts)
	must(tb, err)
	defer w.Abort()
	_, err = w.ReadFrom(src)
	must(tb, err)
	must(tb, w.Close())
}

// containerOf returns what write writes. The check is left out: it changes no byte.
func containerOf(tb testing.TB, plain []byte, opts *engine.WriterOptions) []byte {
	var container bytes.Buffer
	unchecked := *opts
	unchecked.SkipCheck = true
	write(tb, &container, plain, &unchecked)
	return container.Bytes()
}

// read reads a whole container.
func read(tb testing.TB, src io.Reader, opts *engine.ReaderOptions) {
	r, err := engine.NewReader(tb.Context(), src, []keys.Identity{key}, opts)
	must(tb, err)
	defer r.Close()
	_, err = r.WriteTo(io.Discard)
	must(tb, err)
}

// repeat gives block over and over, left bytes in all.
type repeat struct {
	block []byte
	off   int
	left  int64
}

func (r *repeat) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(int64(len(p)), r.left)], r.block[r.off:])
	r.off, r.left = (r.off+n)%len(r.block), r.left-int64(n)
	return n, nil
}
