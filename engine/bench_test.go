package engine_test

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/coffer-backup/coffer/backends"
	"github.com/coffer-backup/coffer/backends/auto"
	"github.com/coffer-backup/coffer/engine"
	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/keys"
)

// The corpora of the benchmarks: 64 MiB each, so that opening and closing do not
// count.
const benchSize = 64 << 20

var corpora = map[string]func(int, uint64) []byte{"text": text, "noise": noise}

// forCorpora runs a benchmark on each corpus.
func forCorpora(b *testing.B, run func(b *testing.B, plain []byte)) {
	for _, name := range []string{"text", "noise"} {
		b.Run("corpus="+name, func(b *testing.B) {
			plain := corpora[name](benchSize, 7)
			b.SetBytes(benchSize)
			b.ReportAllocs()
			b.ResetTimer()
			run(b, plain)
		})
	}
}

func benchWriter(b *testing.B, plain []byte, opts engine.WriterOptions, readFrom bool) {
	for b.Loop() {
		w, err := engine.NewWriter(b.Context(), io.Discard, []keys.Recipient{testKey}, &opts)
		if err != nil {
			b.Fatal(err)
		}
		if readFrom {
			_, err = w.ReadFrom(bytes.NewReader(plain))
		} else {
			_, err = w.Write(plain)
		}
		if err == nil {
			err = w.Close()
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkWriter against BenchmarkRawSeal and BenchmarkRawCompress at -cpu 1 is the
// engine's overhead; at -cpu 2 against -cpu 1 its scaling. Give one -cpu a run:
// b.Loop measures before the testing package goes through a list of them.
func BenchmarkWriter(b *testing.B) {
	for _, suite := range []format.Suite{format.AES256GCM, format.ChaCha20Poly1305} {
		for _, level := range []engine.Level{engine.Store, engine.Fast, engine.Balanced} {
			for _, check := range []string{"off", "on"} {
				for _, via := range []string{"Write", "ReadFrom"} {
					if level == engine.Balanced && via == "ReadFrom" || suite != format.AES256GCM && level != engine.Store {
						continue
					}
					b.Run(fmt.Sprintf("suite=%v/level=%v/check=%s/via=%s", suite, level, check, via), func(b *testing.B) {
						forCorpora(b, func(b *testing.B, plain []byte) {
							benchWriter(b, plain, engine.WriterOptions{Suite: suite, Level: level, SkipCheck: check == "off"}, via == "ReadFrom")
						})
					})
				}
			}
		}
	}
}

// BenchmarkRawSeal is the backend's AEAD alone, in packages of 64 KiB.
func BenchmarkRawSeal(b *testing.B) {
	for _, suite := range []format.Suite{format.AES256GCM, format.ChaCha20Poly1305} {
		b.Run(fmt.Sprintf("suite=%v", suite), func(b *testing.B) {
			backend, err := auto.Select(suite)
			if err != nil {
				b.Fatal(err)
			}
			aead, err := backend.NewAEAD(b.Context(), suite, make([]byte, backends.KeySize))
			if err != nil {
				b.Fatal(err)
			}
			forCorpora(b, func(b *testing.B, plain []byte) {
				nonce, ad := make([]byte, backends.NonceSize), make([]byte, 4)
				dst := make([]byte, 0, format.MaxPackageSize)
				for b.Loop() {
					for p := plain; len(p) > 0; p = p[format.MaxPayload:] {
						if _, err := aead.Seal(dst, nonce, p[:format.MaxPayload], ad); err != nil {
							b.Fatal(err)
						}
					}
				}
			})
		})
	}
}

// BenchmarkRawCompress is klauspost/compress alone, on the same segments.
func BenchmarkRawCompress(b *testing.B) {
	for name, level := range map[string]zstd.EncoderLevel{"fast": zstd.SpeedFastest, "balanced": zstd.SpeedDefault} {
		b.Run("level="+name, func(b *testing.B) {
			enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(level), zstd.WithEncoderConcurrency(1))
			if err != nil {
				b.Fatal(err)
			}
			forCorpora(b, func(b *testing.B, plain []byte) {
				const segment = 1 << format.DefaultSegmentLog2
				dst := make([]byte, 0, format.MaxFrameSize(segment))
				for b.Loop() {
					for p := plain; len(p) > 0; p = p[segment:] {
						enc.EncodeAll(p[:segment], dst)
					}
				}
			})
		})
	}
}

func BenchmarkReader(b *testing.B) {
	for _, level := range []engine.Level{engine.Store, engine.Fast} {
		b.Run(fmt.Sprintf("level=%v", level), func(b *testing.B) {
			forCorpora(b, func(b *testing.B, plain []byte) {
				c := seal(b, plain, &engine.WriterOptions{Level: level})
				b.ResetTimer()
				for b.Loop() {
					r, err := engine.NewReader(b.Context(), bytes.NewReader(c), []keys.Identity{testKey}, nil)
					if err != nil {
						b.Fatal(err)
					}
					if n, err := io.Copy(io.Discard, r); n != benchSize || err != nil {
						b.Fatal(n, err)
					}
				}
			})
		})
	}
}

// BenchmarkFileReadAt is the latency of a small read in another segment each
// time.
func BenchmarkFileReadAt(b *testing.B) {
	plain := text(benchSize, 7)
	c := seal(b, plain, nil)
	f, err := engine.Open(b.Context(), bytes.NewReader(c), int64(len(c)), []keys.Identity{testKey}, nil)
	if err != nil {
		b.Fatal(err)
	}
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
	benchWriter(b, nil, engine.WriterOptions{}, false)
}
