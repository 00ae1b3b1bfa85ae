package bench

import (
	"bytes"
	"fmt"
	"runtime"
	"testing"

	"github.com/coffer-backup/coffer/engine"
)

// workerCounts returns 1, 2, 3, 4, 8, 16, … up to twice the number of cores.
func workerCounts() (counts []int) {
	for n := 1; n <= 2*runtime.NumCPU(); {
		counts = append(counts, n)
		if n < 4 {
			n++
		} else {
			n *= 2
		}
	}
	return counts
}

// scaling is what the work of several cores is measured on: compression that does
// nearly all, and the AEAD and copies alone.
var scaling = []struct {
	corpus string
	level  engine.Level
}{{"chat", engine.Fast}, {"source", engine.Fast}, {"media", engine.Store}}

// BenchmarkWorkers is the speed by the number of workers, whatever the cores.
func BenchmarkWorkers(b *testing.B) {
	for _, s := range scaling {
		for _, workers := range workerCounts() {
			name := fmt.Sprintf("corpus=%s/level=%v/workers=%d", s.corpus, s.level, workers)
			b.Run("do=write/"+name, func(b *testing.B) {
				plain := plaintext(b, s.corpus)
				opts := &engine.WriterOptions{Level: s.level, Workers: workers}
				loopBytes(b, rounds*len(plain), func() { write(b, new(counter), plain, opts) })
			})
			b.Run("do=read/"+name, func(b *testing.B) {
				plain := plaintext(b, s.corpus)
				container := containerOf(b, plain, &engine.WriterOptions{Level: s.level})
				opts := &engine.ReaderOptions{Workers: workers}
				loopBytes(b, rounds*len(plain), func() { read(b, bytes.NewReader(container), opts) })
			})
		}
	}
}

// BenchmarkTwoCores is how many times as fast two cores are as one, with as many
// workers as cores: on two cores a single worker leaves the second one to those that
// read and write, and so has more than one already. With libzstd the factor is a lower
// bound: GOMAXPROCS counts no thread that is in C, so one core is a little more.
func BenchmarkTwoCores(b *testing.B) {
	if runtime.NumCPU() < 2 {
		b.Skip("needs two cores")
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	on := func(cores int, work func()) func() {
		return func() { runtime.GOMAXPROCS(cores); work() }
	}
	for _, s := range scaling {
		for _, c := range compressors {
			if s.level == engine.Store && c.name != compressors[0].name {
				continue
			}
			b.Run(fmt.Sprintf("do=write/corpus=%s/compressor=%s/level=%v", s.corpus, c.name, s.level), func(b *testing.B) {
				p := defaultPoint()
				p.compressor, p.level, p.workers = c.name, s.level, 0 // the engine's default, GOMAXPROCS
				plain := plaintext(b, s.corpus)
				work := func() { write(b, new(counter), plain, p.writer()) }
				compare(b, "of-one-core", on(1, work), on(2, work))
			})
		}
		b.Run(fmt.Sprintf("do=read/corpus=%s/level=%v", s.corpus, s.level), func(b *testing.B) {
			container := containerOf(b, plaintext(b, s.corpus), &engine.WriterOptions{Level: s.level})
			work := func() { read(b, bytes.NewReader(container), nil) }
			compare(b, "of-one-core", on(1, work), on(2, work))
		})
	}
}
