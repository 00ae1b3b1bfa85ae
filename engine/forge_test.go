package engine_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/cespare/xxhash/v2"

	"github.com/coffer-backup/coffer/backends/software"
	"github.com/coffer-backup/coffer/engine"
	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/internal/dare"
	"github.com/coffer-backup/coffer/keys"
)

// A forger makes containers that a Writer would not: any content, any header, all
// of it authentic.
type forger struct {
	t      testing.TB
	header format.Header
	fk     *keys.FileKey
	to     []keys.Recipient
	// editTail changes the header for the copy at the end.
	editTail func(*format.Header)
}

func newForger(t testing.TB) *forger {
	f := &forger{t: t, fk: keys.NewFileKey(), to: []keys.Recipient{testKey}}
	f.header = format.Header{Suite: format.ChaCha20Poly1305, SegmentLog2: 16, Generation: 1, Size: 4096}
	rand.Read(f.header.Salt[:])
	return f
}

// block returns the authentic block of h.
func (f *forger) block(h format.Header) []byte {
	f.t.Helper()
	if h.Entries == nil {
		for _, r := range f.to {
			slot, err := r.Wrap(f.t.Context(), h.Core(), f.fk)
			if err != nil {
				f.t.Fatal(err)
			}
			h.Entries = append(h.Entries, slot.Entry())
		}
	}
	block, err := h.AppendBinary(nil)
	if err != nil {
		f.t.Fatal(err)
	}
	h.MAC = keys.NewSchedule(f.fk, &h.Salt).HeaderMAC(block)
	if block, err = h.AppendBinary(nil); err != nil {
		f.t.Fatal(err)
	}
	return block
}

// body seals content.
func (f *forger) body(content []byte) (body []byte) {
	f.t.Helper()
	key, nonce := keys.NewSchedule(f.fk, &f.header.Salt).Body(f.header.Core(), nil)
	aead, err := software.New().NewAEAD(f.t.Context(), f.header.Suite, key)
	if err != nil {
		f.t.Fatal(err)
	}
	s := dare.New(aead, f.header.Suite, nonce)
	for number := uint64(0); len(content) > 0; number++ {
		n := min(len(content), format.MaxPayload)
		if body, err = s.Seal(body, content[:n], number, n == len(content)); err != nil {
			f.t.Fatal(err)
		}
		content = content[n:]
	}
	return body
}

func (f *forger) container(content []byte) []byte {
	f.t.Helper()
	head := f.block(f.header)
	h, err := format.ParseHeader(head)
	if err != nil {
		f.t.Fatal(err)
	}
	tail := bytes.Clone(head)
	if f.editTail != nil {
		f.editTail(h)
		tail = f.block(*h)
	}
	return append(append(head, f.body(content)...), tail...)
}

// frame returns a data frame of raw blocks.
func frame(plain []byte) []byte {
	return format.AppendStored(nil, plain, uint32(xxhash.Sum64(plain)))
}

func skippable(magic uint32, payload []byte) []byte {
	return append(format.AppendSkippable(nil, magic, uint32(len(payload))), payload...)
}

// table returns the seek table for entries.
func table(entries ...format.SeekEntry) []byte {
	b := format.AppendSkippable(nil, format.MagicSeekTable, uint32(format.SeekTableSize(int64(len(entries)))-8))
	for _, e := range entries {
		b = format.AppendSeekEntry(b, e)
	}
	return format.AppendSeekFooter(b, int64(len(entries)))
}

// withTable appends to frames the table that describes them.
func withTable(frames ...[]byte) []byte {
	var content []byte
	var entries []format.SeekEntry
	for _, f := range frames {
		e := format.SeekEntry{Compressed: uint32(len(f))}
		if kind, _, err := format.ParseFrameHeader(f); err == nil && kind == format.FrameData {
			e.Decompressed = binary.LittleEndian.Uint32(f[5:])
		}
		entries = append(entries, e)
		content = append(content, f...)
	}
	return append(content, table(entries...)...)
}

// record returns a catalog frame of one entry.
func record(e format.CatalogEntry) []byte {
	b, err := e.AppendBinary(nil)
	if err != nil {
		panic(err)
	}
	return skippable(format.MagicCatalog, frame(b))
}

