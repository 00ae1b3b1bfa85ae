package main

import (
	"bytes"

	"github.com/coffer-backup/coffer/vectors"
	"github.com/coffer-backup/coffer/vectors/build"
)

// Plaintexts whose content takes one, two and three packages. The longer ones
// begin with a segment of one repeated byte, which takes little room, so that there
// is something to release before the first package's end.
const (
	short         = 100
	twoPackages   = 2 * 65_536
	threePackages = 3 * 65_536
)

// long makes n bytes of d's plaintext, of whole segments if it is not short.
func (d *draft) long(n int) {
	if n == short {
		return
	}
	d.Plaintext = vectors.Plaintext{Repeat: vectors.Hex("c"), Length: n}
	segment := d.Plaintext.Bytes()[:65_536]
	d.pieces = []piece{{build.Repeated('c', len(segment)), len(segment)}}
	for range n/65_536 - 1 {
		d.pieces = append(d.pieces, data(segment))
	}
}

// body adds a case whose packages are edited. good is how many of them a stream
// reader still accepts; final says whether a random-access reader meets the fault
// before it has opened the file.
func (s *set) body(name, comment, spec string, suite byte, plain int, class vectors.Class, good int, final bool, edit func(d *draft, c *build.Container)) {
	d := s.draft("body_"+name, comment, spec)
	d.Class = class
	d.long(plain)
	d.recipe.Header.Suite = suite
	c := d.build()
	d.Released = d.releasedBefore(good * build.MaxPayload)
	if final && d.Released > 0 {
		zero := 0
		d.RandomReleased = &zero
	}
	edit(d, c)
	s.add(d, c)
}

// reseal seals the payload of package i of c under another header and number.
func reseal(d *draft, c *build.Container, i int, number uint32, edit func(header []byte)) {
	aead := build.AEAD(d.recipe.Header.Suite, c.Keys.BodyKey)
	payload := d.recipe.Content[i*build.MaxPayload:]
	payload = payload[:min(len(payload), build.MaxPayload)]
	header := build.PackageHeader(d.recipe.Header.Suite, c.Keys.Nonce, len(payload), i == len(c.Packages)-1)
	edit(header)
	n := int(le.Uint16(header[2:])) + 1
	payload = append(bytes.Clone(payload), make([]byte, max(0, n-len(payload)))...)[:n]
	c.Packages[i] = build.SealUnder(aead, header, payload, number)
}

