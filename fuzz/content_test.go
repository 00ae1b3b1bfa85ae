package fuzz_test

import (
	"bytes"
	"os/exec"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/internal/need"
	"github.com/coffer-backup/coffer/vectors"
	"github.com/coffer-backup/coffer/vectors/build"
)

// contentOf returns the content of a vector, or as much of it as is authentic, and nil
// if there is none or it has other segments than the targets here.
func contentOf(c *vectors.Case, file []byte) []byte {
	who := callerOf(c)
	b, class := judgeBlock(file)
	if class != "" || b.segment() != segment {
		return nil
	}
	k, _, class := who.unlock([]*block{b})
	if class != "" {
		return nil
	}
	content, _, _ := newSealed(b, k).body(file[b.size():])
	return content
}

// maxContent bounds inputs that become content: a frame of 20 bytes can hold a whole
// segment, so that they may become a thousand times as long.
const maxContent = 4 << 10

// splitFrames cuts content into frames, as far as there are any, and what is left.
func splitFrames(content []byte) (frames [][]byte, rest []byte) {
	for len(content) >= 8 {
		n := 8 + int64(le.Uint32(content[4:]))
		if le.Uint32(content) == build.MagicZstd {
			_, length, _, state := walkBlocks(content, segment)
			if n = int64(length); state != done {
				break
			}
		}
		if n > int64(len(content)) {
			break
		}
		frames, content = append(frames, content[:n]), content[n:]
	}
	return frames, content
}

// FuzzContent seals any bytes as content. Bits of the first byte have things repaired
// that the fuzzer would not find: 1 puts a right seek table behind what there is, 2 makes
// the checksums of data frames right, 4 pads.
func FuzzContent(f *testing.F) {
	const withTable, withSums, withPadding = 1, 2, 4
	var seeds [][]byte
	fromVectors(f, func(c *vectors.Case, file []byte) []byte {
		content := contentOf(c, file)
		if content == nil || len(content) > maxContent {
			return nil
		}
		seeds = append(seeds, append([]byte{0}, content...))
		if frames, rest := splitFrames(content); len(rest) == 0 && len(frames) > 0 {
			seeds = append(seeds, append([]byte{withTable}, bytes.Join(frames[:len(frames)-1], nil)...))
		}
		return content
	})
	b := newBase()
	who := b.caller()
	start(f, 1+maxContent, seeds, func(t *testing.T, data []byte) {
		in := input(data)
		repair := in.u8()
		frames, rest := splitFrames(in)
		if repair&withSums != 0 {
			for i := range frames {
				if le.Uint32(frames[i]) == build.MagicZstd {
					frames[i] = resum(frames[i])
				}
			}
		}
		if len(rest) > 0 {
			frames = append(frames, rest)
		}
		if repair&withPadding != 0 {
			frames = append(frames, build.Padding(0, frames...))
		}
		content := bytes.Join(frames, nil)
		if repair&withTable != 0 {
			content = build.Content(frames...)
		}
		if len(content) > 0 { // no body is empty
			who.check(t, b.container(content).Bytes())
		}
	})
}

// FuzzSeekTable seals a few frames and behind them any bytes as the seek table, after
// the header of a skippable frame of their length.
func FuzzSeekTable(f *testing.F) {
	frames := [][]byte{
		build.Repeated('r', segment), build.Stored([]byte("the last data")),
		build.Skippable(build.MagicInfo, []byte("info")), build.Skippable(build.MagicInfo+1, nil),
	}
	var seeds [][]byte
	for n := range len(frames) + 1 {
		table := build.SeekTable(build.Entries(frames[:n]...)...)[8:]
		seeds = append(seeds, append([]byte{byte(n)}, table...))
		// And one off in each number.
		for at := 0; n == len(frames) && at < len(table)-5; at += 4 {
			for _, by := range []uint32{1, 1<<32 - 1} {
				other := bytes.Clone(table)
				le.PutUint32(other[at:], le.Uint32(other[at:])+by)
				seeds = append(seeds, append([]byte{byte(n)}, other...))
			}
		}
	}
	for _, table := range vectorTables(f) {
		seeds = append(seeds, append([]byte{byte(len(frames))}, table[8:]...))
	}
	b := newBase(frames...)
	who := b.caller()
	start(f, 1+maxContent, seeds, func(t *testing.T, data []byte) {
		in := input(data)
		n := int(in.u8()) % (len(frames) + 1)
		// The way of the reader, entry by entry.
		if len(in) >= format.SeekFooterSize {
			if count, err := format.ParseSeekFooter(in[len(in)-format.SeekFooterSize:]); err != nil {
				checkPlace(t, err, format.SeekFooterSize)
			} else if again := format.AppendSeekFooter(nil, count); !bytes.Equal(again, in[len(in)-format.SeekFooterSize:]) {
				t.Errorf("the footer %x encodes to %x", in[len(in)-format.SeekFooterSize:], again)
			}
		}
		content := bytes.Join(frames[:n], nil)
		content = append(content, build.Skippable(build.MagicSeekTable, in)...)
		who.check(t, b.container(content).Bytes())
	})
}

