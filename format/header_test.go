package format_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"math/bits"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"github.com/coffer-backup/coffer/format"
)

// testHeader has a slot of every kind, an unknown one and a note.
func testHeader() *format.Header {
	h := &format.Header{
		Suite: format.ChaCha20Poly1305, SegmentLog2: 20, Flags: format.FlagContext,
		Generation: 7, Size: format.MinHeaderSize, Entries: []format.Entry{
			accountSlot(1).Entry(),
			passphraseSlot(2).Entry(),
			pkcs11Slot(3, 1, "id", "label", 92).Entry(),
			tinkSlot(4, "alias", 100).Entry(),
			hpkeSlot(5, 0x647A, 1168).Entry(),
			{Kind: 77, Data: append(salt(6), "of a later version"...)},
			{Kind: 0x8001, Data: []byte("a note")},
		},
	}
	copy(h.Salt[:], count(0x10, 32))
	copy(h.ContextTag[:], count(0x30, 16))
	copy(h.MAC[:], count(0x50, 32))
	return h
}

// fixCRC makes the CRC of a block right again after an edit.
func fixCRC(block []byte) []byte {
	n := len(block) - 8
	binary.LittleEndian.PutUint32(block[n:], crc32.Checksum(block[:n], crc32.MakeTable(crc32.Castagnoli)))
	return block
}

// wantSyntax fails t unless err is a *SyntaxError about field at offset.
func wantSyntax(t *testing.T, err error, structure, field string, offset int64) {
	t.Helper()
	var se *format.SyntaxError
	if !errors.As(err, &se) {
		t.Fatalf("error is %v, want a *SyntaxError about %s at %d", err, field, offset)
	}
	if se.Struct != structure || se.Field != field || se.Offset != offset || se.Reason == "" {
		t.Errorf("error is %q (%s, %s, %d), want %s, %s at %d", err, se.Struct, se.Field, se.Offset, structure, field, offset)
	}
}

func sameHeader(a, b *format.Header) bool {
	// The entries' slices may differ in nil and empty, which the wire does not.
	return fmt.Sprintf("%+v", a) == fmt.Sprintf("%+v", b)
}

func TestHeaderRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := genHeader(t)
		prefix := []byte("what was there")
		b, err := h.AppendBinary(prefix)
		if err != nil {
			t.Fatal(err)
		}
		b, ok := bytes.CutPrefix(b, prefix)
		if !ok || len(b) != h.Size {
			t.Fatalf("%d bytes were appended, want %d", len(b), h.Size)
		}
		got, err := format.ParseHeader(b)
		if err != nil {
			t.Fatal(err)
		}
		if !sameHeader(got, h) {
			t.Fatalf("parsed\n%+v, was\n%+v", got, h)
		}
		if again := must(got.AppendBinary(nil)); !bytes.Equal(again, b) {
			t.Fatal("parse and append give other bytes")
		}
		if core := got.Core(); !bytes.Equal(core[:], b[8:64]) {
			t.Fatalf("Core = %x, want %x", core, b[8:64])
		}
		if !bytes.Equal(format.MACInput(b), b[:h.Size-40]) {
			t.Fatal("MACInput is not [0, H-40)")
		}
	})
}

// genHeader draws a header that keeps every rule.
func genHeader(t *rapid.T) *format.Header {
	h := &format.Header{
		Suite:       rapid.SampledFrom([]format.Suite{format.AES256GCM, format.ChaCha20Poly1305}).Draw(t, "suite"),
		SegmentLog2: rapid.Uint8Range(format.MinSegmentLog2, format.MaxSegmentLog2).Draw(t, "segment_log2"),
		Flags:       rapid.Uint8Range(0, 1).Draw(t, "flags"),
		Generation:  rapid.Uint64Range(1, math.MaxInt64).Draw(t, "generation"),
		Salt:        [32]byte(genBytes(t, "salt", 32)),
		MAC:         [32]byte(genBytes(t, "MAC", 32)),
	}
	if h.HasContext() {
		h.ContextTag = [16]byte(genBytes(t, "context_tag", 16))
	}
	n := rapid.IntRange(1, 12).Draw(t, "entries")
	slots := 0
	for i := range n {
		if i > slots && rapid.Bool().Draw(t, "note") { // at least one slot first
			h.Entries = append(h.Entries, format.Entry{Kind: 0x8000 | format.Kind(i), Data: genBytes(t, "note", rapid.IntRange(0, 340).Draw(t, "n"))})
			continue
		}
		slots++
		h.Entries = append(h.Entries, genSlot(t, byte(i)))
	}
	used := 96 + 40
	for _, e := range h.Entries {
		used += 4 + len(e.Data)
	}
	least := (used + 4095) / 4096
	h.Size = 4096 * rapid.IntRange(least, 16).Draw(t, "H")
	return h
}