func bodyCases(s *set) {
	flip := func(at int) func(d *draft, c *build.Container) {
		return func(d *draft, c *build.Container) {
			p := bytes.Clone(c.Packages[0])
			p[(at+len(p))%len(p)] ^= 1
			c.Packages[0] = p
		}
	}
	headerSpec, tagSpec := "5.1 5.2.1 8.4.25 8.1.5", "5.1.1 8.4.26 8.1.5"
	for suite, name := range map[byte]string{1: "aes", 2: "chacha"} {
		s.body(name+"-version", "the package header's version is 0x21", headerSpec, suite, short, vectors.Auth, 0, true, flip(0))
		s.body(name+"-suite", "the package header has the other suite", headerSpec, suite, short, vectors.Auth, 0, true, flip(1))
		s.body(name+"-nonce", "a bit of the package header's nonce is wrong", headerSpec, suite, short, vectors.Auth, 0, true, flip(5))
		s.body(name+"-ciphertext", "a bit of the ciphertext is wrong", tagSpec, suite, short, vectors.Auth, 0, true, flip(16))
		s.body(name+"-tag", "the last bit of the tag is wrong", tagSpec, suite, short, vectors.Auth, 0, true, flip(-1))
		s.body(name+"-nonce-sealed", "another nonce, and the package is authentic under it", headerSpec, suite, short, vectors.Auth, 0, true,
			func(d *draft, c *build.Container) { reseal(d, c, 0, 0, func(h []byte) { h[6] ^= 1 }) })
	}
	sealed := func(edit func(h []byte)) func(d *draft, c *build.Container) {
		return func(d *draft, c *build.Container) { reseal(d, c, 0, 0, edit) }
	}
	s.body("version-sealed", "version 0x10 in an authentic package header", headerSpec, 2, short, vectors.Auth, 0, true, sealed(func(h []byte) { h[0] = 0x10 }))
	s.body("suite-sealed", "the other suite in an authentic package header", headerSpec, 2, short, vectors.Auth, 0, true, sealed(func(h []byte) { h[1] = 0 }))
	s.body("number-in-nonce", "the nonce's last byte is set, in an authentic package header", "4.4.1 5.2.1 8.4.25", 1, short, vectors.Auth, 0, true, sealed(func(h []byte) { h[15] = 1 }))
	s.body("no-final", "the only package lacks FINAL and is short", "5.1 5.1.2 8.4.25", 1, short, vectors.Auth, 0, true, sealed(func(h []byte) { h[4] &^= 0x80 }))
	s.body("number", "the package was sealed as number 1", "5.1.1 5.2.2 8.4.26", 2, short, vectors.Auth, 0, true,
		func(d *draft, c *build.Container) { reseal(d, c, 0, 1, func([]byte) {}) })
	s.body("length", "the header's length is one more than was sealed", "5.1.1 8.4.26", 2, short, vectors.Auth, 0, true,
		func(d *draft, c *build.Container) { p := bytes.Clone(c.Packages[0]); p[2]++; c.Packages[0] = p })
	s.body("other-key", "the body was sealed for another context", "4.1 4.4.2 8.4.25", 1, short, vectors.Auth, 0, true, func(d *draft, c *build.Container) {
		k := build.Derive(d.recipe.FileKey, d.recipe.Header.Salt[:], d.recipe.Header.Core(), []byte("another context"))
		c.Packages = build.Seal(1, k.BodyKey, k.Nonce, d.recipe.Content)
	})
	s.body("other-key-same-nonce", "the body was sealed under another key, with the right nonce", "4.1 4.4.2 8.4.26", 2, short, vectors.Auth, 0, true, func(d *draft, c *build.Container) {
		c.Packages = build.Seal(2, chosen("another body key"), c.Keys.Nonce, d.recipe.Content)
	})
	s.body("empty", "there is no package", "2.5 5.3.2 8.4.25 8.4.28", 1, short, vectors.Auth, 0, true, func(d *draft, c *build.Container) { c.Packages = nil })

	s.body("short-middle", "package 0 of two has 65535 bytes, without FINAL, and is authentic", "5.1.2 8.4.25", 2, twoPackages, vectors.Auth, 0, true, func(d *draft, c *build.Container) {
		reseal(d, c, 0, 0, func(h []byte) { le.PutUint16(h[2:], 65534) })
	})
	s.body("after-final", "an authentic package follows the one with FINAL", "5.3.3 5.3.2 8.4.35 8.4.28", 1, short, vectors.Auth, 1, true, func(d *draft, c *build.Container) {
		c.Packages = append(c.Packages, build.SealPackage(1, c.Keys.BodyKey, c.Keys.Nonce, []byte("more"), 1, true))
	})
	s.body("spliced", "package 1 of two is that of another file of the same size", "1.1.3 8.4.25", 2, twoPackages, vectors.Auth, 1, true, func(d *draft, c *build.Container) {
		sibling := build.Derive(chosen("sibling"), d.recipe.Header.Salt[:], d.recipe.Header.Core(), nil)
		c.Packages[1] = build.Seal(2, sibling.BodyKey, sibling.Nonce, d.recipe.Content)[1]
	})
	s.body("swapped", "packages 0 and 1 of three have changed places", "1.1.3 5.2.2 8.4.26", 1, threePackages, vectors.Auth, 0, false, func(d *draft, c *build.Container) {
		c.Packages[0], c.Packages[1] = c.Packages[1], c.Packages[0]
	})
	s.body("dropped-middle", "package 1 of three is missing", "1.1.3 5.2.2 8.4.26", 1, threePackages, vectors.Auth, 1, true, func(d *draft, c *build.Container) {
		c.Packages = [][]byte{c.Packages[0], c.Packages[2]}
	})
	s.body("middle-tag", "the tag of package 1 of three is wrong", "8.4.26 8.2.6", 2, threePackages, vectors.Auth, 1, false, func(d *draft, c *build.Container) {
		p := bytes.Clone(c.Packages[1])
		p[len(p)-1] ^= 0x80
		c.Packages[1] = p
	})
	for _, n := range []int{65_536, 65_537} {
		// The content is n bytes: an info frame fills it up.
		s.good("body_content-"+itoa(n), "a content of "+itoa(n)+" bytes", "5.1.2 5.3.2", func(d *draft) {
			d.pieces = []piece{data(text.Bytes())}
			fill := n - len(d.pieces[0].bytes) - (17 + 2*8) - 8
			d.pieces = append(d.pieces, other(build.Skippable(build.MagicInfo, make([]byte, fill))))
		})
	}
}

