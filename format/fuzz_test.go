package format_test

import (
	"bytes"
	"encoding/binary"
	"os"
	"runtime"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/coffer-backup/coffer/format"
)

// headerSeeds are the blocks that FuzzParseHeader starts from.
func headerSeeds() [][]byte {
	worked := must(os.ReadFile("testdata/worked-example.coffer"))
	seeds := [][]byte{worked[:4096], must(testHeader().AppendBinary(nil))}
	one := testHeader()
	for _, s := range []format.Slot{
		accountSlot(1), passphraseSlot(1), pkcs11Slot(1, 1, "", "", 92), pkcs11Slot(1, 2, "id", "label", 72),
		pkcs11Slot(1, 4, "", "", 256), tinkSlot(1, "alias", 100), hpkeSlot(1, 0x647A, 1168),
	} {
		one.Entries = []format.Entry{s.Entry()}
		seeds = append(seeds, must(one.AppendBinary(nil)))
	}
	full := testHeader()
	full.Size, full.Entries = 8192, nil
	for i := range 32 {
		full.Entries = append(full.Entries, accountSlot(byte(i+1)).Entry())
	}
	return append(seeds, must(full.AppendBinary(nil)))
}

func frameSeeds() [][]byte {
	enc := must(zstd.NewWriter(nil, zstd.WithSingleSegment(true), zstd.WithEncoderCRC(true), zstd.WithEncoderConcurrency(1)))
	return [][]byte{
		stored([]byte("a")), stored(random(300)), enc.EncodeAll(text(1000), nil), enc.EncodeAll(make([]byte, 100_000), nil),
		frame(0x24, []byte{10}, block(false, 0, 5, 5), block(true, 1, 5, 1)),
	}
}

func catalogSeeds() [][]byte {
	root := format.CatalogEntry{Type: '5', Path: "."}
	longer := append(must(testEntry.AppendBinary(nil)), "more"...)
	binary.LittleEndian.PutUint32(longer, uint32(len(longer)-4))
	return [][]byte{
		must(testEntry.AppendBinary(nil)), longer,
		must(testEntry.AppendBinary(must(root.AppendBinary(nil)))),
	}
}

// addSeeds adds seeds, each of which accept must take: a target that starts from
// refused inputs finds little.
func addSeeds(f *testing.F, seeds [][]byte, accept func([]byte) error) {
	if len(seeds) == 0 {
		f.Fatal("there are no seeds")
	}
	for i, s := range seeds {
		if err := accept(s); err != nil {
			f.Fatalf("seed %d: %v", i, err)
		}
		f.Add(s)
	}
}

// FuzzParseHeader: what is accepted encodes to the same bytes.
func FuzzParseHeader(f *testing.F) {
	addSeeds(f, headerSeeds(), func(b []byte) error { _, err := format.ParseHeader(b); return err })
	f.Fuzz(func(t *testing.T, block []byte) {
		if len(block) >= format.MinHeaderSize {
			block = fixCRC(bytes.Clone(block)) // the fuzzer would never find it
		}
		h, err := format.ParseHeader(block)
		if err != nil {
			return
		}
		if again, err := h.AppendBinary(nil); err != nil || !bytes.Equal(again, block) {
			t.Errorf("an accepted block encodes to other bytes (%v)", err)
		}
		if len(h.Entries) > format.MaxEntries || cap(h.Entries) > format.MaxEntries {
			t.Errorf("%d entries", len(h.Entries))
		}
		for _, e := range h.Entries {
			s, known, err := e.Slot()
			if err != nil {
				t.Errorf("an entry of an accepted block: %v", err)
			}
			if known && !bytes.Equal(s.Entry().Data, e.Data) {
				t.Error("an accepted slot goes back to other bytes")
			}
		}
	})
}

// TestParseHeaderAllocations: what a block makes its reader allocate is bounded,
// whatever it says.
func TestParseHeaderAllocations(t *testing.T) {
	hostile := must(testHeader().AppendBinary(nil))
	binary.LittleEndian.PutUint32(hostile[76:], 4096-136)
	binary.LittleEndian.PutUint16(hostile[80:], 0xFFFF)
	for i, block := range append(headerSeeds(), fixCRC(hostile)) {
		const runs = 100
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range runs {
			format.ParseHeader(block)
		}
		runtime.ReadMemStats(&after)
		if got := (after.TotalAlloc - before.TotalAlloc) / runs; got > 16<<10 {
			t.Errorf("block %d: %d bytes are allocated", i, got)
		}
	}
}

// FuzzWalkFrame: a frame that is accepted keeps its limits, looks the same step by
// step, and if stored holds what a decoder gets out of it.
func FuzzWalkFrame(f *testing.F) {
	addSeeds(f, frameSeeds(), func(b []byte) error { _, _, err := format.WalkFrame(b, segment); return err })
	dec := must(zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(segment)))
	f.Fuzz(func(t *testing.T, frame []byte) {
		size, stored, err := format.WalkFrame(frame, segment)
		w, stepErr := step(frame, segment)
		if err != nil {
			if stepErr == nil && w.Need() == len(frame) {
				t.Errorf("accepted step by step, refused whole: %v", err)
			}
			return
		}
		if size < 1 || size > segment || len(frame) > format.MaxFrameSize(size) {
			t.Errorf("%d bytes of content in a frame of %d", size, len(frame))
		}
		if stepErr != nil || w.Need() != len(frame) || w.ContentSize() != size || w.Stored() != stored {
			t.Errorf("step by step: %+v, %v", w, stepErr)
		}
		if !stored {
			return
		}
		if content, err := dec.DecodeAll(frame, nil); err == nil && !format.EqualStored(frame, content) {
			t.Error("EqualStored is false for what the decoder gives")
		}
		format.EqualStored(frame, frame) // must not panic
	})
}

// FuzzCatalogEntry: what is accepted encodes to the same bytes, save those of a
// later version.
func FuzzCatalogEntry(f *testing.F) {
	addSeeds(f, catalogSeeds(), func(b []byte) error { _, _, err := format.ParseCatalogEntry(b); return err })
	f.Fuzz(func(t *testing.T, b []byte) {
		e, rest, err := format.ParseCatalogEntry(b)
		if err != nil {
			return
		}
		record := b[:len(b)-len(rest)]
		again, err := e.AppendBinary(nil)
		if err != nil || len(again) > len(record) || !bytes.Equal(again[4:], record[4:len(again)]) {
			t.Fatalf("%x encodes to %x (%v)", record, again, err)
		}
		if len(again) == len(record) && !bytes.Equal(again, record) {
			t.Errorf("%x encodes to %x", record, again)
		}
	})
}
