package main

import (
	"bytes"
	"os"
	"os/exec"

	"github.com/coffer-backup/coffer/vectors"
	"github.com/coffer-backup/coffer/vectors/build"
)

func goodCases(s *set) {
	ones := func(n int) vectors.Plaintext { return vectors.Plaintext{Repeat: vectors.Hex("1"), Length: n} }
	plain := func(p vectors.Plaintext) func(d *draft) { return func(d *draft) { d.Plaintext = p } }
	// rle makes the plaintext n times "1", in RLE blocks.
	rle := func(log2 byte, n int) func(d *draft) {
		return func(d *draft) {
			d.recipe.Header.SegmentLog2, d.Plaintext = log2, ones(n)
			for left := n; left > 0; left -= 1 << log2 {
				d.pieces = append(d.pieces, piece{build.Repeated('1', min(left, 1<<log2)), min(left, 1<<log2)})
			}
		}
	}
	s.good("good_text", "some text in one raw block", "3.1 4.1 4.4.2 5.1 6 6.1.4 6.5.1 8.4.31", nil)
	s.good("good_empty", "no plaintext: a seek table alone", "6 6.5.1", func(d *draft) { d.Plaintext, d.pieces = vectors.Plaintext{}, []piece{} })
	s.good("good_one-byte", "a byte of plaintext", "6.1.1", plain(ones(1)))
	s.good("good_aes", "suite 1", "3.1 4.4.1 5.1.3", func(d *draft) { d.recipe.Header.Suite = 1 })
	s.good("good_chacha", "suite 2", "3.1 4.4.1 5.1.3", func(d *draft) { d.recipe.Header.Suite = 2 })
	s.good("good_largest-header", "H = 65536", "3.1 9.1", func(d *draft) { d.recipe.Header.Size = 65536 })
	s.good("good_three-packages", "two full segments and a short one, in three packages", "5.1.2 5.2.2 6.1.1 6.5.2", plain(vectors.Plaintext{Repeat: vectors.Hex("coffer\n"), Length: 131_100}))
	s.good("good_one-segment", "a full segment, and no other", "6.1.1", rle(16, 65_536))
	s.good("good_segment-and-byte", "a full segment and a byte", "6.1.1 6.5.2", rle(16, 65_537))
	s.good("good_segment-20", "segment_log2 20, two segments of RLE blocks", "3.1 6.1.3", rle(20, 1<<20+5))
	s.good("good_segment-26", "segment_log2 26: a reader accepts every legal size", "3.1 8.1.4 9.1", rle(26, 300_000))
	s.good("good_hundred-segments", "100 full segments", "6.5.1 6.5.2", rle(16, 6_553_600))
	s.good("good_everything", "data, two catalog frames, an info frame, padding, seek table", "6 6.2.1 6.2.2 6.3.1 6.4.1", func(d *draft) {
		d.Plaintext = text
		d.pieces = []piece{data(text.Bytes()),
			other(build.Catalog(build.Record{Type: '0', Mode: 0o644, Path: "a"}.Bytes())),
			other(build.Catalog(build.Record{Offset: 1024, Type: '2', Path: "b", Link: "a"}.Bytes())),
			other(build.Skippable(build.MagicInfo+7, []byte("for later")))}
		d.pad(0)
	})
	s.good("good_padded-segments", "three segments of RLE blocks, padded", "6.4.2 6.4.3", func(d *draft) {
		rle(16, 150_000)(d)
		d.pad(0)
	})
}

// pad appends the padding frame, with extra bytes more than is right.
func (d *draft) pad(extra int) {
	var frames [][]byte
	for _, p := range d.pieces {
		frames = append(frames, p.bytes)
	}
	d.pieces = append(d.pieces, other(build.Padding(extra, frames...)))
}

// content adds a case with these frames, of which the first whole say which data
// come before the fault. early says that the seek table shows the fault.
func (s *set) content(name, comment, spec string, class vectors.Class, released int, early bool, edit func(d *draft)) {
	d := s.draft(name, comment, spec)
	d.Class, d.Released = class, released
	if early && released > 0 {
		zero := 0
		d.RandomReleased = &zero
	}
	edit(d)
	s.add(d, d.build())
}