func endCases(s *set) {
	cut := func(name, comment, spec string, plain int, class vectors.Class, good int, file func(c *build.Container) []byte) {
		s.cutOrExtended("end_"+name, comment, spec, plain, class, good, file)
	}
	all := func(c *build.Container) []byte { return c.Bytes() }
	less := func(n int) func(c *build.Container) []byte {
		return func(c *build.Container) []byte { b := c.Bytes(); return b[:len(b)-n] }
	}
	to := func(n int) func(c *build.Container) []byte {
		return func(c *build.Container) []byte { return c.Bytes()[:n] }
	}
	more := func(extra func(c *build.Container) []byte) func(c *build.Container) []byte {
		return func(c *build.Container) []byte { return append(c.Bytes(), extra(c)...) }
	}
	cut("no-body", "the file ends after the header", "8.4.24 5.3.2", short, vectors.Truncated, 0, to(4096))
	cut("in-package-header", "the file ends 15 bytes into the package header", "8.4.24", short, vectors.Truncated, 0, to(4096+15))
	cut("in-package", "the file ends inside the only package", "8.4.24", short, vectors.Truncated, 0, to(4096+40))
	cut("in-tag", "the file ends before the last byte of the tag", "8.4.24", short, vectors.Truncated, 0, less(4097))
	cut("no-tail", "the file ends after the final package", "8.4.29 5.3.3 8.1.6", short, vectors.Truncated, 1, less(4096))
	cut("tail-1", "the last byte is missing", "8.4.29 5.3.3", short, vectors.Truncated, 1, less(1))
	cut("tail-4095", "one byte of the tail is there", "8.4.29 5.3.3", short, vectors.Truncated, 1, less(4095))
	cut("two-after-first", "the file ends after package 0 of two", "8.4.24 8.4.28 8.2.3", twoPackages, vectors.Truncated, 1, to(4096+65568))
	cut("tail-in-package", "the end of package 0 of two is missing, and the tail reaches 15 bytes beyond where package 1 would begin", "8.4.26 8.2.3 8.3.2", twoPackages, vectors.Auth, 0,
		func(c *build.Container) []byte {
			return append(append(bytes.Clone(c.Head), c.Packages[0][:65_568+15-len(c.Tail)]...), c.Tail...)
		})
	cut("two-tail-32", "32 bytes are missing at the end", "8.4.29 8.4.28 8.2.3", twoPackages, vectors.Truncated, 2, less(32))
	cut("two-tail-half", "half of the tail is missing: no body has what is left", "5.3.2 8.4.29 8.4.28 8.2.3", short, vectors.Truncated, 1, less(2048))
	cut("byte-more", "a byte follows", "8.4.30 5.3.3 2.5 8.1.6", short, vectors.Trailing, 1, more(func(*build.Container) []byte { return []byte{0} }))
	cut("tail-twice", "the tail is there twice", "8.4.30 2.5", short, vectors.Trailing, 1, more(func(c *build.Container) []byte { return c.Tail }))
	cut("file-twice", "the whole file is there twice", "8.4.30 2.5", short, vectors.Trailing, 1, more(all))
	cut("package-more", "65568 zeros follow", "8.4.30 8.4.28 8.2.3", short, vectors.Trailing, 1, more(func(*build.Container) []byte { return make([]byte, 65568) }))
}

func (s *set) cutOrExtended(name, comment, spec string, plain int, class vectors.Class, good int, file func(c *build.Container) []byte) {
	d := s.draft(name, comment, spec)
	d.Class = class
	d.long(plain)
	c := d.build()
	zero := 0
	if d.Released = d.releasedBefore(good * build.MaxPayload); d.Released > 0 {
		d.RandomReleased = &zero
	}
	s.addBytes(d, file(c))
}

