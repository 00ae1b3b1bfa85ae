package main

import (
	"encoding/binary"

	"github.com/coffer-backup/coffer/vectors"
	"github.com/coffer-backup/coffer/vectors/build"
)

var le = binary.LittleEndian

// header adds a case whose both copies are edited alike, and authentic.
func (s *set) header(name, comment, spec string, class vectors.Class, edit func(block []byte)) {
	d := s.draft("header_"+name, comment, spec)
	d.Class = class
	c := d.build()
	c.EditHeader(edit)
	s.add(d, c)
}

func headerCases(s *set) {
	set := func(offset int, value ...byte) func([]byte) {
		return func(b []byte) { copy(b[offset:], value) }
	}
	u32 := func(offset int, value uint32) func([]byte) {
		return func(b []byte) { le.PutUint32(b[offset:], value) }
	}
	u64 := func(offset int, value uint64) func([]byte) {
		return func(b []byte) { le.PutUint64(b[offset:], value) }
	}
	for i, v := range []byte(build.Magic) {
		if i == 0 || i == 7 {
			s.header("magic-"+string('0'+rune(i)), "byte "+string('0'+rune(i))+" of the magic is wrong", "3.1 8.4.1 8.1.1", vectors.Magic, set(i, v^0x80))
		}
	}
	s.header("version-0", "version 0", "3.1 8.4.2 1.2.1", vectors.Version, set(8, 0, 0))
	s.header("version-2", "version 2", "3.1 8.4.2 1.2.1", vectors.Version, set(8, 2, 0))
	s.header("version-257", "version 0x0101: both bytes count", "3.1 8.4.2", vectors.Version, set(8, 1, 1))
	s.header("version-2-and-all-else", "version 2, and every later field broken: the version is reported", "1.2.1 8.4.2 8.1.1", vectors.Version,
		func(b []byte) {
			b[8] = 2
			for i := 10; i < len(b); i++ {
				b[i] = 0xFF
			}
		})
	s.header("suite-0", "suite 0", "3.1 8.4.7", vectors.Header, set(10, 0))
	s.header("suite-3", "suite 3", "3.1 8.4.7 1.2.2", vectors.Header, set(10, 3))
	s.header("content-2", "content 2", "3.1 8.4.7 1.2.2 6.2.2", vectors.Header, set(11, 2))
	s.header("segment-15", "segment_log2 15", "3.1 8.4.7 9.1", vectors.Header, set(12, 15))
	s.header("segment-27", "segment_log2 27", "3.1 8.4.7 9.1", vectors.Header, set(12, 27))
	s.header("flag-1", "an unknown flag", "3.1 8.4.7 1.2.2", vectors.Header, set(13, 2))
	s.header("reserved-14", "reserved byte 14 is set", "2.1 3.1 8.4.8", vectors.Header, set(14, 1))
	s.header("reserved-82", "reserved byte 82 is set", "2.1 3.1 8.4.8", vectors.Header, set(82, 1))
	s.header("context-tag-first", "context_tag without the flag: its first byte", "3.1 8.4.9", vectors.Header, set(48, 1))
	s.header("generation-0", "generation 0", "3.1 8.4.10", vectors.Header, u64(64, 0))
	s.header("generation-2-63", "generation 2^63", "3.1 8.4.10", vectors.Header, u64(64, 1<<63))
	s.header("size-0", "H 0", "3.1 8.4.4", vectors.Header, u32(72, 0))
	s.header("size-4095", "H is no multiple of 4096", "3.1 8.4.4", vectors.Header, u32(72, 4095))
	s.header("size-69632", "H over 65536, a multiple of 4096", "3.1 8.4.4 9.1 1.1.6", vectors.Header, u32(72, 69632))
	s.header("size-2-31", "H 2^31", "3.1 8.4.4 1.1.6", vectors.Header, u32(72, 1<<31))
	s.header("size-end", "the last 4 bytes say 8192, H is 4096", "3.1 8.4.17", vectors.Header, func(b []byte) { le.PutUint32(b[4092:], 8192) })
	s.header("slots-len-over", "S is H - 135", "3.1 8.4.5", vectors.Header, u32(76, 4096-135))
	s.header("slots-len-all", "S is 2^32 - 1", "3.1 8.4.5", vectors.Header, u32(76, 1<<32-1))
	s.header("slots-len-short", "S is a byte less than the entries have", "3.1 3.2.1 8.4.12", vectors.Header, u32(76, 115))
	s.header("slots-len-long", "S is a byte more than the entries have", "3.1 8.4.12", vectors.Header, u32(76, 117))
	s.header("slot-count-0", "slot_count 0", "3.1 8.4.11", vectors.Header, set(80, 0, 0))
	s.header("slot-count-2", "slot_count 2, and one entry fills S", "3.1 8.4.12", vectors.Header, set(80, 2, 0))
	s.header("slot-count-257", "slot_count 257: both bytes count", "3.1 8.4.11", vectors.Header, set(80, 1, 1))
	s.header("padding-first", "the first byte of the padding is set", "3.1 8.4.17", vectors.Header, set(96+116, 1))
	s.header("padding-last", "the last byte of the padding is set", "3.1 8.4.17", vectors.Header, set(4096-41, 0x80))

	// Edited after CRC and MAC were made.
	d := s.draft("header_crc", "the CRC is wrong in both copies", "3.1 8.4.6 3.1.3")
	d.Class = vectors.Header
	c := d.build()
	c.Head[4096-8] ^= 1
	c.Tail[4096-8] ^= 1
	s.add(d, c)

	d = s.draft("header_crc-before-form", "a wrong CRC and an unknown suite: class header either way", "8.1.2 8.4.6")
	d.Class = vectors.Header
	c = d.build()
	c.Head[10], c.Tail[10] = 9, 9
	s.add(d, c)

	for _, m := range []struct {
		name, comment, spec string
		at                  int
		mask                byte
	}{
		{"header_mac", "the MAC is wrong in both copies, the CRC is right", "4.3.1 8.4.20 3.1.3", 4096 - 40, 1},
		{"header_mac-last", "the last byte of the MAC is wrong in both copies", "4.3.1 8.4.20", 4096 - 9, 0x80},
	} {
		d := s.draft(m.name, m.comment, m.spec)
		d.Class = vectors.Auth
		c := d.build()
		for _, b := range [][]byte{c.Head, c.Tail} {
			b[m.at] ^= m.mask
			build.ResealCRC(b)
		}
		s.add(d, c)
	}

	d = s.draft("header_mac-key", "the MAC was made with the key of another file", "4.1 4.3.2 8.4.20")
	d.Class = vectors.Auth
	c = d.build()
	c.Keys.MACKey = build.Derive(chosen("another file key"), d.recipe.Header.Salt[:], nil, nil).MACKey
	c.EditHeader(func([]byte) {})
	s.add(d, c)

	for _, n := range []int{0, 1, 7, 8, 9, 10, 95, 96, 200, 4095} {
		d := s.draft("header_cut-"+itoa(n), "the file ends after "+itoa(n)+" bytes", "8.1.1 8.4.3")
		switch d.Class = vectors.Truncated; {
		case n == 0:
			d.Class, d.Spec = vectors.Magic, []string{"8.4.1", "8.1.1"}
		case n < 8:
			d.Comment += ", those of the magic"
		}
		s.addBytes(d, d.build().Bytes()[:n])
	}
	d = s.draft("header_cut-wrong-magic", "the file ends after 3 bytes, which are not those of the magic", "8.1.1 8.4.1")
	d.Class = vectors.Magic
	s.addBytes(d, []byte("\x89Co"))
	d = s.draft("header_cut-version-2", "the file ends after 10 bytes, of version 2", "1.2.1 8.1.1 8.4.2")
	d.Class = vectors.Version
	s.addBytes(d, []byte(build.Magic+"\x02\x00"))
}