func frameCases(s *set) {
	plain := text.Bytes()
	n := len(plain)
	raw := build.RawBlocks(plain)
	frame := func(name, comment, spec string, class vectors.Class, f *build.Frame) {
		s.content("frame_"+name, comment, spec, class, 0, false, func(d *draft) { d.pieces = []piece{framed(f, n)} })
	}
	edited := func(edit func(f *build.Frame)) *build.Frame {
		f := build.NewFrame(plain, 4, build.RawBlocks(plain)...)
		edit(f)
		return f
	}
	bad, good := vectors.Content, vectors.OK
	spec := "6.1.2 8.4.38"
	frame("size-1-byte", "content size in 1 byte", "6.1.2", good, build.NewFrame(plain, 1, raw...))
	frame("size-4-bytes", "content size in 4 bytes", "6.1.2", good, build.NewFrame(plain, 4, raw...))
	frame("size-8-bytes", "content size in 8 bytes", "6.1.2", good, build.NewFrame(plain, 8, raw...))
	s.good("frame_size-2-bytes", "content size in 2 bytes, 256 and more", "6.1.2", func(d *draft) {
		d.Plaintext.Length = 300
		p := d.Plaintext.Bytes()
		d.pieces = []piece{framed(build.NewFrame(p, 2, build.RawBlocks(p)...), len(p))}
	})
	frame("blocks", "three raw blocks, one of them empty", "6.1.3", good, build.NewFrame(plain, 4, build.Block{Type: build.Raw, Size: 60, Data: plain[:60]}, build.Block{Type: build.Raw}, build.Block{Type: build.Raw, Size: n - 60, Data: plain[60:]}))
	s.good("frame_rle", "a raw and an RLE block", "6.1.3", func(d *draft) {
		p := vectors.Plaintext{Repeat: vectors.Hex("z"), Length: 1000}
		d.Plaintext = p
		d.pieces = []piece{framed(build.NewFrame(p.Bytes(), 4, build.Block{Type: build.Raw, Size: 1, Data: []byte("z")}, build.Block{Type: build.RLE, Size: 999, Data: []byte("z")}), 1000)}
	})
	frame("checksum", "the checksum is wrong", "6.1.5 8.4.39", bad, edited(func(f *build.Frame) { f.Checksum[3] ^= 0x80 }))
	frame("plaintext", "a byte of a raw block is wrong", "6.1.5 8.4.39", bad, edited(func(f *build.Frame) {
		f.Blocks = build.RawBlocks(append(bytes.Clone(plain[:n-1]), plain[n-1]^1))
	}))
	frame("no-checksum", "no checksum", spec, bad, edited(func(f *build.Frame) { f.Descriptor &^= 4; f.Checksum = nil }))
	frame("window", "a window descriptor, not a single segment", spec, bad, edited(func(f *build.Frame) { f.Descriptor &^= 0x20; f.Extra = []byte{0} }))
	frame("no-size", "no content size", spec, bad, edited(func(f *build.Frame) { f.Descriptor, f.Extra, f.ContentSize = 4, []byte{0}, nil }))
	frame("dictionary", "a dictionary id, of 0", spec, bad, edited(func(f *build.Frame) { f.Descriptor |= 1; f.Extra = []byte{0} }))
	frame("unused-bit", "the unused descriptor bit", spec, bad, edited(func(f *build.Frame) { f.Descriptor |= 0x10 }))
	frame("reserved-bit", "the reserved descriptor bit", spec, bad, edited(func(f *build.Frame) { f.Descriptor |= 8 }))
	frame("declares-less", "content size is one less than the blocks have", "6.1.5 8.4.39", bad, edited(func(f *build.Frame) { f.ContentSize[0]-- }))
	frame("declares-more", "content size is one more than the blocks have", "6.1.5 8.4.39", bad, edited(func(f *build.Frame) { f.ContentSize[0]++ }))
	frame("reserved-block", "a block of the reserved type", "6.1.3 8.4.38", bad, edited(func(f *build.Frame) { f.Blocks[0].Type = build.Reserved }))
	frame("block-over", "an RLE block larger than the content", "6.1.3 8.4.38", bad, edited(func(f *build.Frame) {
		f.Blocks = []build.Block{{Type: build.RLE, Size: n + 1, Data: []byte{'a'}}}
	}))
	frame("second-block-over", "an RLE block after all of the content", "6.1.5 8.4.39", bad, edited(func(f *build.Frame) {
		f.Blocks = append(f.Blocks, build.Block{Type: build.RLE, Size: 1, Data: []byte{'a'}})
	}))
	frame("corrupt", "a compressed block of random bytes", "6.1.5 8.4.39", bad, edited(func(f *build.Frame) {
		f.Blocks = []build.Block{{Type: build.Compressed, Size: 32, Data: chosen("no literals")}}
	}))
	many := func(count int) func(f *build.Frame) {
		return func(f *build.Frame) {
			for range count {
				f.Blocks = append([]build.Block{{Type: build.Raw}}, f.Blocks...)
			}
		}
	}
	// 4+1+4 + 3+100 + 4 = 116 bytes of 100 + 0 + 64: 16 empty blocks fit.
	frame("csize-most", "empty blocks fill the frame up to the csize that it may have", "6.1.3", good, edited(many(16)))
	frame("csize-over", "empty blocks make the frame longer than it may be", "6.1.3 8.4.38 9.1", bad, edited(many(17)))
	s.content("frame_unending", "no block is the last one: blocks go on up to the limit, and beyond", "6.1.3 8.4.38", bad, 0, true, func(d *draft) {
		f := build.NewFrame(plain, 4, raw...)
		many(40)(f)
		f.NoLast = true
		d.pieces = []piece{framed(f, n)}
	})
	s.content("frame_size-0", "a data frame of no plaintext", "6.1.1 8.4.38", bad, 0, true, func(d *draft) {
		d.Plaintext = vectors.Plaintext{}
		d.pieces = []piece{framed(build.NewFrame(nil, 4, build.Block{Type: build.Raw}), 0)}
	})
	s.content("frame_size-over", "a data frame of a segment and a byte", "6.1.1 8.4.38", bad, 0, true, func(d *draft) {
		d.Plaintext = vectors.Plaintext{Repeat: vectors.Hex("1"), Length: 65_537}
		d.pieces = []piece{{build.Repeated('1', 65_537), 65_537}}
	})
	s.content("frame_size-2-63", "content size 2^63 + 100", "6.1.1 8.4.38 1.1.6", bad, 0, false, func(d *draft) {
		f := build.NewFrame(plain, 8, raw...)
		f.ContentSize[7] = 0x80
		d.pieces = []piece{framed(f, n)}
	})
	s.content("frame_size-2-32", "content size 2^32 + 100", "6.1.1 8.4.38", bad, 0, false, func(d *draft) {
		f := build.NewFrame(plain, 8, raw...)
		f.ContentSize[4] = 1
		d.pieces = []piece{framed(f, n)}
	})
	s.content("frame_bomb", "RLE blocks of 128 KiB, each larger than the 100 bytes declared", "6.1.3 6.1.5 8.4.38", bad, 0, false, func(d *draft) {
		f := build.NewFrame(plain, 4)
		for range 10 {
			f.Blocks = append(f.Blocks, build.Block{Type: build.RLE, Size: 128 << 10, Data: []byte{0}})
		}
		d.pieces = []piece{framed(f, n)}
	})
	long := vectors.Plaintext{Repeat: vectors.Hex("1"), Length: 65_536 + 200}
	rle := func(n int) piece { return piece{build.Repeated('1', n), n} }
	s.content("frame_short-first", "a frame of 100 bytes before one of 65536", "6.1.1 6.5.2 8.4.38", bad, 100, true, func(d *draft) {
		d.Plaintext = long
		d.pieces = []piece{rle(100), rle(65_536)}
	})
	s.content("frame_short-twice", "two frames of 100 bytes", "6.1.1 6.5.2 8.4.38", bad, 100, true, func(d *draft) {
		d.Plaintext = long
		d.pieces = []piece{rle(100), rle(100)}
	})
	s.content("frame_second-checksum", "the second frame's checksum is wrong", "6.1.5 8.4.39 8.3.1", bad, 65_536, false, func(d *draft) {
		d.Plaintext = long
		second := rle(200)
		second.bytes[len(second.bytes)-1] ^= 1
		d.pieces = []piece{rle(65_536), second}
	})
	compressedCases(s)
}