// vectorTables returns the seek tables of the vectors, right or wrong.
func vectorTables(f *testing.F) (tables [][]byte) {
	return fromVectors(f, func(c *vectors.Case, file []byte) []byte {
		frames, _ := splitFrames(contentOf(c, file))
		if len(frames) == 0 || len(frames[len(frames)-1]) > maxContent || le.Uint32(frames[len(frames)-1]) != build.MagicSeekTable {
			return nil
		}
		return frames[len(frames)-1]
	})
}

// FuzzCatalog seals any bytes as the records of a catalog, cut into two frames where the
// first two bytes say.
func FuzzCatalog(f *testing.F) {
	seeds := fromVectors(f, func(c *vectors.Case, file []byte) []byte {
		frames, _ := splitFrames(contentOf(c, file))
		var records []byte
		for _, frame := range frames {
			if le.Uint32(frame) == build.MagicCatalog {
				plain, _, _ := walk(frame[8:], segment)
				records = append(records, plain...)
			}
		}
		if records == nil || len(records) > maxContent {
			return nil
		}
		return append([]byte{0xff, 0xff}, records...)
	})
	data := build.Stored([]byte("what the catalog is of"))
	b := newBase()
	who := b.caller()
	start(f, 2+maxContent, seeds, func(t *testing.T, in []byte) {
		records := input(in)
		cut := int(records.u16())
		frames := [][]byte{data}
		for _, part := range [][]byte{records[:min(cut, len(records))], records[min(cut, len(records)):]} {
			if len(part) > 0 {
				frames = append(frames, build.Catalog(part))
			}
		}
		who.check(t, b.container(build.Content(frames...)).Bytes())
		checkRecord(t, records)
	})
}

// checkRecord compares the parser of one record with the oracle's, and demands that
// what is accepted encodes to the same bytes, save those of a later version.
func checkRecord(t *testing.T, b []byte) {
	t.Helper()
	want, n, ok := readRecord(b)
	ok = ok && want.Offset%format.TarBlock == 0
	e, rest, err := format.ParseCatalogEntry(b)
	if (err == nil) != ok {
		t.Fatalf("%x: %v, want accepted: %v", b, err, ok)
	}
	if err != nil {
		checkPlace(t, err, len(b))
		return
	}
	if !sameRecord(e, want) || len(rest) != len(b)-n {
		t.Fatalf("%x: %+v, %d bytes left; want %+v, %d", b, e, len(rest), want, len(b)-n)
	}
	want.Later = nil
	if again, err := e.AppendBinary(nil); err != nil || !bytes.Equal(again, want.Bytes()) {
		t.Errorf("%x encodes to %x (%v)", b[:n], again, err)
	}
}

