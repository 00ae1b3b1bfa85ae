package format_test

import (
	"bytes"
	"encoding/binary"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/coffer-backup/coffer/format"
)

var testEntry = format.CatalogEntry{
	Offset: 1 << 40, Size: 1 << 50, ModTime: -5, Mode: 0o100755, Type: '0', Path: "dir/\xff", Link: "to",
}

func TestCatalogEntryBytes(t *testing.T) {
	want := "\x29\x00\x00\x00" + "\x00\x00\x00\x00\x00\x01\x00\x00" + "\x00\x00\x00\x00\x00\x00\x04\x00" +
		"\xfb\xff\xff\xff\xff\xff\xff\xff" + "\xed\x81\x00\x00" + "0\x00" + "\x05\x00" + "\x02\x00" + "dir/\xff" + "to"
	got := must(testEntry.AppendBinary(nil))
	if string(got) != want {
		t.Errorf("record is\n%x, want\n%x", got, want)
	}
}

func TestCatalogEntryRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := format.CatalogEntry{
			Offset:  rapid.Uint64Range(0, math.MaxUint64/512).Draw(t, "offset") * 512,
			Size:    rapid.Uint64().Draw(t, "size"),
			ModTime: rapid.Int64().Draw(t, "mtime"),
			Mode:    rapid.Uint32().Draw(t, "mode"),
			Type:    rapid.Byte().Draw(t, "type"),
			Path:    string(rapid.SliceOf(rapid.Byte()).Draw(t, "path")),
			Link:    string(rapid.SliceOf(rapid.Byte()).Draw(t, "link")),
		}
		b := must(want.AppendBinary([]byte("before")))
		got, rest, err := format.ParseCatalogEntry(append(b[6:], "after"...))
		if got != want || string(rest) != "after" || err != nil {
			t.Fatalf("parsed %+v, rest %q, %v; was %+v", got, rest, err, want)
		}
	})
}

func TestCatalogEntryLimits(t *testing.T) {
	const room = format.MaxCatalogRecord - 34
	e := format.CatalogEntry{Path: strings.Repeat("p", 4000), Link: strings.Repeat("l", room-4000)}
	b := must(e.AppendBinary(nil))
	if got, rest, err := format.ParseCatalogEntry(b); got != e || len(rest) != 0 || err != nil {
		t.Errorf("the longest record: %v", err)
	}
	e.Path += "p"
	_, err := e.AppendBinary(nil)
	wantSyntax(t, err, "catalog record", "len", 0)
	e = format.CatalogEntry{Offset: 513}
	_, err = e.AppendBinary(nil)
	wantSyntax(t, err, "catalog record", "offset", 4)
}

func TestParseCatalogEntryRejects(t *testing.T) {
	le := binary.LittleEndian
	valid := must(testEntry.AppendBinary(nil))
	for _, tc := range []struct {
		name   string
		edit   func(b []byte) []byte
		field  string
		offset int64
	}{
		{"empty", func(b []byte) []byte { return nil }, "len", 0},
		{"len cut", func(b []byte) []byte { return b[:3] }, "len", 0},
		{"len 65536", func(b []byte) []byte { le.PutUint32(b, 65536); return append(b, make([]byte, 65536)...) }, "len", 0},
		{"len 2^32-1", func(b []byte) []byte { le.PutUint32(b, math.MaxUint32); return b }, "len", 0},
		{"record cut", func(b []byte) []byte { return b[:len(b)-1] }, "record", 4},
		{"len 0", func(b []byte) []byte { le.PutUint32(b, 0); return b }, "offset", 4},
		{"len 33", func(b []byte) []byte { le.PutUint32(b, 33); return b }, "link_len", 36},
		{"offset", func(b []byte) []byte { b[4] = 1; return b }, "offset", 4},
		{"reserved", func(b []byte) []byte { b[33] = 1; return b }, "reserved", 33},
		{"path_len", func(b []byte) []byte { le.PutUint16(b[34:], 8); return b }, "path", 38},
		{"link_len", func(b []byte) []byte { le.PutUint16(b[36:], 3); return b }, "link", 43},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, _, err := format.ParseCatalogEntry(tc.edit(bytes.Clone(valid)))
			wantSyntax(t, err, "catalog record", tc.field, tc.offset)
		})
	}
}

// TestCatalogEntryOfLaterVersion: fields added at the end are skipped.
func TestCatalogEntryOfLaterVersion(t *testing.T) {
	b := append(must(testEntry.AppendBinary(nil)), "owner"...)
	binary.LittleEndian.PutUint32(b, uint32(len(b)-4))
	got, rest, err := format.ParseCatalogEntry(append(b, "next"...))
	if got != testEntry || string(rest) != "next" || err != nil {
		t.Errorf("parsed %+v, rest %q, %v", got, rest, err)
	}
}
