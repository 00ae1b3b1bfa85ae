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

// The plaintext of the benchmarks has 64 MiB, and goes through a Writer four times, so
// that opening and closing hardly count. Those of the folder bench measure everything
// else, with more realistic data.
const (
	benchSize   = 64 << 20
	benchRounds = 4
)

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
	for _, level := range []engine.Level{engine.Store, engine.Fast} {
		for _, check := range []string{"off", "on"} {
			for _, via := range []string{"Write", "ReadFrom"} {
				b.Run(fmt.Sprintf("level=%v/check=%s/via=%s", level, check, via), func(b *testing.B) {
					defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
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

// BenchmarkEmpty is what a container costs that holds nothing.
func BenchmarkEmpty(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		writeAll(b, nil, engine.WriterOptions{}, false)
	}
}