// FuzzDataFrame seals any bytes as one data frame, with the seek table that describes
// it. A bit in the first byte has the checksum made right, if that can be told.
func FuzzDataFrame(f *testing.F) {
	var seeds [][]byte
	fromVectors(f, func(c *vectors.Case, file []byte) []byte {
		content := contentOf(c, file)
		if frames, _ := splitFrames(content); len(frames) > 0 && len(frames[0]) <= maxContent {
			seeds = append(seeds, append([]byte{0}, frames[0]...), append([]byte{1}, frames[0]...))
		} else if len(content) > 17 && len(content) <= maxContent && le.Uint32(content) == build.MagicZstd {
			seeds = append(seeds, append([]byte{0}, content[:len(content)-25]...))
		}
		return content
	})
	seeds = append(seeds, compressedFrames()...)
	b := newBase()
	who := b.caller()
	start(f, 1+maxContent, seeds, func(t *testing.T, data []byte) {
		in := input(data)
		repair := in.u8()
		frame := in.rest()
		if repair&1 != 0 {
			frame = resum(frame)
		}
		checkWalker(t, frame)
		stream, _ := who.check(t, b.container(build.Content(frame)).Bytes())
		if !fuzzing && stream.class == vectors.OK {
			checkZstd(t, frame, stream.plain)
		}
	})
}

// checkWalker follows a frame with package format, whole and step by step, and compares
// it with the oracle's walk.
func checkWalker(t *testing.T, frame []byte) {
	t.Helper()
	_, n, dsize, state := walkBlocks(frame, segment)
	size, stored, err := format.WalkFrame(frame, segment)
	if accepted := state == done && n == len(frame); (err == nil) != accepted || accepted && size != dsize {
		t.Errorf("WalkFrame: %d, %v; want accepted: %v, %d", size, err, accepted, dsize)
	}
	if err != nil {
		checkPlace(t, err, format.MaxFrameSize(segment)) // a block may say that it reaches far
	}
	var w format.FrameWalker
	w.Reset(segment)
	var stepErr error
	ended := false
	for !ended && stepErr == nil && w.Need() <= len(frame) {
		ended, stepErr = w.Step(frame[:w.Need()]) // it is shown what it needs and no more
	}
	switch {
	case (stepErr != nil) != (state == broken), ended != (state == done):
		t.Errorf("step by step: ended %v, %v; the oracle says %d", ended, stepErr, state)
	case ended && (w.Need() != n || w.ContentSize() != dsize || n == len(frame) && w.Stored() != stored):
		t.Errorf("step by step: %+v, want %d bytes of %d", w, dsize, n)
	}
	if ended && stored && n == len(frame) {
		plain, _, _ := walk(frame, segment)
		if len(plain) == dsize && !format.EqualStored(frame, plain) {
			t.Error("EqualStored is false for what the frame holds")
		}
		if len(plain) > 0 && format.EqualStored(frame, flip(plain, len(plain)/2, 1)) {
			t.Error("EqualStored is true for something else")
		}
		format.EqualStored(frame, frame) // must not panic
	}
}

// checkZstd demands that the reference implementation gives the same plaintext.
func checkZstd(t *testing.T, frame, plain []byte) {
	t.Helper()
	cmd := exec.Command(need.Command(t, "zstd", "apt-get install zstd"), "-dcq")
	cmd.Stdin = bytes.NewReader(frame)
	if out, err := cmd.Output(); err != nil || !bytes.Equal(out, plain) {
		t.Errorf("zstd gives %d bytes, %v; we give %d", len(out), err, len(plain))
	}
}

// compressedFrames are frames that the writer makes, of the kinds of blocks and tables
// that there are.
func compressedFrames() (seeds [][]byte) {
	text := bytes.Repeat([]byte("a backup is as good as its restore, and no better than that\n"), 20)
	mixed := append(bytes.Clone(text), noise(300, "mixed")...)
	for _, level := range []zstd.EncoderLevel{zstd.SpeedFastest, zstd.SpeedDefault, zstd.SpeedBetterCompression, zstd.SpeedBestCompression} {
		enc := must(zstd.NewWriter(nil, zstd.WithEncoderLevel(level), zstd.WithSingleSegment(true), zstd.WithEncoderCRC(true), zstd.WithEncoderConcurrency(1)))
		for _, plain := range [][]byte{text, mixed, text[:200], bytes.Repeat([]byte{7}, 70_000)[:segment]} {
			seeds = append(seeds, append([]byte{0}, enc.EncodeAll(plain, nil)...))
		}
	}
	return seeds
}
