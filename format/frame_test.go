package format_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"testing"

	"github.com/cespare/xxhash/v2"
	"github.com/klauspost/compress/zstd"

	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/internal/need"
)

const segment = 1 << 20

func stored(content []byte) []byte {
	return format.AppendStored(nil, content, uint32(xxhash.Sum64(content)))
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(n)}).Read(b)
	return b
}

func text(n int) []byte {
	var b bytes.Buffer
	for r := rand.New(rand.NewPCG(1, 2)); b.Len() < n; {
		fmt.Fprintf(&b, "line %d of a log: user %d logged in from 10.0.%d.%d\n", b.Len(), r.IntN(1000), r.IntN(256), r.IntN(256))
	}
	return b.Bytes()[:n]
}

// step follows frame as a reader does that has no byte more than it needs.
func step(frame []byte, maxContent int) (w format.FrameWalker, err error) {
	w.Reset(maxContent)
	for done := false; !done && err == nil; {
		if w.Need() > len(frame) {
			return w, fmt.Errorf("needs %d bytes of %d", w.Need(), len(frame))
		}
		done, err = w.Step(frame[:w.Need():w.Need()])
	}
	return w, err
}

// TestWalkFrameOfEncoder walks what the encoder makes at each of its levels.
func TestWalkFrameOfEncoder(t *testing.T) {
	inputs := [][]byte{random(segment), text(segment), make([]byte, segment)}
	for n := 1; n <= 70000; n += 1 + n/30 {
		inputs = append(inputs, random(n), text(n))
	}
	for _, n := range []int{255, 256, 257, 65535, 65536, 65792} {
		inputs = append(inputs, make([]byte, n), text(n))
	}
	for _, level := range []zstd.EncoderLevel{zstd.SpeedFastest, zstd.SpeedDefault, zstd.SpeedBetterCompression, zstd.SpeedBestCompression} {
		enc := must(zstd.NewWriter(nil, zstd.WithEncoderLevel(level), zstd.WithSingleSegment(true), zstd.WithEncoderCRC(true), zstd.WithEncoderConcurrency(1)))
		for _, in := range inputs {
			frame := enc.EncodeAll(in, nil)
			size, stored, err := format.WalkFrame(frame, segment)
			if err != nil || size != len(in) {
				t.Fatalf("%v, %d bytes: size %d, %v", level, len(in), size, err)
			}
			if stored && !format.EqualStored(frame, in) {
				t.Fatalf("%v, %d bytes: the raw blocks differ from the input", level, len(in))
			}
			w, err := step(frame, len(in))
			if err != nil || w.Need() != len(frame) || w.ContentSize() != len(in) || w.Stored() != stored {
				t.Fatalf("%v, %d bytes, step by step: %+v, %v", level, len(in), w, err)
			}
			if _, err := step(frame, len(in)-1); err == nil {
				t.Fatalf("%v, %d bytes are accepted where one less is the limit", level, len(in))
			}
		}
	}
}

func TestStored(t *testing.T) {
	dec := must(zstd.NewReader(nil, zstd.WithDecoderConcurrency(1)))
	defer dec.Close()
	for _, n := range []int{1, 2, 255, 256, 65536, 128<<10 - 1, 128 << 10, 128<<10 + 1, 256 << 10, segment, 1<<24 + 1} {
		content := random(n)
		frame := stored(content)
		if len(frame) > format.MaxFrameSize(n) {
			t.Errorf("%d bytes: the frame has %d, over %d", n, len(frame), format.MaxFrameSize(n))
		}
		if size, stored, err := format.WalkFrame(frame, n); size != n || !stored || err != nil {
			t.Errorf("%d bytes: WalkFrame = %d, %v, %v", n, size, stored, err)
		}
		if got, err := dec.DecodeAll(frame, nil); err != nil || !bytes.Equal(got, content) {
			t.Errorf("%d bytes: decoder gives %d bytes, %v", n, len(got), err)
		}
		if !format.EqualStored(frame, content) {
			t.Errorf("%d bytes: EqualStored is false", n)
		}
		other := append(bytes.Clone(content), 0)
		if format.EqualStored(frame, other) || format.EqualStored(frame, content[:n-1]) {
			t.Errorf("%d bytes: EqualStored of another length", n)
		}
		for _, i := range []int{0, n / 2, n - 1} {
			content[i] ^= 1
			if format.EqualStored(frame, content) {
				t.Errorf("%d bytes: EqualStored misses byte %d", n, i)
			}
			content[i] ^= 1
		}
	}
}

