package fuzz_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"flag"
	"os"
	"runtime/debug"
	"testing"

	"github.com/coffer-backup/coffer/vectors"
)

var le = binary.LittleEndian

// fuzzing says that inputs are being made, not replayed: then only what is cheap is
// checked.
var fuzzing bool

func TestMain(m *testing.M) {
	flag.Parse()
	fuzzing = flag.Lookup("test.fuzz").Value.String() != ""
	if fuzzing {
		// Each execution allocates a reader's buffers, a few MiB. The collector would
		// take most of the time; this way it runs once in dozens of executions.
		debug.SetGCPercent(-1)
		debug.SetMemoryLimit(256 << 20)
	}
	os.Exit(m.Run())
}

// A target judges one input. Inputs over its limit are not fuzzed: they cost time and
// show nothing that shorter ones do not.
type target func(t *testing.T, data []byte)

// start fuzzes target from seeds. Without any it would start from nothing, and find
// nothing.
func start(f *testing.F, limit int, seeds [][]byte, target target) {
	f.Helper()
	if len(seeds) == 0 {
		f.Fatal("there are no seeds")
	}
	seen := make(map[string]bool)
	for _, s := range seeds {
		if len(s) > limit {
			f.Fatalf("a seed has %d bytes, over the limit of %d", len(s), limit)
		}
		if !seen[string(s)] {
			seen[string(s)] = true
			f.Add(s)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) <= limit {
			target(t, data)
		}
	})
}

// fromVectors returns what pick makes of each case of the conformance vectors, less
// what is nil. That none is left is fatal: the vectors are what the corpora grow from.
func fromVectors(tb testing.TB, pick func(c *vectors.Case, file []byte) []byte) (seeds [][]byte) {
	tb.Helper()
	manifest, err := vectors.Load()
	if err != nil {
		tb.Fatal(err)
	}
	for i := range manifest.Cases {
		c := &manifest.Cases[i]
		file, err := vectors.Files.ReadFile(c.File)
		if err != nil {
			tb.Fatal(err)
		}
		if s := pick(c, file); s != nil {
			seeds = append(seeds, s)
		}
	}
	if len(seeds) == 0 {
		tb.Fatal("no vector is a seed")
	}
	return seeds
}

// chosen is 32 bytes that stand for random ones.
func chosen(label string) []byte {
	sum := sha256.Sum256([]byte("coffer fuzz: " + label))
	return sum[:]
}

// noise returns n bytes in which no piece comes twice.
func noise(n int, label string) []byte {
	var out []byte
	for next := chosen(label); len(out) < n; next = chosen(string(next)) {
		out = append(out, next...)
	}
	return out[:n]
}

// input gives out the bytes of an input one field after the other, zeros at its end.
type input []byte

func (in *input) next(n int) []byte {
	b := make([]byte, n)
	*in = (*in)[copy(b, *in):]
	return b
}

func (in *input) u8() byte    { return in.next(1)[0] }
func (in *input) u16() uint16 { return le.Uint16(in.next(2)) }
func (in *input) u32() uint32 { return le.Uint32(in.next(4)) }

// rest returns all that is left.
func (in *input) rest() []byte { return bytes.Clone(*in) }

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
