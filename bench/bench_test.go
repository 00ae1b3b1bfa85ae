package bench

import (
	"errors"
	"flag"
	"io"
	"strconv"
	"testing"
	"time"

	"github.com/coffer-backup/coffer/bench/corpus"
	"github.com/coffer-backup/coffer/keys"
)

var (
	corpusSize byteSize = 64 << 20
	maxSize    byteSize = 1 << 30
	fileCount           = flag.Int("files", 100_000, "files in BenchmarkArchive; with -short at most 1000")
	full                = flag.Bool("full", false, "all combinations of the keys, not one at a time")
)

func init() {
	flag.Var(&corpusSize, "size", "`bytes` of each corpus")
	flag.Var(&maxSize, "maxsize", "how many `bytes` BenchmarkGrowth and BenchmarkOpen go up to; with -short at most 16MiB")
}

// A byteSize is a flag with a unit, and a number of bytes in the name of a benchmark.
type byteSize int64

var units = []struct {
	name string
	size byteSize
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"", 1}}

// String returns the size in the largest unit that divides it.
func (n byteSize) String() string {
	for _, u := range units {
		if n >= u.size && n%u.size == 0 {
			return strconv.FormatInt(int64(n/u.size), 10) + u.name
		}
	}
	return "0"
}

// Set is the inverse of String.
func (n *byteSize) Set(s string) error {
	v, err := corpus.ParseSize(s)
	if err == nil && v < 1 {
		err = errors.New("nothing cannot be measured")
	}
	*n = byteSize(v)
	return err
}

// seed is that of all corpora.
const seed = 1

var corpora = map[string][]byte{}

// plaintext returns a corpus of about corpusSize bytes, and keeps it for the next
// benchmark.
func plaintext(tb testing.TB, name string) []byte {
	p, ok := corpora[name]
	if !ok {
		var err error
		if p, err = corpus.Bytes(name, int64(corpusSize), seed); err != nil {
			tb.Fatal(err)
		}
		if len(p) < readSize {
			tb.Fatalf("corpus %s has %d bytes at -size %v, too few for the benchmarks", name, len(p), corpusSize)
		}
		corpora[name] = p
	}
	return p
}

// key opens every container here unless its slots are what is measured.
var key = keys.GenerateAccountKey()

// compare runs two things in turn, so that a machine whose speed drifts slows
// both, and reports how many times as fast as base the other one is. Which goes first
// alternates: the garbage of the one is collected in the time of the other.
func compare(b *testing.B, metric string, base, other func()) {
	work, took := [2]func(){base, other}, [2]time.Duration{}
	for first := 0; b.Loop(); first = 1 - first {
		for _, i := range []int{first, 1 - first} {
			start := time.Now()
			work[i]()
			took[i] += time.Since(start)
		}
	}
	b.ReportMetric(took[0].Seconds()/took[1].Seconds(), metric)
	b.ReportMetric(0, "ns/op") // the time of both means nothing
}

// A counter is an io.Writer that counts bytes and drops them.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

// drain reads r to its end through buf: io.Discard would ask for 8 KiB at a time,
// which slows readers that copy.
func drain(tb testing.TB, r io.Reader, buf []byte) {
	for {
		if _, err := r.Read(buf); err == io.EOF {
			return
		} else if err != nil {
			tb.Fatal(err)
		}
	}
}

// must fails the benchmark on an error.
func must(tb testing.TB, err error) {
	if err != nil {
		tb.Helper()
		tb.Fatal(err)
	}
}