// TestStoredInPlace fills the buffer of a frame as a writer does, in chunks of any
// size and no byte more of capacity than it may count on.
func TestStoredInPlace(t *testing.T) {
	for _, n := range []int{1, 65536, 128<<10 - 1, 128 << 10, 128<<10 + 1, 300_000} {
		content := random(n)
		for _, chunk := range []int{1, 1000, 128 << 10, n} {
			buf := bytes.Repeat([]byte{0xEE}, format.MaxFrameSize(n))
			for off := 0; off < n; {
				room := format.StoredRoom(buf, off, n)
				off += copy(room, content[off:min(n, off+chunk)])
			}
			got := format.FinishStored(buf, n, uint32(xxhash.Sum64(content)))
			if !bytes.Equal(got, stored(content)) || &got[0] != &buf[0] {
				t.Errorf("%d bytes in chunks of %d: another frame than AppendStored makes", n, chunk)
			}
		}
	}
}

func TestStoredByReferenceDecoder(t *testing.T) {
	zstdPath := need.Command(t, "zstd", "apt-get install zstd")
	content := random(300_001)
	cmd := exec.Command(zstdPath, "-d", "-c")
	cmd.Stdin = bytes.NewReader(stored(content))
	if got, err := cmd.Output(); err != nil || !bytes.Equal(got, content) {
		t.Errorf("zstd -d gives %d bytes, %v", len(got), err)
	}
}

// frame puts a frame together by hand.
func frame(descriptor byte, size []byte, blocks ...[]byte) []byte {
	b := append([]byte{0x28, 0xB5, 0x2F, 0xFD, descriptor}, size...)
	return append(append(b, bytes.Join(blocks, nil)...), "csum"...)
}

func block(last bool, typ, size, have int) []byte {
	v := size<<3 | typ<<1
	if last {
		v |= 1
	}
	return append([]byte{byte(v), byte(v >> 8), byte(v >> 16)}, make([]byte, have)...)
}

func le32(n int) []byte { return binary.LittleEndian.AppendUint32(nil, uint32(n)) }

func TestWalkFrameTable(t *testing.T) {
	const raw, rle, compressed, reserved, limit = 0, 1, 2, 3, 1 << 20
	ten := block(true, raw, 10, 10)
	manyEmpty := bytes.Repeat(block(false, raw, 0, 0), 100)
	for _, tc := range []struct {
		name   string
		frame  []byte
		field  string // "" if the frame is a good one
		offset int64
	}{
		{"1-byte size", frame(0x24, []byte{10}, ten), "", 0},
		{"2-byte size", frame(0x64, []byte{0, 0}, block(true, raw, 256, 256)), "", 0},
		{"4-byte size", frame(0xA4, le32(10), ten), "", 0},
		{"8-byte size", frame(0xE4, append(le32(10), le32(0)...), ten), "", 0},
		{"RLE", frame(0xA4, le32(limit), block(true, rle, 128<<10, 1)), "", 0},
		{"an empty block", frame(0x24, []byte{10}, block(false, raw, 0, 0), ten), "", 0},

		{"magic", append([]byte{0x29}, frame(0x24, []byte{10}, ten)[1:]...), "magic", 0},
		{"magic of a skippable frame", append([]byte{0x50, 0x2A, 0x4D, 0x18}, frame(0x24, []byte{10}, ten)[4:]...), "magic", 0},
		{"dictionary id 1", frame(0x25, []byte{10}, ten), "descriptor", 4},
		{"dictionary id 2", frame(0x26, []byte{10}, ten), "descriptor", 4},
		{"no checksum", frame(0x20, []byte{10}, ten), "descriptor", 4},
		{"reserved bit", frame(0x2C, []byte{10}, ten), "descriptor", 4},
		{"unused bit", frame(0x34, []byte{10}, ten), "descriptor", 4},
		{"no single segment", frame(0x44, []byte{10}, ten), "descriptor", 4},

		{"size 0", frame(0x24, []byte{0}, block(true, raw, 0, 0)), "content size", 5},
		{"size over the limit", frame(0xA4, le32(limit+1), ten), "content size", 5},
		{"size 2^64-1", frame(0xE4, bytes.Repeat([]byte{0xFF}, 8), ten), "content size", 5},
		{"reserved block type", frame(0x24, []byte{10}, block(true, reserved, 10, 10)), "block type", 6},
		{"block over the content", frame(0x24, []byte{10}, block(true, raw, 11, 11)), "block size", 6},
		{"RLE over the content", frame(0x24, []byte{10}, block(true, rle, 11, 1)), "block size", 6},
		{"compressed block over the content", frame(0x24, []byte{10}, block(true, compressed, 11, 11)), "block size", 6},
		{"block over 128 KiB", frame(0xA4, le32(limit), block(true, raw, 128<<10+1, 128<<10+1)), "block size", 9},
		{"second block", frame(0x24, []byte{10}, block(false, raw, 5, 5), block(true, reserved, 5, 5)), "block type", 14},
		{"longer than its content allows", frame(0x24, []byte{10}, manyEmpty, ten), "blocks", 6 + 3*22},
		{"a byte more", append(frame(0x24, []byte{10}, ten), 0), "frame", 23},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, stored, err := format.WalkFrame(tc.frame, limit)
			if tc.field != "" {
				wantSyntax(t, err, "data frame", tc.field, tc.offset)
			} else if err != nil || stored == (tc.name == "RLE") {
				t.Errorf("stored %v, %v", stored, err)
			}
		})
	}
}

