package fuzz_test

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/vectors"
	"github.com/coffer-backup/coffer/vectors/build"
)

// checkBlock gives file to the parser and demands what the oracle says of it.
func checkBlock(t *testing.T, file []byte) {
	t.Helper()
	want, class := judgeBlock(file)
	h, read, err := format.ReadHeader(bytes.NewReader(file))
	got := headerClass(err)
	if err == nil {
		got = ""
	}
	if got != class {
		t.Fatalf("%v (%v), want %v", got, err, class)
	}
	if !bytes.HasPrefix(file, read) || len(read) > format.MaxHeaderSize {
		t.Errorf("%d bytes were read that are not the first ones", len(read))
	}
	// All at once it is judged alike, save that bytes behind it are a fault.
	whole, wholeErr := format.ParseHeader(file)
	if c := headerClass(wholeErr); err != nil && c != class || err == nil && (wholeErr == nil) != (len(file) == h.Size) {
		t.Errorf("ReadHeader: %v, ParseHeader: %v", err, wholeErr)
	}
	if err != nil {
		if h != nil || whole != nil {
			t.Errorf("a header comes with an error: %v", err)
		}
		checkPlace(t, err, len(file))
		return
	}
	if again, err := h.AppendBinary(nil); err != nil || !bytes.Equal(again, want.bytes) {
		t.Errorf("an accepted block encodes to other bytes (%v)", err)
	}
	if len(h.Entries) != len(want.entries) || cap(h.Entries) > format.MaxEntries {
		t.Fatalf("%d entries and room for %d, want %d", len(h.Entries), cap(h.Entries), len(want.entries))
	}
	for i, e := range h.Entries {
		checkEntry(t, e, &want.entries[i])
	}
}

// headerClass is classOf for an error of package format: there is no class truncated
// there yet.
func headerClass(err error) vectors.Class {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return vectors.Truncated
	}
	return classOf(err)
}

// checkPlace demands that a parser's error names a place inside its input.
func checkPlace(t *testing.T, err error, n int) {
	t.Helper()
	var syntax *format.SyntaxError
	if !errors.As(err, &syntax) || syntax.Offset < 0 || syntax.Offset > int64(n) || syntax.Field == "" {
		t.Errorf("of %d bytes: %#v", n, err)
	}
}

// checkEntry compares an entry, taken apart, with the oracle's.
func checkEntry(t *testing.T, e format.Entry, want *entry) {
	t.Helper()
	s, known, err := e.Slot()
	if err != nil || known != want.known || uint16(e.Kind) != want.kind || !bytes.Equal(e.Data, want.data) {
		t.Fatalf("kind %d: known %v, %v; want %d, %v", e.Kind, known, err, want.kind, want.known)
	}
	if !known {
		return
	}
	again := s.Entry()
	if !bytes.Equal(s.Params, want.params) || !bytes.Equal(s.Wrapped, want.wrapped) || again.Kind != e.Kind || !bytes.Equal(again.Data, e.Data) {
		t.Errorf("kind %d: params %x, want %x, or the parts do not make the whole", e.Kind, s.Params, want.params)
	}
	if cost, err := s.PassphraseParams(); s.Kind == format.KindPassphrase {
		if params, aerr := cost.AppendBinary(nil); err != nil || aerr != nil || !bytes.Equal(params, s.Params) {
			t.Errorf("cost %+v: %v, %v", cost, err, aerr)
		}
	}
}

// FuzzHeader reads any bytes as a header block, as they are.
func FuzzHeader(f *testing.F) {
	seeds := fromVectors(f, func(c *vectors.Case, file []byte) []byte {
		return file[:min(len(file), 4096+1)] // a byte more than most blocks have
	})
	start(f, 16<<10, seeds, checkBlock)
}

// FuzzHeaderRepaired reads blocks whose lengths and CRC are right unless they were
// meant to be wrong, so that what lies behind them is reached. The input is a byte with
// a bit for each thing that is left wrong, a mask for one byte of the padding, and the
// block from offset 8 to the end of its entries.
func FuzzHeaderRepaired(f *testing.F) {
	const wrongSize, wrongSlotsLen, wrongEnd, wrongPadding, wrongCRC = 1, 2, 4, 8, 16
	seeds := fromVectors(f, func(c *vectors.Case, file []byte) []byte {
		if len(file) < 8192 {
			return nil
		}
		if s := le.Uint32(file[76:]); s <= 8192-96-40 {
			return append([]byte{0, 1}, file[8:96+s]...)
		}
		return append([]byte{wrongSize | wrongSlotsLen, 1}, file[8:96]...)
	})
	start(f, 2+8192, seeds, func(t *testing.T, data []byte) {
		in := input(data)
		wrong, mask := in.u8(), in.u8()
		end := 8 + max(len(in), 96-8)
		h := (end + 40 + 4095) / 4096 * 4096
		b := make([]byte, h)
		copy(b, build.Magic)
		copy(b[8:], in)
		if wrong&wrongSize == 0 {
			le.PutUint32(b[72:], uint32(h))
		}
		if wrong&wrongSlotsLen == 0 {
			le.PutUint32(b[76:], uint32(end-96))
		}
		if wrong&wrongPadding != 0 {
			b[h-41-int(mask)] ^= mask
		}
		le.PutUint32(b[h-4:], uint32(h))
		if wrong&wrongEnd != 0 {
			b[h-4+int(mask)%4] ^= mask
		}
		build.ResealCRC(b)
		if wrong&wrongCRC != 0 {
			b[h-8+int(mask)%4] ^= mask
		}
		checkBlock(t, b)
	})
}