func genBytes(t *rapid.T, name string, n int) []byte {
	return rapid.SliceOfN(rapid.Byte(), n, n).Draw(t, name)
}

func TestParseHeaderRejects(t *testing.T) {
	le := binary.LittleEndian
	put16 := func(off int, v uint16) func([]byte) { return func(b []byte) { le.PutUint16(b[off:], v) } }
	put32 := func(off int, v uint32) func([]byte) { return func(b []byte) { le.PutUint32(b[off:], v) } }
	put64 := func(off int, v uint64) func([]byte) { return func(b []byte) { le.PutUint64(b[off:], v) } }
	put8 := func(off int, v byte) func([]byte) { return func(b []byte) { b[off] = v } }
	valid := must(testHeader().AppendBinary(nil))
	s := le.Uint32(valid[76:])

	for _, tc := range []struct {
		name   string
		edit   func([]byte)
		field  string // "" if the block is still a good one
		offset int64
	}{
		{"magic", put8(0, 'C'), "magic", 0},
		{"last of magic", put8(7, '\r'), "magic", 0},
		{"version 0", put16(8, 0), "version", 8},
		{"version 2", put16(8, 2), "version", 8},
		{"version 257", put16(8, 0x101), "version", 8},
		{"suite 0", put8(10, 0), "suite", 10},
		{"suite 1", put8(10, 1), "", 0},
		{"suite 3", put8(10, 3), "suite", 10},
		{"content 0", put8(11, 0), "content", 11},
		{"content 2", put8(11, 2), "content", 11},
		{"segment 15", put8(12, 15), "segment_log2", 12},
		{"segment 16", put8(12, 16), "", 0},
		{"segment 26", put8(12, 26), "", 0},
		{"segment 27", put8(12, 27), "segment_log2", 12},
		{"flag bit 1", put8(13, 3), "flags", 13},
		{"flag bit 7", put8(13, 0x81), "flags", 13},
		{"reserved 14", put8(14, 1), "reserved", 14},
		{"reserved 15", put8(15, 1), "reserved", 15},
		{"context_tag without flag", put8(13, 0), "context_tag", 48},
		{"no context", func(b []byte) { b[13] = 0; clear(b[48:64]) }, "", 0},
		{"generation 0", put64(64, 0), "generation", 64},
		{"generation 1", put64(64, 1), "", 0},
		{"generation 2^63-1", put64(64, 1<<63-1), "", 0},
		{"generation 2^63", put64(64, 1<<63), "generation", 64},
		{"H 0", put32(72, 0), "header length", 72},
		{"H 2048", put32(72, 2048), "header length", 72},
		{"H 4097", put32(72, 4097), "header length", 72},
		{"H 65536+4096", put32(72, 65536+4096), "header length", 72},
		{"H 2^32-4096", put32(72, 1<<32-4096), "header length", 72},
		{"S over the block", put32(76, 4096-136+1), "slots length", 76},
		{"S 2^32-1", put32(76, 1<<32-1), "slots length", 76},
		{"S one more", put32(76, s+1), "slots", 96 + int64(s)},
		{"S one less", put32(76, s-1), "slot", 96 + int64(s) - 6},
		{"S to the end of the block", put32(76, 4096-136), "slots", 96 + int64(s)},
		{"slot count 0", put16(80, 0), "slot count", 80},
		{"slot count 6", put16(80, 6), "slots", 96 + int64(s) - 10},
		{"slot count 8", put16(80, 8), "slot kind", 96 + int64(s)},
		{"slot count 33", put16(80, 33), "slot count", 80},
		{"slot count 65535", put16(80, 65535), "slot count", 80},
		{"reserved 82", put8(82, 1), "reserved", 82},
		{"reserved 95", put8(95, 1), "reserved", 95},
		{"first of padding", put8(96+int(s), 1), "padding", 96 + int64(s)},
		{"last of padding", put8(4096-41, 1), "padding", 4096 - 41},
		{"MAC", put8(4096-40, 0xFF), "", 0},
		{"H again", put32(4096-4, 8192), "header length, repeated", 4092},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := bytes.Clone(valid)
			tc.edit(b)
			h, err := format.ParseHeader(fixCRC(b))
			if tc.field != "" {
				wantSyntax(t, err, "header", tc.field, tc.offset)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if again := must(h.AppendBinary(nil)); !bytes.Equal(again, b) {
				t.Error("parse and append give other bytes")
			}
		})
	}
}