func copyCases(s *set) {
	// pair adds a case whose copies differ.
	pair := func(name, comment, spec string, stream, random vectors.Class, released int, edit func(d *draft, c *build.Container)) {
		d := s.draft("copy_"+name, comment, spec)
		d.recipe.Header.Generation = 5
		d.Class, d.Released = stream, released
		if random != stream {
			d.RandomClass = random
		}
		c := d.build()
		edit(d, c)
		if r := d.Plaintext.Length; random.Whole() && released != r {
			d.RandomReleased = &r
		} else if !random.Whole() && released > 0 {
			zero := 0
			d.RandomReleased = &zero
		}
		s.add(d, c)
	}
	const n = 100
	put := func(offset int, value ...byte) func([]byte) { return func(b []byte) { copy(b[offset:], value) } }
	tail := func(edit func(b []byte)) func(d *draft, c *build.Container) {
		return func(d *draft, c *build.Container) { c.EditCopy(&c.Tail, edit) }
	}
	head := func(edit func(b []byte)) func(d *draft, c *build.Container) {
		return func(d *draft, c *build.Container) { c.EditCopy(&c.Head, edit) }
	}
	damage := func(which byte, at int) func(d *draft, c *build.Container) {
		return func(d *draft, c *build.Container) {
			b := &c.Head
			if which == 't' {
				b = &c.Tail
			}
			*b = bytes.Clone(*b)
			(*b)[at] ^= 1
		}
	}
	skew := "3.4.4 8.4.32 3.4.3"
	pair("tail-newer", "the tail has generation 6, the header 5", skew, vectors.Skew, vectors.Skew, n, tail(put(64, 6)))
	pair("tail-older", "the tail has generation 4, the header 5", skew, vectors.Skew, vectors.Skew, n, tail(put(64, 4)))
	pair("note-in-tail", "one generation, and the tail has a note more", skew, vectors.Skew, vectors.Skew, n, func(d *draft, c *build.Container) {
		c.EditCopy(&c.Tail, func(b []byte) {
			copy(b[96+116:], build.Entry{Kind: 0x8123, Data: []byte("note")}.Bytes())
			b[76], b[80] = 116+8, 2
		})
	})
	other := chosen("another account key")
	swapped := func(d *draft, c *build.Container) {
		// The newer copy, the tail, has a slot for another key only.
		core := d.recipe.Header.Core()
		e, _ := build.AccountSlot(core, other, chosen(d.name+": newer"), nil, d.recipe.FileKey)
		c.EditCopy(&c.Tail, func(b []byte) { copy(b[96:], e.Bytes()); b[64] = 6 })
	}
	pair("slot-in-head-only", "only the header, which is older, has a slot for the key", "3.4.3 3.4.4 3.4.5 8.2.2", vectors.Skew, vectors.Skew, n, swapped)
	pair("slot-in-tail-only", "only the tail, which is newer, has a slot for the key: a stream reader does not look there", "3.4.2 3.4.3 8.2.2 8.4.18", vectors.NoKey, vectors.Skew, 0, func(d *draft, c *build.Container) {
		swapped(d, c)
		d.Inputs.AccountKeys = []vectors.Hex{other}
	})
	pair("generation-between", "the tail has generation 6, the header 5, and 6 is the least that is wanted: a stream reader has only the header", "3.4.3 3.4.5 8.4.22 8.3.2", vectors.Limit, vectors.Skew, 0, func(d *draft, c *build.Container) {
		c.EditCopy(&c.Tail, put(64, 6))
		d.Inputs.MinGeneration = 6
	})
	pair("newer-decides", "the tail is newer, its slot fits and its MAC is wrong", "3.4.3 8.4.20 8.4.35", vectors.Auth, vectors.Auth, n, func(d *draft, c *build.Container) {
		c.EditCopy(&c.Tail, put(64, 6))
		c.Tail[4096-40] ^= 1
		build.ResealCRC(c.Tail)
	})
	pair("tail-mac", "the tail is older and its MAC is wrong", "3.4.4 8.4.35", vectors.Auth, vectors.Auth, n, func(d *draft, c *build.Container) {
		c.EditCopy(&c.Tail, put(64, 4))
		c.Tail[4096-40] ^= 1
		build.ResealCRC(c.Tail)
	})
	pair("tail-core", "the tail is authentic and has another segment_log2", "3.4.1 3.4.4 8.4.35 8.2.4", vectors.Auth, vectors.Auth, n, tail(put(12, 17)))
	pair("tail-salt", "the tail's salt differs", "3.4.1 3.4.4 8.4.35 8.2.4", vectors.Auth, vectors.Auth, n, tail(func(b []byte) { b[16] ^= 1 }))
	pair("tail-size", "the tail is an authentic block of 8192 bytes, the header one of 4096", "3.4.1 8.4.35", vectors.Auth, vectors.Auth, n, func(d *draft, c *build.Container) {
		h := d.recipe.Header
		h.Size, h.Entries = 8192, []build.Entry{d.account(h.Core(), "slot")}
		c.Tail = h.Encode(c.Keys.MACKey)
	})
	pair("tail-of-other", "the tail is that of another file", "3.4.1 1.1.3 8.4.35", vectors.Auth, vectors.Auth, n, func(d *draft, c *build.Container) {
		o := s.draft("copy_tail-of-another-file", "", "")
		c.Tail = o.build().Tail
	})
	spec := "3.4.2 3.4.4 8.4.33 8.4.34 8.3.2 8.2.1"
	pair("tail-crc", "the tail's CRC is wrong", spec, vectors.Auth, vectors.DamagedCopy, n, damage('t', 4096-8))
	pair("tail-magic", "the tail's magic is wrong", spec, vectors.Auth, vectors.DamagedCopy, n, damage('t', 0))
	pair("tail-mac-bit", "a bit of the tail's MAC is wrong, and so is the CRC", spec, vectors.Auth, vectors.DamagedCopy, n, damage('t', 4096-20))
	pair("tail-end", "the tail's last byte is wrong", spec, vectors.Auth, vectors.DamagedCopy, n, damage('t', 4095))
	pair("tail-padding", "a byte of the tail's padding is set, the rest authentic: not well-formed", spec, vectors.Auth, vectors.DamagedCopy, n, tail(put(3000, 1)))
	pair("tail-zeros", "the tail is all zeros", spec, vectors.Auth, vectors.DamagedCopy, n, func(d *draft, c *build.Container) { c.Tail = make([]byte, 4096) })
	pair("head-crc", "the header's CRC is wrong", spec, vectors.Header, vectors.DamagedCopy, 0, damage('h', 4096-8))
	pair("head-magic", "the header's magic is wrong", spec, vectors.Magic, vectors.DamagedCopy, 0, damage('h', 0))
	pair("head-version", "the header's version is 0, the tail's 1", spec, vectors.Version, vectors.DamagedCopy, 0, damage('h', 8))
	pair("head-size", "the header's H is illegal", spec, vectors.Header, vectors.DamagedCopy, 0, damage('h', 72))
	pair("head-zeros", "the header is all zeros", spec, vectors.Magic, vectors.DamagedCopy, 0, func(d *draft, c *build.Container) { c.Head = make([]byte, 4096) })
	pair("head-form", "the header has an unknown flag, and is authentic", spec, vectors.Header, vectors.DamagedCopy, 0, head(put(13, 4)))
	pair("both-crc", "both CRCs are wrong: the error is the header's", "3.4.2 8.4.6", vectors.Header, vectors.Header, 0, func(d *draft, c *build.Container) {
		damage('h', 4096-8)(d, c)
		damage('t', 4096-8)(d, c)
	})
	pair("both-head-magic", "the header's magic and the tail's CRC are wrong: the error is the header's", "3.4.2 8.4.1", vectors.Magic, vectors.Magic, 0, func(d *draft, c *build.Container) {
		damage('h', 0)(d, c)
		damage('t', 4096-8)(d, c)
	})
	pair("both-head-size", "the header is all zeros and the last 4 bytes are no legal H", "3.4.2 8.4.1", vectors.Magic, vectors.Magic, 0, func(d *draft, c *build.Container) {
		c.Head = make([]byte, 4096)
		damage('t', 4095)(d, c)
	})
}