// TestWalkFrameLongest holds the limit of a frame's length from both sides: ten
// bytes of content may take 74.
func TestWalkFrameLongest(t *testing.T) {
	ten := block(true, 0, 10, 10) // 23 bytes with frame header and checksum
	for empty, ok := range map[int]bool{17: true, 18: false} {
		f := frame(0x24, []byte{10}, bytes.Repeat(block(false, 0, 0, 0), empty), ten)
		if _, _, err := format.WalkFrame(f, 10); (err == nil) != ok {
			t.Errorf("a frame of %d bytes: %v", len(f), err)
		}
	}
}

func TestWalkFrameEveryPrefix(t *testing.T) {
	for _, f := range [][]byte{
		stored(random(1000)),
		frame(0x64, []byte{0, 1}, block(false, 2, 100, 100), block(true, 1, 300, 1)),
	} {
		for n := range f {
			if _, _, err := format.WalkFrame(f[:n], segment); err == nil {
				t.Fatalf("%d of %d bytes are accepted", n, len(f))
			}
		}
	}
}

func TestParseFrameHeader(t *testing.T) {
	const refused = format.FrameKind(-1)
	for _, tc := range []struct {
		magic, payload uint32
		kind           format.FrameKind
		field          string // at fault
	}{
		{0x184D2A4F, 0, refused, "frame magic"},
		{0x184D2A50, 0, format.FrameInfo, ""},
		{0x184D2A50, 1 << 26, format.FrameInfo, ""},
		{0x184D2A57, 1<<26 + 1, refused, "frame length"},
		{0x184D2A58, 0, refused, "frame magic"},
		{0x184D2A5B, 0, refused, "frame magic"},
		{0x184D2A5C, 1<<32 - 1, format.FrameCatalog, ""},
		{0x184D2A5D, 0, format.FramePadding, ""},
		{0x184D2A5D, 1<<31 - 1, format.FramePadding, ""},
		{0x184D2A5D, 1 << 31, refused, "frame length"},
		{0x184D2A5E, 1<<30 + 9, format.FrameSeekTable, ""},
		{0x184D2A5E, 1<<30 + 10, refused, "frame length"},
		{0x184D2A5F, 0, refused, "frame magic"},
		{0xFD2FB527, 0, refused, "frame magic"}, // zstd 0.7
		{0xFD2FB528, 0, format.FrameData, ""},
	} {
		t.Run(fmt.Sprintf("%#x, %d bytes", tc.magic, tc.payload), func(t *testing.T) {
			kind, payload, err := format.ParseFrameHeader(format.AppendSkippable(nil, tc.magic, tc.payload))
			if tc.kind == refused {
				wantSyntax(t, err, "content", tc.field, map[string]int64{"frame magic": 0, "frame length": 4}[tc.field])
			} else if kind != tc.kind || payload != int64(tc.payload) || err != nil {
				t.Errorf("kind %v, %d bytes, %v", kind, payload, err)
			}
		})
	}
}