// compressedCases have frames that the zstd command made.
func compressedCases(s *set) {
	zstd := func(name string, plain []byte, args ...string) []byte {
		return s.fixtures.get("zstd "+name, plain, func() []byte {
			path := must(os.CreateTemp("", "")).Name()
			defer os.Remove(path)
			if err := os.WriteFile(path, plain, 0o600); err != nil {
				panic(err)
			}
			return must(exec.Command("zstd", append(args, "--check", "-c", path)...).Output())
		})
	}
	var words []byte
	for i := range 3000 {
		words = append(words, []string{"backup ", "restore ", "key ", "vault ", "segment ", "frame "}[chosen("word " + itoa(i))[0]%6]...)
	}
	mixed := append(append([]byte(nil), words...), bytes.Repeat([]byte("="), 9000)...)
	for i := range 40 {
		mixed = append(mixed, chosen("noise "+itoa(i))...)
	}
	for _, level := range []string{"1", "3", "19"} {
		s.good("frame_zstd-"+level, "a frame of zstd -"+level+": compressed blocks with literals and sequences", "6.1.1 6.1.2 5.1.3 1.1.1", func(d *draft) {
			d.Plaintext = vectors.Plaintext{Repeat: mixed[:1500], Length: 60_000}
			d.pieces = []piece{{zstd("-"+level, d.Plaintext.Bytes(), "-"+level), 60_000}}
		})
	}
	s.good("frame_zstd-huffman", "a frame of zstd with Huffman literals", "6.1.1", func(d *draft) {
		d.Plaintext = vectors.Plaintext{Repeat: words[:2000], Length: 2000}
		d.pieces = []piece{{zstd("huffman", d.Plaintext.Bytes(), "-9"), 2000}}
	})
	s.content("frame_zstd-flip", "a bit inside a compressed block is wrong", "6.1.5 8.4.39", vectors.Content, 0, false, func(d *draft) {
		d.Plaintext = vectors.Plaintext{Repeat: words[:2000], Length: 2000}
		frame := bytes.Clone(zstd("huffman", d.Plaintext.Bytes(), "-9"))
		frame[len(frame)/2] ^= 4
		d.pieces = []piece{{frame, 2000}}
	})
}

