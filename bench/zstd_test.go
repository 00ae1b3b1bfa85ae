package bench

import (
	"fmt"
	"slices"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/coffer-backup/coffer/bench/corpus"
	"github.com/coffer-backup/coffer/engine"
)

// A compressor is what makes the engine's data frames.
type compressor struct {
	name string
	new  func(level engine.Level, segmentSize int) (engine.Compressor, error)
}

var compressors = append([]compressor{{"klauspost", engine.NewCompressor}}, accelerated...)

var (
	defaultSegment = byteSize(1 << 20)
	segments       = []byteSize{64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20}
	zstdLevels     = []engine.Level{engine.Fast, engine.Balanced, engine.Small}
)

// BenchmarkZstd is the speed of one core at the frames that the engine makes, and
// at decompressing them as it does, in Go whoever compressed.
func BenchmarkZstd(b *testing.B) {
	for _, do := range []string{"encode", "decode"} {
		for _, name := range corpus.Names() {
			for _, c := range compressors {
				for _, level := range zstdLevels {
					for _, segment := range segments {
						if !*full && segment != defaultSegment && (name != "chat" || level != engine.Fast) {
							continue
						}
						b.Run(fmt.Sprintf("do=%s/corpus=%s/compressor=%s/level=%v/segment=%v", do, name, c.name, level, segment), func(b *testing.B) {
							benchmarkZstd(b, do, plaintext(b, name), c, level, int(segment))
						})
					}
				}
			}
		}
	}
}

func benchmarkZstd(b *testing.B, do string, plain []byte, c compressor, level engine.Level, segment int) {
	comp, err := c.new(level, segment)
	must(b, err)
	var frames [][]byte
	var dst []byte
	sealed := 0
	for part := range slices.Chunk(plain, segment) {
		dst, err = comp.Append(dst[:0], part)
		must(b, err)
		frames = append(frames, slices.Clone(dst))
		sealed += len(dst)
	}
	encode := func() {
		for part := range slices.Chunk(plain, segment) {
			dst, err = comp.Append(dst[:0], part)
			must(b, err)
		}
	}
	dec, out := newDecoder(b, segment), make([]byte, 0, segment)
	decode := func() {
		for _, frame := range frames {
			_, err := dec.DecodeAll(frame, out)
			must(b, err)
		}
	}
	work := encode
	if do == "decode" {
		work = decode
	}
	loopBytes(b, len(plain), work)
	b.ReportMetric(float64(len(plain))/float64(sealed), "ratio")
}

// newDecoder has the options of engine/codec.go.
func newDecoder(tb testing.TB, segment int) *zstd.Decoder {
	dec, err := zstd.NewReader(nil,
		zstd.WithDecoderConcurrency(1),
		zstd.WithDecoderMaxMemory(uint64(segment)),
		zstd.WithDecoderMaxWindow(uint64(segment)),
		zstd.WithDecodeAllCapLimit(true))
	must(tb, err)
	tb.Cleanup(dec.Close)
	return dec
}
