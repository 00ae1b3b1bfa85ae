package bench

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/coffer-backup/coffer/engine"
	"github.com/coffer-backup/coffer/keys"
)

// readSize is a small read: a page of SQLite, and of most file systems.
const readSize = 4096

func open(tb testing.TB, container []byte) *engine.File {
	f, err := engine.Open(tb.Context(), bytes.NewReader(container), int64(len(container)), []keys.Identity{key}, nil)
	must(tb, err)
	tb.Cleanup(func() { _ = f.Close() })
	return f
}

// BenchmarkReadAt is the latency of a small read from a container in memory, at
// random offsets and at one after the other. Each segment that is entered has to be
// decompressed, and further reads from it cost little: of sequential ones the mean
// says more than the median.
func BenchmarkReadAt(b *testing.B) {
	for _, at := range []string{"random", "sequential"} {
		for _, level := range []engine.Level{engine.Store, engine.Fast, engine.Balanced, engine.Small} {
			for _, segment := range segments {
				if !*full && segment != defaultSegment && level != engine.Fast {
					continue
				}
				b.Run(fmt.Sprintf("at=%s/corpus=chat/level=%v/segment=%v", at, level, segment), func(b *testing.B) {
					opts := &engine.WriterOptions{Level: level, SegmentSize: int(segment)}
					f := open(b, containerOf(b, plaintext(b, "chat"), opts))
					slots, next := f.Size()/readSize, int64(0)
					rng := rand.New(rand.NewPCG(seed, 0))
					benchmarkLatency(b, func(p []byte) error {
						if next++; at == "random" {
							next = rng.Int64N(slots)
						}
						_, err := f.ReadAt(p, next%slots*readSize)
						return err
					})
				})
			}
		}
	}
}

// benchmarkLatency measures read, and each call of it by itself.
func benchmarkLatency(b *testing.B, read func(p []byte) error) {
	p := make([]byte, readSize)
	took := make([]time.Duration, 1<<20) // the last ones, if there are more
	b.SetBytes(readSize)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		start := time.Now()
		must(b, read(p))
		took[i%len(took)] = time.Since(start)
	}
	took = took[:min(b.N, len(took))]
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2]), "p50-ns")
	b.ReportMetric(float64(took[len(took)*99/100]), "p99-ns")
}

// BenchmarkOpen is what opening a container for random access costs by its length:
// Open authenticates the whole seek table, which has an entry a segment. The
// plaintext is zeros, so that the longest container fits memory; Open reads none of
// it. The last step below growthLimit is 1 GiB.
func BenchmarkOpen(b *testing.B) {
	for _, segment := range []byteSize{64 << 10, defaultSegment} {
		for size := byteSize(1 << 20); size <= sizeLimit(); size *= 32 {
			b.Run(fmt.Sprintf("size=%v/segment=%v", size, segment), func(b *testing.B) {
				var container bytes.Buffer
				opts := &engine.WriterOptions{SegmentSize: int(segment), SkipCheck: true}
				writeFrom(b, &container, &repeat{block: make([]byte, 1<<20), left: int64(size)}, opts)
				b.ReportAllocs()
				for b.Loop() {
					f, err := engine.Open(b.Context(), bytes.NewReader(container.Bytes()), int64(container.Len()), []keys.Identity{key}, nil)
					must(b, err)
					must(b, f.Close())
				}
			})
		}
	}
}