// padding returns the frame that pads frames.
func padding(extra int, frames ...[]byte) []byte {
	n := int64(0)
	for _, f := range frames {
		n += int64(len(f))
	}
	n += format.SkippableHeaderSize + format.SeekTableSize(int64(len(frames)+1))
	return skippable(format.MagicPadding, make([]byte, int(format.Padded(n)-n)+extra))
}

func TestContentRules(t *testing.T) {
	const seg = 64 << 10
	full, short := frame(noise(seg, 1)), frame([]byte("short"))
	entry := record(format.CatalogEntry{Path: "x"})
	info := skippable(format.MagicInfoFirst+3, []byte("for a later version"))
	patched := func(b []byte, at int, v byte) []byte {
		b = bytes.Clone(b)
		b[at] ^= v
		return b
	}
	shortEntry := format.SeekEntry{Compressed: uint32(len(short)), Decompressed: 5}
	tests := []struct {
		name    string
		content []byte
		ok      bool
	}{
		{"empty", withTable(), true},
		{"short", withTable(short), true},
		{"full", withTable(full), true},
		{"full and short", withTable(full, short), true},
		{"everything", withTable(full, short, entry, info, padding(0, full, short, entry, info)), true},
		{"catalog alone", withTable(entry), true},
		{"empty info", withTable(short, skippable(format.MagicInfoFirst, nil)), true},
		{"no table", short, false},
		{"nothing but a byte", []byte{0}, false},
		{"bytes after the table", append(withTable(short), 0), false},
		{"two tables", append(withTable(short), withTable()...), false},
		{"short before full", withTable(short, full), false},
		{"two short ones", withTable(short, short), false},
		{"data after catalog", withTable(full, entry, short), false},
		{"catalog after info", withTable(short, info, entry), false},
		{"info after padding", withTable(short, padding(len(info), short), info), false},
		{"two paddings", withTable(short, padding(0, short), padding(0, short)), false},
		{"padding too long", withTable(short, padding(1, short)), false},
		{"padding too short", withTable(full, padding(-1, full)), false},
		{"padding not zero", withTable(full, patched(padding(0, full), 8, 1)), false},
		{"unknown skippable", withTable(short, skippable(0x184D2A58, nil)), false},
		{"unknown magic", withTable(patched(short, 0, 1)), false},
		{"checksum wrong", withTable(patched(short, len(short)-1, 1)), false},
		{"content wrong", withTable(patched(short, len(short)-5, 1)), false},
		{"no checksum flag", withTable(patched(short, 4, 4)), false},
		{"frame too large", withTable(frame(noise(seg+1, 1))), false},
		{"table: csize wrong", append(bytes.Clone(short), table(format.SeekEntry{Compressed: shortEntry.Compressed + 1, Decompressed: 5})...), false},
		{"table: dsize wrong", append(bytes.Clone(short), table(format.SeekEntry{Compressed: shortEntry.Compressed, Decompressed: 4})...), false},
		{"table: entry missing", append(bytes.Clone(short), table()...), false},
		{"table: entry too many", append(bytes.Clone(short), table(shortEntry, format.SeekEntry{})...), false},
		{"table: descriptor", patched(withTable(short), len(withTable(short))-5, 1), false},
		{"table: magic", patched(withTable(short), len(withTable(short))-1, 1), false},
		{"table: count", patched(withTable(short), len(withTable(short))-9, 1), false},
		{"catalog not a frame", withTable(skippable(format.MagicCatalog, []byte("hello, this is no zstd frame"))), false},
		{"catalog frame and a byte", withTable(skippable(format.MagicCatalog, append(frame([]byte("x")), 0))), false},
		{"catalog ends early", withTable(skippable(format.MagicCatalog, frame([]byte("x"))[:14])), false},
		{"catalog empty", withTable(skippable(format.MagicCatalog, nil)), false},
		{"catalog record cut", withTable(skippable(format.MagicCatalog, frame([]byte{9, 0, 0, 0, 1}))), false},
		{"catalog starts late", withTable(record(format.CatalogEntry{Offset: 512, Path: "x"})), false},
		{"catalog order", withTable(entry, entry), false},
		{"info too long", withTable(skippable(format.MagicInfoFirst, make([]byte, format.MaxInfoPayload+1))), false},
	}
	for _, test := range tests {
		c := newForger(t).container(test.content)
		_, streamErr := open(c, nil)
		fileErr := readFile(c)
		if (streamErr == nil) != test.ok || (fileErr == nil) != test.ok {
			t.Errorf("%s: stream: %v, file: %v", test.name, streamErr, fileErr)
		}
		for _, err := range []error{streamErr, fileErr} {
			var syntax *format.SyntaxError
			if err != nil && !errors.As(err, &syntax) {
				t.Errorf("%s: %v is no SyntaxError", test.name, err)
			}
		}
	}
}