func TestHeaderErrorClasses(t *testing.T) {
	valid := must(testHeader().AppendBinary(nil))
	edit := func(off int, v byte) []byte { b := bytes.Clone(valid); b[off] = v; return fixCRC(b) }
	for _, tc := range []struct {
		name  string
		block []byte
		want  error
	}{
		{"magic", edit(1, 'c'), format.ErrMagic},
		{"version", edit(8, 2), format.ErrVersion},
		{"version before all other fields", []byte(format.Magic + "\x02\x00"), format.ErrVersion},
		{"short", valid[:4095], io.ErrUnexpectedEOF},
		// Inside a block that is whole, a field that is cut off is no end of input.
		{"slot past the slots", edit(98, 0xFF), nil},
		{"slot of no bytes", edit(96+116+2, 0), nil},
		{"CRC", func() []byte { b := bytes.Clone(valid); b[4090] ^= 1; return b }(), nil},
	} {
		_, err := format.ParseHeader(tc.block)
		if se, ok := err.(*format.SyntaxError); !ok || se.Err != tc.want {
			t.Errorf("%s: %#v, want one that wraps %v", tc.name, err, tc.want)
		}
	}
	_, err := format.ParseHeader(append(bytes.Clone(valid), 0))
	wantSyntax(t, err, "header", "header length", 72)
	b := bytes.Clone(valid)
	b[4088] ^= 1
	_, err = format.ParseHeader(b)
	wantSyntax(t, err, "header", "CRC", 4088)
	if msg := err.Error(); !strings.HasPrefix(msg, "header: CRC at offset 4088: ") {
		t.Errorf("Error() = %q", msg)
	}
}

func TestHeaderSizes(t *testing.T) {
	for _, size := range []int{4096, 8192, 61440, 65536} {
		h := testHeader()
		h.Size = size
		if b, err := h.AppendBinary(nil); err != nil || len(b) != size {
			t.Errorf("H = %d: %d bytes, %v", size, len(b), err)
		}
	}
	for _, size := range []int{-4096, 0, 96, 4095, 4097, 65536 + 4096} {
		h := testHeader()
		h.Size = size
		if b, err := h.AppendBinary(nil); err == nil || b != nil {
			t.Errorf("H = %d is accepted", size)
		}
	}
}

// TestHeaderFull fills the block to its last byte, and one byte more.
func TestHeaderFull(t *testing.T) {
	h := testHeader()
	h.Entries = []format.Entry{{Kind: 9, Data: append(salt(1), make([]byte, 4096-136-4-32)...)}}
	b, err := h.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := must(format.ParseHeader(b)); !sameHeader(got, h) {
		t.Error("the full block parses to another header")
	}
	h.Entries[0].Data = append(h.Entries[0].Data, 0)
	_, err = h.AppendBinary(nil)
	wantSyntax(t, err, "header", "slots", 96)
	h.Size = math.MaxInt // nothing of which is allocated
	_, err = h.AppendBinary(nil)
	wantSyntax(t, err, "header", "slots", 96)
}

