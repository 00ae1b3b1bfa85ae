// Package compressortest is the suite of tests that every engine.Compressor must
// pass, and the fuzz target for it. A compressor's own tests are
//
//	func TestCompressor(t *testing.T) { compressortest.Run(t, mine.New) }
//	func FuzzFrame(f *testing.F)      { compressortest.Fuzz(f, mine.New) }
package compressortest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os/exec"
	"sync"
	"testing"

	"github.com/cespare/xxhash/v2"
	"github.com/klauspost/compress/zstd"

	"github.com/coffer-backup/coffer/engine"
	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/internal/need"
	"github.com/coffer-backup/coffer/keys"
)

// New makes the Compressor under test, for segments of at most segmentSize bytes.
type New func(level engine.Level, segmentSize int) (engine.Compressor, error)

// smallest is the least segment size.
const smallest = 1 << format.MinSegmentLog2

// levels are those at which something is compressed.
var levels = []engine.Level{engine.Fast, engine.Balanced, engine.Small}

// Run tests that the compressors of make keep the contract of engine.Compressor.
func Run(t *testing.T, make New) {
	for _, level := range levels {
		for _, segment := range []int{smallest, 1 << 20, 8 << 20} {
			if segment > 1<<20 && !need.Long() {
				continue
			}
			t.Run(fmt.Sprintf("level=%v/segment=%d", level, segment), func(t *testing.T) {
				h := newHarness(t, make, level, segment)
				t.Run("Frames", h.testFrames)
				t.Run("Checksum", h.testChecksum)
				t.Run("Command", h.testCommand)
				t.Run("Engine", h.testEngine)
				t.Run("Concurrent", h.testConcurrent)
			})
		}
	}
}

// Fuzz feeds the compressors of make any content: the rest of the input, up to four
// times over, at the level that its first byte says.
func Fuzz(f *testing.F, make New) {
	const segment, limit = 256 << 10, 64 << 10
	for i, content := range contents(3000) {
		for level := range levels {
			f.Add(append([]byte{byte(level + i<<2)}, content...))
		}
	}
	harnesses := map[engine.Level]*harness{}
	for _, level := range levels {
		harnesses[level] = newHarness(f, make, level, segment)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) < 2 || len(data) > limit {
			return
		}
		level := levels[int(data[0]&3)%len(levels)]
		harnesses[level].check(t, bytes.Repeat(data[1:], 1+int(data[0]>>2&3)))
	})
}

// A harness is for one goroutine.
type harness struct {
	make    New
	level   engine.Level
	segment int
	comp    engine.Compressor
	dec     *zstd.Decoder
	checked int
}

func newHarness(tb testing.TB, make New, level engine.Level, segment int) *harness {
	tb.Helper()
	comp, err := make(level, segment)
	if err != nil {
		tb.Fatal(err)
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecodeAllCapLimit(true),
		zstd.WithDecoderMaxWindow(uint64(segment)), zstd.WithDecoderMaxMemory(uint64(segment)))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(dec.Close)
	return &harness{make, level, segment, comp, dec, 0}
}

// sizes are those of short segments, each of them, those around what compressors
// take for a block, a table size or a window, and some between.
func (h *harness) sizes() (ns []int) {
	for n := 1; n <= 300; n++ {
		ns = append(ns, n)
	}
	for n := 331; h.segment == smallest && n < h.segment; n += 613 {
		ns = append(ns, n)
	}
	for n := 512; n <= h.segment; n *= 2 {
		ns = append(ns, n-1, n, n+1)
	}
	return append(ns, 3*128<<10-1, 3*128<<10, 3*128<<10+1)
}

// contents returns n bytes each of text, noise, one byte, noise that comes again
// only after most of it, and all of these in turn.
func contents(n int) [][]byte {
	text, noise, zeros, mixed := make([]byte, 0, n+16), make([]byte, n), make([]byte, n), make([]byte, 0, n)
	rnd := rand.New(rand.NewPCG(uint64(n), 1))
	for len(text) < n {
		word := rnd.Uint64N(1 << rnd.Uint64N(12))
		text = fmt.Appendf(text, "%c%x ", 'g'+rune(word%20), word)
	}
	text = text[:n]
	_, _ = rand.NewChaCha8([32]byte{byte(n)}).Read(noise)
	far := bytes.Repeat(noise[:(n+1)*3/4], 2)[:n]
	for part := 0; len(mixed) < n; part++ {
		size := min(n-len(mixed), 1+n/13)
		mixed = append(mixed, [][]byte{text, noise, zeros}[part%3][len(mixed):][:size]...)
	}
	return [][]byte{text, noise, zeros, far, mixed}
}

func (h *harness) testFrames(t *testing.T) {
	for _, content := range contents(h.segment) {
		for _, n := range h.sizes() {
			if n <= len(content) {
				h.check(t, content[:n])
			}
		}
	}
}

// check returns the frame of src, which must be right.
func (h *harness) check(t testing.TB, src []byte) []byte {
	t.Helper()
	frame, err := h.frame(src)
	if err != nil {
		t.Fatalf("%d bytes: %v", len(src), err)
	}
	return frame
}

