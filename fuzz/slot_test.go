package fuzz_test

import (
	"bytes"
	"testing"

	"github.com/coffer-backup/coffer/vectors"
	"github.com/coffer-backup/coffer/vectors/build"
)

// FuzzSlot puts any entry into a header block behind a slot that opens, authentic, with
// one more entry after it. The input is its kind and its data.
func FuzzSlot(f *testing.F) {
	// Each entry of each vector that is well-formed, and of those that are not the
	// bytes where entries are: most have the fault in the second one.
	var seeds [][]byte
	fromVectors(f, func(c *vectors.Case, file []byte) []byte {
		b, class := judgeBlock(file)
		switch {
		case class == "":
			for _, e := range b.entries {
				seeds = append(seeds, append(le.AppendUint16(nil, e.kind), e.data...))
			}
		case class == vectors.Header && len(file) >= 4096 && le.Uint16(file[80:]) == 2:
			second := 96 + 4 + int(le.Uint16(file[98:]))
			if n := 4 + int(le.Uint16(file[second+2:])); second+n <= 4096 {
				seeds = append(seeds, append(bytes.Clone(file[second:second+2]), file[second+4:second+n]...))
			}
		}
		return []byte{}
	})
	seeds = append(seeds, append([]byte{9, 0}, chosen("account slot")...), append([]byte{77, 0}, chosen("the last one")...)) // salts that are there
	for _, n := range []int{0, 4096, 4097} {
		seeds = append(seeds, append([]byte{1, 0x80}, make([]byte, n)...))
	}
	b := newBase(build.Stored([]byte("behind a slot")))
	b.Header.Size = 8192
	who := b.caller()
	start(f, 2+5000, seeds, func(t *testing.T, data []byte) {
		in := input(data)
		kind := in.u16()
		b := *b
		b.Slots = func(core []byte) []build.Entry {
			return []build.Entry{accountSlot(core), {Kind: kind, Data: in}, build.Slot(77, chosen("the last one"), nil)}
		}
		file := b.container(nil)
		checkBlock(t, file.Head)
		stream, _ := who.check(t, file.Bytes())
		if stream.class != vectors.OK && stream.class != vectors.Header {
			t.Errorf("a slot that is not needed makes the file %v", stream.class)
		}
	})
}

// FuzzUnlock opens containers by slots of kinds 1 and 2 that are right but for what the
// input says. It is a generation and a mask for the header's MAC, then for each of at
// most four slots a byte that says what it is for, its cost, and where it is wrong.
func FuzzUnlock(f *testing.F) {
	const fields = 8
	slot := func(what, passes, kib, lanes, at, mask byte) []byte {
		return []byte{what, passes, kib, 0, lanes, at, 0, mask}
	}
	seeds := [][]byte{
		append([]byte{1, 0}, slot(0, 0, 0, 0, 0, 0)...),
		append([]byte{1, 0}, slot(1, 1, 8, 1, 0, 0)...),
		append([]byte{1, 1}, slot(0, 0, 0, 0, 0, 0)...),
		append([]byte{0, 0}, slot(0, 0, 0, 0, 0, 0)...),
		append([]byte{1, 0}, append(slot(0, 0, 0, 0, 50, 1), slot(1, 2, 16, 1, 0, 0)...)...),
		append([]byte{1, 0}, append(slot(2, 0, 0, 0, 0, 0), slot(3, 1, 8, 1, 0, 0)...)...),
		append([]byte{1, 0}, append(slot(1, 1, 65, 1, 0, 0), slot(3, 16, 8, 1, 0, 0)...)...),
		append([]byte{1, 0}, bytes.Repeat(slot(3, 1, 8, 1, 0, 0), 4)...),
		append([]byte{1, 0}, bytes.Repeat(slot(3, 1, 60, 1, 0, 0), 3)...),
	}
	start(f, 2+4*fields, seeds, func(t *testing.T, data []byte) {
		in := input(data)
		b := newBase(build.Stored([]byte("behind a slot")))
		generation, mac := in.u8(), in.u8()
		b.Header.Generation = 1 + uint64(generation)
		b.Slots = func(core []byte) (slots []build.Entry) {
			for i := 0; i == 0 || i < 4 && len(in) > 0; i++ {
				slots = append(slots, makeSlot(core, i, in.next(fields)))
			}
			return slots
		}
		c := b.container(nil)
		c.EditHeader(func([]byte) {})
		for _, block := range [][]byte{c.Head, c.Tail} {
			block[len(block)-40] ^= mac
			build.ResealCRC(block)
		}
		who := unlocker()
		who.check(t, c.Bytes())
	})
}

// unlocker has both kinds of keys, little patience, and wants generation 2 at least.
func unlocker() *caller {
	who := newBase().caller()
	who.passphrases = [][]byte{passphrase}
	who.argon2, who.minGeneration = cheap, 2
	return who
}

// makeSlot makes slot i as the eight bytes in say.
func makeSlot(core []byte, i int, in input) build.Entry {
	what, passes, kib, lanes, at, mask := in.u8(), in.u8(), in.u16(), in.u8(), in.u16(), in.u8()
	fk, salt := fileKey, chosen("slot "+string(rune('0'+i)))
	if what&4 != 0 {
		fk = chosen("another file key") // which fits, and then the MAC fails
	}
	if what&8 != 0 {
		core = chosen("another core")
	}
	var e build.Entry
	if what&1 == 0 {
		ak := accountKey
		if what&2 != 0 {
			ak = chosen("another account key")
		}
		e, _ = build.AccountSlot(core, ak, salt, nil, fk)
	} else {
		text := passphrase
		if what&2 != 0 {
			text = []byte("another passphrase")
		}
		cost := build.Argon2{Passes: uint32(passes), MemoryKiB: uint32(kib), Parallelism: lanes}
		if passes == 0 || passes > 16 || lanes == 0 || lanes > 16 || uint32(kib) > 2*cheap.MaxMemoryKiB || uint32(kib) < 8*uint32(lanes) {
			// What no reader tries needs no key in it.
			e = build.Slot(2, salt, cost.Params(), make([]byte, 64))
		} else {
			e, _ = build.PassphraseSlot(core, text, salt, cost, fk)
		}
	}
	if mask != 0 {
		e.Data = flip(e.Data, int(at), mask)
	}
	return e
}