func TestEntryLimits(t *testing.T) {
	slots := func(n int) (e []format.Entry) {
		for i := range n {
			e = append(e, format.Entry{Kind: 9, Data: salt(byte(i + 1))})
		}
		return e
	}
	note := func(n int) format.Entry { return format.Entry{Kind: 0xFFFF, Data: make([]byte, n)} }
	for _, tc := range []struct {
		name    string
		entries []format.Entry
		field   string
		offset  int64
	}{
		{"32 entries", slots(32), "", 0},
		{"33 entries", slots(33), "slot count", 80},
		{"no entry", nil, "slot count", 80},
		{"only a note", []format.Entry{note(1)}, "slot count", 80},
		{"an empty note", append(slots(1), note(0)), "", 0},
		{"notes of 4096 bytes", append(slots(1), note(4000), note(96)), "", 0},
		{"notes of 4097 bytes", append(slots(1), note(4000), note(97)), "notes", 96 + 36 + 4004},
		{"a salt twice", append(slots(2), slots(1)...), "slot salt", 96 + 2*36 + 4},
		{"a salt twice in two kinds", append(slots(1), accountSlot(1).Entry()), "slot salt", 96 + 36 + 4},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := testHeader()
			h.Size, h.Entries = 16384, tc.entries
			_, err := h.AppendBinary(nil)
			if tc.field != "" {
				wantSyntax(t, err, "header", tc.field, tc.offset)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}

func TestHeaderEveryBitFlip(t *testing.T) {
	block := must(testHeader().AppendBinary(nil))
	for i := range len(block) * 8 {
		block[i/8] ^= 1 << (i % 8)
		if _, err := format.ParseHeader(block); err == nil {
			t.Fatalf("bit %d of byte %d is flipped, and the block is accepted", i%8, i/8)
		}
		block[i/8] ^= 1 << (i % 8)
	}
}

// TestHeaderEveryByte changes each byte and makes the CRC right, so that there is
// no second encoding of anything. Where rules read, each value is tried; in what
// is kept as it is, and in the padding, each bit.
func TestHeaderEveryByte(t *testing.T) {
	h := testHeader()
	h.Entries[5].Data = append(h.Entries[5].Data, make([]byte, 1800)...) // nearly full: padding is slow to check
	valid := must(h.AppendBinary(nil))
	ruled := make([]bool, len(valid))
	mark := func(from, n int) {
		for i := range n {
			ruled[from+i] = true
		}
	}
	mark(0, 96)
	at := 96
	for _, e := range h.Entries {
		mark(at, min(64, 4+len(e.Data))) // kind, length, salt, params
		at += 4 + len(e.Data)
	}

	block, again := bytes.Clone(valid), []byte(nil)
	for i := range len(block) - 8 {
		for v := range 256 {
			if block[i] = byte(v); !ruled[i] && bits.OnesCount8(block[i]^valid[i]) != 1 {
				continue
			}
			h, err := format.ParseHeader(fixCRC(block))
			if err != nil {
				continue
			}
			if again, err = h.AppendBinary(again[:0]); err != nil || !bytes.Equal(again, block) {
				t.Fatalf("byte %d = %#02x is accepted but encodes to other bytes (%v)", i, v, err)
			}
		}
		block[i] = valid[i]
	}
}

func TestHeaderEveryPrefix(t *testing.T) {
	block := must(testHeader().AppendBinary(nil))
	for n := range block {
		want := io.ErrUnexpectedEOF
		if n == 0 {
			want = format.ErrMagic
		}
		if _, err := format.ParseHeader(block[:n]); !errors.Is(err, want) {
			t.Fatalf("ParseHeader of %d bytes: %v, want %v", n, err, want)
		}
		_, got, err := format.ReadHeader(bytes.NewReader(block[:n]))
		if !errors.Is(err, want) || len(got) != n {
			t.Fatalf("ReadHeader of %d bytes: %v after %d bytes, want %v", n, err, len(got), want)
		}
	}
	for n := 1; n <= 8; n++ { // what contradicts the magic is no truncated container
		_, err := format.ParsePrefix([]byte("\x89COF\r\n\x1a\x00")[:n])
		if want := map[bool]error{true: format.ErrMagic, false: io.ErrUnexpectedEOF}[n == 8]; !errors.Is(err, want) {
			t.Errorf("%d bytes: %v, want %v", n, err, want)
		}
	}
}

func TestReadHeader(t *testing.T) {
	want := testHeader()
	block := must(want.AppendBinary(nil))
	for name, wrap := range map[string]func(io.Reader) io.Reader{
		"whole": func(r io.Reader) io.Reader { return r }, "one byte": iotest.OneByteReader,
		"half": iotest.HalfReader, "data with EOF": iotest.DataErrReader,
	} {
		src := strings.NewReader(string(block) + "body")
		h, got, err := format.ReadHeader(wrap(src))
		if err != nil || !sameHeader(h, want) || !bytes.Equal(got, block) {
			t.Errorf("%s: %+v, %v", name, h, err)
		}
		if name == "whole" && src.Len() != len("body") {
			t.Errorf("%d bytes of the body are left, want 4", src.Len())
		}
	}
	broken := errors.New("broken pipe")
	for _, n := range []int{0, 5, 95, 96, 97, 4095} {
		r := io.MultiReader(bytes.NewReader(block[:n]), iotest.ErrReader(broken))
		if _, got, err := format.ReadHeader(r); err != broken || len(got) != n {
			t.Errorf("reader breaks after %d bytes: %v with %d bytes", n, err, len(got))
		}
	}
	// A bad prefix ends the reading: no more is asked of a hostile source.
	r := bytes.NewReader(append(bytes.Repeat([]byte{0}, format.PrefixSize), block...))
	if _, _, err := format.ReadHeader(r); !errors.Is(err, format.ErrMagic) || r.Len() != len(block) {
		t.Errorf("%v, %d bytes are left", err, r.Len())
	}
}

func TestTailSize(t *testing.T) {
	for h, want := range map[uint32]bool{
		0: false, 4095: false, 4096: true, 4097: false, 8192: true, 65536: true, 65537: false, 69632: false, 1<<32 - 4096: false,
	} {
		got, ok := format.TailSize(binary.LittleEndian.AppendUint32(nil, h))
		if ok != want || ok && got != int(h) {
			t.Errorf("TailSize(%d) = %d, %v", h, got, ok)
		}
	}
}

func TestSuites(t *testing.T) {
	for _, s := range []format.Suite{format.AES256GCM, format.ChaCha20Poly1305} {
		if got, err := format.ParseSuite(s.String()); got != s || err != nil {
			t.Errorf("ParseSuite(%q) = %v, %v", s, got, err)
		}
	}
	if _, err := format.ParseSuite("rot13"); err == nil {
		t.Error("suite rot13 is accepted")
	}
	if got := format.Suite(9).String(); got != "suite 9" {
		t.Errorf("String = %q", got)
	}
}

// A block has the default size until its entries need more.
func TestFittingSize(t *testing.T) {
	for n, want := range map[int]int{0: 8192, 32: 8192, 8192 - 96 - 40 - 36: 8192, 8192 - 96 - 40 - 35: 12288, 65535 - 32: 69632} {
		h := testHeader()
		h.Entries = []format.Entry{slot(0x7000, 1, nil, make([]byte, n)).Entry()}
		h.Size = h.FittingSize()
		if h.Size != want {
			t.Errorf("%d bytes in a slot: %d, want %d", n, h.Size, want)
		}
		if _, err := h.AppendBinary(nil); (err == nil) != (want <= format.MaxHeaderSize) {
			t.Errorf("%d bytes in a slot, H %d: %v", n, want, err)
		}
	}
}
