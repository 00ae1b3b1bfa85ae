package engine_test

import (
	"bytes"
	"fmt"
	"io"
	"runtime"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/coffer-backup/coffer/backends"
	"github.com/coffer-backup/coffer/backends/auto"
	"github.com/coffer-backup/coffer/engine"
	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/keys"
)

// Each corpus of the benchmarks has 64 MiB, and goes through a Writer four times,
// so that opening and closing hardly count. Give one -cpu a run: b.Loop measures
// before the testing package goes through a list of them.
const (
	benchSize   = 64 << 20
	benchRounds = 4
)

// forCorpora runs a benchmark on text and on what does not compress.
func forCorpora(b *testing.B, run func(b *testing.B, plain []byte)) {
	for _, corpus := range []struct {
		name string
		make func(int, uint64) []byte
	}{{"text", text}, {"noise", noise}} {
		b.Run("corpus="+corpus.name, func(b *testing.B) {
			plain := corpus.make(benchSize, 7)
			b.SetBytes(benchRounds * benchSize)
			b.ReportAllocs()
			b.ResetTimer()
			run(b, plain)
		})
	}
}

// writeAll writes a container of plain, benchRounds times over, and throws it
// away.
func writeAll(b *testing.B, plain []byte, opts engine.WriterOptions, readFrom bool) {
	w, err := engine.NewWriter(b.Context(), io.Discard, []keys.Recipient{testKey}, &opts)
	if err != nil {
		b.Fatal(err)
	}
	for range benchRounds {
		if readFrom {
			_, err = w.ReadFrom(bytes.NewReader(plain))
		} else {
			_, err = w.Write(plain)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
}

// rawSeal returns what seals plain by the backend's AEAD alone, in packages of
// 64 KiB.
func rawSeal(b *testing.B, suite format.Suite) func(plain []byte) {
	backend, err := auto.Select(suite)
	if err != nil {
		b.Fatal(err)
	}
	aead, err := backend.NewAEAD(b.Context(), suite, make([]byte, backends.KeySize))
	if err != nil {
		b.Fatal(err)
	}
	nonce, ad := make([]byte, backends.NonceSize), make([]byte, format.PackageADSize)
	dst := make([]byte, 0, format.MaxPackageSize)
	return func(plain []byte) {
		for off := 0; off < benchRounds*len(plain); off += format.MaxPayload {
			if _, err := aead.Seal(dst, nonce, plain[off%len(plain):][:format.MaxPayload], ad); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// rawEncode returns what compresses plain by klauspost/compress alone, in segments
// of 1 MiB.
func rawEncode(b *testing.B, level zstd.EncoderLevel) func(plain []byte) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(level), zstd.WithEncoderConcurrency(1))
	if err != nil {
		b.Fatal(err)
	}
	const segment = 1 << format.DefaultSegmentLog2
	dst := make([]byte, 0, format.MaxFrameSize(segment))
	return func(plain []byte) {
		for off := 0; off < benchRounds*len(plain); off += segment {
			enc.EncodeAll(plain[off%len(plain):][:segment], dst)
		}
	}
}

// compare runs two things in turn, so that a machine whose speed drifts slows
// both, and reports how many times as fast as base the other one is.
func compare(b *testing.B, metric string, base, other func()) {
	var baseTime, otherTime time.Duration
	for b.Loop() {
		start := time.Now()
		base()
		middle := time.Now()
		other()
		baseTime += middle.Sub(start)
		otherTime += time.Since(middle)
	}
	b.ReportMetric(baseTime.Seconds()/otherTime.Seconds(), metric)
	b.ReportMetric(0, "ns/op") // the time of both means nothing
}

// BenchmarkShareOfRaw is the engine's overhead on one core: the speed of a Writer
// as a share of the work it cannot do without, the AEAD at level store and the
// compressor at level fast.
func BenchmarkShareOfRaw(b *testing.B) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	for _, level := range []engine.Level{engine.Store, engine.Fast} {
		for _, check := range []string{"off", "on"} {
			for _, via := range []string{"Write", "ReadFrom"} {
				b.Run(fmt.Sprintf("level=%v/check=%s/via=%s", level, check, via), func(b *testing.B) {
					raw := rawEncode(b, zstd.SpeedFastest)
					if level == engine.Store {
						raw = rawSeal(b, format.AES256GCM)
					}
					plain := text(benchSize, 7)
					opts := engine.WriterOptions{Suite: format.AES256GCM, Level: level, SkipCheck: check == "off", Workers: 1}
					b.ResetTimer()
					compare(b, "of-raw", func() { raw(plain) }, func() { writeAll(b, plain, opts, via == "ReadFrom") })
				})
			}
		}
	}
}

// BenchmarkTwoCores is how many times as fast two cores are as one.
func BenchmarkTwoCores(b *testing.B) {
	if runtime.NumCPU() < 2 {
		b.Skip("needs two cores")
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	on := func(cores int, f func()) func() {
		return func() { runtime.GOMAXPROCS(cores); f() }
	}
	for _, level := range []engine.Level{engine.Store, engine.Fast} {
		plain := text(benchSize, 7)
		write := func() { writeAll(b, plain, engine.WriterOptions{Level: level}, false) }
		b.Run(fmt.Sprintf("do=write/level=%v", level), func(b *testing.B) {
			compare(b, "of-one-core", on(1, write), on(2, write))
		})
		c := seal(b, plain, &engine.WriterOptions{Level: level})
		read := func() { readAll(b, c) }
		b.Run(fmt.Sprintf("do=read/level=%v", level), func(b *testing.B) {
			compare(b, "of-one-core", on(1, read), on(2, read))
		})
	}
}

func BenchmarkWriter(b *testing.B) {
	for _, suite := range []format.Suite{format.AES256GCM, format.ChaCha20Poly1305} {
		for _, level := range []engine.Level{engine.Store, engine.Fast, engine.Balanced, engine.Small} {
			for _, check := range []string{"off", "on"} {
				b.Run(fmt.Sprintf("suite=%v/level=%v/check=%s", suite, level, check), func(b *testing.B) {
					forCorpora(b, func(b *testing.B, plain []byte) {
						for b.Loop() {
							writeAll(b, plain, engine.WriterOptions{Suite: suite, Level: level, SkipCheck: check == "off"}, false)
						}
					})
				})
			}
		}
	}
}

// BenchmarkRaw is what BenchmarkShareOfRaw compares with.
func BenchmarkRaw(b *testing.B) {
	for name, raw := range map[string]func([]byte){
		"seal/suite=aes-256-gcm":       rawSeal(b, format.AES256GCM),
		"seal/suite=chacha20-poly1305": rawSeal(b, format.ChaCha20Poly1305),
		"encode/level=fast":            rawEncode(b, zstd.SpeedFastest),
	} {
		b.Run("do="+name, func(b *testing.B) {
			forCorpora(b, func(b *testing.B, plain []byte) {
				for b.Loop() {
					raw(plain)
				}
			})
		})
	}
}

func readAll(b *testing.B, container []byte) {
	r, err := engine.NewReader(b.Context(), bytes.NewReader(container), []keys.Identity{testKey}, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	if _, err := io.Copy(io.Discard, r); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkReader(b *testing.B) {
	for _, level := range []engine.Level{engine.Store, engine.Fast} {
		b.Run(fmt.Sprintf("level=%v", level), func(b *testing.B) {
			forCorpora(b, func(b *testing.B, plain []byte) {
				c := seal(b, plain, &engine.WriterOptions{Level: level})
				b.SetBytes(benchSize)
				b.ResetTimer()
				for b.Loop() {
					readAll(b, c)
				}
			})
		})
	}
}

// BenchmarkFileReadAt is the latency of a small read in another segment each
// time.
func BenchmarkFileReadAt(b *testing.B) {
	c := seal(b, text(benchSize, 7), nil)
	f, err := engine.Open(b.Context(), bytes.NewReader(c), int64(len(c)), []keys.Identity{testKey}, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	p := make([]byte, 4096)
	b.ReportAllocs()
	for i := int64(0); b.Loop(); i++ {
		if _, err := f.ReadAt(p, i*(5<<20)%(benchSize-4096)); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkEmpty is what a container costs that holds nothing.
func BenchmarkEmpty(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		writeAll(b, nil, engine.WriterOptions{}, false)
	}
}