func skippableCases(s *set) {
	first := data(text.Bytes())
	frames := func(name, comment, spec string, class vectors.Class, early bool, pieces ...piece) {
		s.content("frames_"+name, comment, spec, class, text.Length, early, func(d *draft) { d.pieces = append([]piece{first}, pieces...) })
	}
	skip := func(magic uint32, n int) piece { return other(build.Skippable(magic, make([]byte, n))) }
	bad := vectors.Content
	entry := other(build.Catalog(build.Record{Type: '0', Path: "a"}.Bytes()))
	for i := range uint32(8) {
		if i == 0 || i == 7 {
			frames("info-"+itoa(int(i)), "an info frame, skipped unread", "6.2.1 6.2.2 1.2.2", vectors.OK, false, skip(build.MagicInfo+i, 20))
		}
	}
	frames("info-empty", "an info frame of no bytes", "6.2.1", vectors.OK, false, skip(build.MagicInfo, 0))
	frames("magic-58", "a skippable frame of unknown magic", "6.2.1 8.4.36", bad, false, skip(0x184D2A58, 20))
	frames("magic-5b", "a skippable frame of unknown magic", "6.2.1 8.4.36", bad, false, skip(0x184D2A5B, 20))
	frames("magic-5f", "a skippable frame of unknown magic", "6.2.1 8.4.36", bad, false, skip(0x184D2A5F, 20))
	frames("magic-0", "20 zeros between the frames", "6 8.4.36", bad, false, other(make([]byte, 20)))
	frames("legacy-zstd", "a frame of zstd 0.7", "6 8.4.36", bad, false, other(append([]byte{0x27, 0xB5, 0x2F, 0xFD}, make([]byte, 20)...)))
	frames("catalog-after-info", "a catalog frame after an info frame", "6 8.4.36", bad, false, skip(build.MagicInfo, 1), entry)
	s.content("frames_data-after-catalog", "a data frame after a catalog frame", "6 6.5.2 8.4.36", bad, 65_536, true, func(d *draft) {
		d.Plaintext = vectors.Plaintext{Repeat: vectors.Hex("1"), Length: 65_536 + 9}
		d.pieces = []piece{{build.Repeated('1', 65_536), 65_536}, entry, {build.Repeated('1', 9), 9}}
	})
	frames("info-over", "an info frame that says it has 2^26 + 1 bytes", "6.2.1 8.4.37 9.1", bad, false, other(le.AppendUint32(le.AppendUint32(nil, build.MagicInfo), 1<<26+1)))
	frames("padding-over", "a padding frame that says it has 2^31 bytes", "6.2.1 8.4.37 9.1", bad, false, other(le.AppendUint32(le.AppendUint32(nil, build.MagicPadding), 1<<31)))
	frames("info-cut", "an info frame that goes on past the content", "8.4.47", bad, false, other(le.AppendUint32(le.AppendUint32(nil, build.MagicInfo), 1000)))
	frames("bytes-7", "7 bytes, too few for a frame", "6 8.4.36", bad, true, other([]byte{0x50, 0x2A, 0x4D, 0x18, 0, 0, 0}))

	padded := func(name, comment, spec string, early bool, edit func(d *draft)) {
		s.content("padding_"+name, comment, spec, bad, text.Length, early, func(d *draft) {
			d.pieces = []piece{first}
			edit(d)
		})
	}
	s.good("padding_right", "padding", "6.4.1 6.4.2", func(d *draft) { d.pieces = []piece{first}; d.pad(0) })
	s.good("padding_none-needed", "a padding frame of no bytes: the rest has a padded length already", "6.4.1 6.4.2", func(d *draft) {
		// An info frame brings the length to a value of T.
		x := int64(len(first.bytes) + 8 + 8 + 8*3 + 17)
		d.pieces = []piece{first, skip(build.MagicInfo, int(build.Padded(x)-x))}
		d.pad(0)
	})
	padded("byte-more", "a byte more than is right", "6.4.2 8.4.43 8.2.5", true, func(d *draft) { d.pad(1) })
	padded("byte-less", "a byte less than is right", "6.4.2 8.4.43", true, func(d *draft) { d.pad(-1) })
	padded("first-byte", "its first byte is not 0", "6.4.1 6.4.4 8.4.43", false, func(d *draft) { d.pad(0); d.pieces[1].bytes[8] = 1 })
	padded("last-byte", "its last byte is not 0", "6.4.1 6.4.4 8.4.43", false, func(d *draft) {
		d.pad(0)
		b := d.pieces[1].bytes
		b[len(b)-1] = 0x80
	})
	padded("twice", "two padding frames", "6 6.4.1 8.4.36", false, func(d *draft) { d.pad(0); d.pad(0) })
	padded("before-info", "an info frame after the padding", "6 8.4.36", false, func(d *draft) {
		d.pad(0)
		d.pieces = append(d.pieces, skip(build.MagicInfo, 3))
	})
}