// readFile reads everything that random access can read.
func readFile(c []byte) error {
	f, err := engine.Open(context.Background(), bytes.NewReader(c), int64(len(c)), []keys.Identity{testKey}, nil)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, err := range f.Catalog() {
		if err != nil {
			return err
		}
	}
	_, err = openFile(c, nil)
	return err
}

func TestCopiesOfTheHeader(t *testing.T) {
	content := withTable(frame([]byte("plaintext")))
	tests := []struct {
		name         string
		edit         func(*format.Header)
		damage       func(c []byte)
		stream, file error
		warnings     int
	}{
		{name: "identical"},
		{name: "tail newer", edit: func(h *format.Header) { h.Generation = 2 }, warnings: 1},
		{name: "tail older", edit: func(h *format.Header) { h.Generation = 1 }, warnings: 1},
		{name: "tail of other segments", edit: func(h *format.Header) { h.SegmentLog2++ }, stream: engine.ErrAuth, file: engine.ErrAuth},
		{name: "tail with other slots", edit: func(h *format.Header) { h.Entries = nil }, warnings: 1},
		{name: "tail's CRC", damage: func(c []byte) { c[len(c)-8]++ }, stream: engine.ErrAuth, file: engine.ErrDamagedCopy, warnings: 1},
		{name: "tail's magic", damage: func(c []byte) { c[len(c)-4096]++ }, stream: engine.ErrAuth, file: engine.ErrDamagedCopy, warnings: 1},
		{name: "tail's length", damage: func(c []byte) { c[len(c)-3]++ }, stream: engine.ErrAuth, file: engine.ErrDamagedCopy, warnings: 1},
		{name: "head's CRC", damage: func(c []byte) { c[4096-8]++ }, stream: new(format.SyntaxError), file: engine.ErrDamagedCopy, warnings: 1},
		{name: "head's magic", damage: func(c []byte) { c[0]++ }, stream: format.ErrMagic, file: engine.ErrDamagedCopy, warnings: 1},
		{name: "both", damage: func(c []byte) { c[0]++; c[len(c)-8]++ }, stream: format.ErrMagic, file: format.ErrMagic},
	}
	for _, test := range tests {
		f := newForger(t)
		f.editTail = test.edit
		if test.name == "tail older" {
			f.header.Generation = 3
		}
		c := f.container(content)
		if test.damage != nil {
			test.damage(c)
		}
		var info engine.Info
		_, err := open(c, nil, func(r *engine.Reader) { info = r.Info() })
		if err == nil && len(info.Warnings) != test.warnings {
			t.Errorf("%s: stream: warnings: %q", test.name, info.Warnings)
		}
		wantError(t, test.name+": stream", err, test.stream)
		_, err = openFile(c, nil)
		wantError(t, test.name+": file", err, test.file)
		if file, err := engine.Open(t.Context(), bytes.NewReader(c), int64(len(c)), []keys.Identity{testKey}, nil); err == nil {
			if w := file.Info().Warnings; len(w) != test.warnings {
				t.Errorf("%s: warnings: %q", test.name, w)
			}
		}
	}
}

// wantError demands an error that is want, or of want's type if it is a
// SyntaxError.
func wantError(t *testing.T, name string, err, want error) {
	t.Helper()
	var syntax *format.SyntaxError
	if _, ok := want.(*format.SyntaxError); ok {
		if !errors.As(err, &syntax) {
			t.Errorf("%s: %v is no SyntaxError", name, err)
		}
	} else if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", name, err, want)
	}
}
