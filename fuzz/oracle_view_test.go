package fuzz_test

import (
	"bytes"

	"github.com/coffer-backup/coffer/vectors/build"
)

// This part of the oracle is § 6.5: what random access sees, which goes by the seek
// table and may, if the writer lied, differ from what reading in order gives.

// A view is what random access gives of content.
type view struct {
	opens   bool           // the seek table is good, and sizes may be given
	plain   []byte         // up to the first frame that is not as its entry says
	records []build.Record // of the catalog frames, likewise
}

// viewOf returns the view of content.
func viewOf(content []byte, segment int) (v view) {
	entries, begin, ok := readTable(content, segment)
	if !ok {
		return v
	}
	if n := len(entries); n > 0 && entries[n-1].Decompressed == 0 {
		last := content[begin-int(entries[n-1].Compressed):]
		length, payload := int64(len(content)), int64(le.Uint32(last[4:]))
		if le.Uint32(last) == build.MagicPadding && (payload >= length || padded(length-payload) != length) {
			return v
		}
	}
	v.opens = true
	at := 0
	for _, e := range entries {
		frame := content[at : at+int(e.Compressed)]
		at += len(frame)
		if e.Decompressed == 0 {
			if le.Uint32(frame) != build.MagicCatalog || !v.addRecords(frame, segment) {
				break // catalog frames come first
			}
			continue
		}
		plain, n, state := walk(frame, segment)
		if state != done || n != len(frame) || len(plain) != int(e.Decompressed) {
			break
		}
		v.plain = append(v.plain, plain...)
	}
	return v
}

// addRecords adds the records of a catalog frame, and reports whether all of it was
// good.
func (v *view) addRecords(frame []byte, segment int) bool {
	plain, n, state := walk(frame[8:], segment)
	if state != done || n != len(frame)-8 || int64(le.Uint32(frame[4:])) != int64(n) {
		return false
	}
	for len(plain) > 0 {
		r, n, ok := readRecord(plain)
		if !ok {
			return false
		}
		v.records, plain = append(v.records, r), plain[n:]
	}
	return true
}

// readTable judges the seek table that content ends with (§ 6.5.1, § 6.5.2), and returns
// where it begins.
func readTable(content []byte, segment int) (entries []build.SeekEntry, begin int, ok bool) {
	const least = 8 + 9
	if len(content) < least {
		return nil, 0, false
	}
	n := int64(le.Uint32(content[len(content)-9:]))
	if n > 1<<27 || 8*n > int64(len(content)-least) {
		return nil, 0, false
	}
	begin = len(content) - least - int(8*n)
	sum, full := int64(0), true
	for i := range int(n) {
		at := begin + 8 + 8*i
		e := build.SeekEntry{Compressed: le.Uint32(content[at:]), Decompressed: le.Uint32(content[at+4:])}
		c, d := int64(e.Compressed), int64(e.Decompressed)
		if d == 0 {
			ok = c >= 8
		} else {
			ok = full && d <= int64(segment) && c <= d+d/256+64
		}
		full = d == int64(segment)
		if !ok {
			return nil, 0, false
		}
		sum += int64(e.Compressed)
		entries = append(entries, e)
	}
	return entries, begin, sum == int64(begin) && bytes.Equal(content[begin:], build.SeekTable(entries...))
}