func catalogCases(s *set) {
	first := data(text.Bytes())
	catalog := func(name, comment, spec string, class vectors.Class, frames ...[]byte) {
		s.content("catalog_"+name, comment, spec, class, text.Length, false, func(d *draft) {
			d.pieces = []piece{first}
			for _, f := range frames {
				d.pieces = append(d.pieces, other(f))
			}
		})
	}
	bad, good := vectors.Content, vectors.OK
	record := build.Record{Size: 5, ModTime: -1, Mode: 0o600, Type: '0', Path: "a"}
	edited := func(at int, value ...byte) []byte {
		b := record.Bytes()
		copy(b[at:], value)
		return build.Catalog(b)
	}
	spec := "6.3.2 8.4.41"
	later := record
	later.Later = []byte("later")
	catalog("later-bytes", "bytes of a later version at the end of a record", "1.2.2 6.3.3 2.4", good, build.Catalog(later.Bytes()))
	catalog("least", "a record without path and link", "6.3.2", good, build.Catalog(build.Record{}.Bytes()))
	// zeros is a frame of a record whose path and link are zeros, n bytes together.
	zeros := func(n int) []byte {
		b := build.Record{Path: string(make([]byte, 60_000)), Link: string(make([]byte, n-60_000))}.Bytes()
		f := build.NewFrame(b, 4, build.Block{Type: build.Raw, Size: 38, Data: b[:38]}, build.Block{Type: build.RLE, Size: n, Data: []byte{0}})
		return build.Skippable(build.MagicCatalog, f.Bytes())
	}
	catalog("longest", "len is 65535, and so a record and its len are more than a segment of 65536", "6.3.3 6.3.1 8.4.38 9.1", bad, zeros(65535-34))
	catalog("longest-that-fits", "a record of 65536 bytes with its len", "6.3.3 9.1", good, zeros(65536-38))
	catalog("len-33", "len is 33", spec, bad, edited(0, 33))
	catalog("len-over-frame", "a record passes its frame by a byte", "6.3.1 8.4.41", bad, edited(0, 36))
	catalog("len-65536", "len is 65536", spec+" 9.1", bad, edited(0, 0, 0, 1, 0))
	catalog("len-cut", "3 bytes of a record", spec, bad, build.Catalog([]byte{35, 0, 0}))
	catalog("offset-511", "an offset that is no multiple of 512", "6.3.4 8.4.41", bad, edited(4, 0xff, 1))
	catalog("reserved", "the reserved byte is set", "2.1 6.3.2 8.4.41", bad, edited(33, 1))
	catalog("path-over", "path_len passes len", spec, bad, edited(34, 2))
	catalog("link-over", "link_len passes len", spec, bad, edited(36, 1))
	catalog("not-from-0", "the first offset is 512", "6.3.4 8.4.42", bad, build.Catalog(build.Record{Offset: 512, Path: "a"}.Bytes()))
	catalog("offset-twice", "two records have one offset", "6.3.4 8.4.42", bad, build.Catalog(record.Bytes(), record.Bytes()))
	second := build.Record{Offset: 1024, Path: "b"}
	catalog("descending", "offsets descend", "6.3.4 8.4.42", bad, build.Catalog(record.Bytes(), second.Bytes(), build.Record{Offset: 512, Path: "c"}.Bytes()))
	catalog("descending-frames", "offsets descend from one frame to the next", "6.3.4 8.4.42", bad, build.Catalog(record.Bytes(), second.Bytes()), build.Catalog(build.Record{Offset: 512, Path: "c"}.Bytes()))
	stored := build.Stored(record.Bytes())
	catalog("crossing", "a record goes on in the next frame", "6.3.1 8.4.41", bad, build.Catalog(record.Bytes()[:20]), build.Catalog(record.Bytes()[20:]))
	catalog("byte-after", "a byte after the zstd frame", "6.3.1 8.4.40", bad, build.Skippable(build.MagicCatalog, append(bytes.Clone(stored), 0)))
	catalog("two-frames", "two zstd frames in one catalog frame", "6.3.1 8.4.40", bad, build.Skippable(build.MagicCatalog, append(bytes.Clone(stored), build.Stored(second.Bytes())...)))
	catalog("cut", "the zstd frame lacks its last byte", "6.3.1 8.4.40", bad, build.Skippable(build.MagicCatalog, stored[:len(stored)-1]))
	catalog("empty", "a catalog frame of no bytes", "6.3.1 8.4.40", bad, build.Skippable(build.MagicCatalog, nil))
	catalog("no-zstd", "a catalog frame that holds no zstd frame", "6.3.1 8.4.38", bad, build.Skippable(build.MagicCatalog, []byte("no zstd frame at all")))
	nothing := build.NewFrame(nil, 4, build.Block{Type: build.Raw}).Bytes()
	catalog("size-0", "a zstd frame of no plaintext", "6.3.1 8.4.38", bad, build.Skippable(build.MagicCatalog, nothing))
	catalog("size-over", "a zstd frame of a segment and a byte", "6.3.1 8.4.38", bad, build.Skippable(build.MagicCatalog, build.Repeated(0, 65_537)))
	wrong := bytes.Clone(stored)
	wrong[len(wrong)-1] ^= 1
	catalog("checksum", "the zstd frame's checksum is wrong", "6.3.1 8.4.39", bad, build.Skippable(build.MagicCatalog, wrong))
}

