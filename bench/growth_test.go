package bench

import (
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/coffer-backup/coffer/engine"
)

// growthLimit is where BenchmarkGrowth ends whatever -maxsize says.
const growthLimit = byteSize(16 << 30)

func sizeLimit() byteSize {
	if testing.Short() {
		return min(maxSize, 16<<20)
	}
	return min(maxSize, growthLimit)
}

// BenchmarkGrowth is time and memory by the length of the data, with the check and
// at the default level. Written is the corpus mix over and over, to nowhere. Read is
// a container in a file in TMPDIR, which needs room for the longest one, about 0.7 of
// -maxsize: from memory 16 GiB would not fit, and from a Writer beside it both would
// be measured. Corpora of earlier suites are dropped: what is live sets how much garbage
// the collector lets be, and so the peak.
func BenchmarkGrowth(b *testing.B) {
	block := plaintext(b, "mix")
	maps.DeleteFunc(corpora, func(name string, _ []byte) bool { return name != "mix" })
	for size := byteSize(1 << 20); size <= sizeLimit(); size *= 4 {
		b.Run(fmt.Sprintf("do=write/size=%v", size), func(b *testing.B) {
			benchmarkGrowth(b, size, func() {
				writeFrom(b, io.Discard, &repeat{block: block, left: int64(size)}, nil)
			})
		})
	}
	for size := byteSize(1 << 20); size <= sizeLimit(); size *= 4 {
		b.Run(fmt.Sprintf("do=read/size=%v", size), func(b *testing.B) {
			f, err := os.Create(filepath.Join(b.TempDir(), "container"))
			must(b, err)
			defer f.Close()
			source := &repeat{block: block, left: int64(size)}
			writeFrom(b, f, source, &engine.WriterOptions{SkipCheck: true})
			must(b, f.Sync()) // or the disk writes while it is read
			benchmarkGrowth(b, size, func() {
				_, err := f.Seek(0, io.SeekStart)
				must(b, err)
				read(b, f, nil)
			})
		})
	}
}

// benchmarkGrowth measures the time of work, and the memory of its first round:
// those after it would have the garbage of the ones before.
func benchmarkGrowth(b *testing.B, size byteSize, work func()) {
	b.SetBytes(int64(size))
	peak, stop := int64(-1), watchMemory()
	for b.Loop() {
		work()
		if peak < 0 {
			b.StopTimer()
			peak = stop()
			b.StartTimer()
		}
	}
	b.ReportMetric(float64(peak), "peak-bytes")
}