// frame returns the frame of src if it is right, and was appended: to what is there,
// in dst's room if that is enough, and in no other bytes.
func (h *harness) frame(src []byte) ([]byte, error) {
	const prefix, canary = "before", "behind"
	rooms := []int{0, len(src) / 2, format.MaxFrameSize(len(src)), 2*len(src) + 200}
	room := rooms[h.checked%len(rooms)]
	h.checked++
	buf := bytes.Repeat([]byte{0xA5}, len(prefix)+room)
	copy(buf, prefix)
	buf = append(buf, canary...)
	sum := xxhash.Sum64(src)

	out, err := h.comp.Append(buf[:len(prefix):len(prefix)+room], src)
	switch {
	case err != nil:
		return nil, err
	case !bytes.HasPrefix(out, []byte(prefix)):
		return nil, errors.New("the frame is not appended")
	case string(buf[:len(prefix)]) != prefix || string(buf[len(prefix)+room:]) != canary:
		return nil, fmt.Errorf("with room for %d, bytes outside of it were written to", room)
	case room == rooms[3] && &out[0] != &buf[0]:
		return nil, fmt.Errorf("with room for %d, it was not used", room)
	case xxhash.Sum64(src) != sum:
		return nil, errors.New("the source was written to")
	}
	frame := out[len(prefix):]
	return frame, h.judge(frame, src, uint32(sum))
}

// judge says what is wrong with a frame of src.
func (h *harness) judge(frame, src []byte, checksum uint32) error {
	size, _, err := format.WalkFrame(frame, len(src))
	if err != nil || size != len(src) {
		return fmt.Errorf("the frame declares %d: %v", size, err)
	}
	if got := binary.LittleEndian.Uint32(frame[len(frame)-4:]); got != checksum {
		return fmt.Errorf("checksum %08x, want %08x", got, checksum)
	}
	if got, err := h.dec.DecodeAll(frame, make([]byte, 0, len(src))); err != nil || !bytes.Equal(got, src) {
		return fmt.Errorf("decompressed to %d others: %v", len(got), err)
	}
	return nil
}

// testChecksum demands that a decoder notices what only the checksum tells: a byte
// of a raw block that is another one.
func (h *harness) testChecksum(t *testing.T) {
	for _, n := range []int{1, 100, 5000, h.segment} {
		frame := h.check(t, contents(n)[1])
		if _, stored, _ := format.WalkFrame(frame, n); n == 1 && !stored {
			t.Fatal("one byte was compressed") // and then none of what follows says anything
		}
		frame[len(frame)-5] ^= 1 // the last byte of the last block
		if _, err := h.dec.DecodeAll(frame, make([]byte, 0, n)); err == nil {
			t.Errorf("%d bytes: another byte in a block was not noticed", n)
		}
	}
}

// testCommand has the zstd command decompress frames.
func (h *harness) testCommand(t *testing.T) {
	command := need.Command(t, "zstd", "apt-get install zstd")
	var frames, want []byte
	for _, content := range contents(h.segment) {
		for _, n := range []int{1, 255, 256, 300, 65_535, h.segment} {
			frames = append(frames, h.check(t, content[:n])...)
			want = append(want, content[:n]...)
		}
	}
	run := func() ([]byte, error) {
		cmd := exec.CommandContext(t.Context(), command, "-dcq")
		cmd.Stdin = bytes.NewReader(frames)
		return cmd.Output()
	}
	if got, err := run(); err != nil || !bytes.Equal(got, want) {
		t.Errorf("zstd -d gives %d bytes, not the %d that were compressed: %v", len(got), len(want), err)
	}
	frames[len(frames)-1] ^= 1
	if _, err := run(); err == nil {
		t.Error("zstd -d accepts a wrong checksum")
	}
}

// testEngine sends containers through a Writer and a Reader.
func (h *harness) testEngine(t *testing.T) {
	for i, n := range []int{0, 1, 255, h.segment - 1, h.segment, h.segment + 1, 3*h.segment + 4711} {
		all := contents(n)
		plain := all[i%len(all)]
		opts := &engine.WriterOptions{
			Level: h.level, SegmentSize: h.segment, Workers: 1 + i%3, Pad: i%2 == 1,
			NewCompressor: func() (engine.Compressor, error) { return h.make(h.level, h.segment) },
		}
		if got, err := throughEngine(t.Context(), plain, opts); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%d bytes came back as %d: %v", n, len(got), err)
		}
	}
}

// throughEngine returns what comes back of plain.
func throughEngine(ctx context.Context, plain []byte, opts *engine.WriterOptions) ([]byte, error) {
	key := keys.GenerateAccountKey()
	var file bytes.Buffer
	w, err := engine.NewWriter(ctx, &file, []keys.Recipient{key}, opts)
	if err != nil {
		return nil, err
	}
	defer w.Abort()
	if _, err := w.Write(plain); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	r, err := engine.NewReader(ctx, &file, []keys.Identity{key}, nil)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// testConcurrent has compressors work side by side, each on its own goroutine.
func (h *harness) testConcurrent(t *testing.T) {
	all := contents(h.segment / 2)
	var wg sync.WaitGroup
	for i := range 4 {
		own := newHarness(t, h.make, h.level, h.segment)
		wg.Go(func() {
			for j := range all {
				if _, err := own.frame(all[(i+j)%len(all)]); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}