func tableCases(s *set) {
	first := data(text.Bytes())
	right := build.SeekEntry{Compressed: uint32(len(first.bytes)), Decompressed: uint32(text.Length)}
	table := func(name, comment, spec string, table []byte) {
		s.content("table_"+name, comment, spec, vectors.Content, text.Length, true, func(d *draft) { d.pieces, d.table = []piece{first}, table })
	}
	edited := func(at int, value ...byte) []byte {
		b := build.SeekTable(right)
		copy(b[(at+len(b))%len(b):], value)
		return b
	}
	with := func(compressed, decompressed uint32) []byte {
		return build.SeekTable(build.SeekEntry{Compressed: compressed, Decompressed: decompressed})
	}
	c, n := right.Compressed, right.Decompressed
	table("missing", "the content ends after the data", "6 6.5.1 8.4.47", []byte{})
	table("cut", "the table lacks its last byte", "6.5.1 8.4.47", build.SeekTable(right)[:24])
	table("byte-after", "a byte follows the table", "6 8.4.47", append(build.SeekTable(right), 0))
	table("twice", "two tables", "6 8.4.47", append(build.SeekTable(right), build.SeekTable(right)...))
	table("payload-less", "its payload length is 1 less", "6.5.1 8.4.44", edited(4, 16))
	table("payload-more", "its payload length is 1 more", "6.5.1 8.4.44", edited(4, 18))
	table("frame-magic", "its frame magic is that of an info frame", "6.5.1 8.4.44", edited(0, 0x50))
	table("n-0", "n is 0 in the footer", "6.5.1 8.4.44", edited(-9, 0))
	table("n-2", "n is 2 in the footer", "6.5.1 8.4.44", edited(-9, 2))
	table("n-over", "n is 2^27 + 1", "6.5.1 8.4.44 9.1", edited(-9, 1, 0, 0, 8))
	table("descriptor-checksum", "the descriptor says that there are checksums", "6.5.1 8.4.44", edited(-5, 0x80))
	table("descriptor-1", "an unused bit of the descriptor", "6.5.1 8.4.44", edited(-5, 1))
	table("magic", "its last byte is wrong", "6.5.1 8.4.44", edited(-1, 0x8e))
	table("csize-more", "a frame's csize is 1 more", "6.5.2 8.4.45 8.4.46", with(c+1, n))
	table("csize-less", "a frame's csize is 1 less", "6.5.2 8.4.45 8.4.46", with(c-1, n))
	table("csize-over", "a frame's csize is more than any frame of its dsize has", "6.5.2 8.4.45", with(n+n/256+65, n))
	table("dsize-over", "a data frame's dsize is more than a segment", "6.5.2 8.4.45 8.2.5", with(c, 65_537))
	table("entry-less", "the only frame has no entry", "6.5.1 8.4.45", build.SeekTable())
	table("entry-more", "an entry for a frame that is not there", "6.5.1 8.4.45", build.SeekTable(right, build.SeekEntry{Compressed: 8}))
	for _, dsize := range []uint32{0, n - 1, n + 1} {
		s.content("table_dsize-"+itoa(int(dsize)), "a frame's dsize is "+itoa(int(dsize))+", not 100: seen when the frame is read", "6.5.3 6.5.4 8.4.46 8.2.6", vectors.Content, text.Length, false, func(d *draft) {
			d.pieces, d.table = []piece{first}, with(c, dsize)
		})
	}
	rle := func(n int) piece { return piece{build.Repeated('1', n), n} }
	two := func(name, comment, spec string, released int, pieces []piece, entries ...build.SeekEntry) {
		s.content("table_"+name, comment, spec, vectors.Content, released, name != "shifted" && name != "merged", func(d *draft) {
			d.Plaintext = vectors.Plaintext{Repeat: vectors.Hex("1"), Length: released}
			d.pieces, d.table = pieces, build.SeekTable(entries...)
		})
	}
	full, rest := rle(65_536), rle(200)
	f, r := uint32(len(full.bytes)), uint32(len(rest.bytes))
	two("swapped", "two entries have changed places", "6.5.2 8.4.45", 65_736, []piece{full, rest}, build.SeekEntry{Compressed: r, Decompressed: 200}, build.SeekEntry{Compressed: f, Decompressed: 65_536})
	two("shifted", "a byte of the first frame is counted to the second", "6.5.2 8.4.46", 65_736, []piece{full, rest}, build.SeekEntry{Compressed: f - 1, Decompressed: 65_536}, build.SeekEntry{Compressed: r + 1, Decompressed: 200})
	two("merged", "one entry for two frames", "6.5.1 8.4.45", 65_736, []piece{full, rest}, build.SeekEntry{Compressed: f + r, Decompressed: 65_536})
	info := other(build.Skippable(build.MagicInfo, nil))
	two("data-after-skippable", "an entry with data after one without", "6.5.2 8.4.45", 200, []piece{rest, info}, build.SeekEntry{Compressed: r}, build.SeekEntry{Compressed: 8, Decompressed: 200})
	two("skippable-7", "an entry of 7 bytes", "6.5.2 8.4.45", 200, []piece{rest, info}, build.SeekEntry{Compressed: r + 1, Decompressed: 200}, build.SeekEntry{Compressed: 7})
}
