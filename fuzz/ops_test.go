package fuzz_test

import (
	"bytes"
	"slices"

	"github.com/cespare/xxhash/v2"

	"github.com/coffer-backup/coffer/vectors/build"
)

// A draft is a container on which a script works. It goes through three stages: the
// frames of its content; the parts of the sealed container; the file.
type draft struct {
	base    *base
	frames  [][]byte
	entries []build.SeekEntry // of the seek table; nil: those of the frames
	table   []byte            // xored over the seek table

	*build.Container
	payloads [][]byte // of its packages
	file     []byte

	// forged says that something was authenticated that the writer had not made.
	forged bool
}

// An op is one step of a script, five bytes.
type op struct {
	code byte
	i    byte   // an index, which wraps around
	n    uint16 // a place, a length or a number
	x    byte   // a mask or a value
}

const opSize = 5

// ops are the steps, by stage. Their order is that of the codes in corpora: new ones
// go to the end of a stage's list.
var (
	contentOps = []func(d *draft, o op){
		func(d *draft, o op) { drop(&d.frames, o.i) },
		func(d *draft, o op) { duplicate(&d.frames, o.i) },
		func(d *draft, o op) { swap(d.frames, o.i, o.x) },
		func(d *draft, o op) { edit(d.frames, o.i, func(f []byte) []byte { return retag(f, o.x) }) },
		func(d *draft, o op) { edit(d.frames, o.i, func(f []byte) []byte { return trim(f, int(o.n)) }) },
		func(d *draft, o op) { edit(d.frames, o.i, func(f []byte) []byte { return flip(f, int(o.n), o.x) }) },
		func(d *draft, o op) { edit(d.frames, o.i, func(f []byte) []byte { return grow(f, int(o.n), o.x) }) },
		func(d *draft, o op) { edit(d.frames, o.i, resum) },
		func(d *draft, o op) { d.tableOp(o) },
		func(d *draft, o op) { d.entryOp(o) },
		func(d *draft, o op) { d.frames = append(d.frames, build.Padding(int(o.i), d.frames...)) },
		func(d *draft, o op) {
			d.frames = append(d.frames, build.Skippable(build.MagicInfo+uint32(o.i%8), make([]byte, o.n)))
		},
		func(d *draft, o op) { edit(d.frames, o.i, relength) },
	}
	packageOps = []func(d *draft, o op){
		func(d *draft, o op) { d.move(func() { drop(&d.Packages, o.i); drop(&d.payloads, o.i) }) },
		func(d *draft, o op) { d.move(func() { duplicate(&d.Packages, o.i); duplicate(&d.payloads, o.i) }) },
		func(d *draft, o op) { d.move(func() { swap(d.Packages, o.i, o.x); swap(d.payloads, o.i, o.x) }) },
		func(d *draft, o op) { edit(d.Packages, o.i, func(p []byte) []byte { return trim(p, int(o.n)) }) },
		func(d *draft, o op) { edit(d.Packages, o.i, func(p []byte) []byte { return flip(p, int(o.n), o.x) }) },
		// From here on packages are sealed again: with another payload,
		func(d *draft, o op) {
			d.seal(o.i, func(p *pkg) { p.payload = flip(p.payload, int(o.n), o.x) })
		},
		// as another number,
		func(d *draft, o op) { d.seal(o.i, func(p *pkg) { p.number = uint32(o.x) }) },
		// as the final one, or not,
		func(d *draft, o op) { d.seal(o.i, func(p *pkg) { p.header[4] ^= 0x80 }) },
		// under another header,
		func(d *draft, o op) { d.seal(o.i, func(p *pkg) { p.header = flip(p.header, int(o.n), o.x) }) },
		// shorter,
		func(d *draft, o op) {
			d.seal(o.i, func(p *pkg) {
				if n := len(p.payload) - int(o.n)%max(1, len(p.payload)); n > 0 {
					p.payload = p.payload[:n]
					le.PutUint16(p.header[2:], uint16(n-1))
				}
			})
		},
		// under another stream's nonce.
		func(d *draft, o op) { d.seal(o.i, func(p *pkg) { copy(p.header[5:13], chosen("another nonce")) }) },
		// And so are the header blocks.
		func(d *draft, o op) { d.both(func(b []byte) { b[fieldAt(b, o)] ^= max(o.x, 1) }) },
		func(d *draft, o op) { d.copyOp(&d.Head, func(b []byte) { b[fieldAt(b, o)] ^= max(o.x, 1) }) },
		func(d *draft, o op) { d.copyOp(&d.Tail, func(b []byte) { b[fieldAt(b, o)] ^= max(o.x, 1) }) },
		func(d *draft, o op) {
			d.copyOp(&d.Tail, func(b []byte) { le.PutUint64(b[64:], le.Uint64(b[64:])+uint64(o.x)) })
		},
		func(d *draft, o op) {
			d.copyOp(&d.Head, func(b []byte) { le.PutUint64(b[64:], le.Uint64(b[64:])+uint64(o.x)) })
		},
		// Only the CRC is right here, so nothing is forged.
		func(d *draft, o op) { d.Head = flip(d.Head, int(o.n), o.x); build.ResealCRC(d.Head) },
		func(d *draft, o op) { d.Tail = flip(d.Tail, int(o.n), o.x); build.ResealCRC(d.Tail) },
		func(d *draft, o op) { d.Head, d.Tail = d.Tail, d.Head },
	}
	fileOps = []func(d *draft, o op){
		func(d *draft, o op) { d.file = flip(d.file, d.place(o), o.x) },
		func(d *draft, o op) { d.file = d.file[:d.place(o)] },
		func(d *draft, o op) { d.file = append(d.file, bytes.Repeat([]byte{o.x}, int(o.n))...) },
		func(d *draft, o op) { d.file = append(d.file, d.Tail...) },
		func(d *draft, o op) { d.file = slices.Insert(d.file, d.place(o), o.x) },
		func(d *draft, o op) {
			at := d.place(o)
			d.file = slices.Delete(d.file, at, min(at+1+int(o.x), len(d.file)))
		},
	}
)

// apply works off a script and returns the file. Steps of a later stage end the one
// before.
func (d *draft) apply(script []byte) []byte {
	for ; len(script) >= opSize; script = script[opSize:] {
		o := op{script[0], script[1], le.Uint16(script[2:]), script[4]}
		switch code := int(o.code) % (len(contentOps) + len(packageOps) + len(fileOps)); {
		case code < len(contentOps):
			if d.Container == nil {
				contentOps[code](d, o)
				d.forged = true
			}
		case code < len(contentOps)+len(packageOps):
			if d.assemble(); d.file == nil {
				packageOps[code-len(contentOps)](d, o)
			}
		default:
			d.join()
			fileOps[code-len(contentOps)-len(packageOps)](d, o)
		}
	}
	d.join()
	return d.file
}

// maxFrames is how many frames, and maxPackages how many packages, a script may make.
const maxFrames, maxPackages = 64, 8

// assemble ends the first stage.
func (d *draft) assemble() {
	if d.Container != nil {
		return
	}
	if d.entries == nil {
		d.entries = build.Entries(d.frames...)
	}
	table := build.SeekTable(d.entries...)
	for i, mask := range d.table {
		table[len(table)-1-i%len(table)] ^= mask
	}
	content := append(bytes.Join(d.frames, nil), table...)
	d.Container = d.base.container(content)
	d.payloads = slices.Collect(slices.Chunk(content, build.MaxPayload))
}

// join ends the second stage.
func (d *draft) join() {
	if d.file == nil {
		d.assemble()
		d.file = d.Bytes()
	}
}

// place is where in the file a step is about: n bytes behind, or before, one of the
// places where something begins.
func (d *draft) place(o op) int {
	marks := []int{0, d.base.Header.Size, len(d.file) - d.base.Header.Size, len(d.file)}
	for i := range d.Packages {
		marks = append(marks, d.base.Header.Size+i*packageSize)
	}
	at := marks[int(o.i/2)%len(marks)]
	if o.i%2 == 1 {
		at -= int(o.n)
	} else {
		at += int(o.n)
	}
	return min(max(at, 0), len(d.file))
}

// tableOp xors a byte of the seek table, counted from its end.
func (d *draft) tableOp(o op) {
	d.table = append(d.table, make([]byte, max(0, int(o.n%1024)+1-len(d.table)))...)
	d.table[o.n%1024] ^= o.x
}

// entryOp moves bytes from one entry of the seek table to the next, so that the sums
// stay.
func (d *draft) entryOp(o op) {
	if d.entries == nil {
		d.entries = build.Entries(d.frames...)
	}
	if len(d.entries) < 2 {
		return
	}
	i := int(o.i) % (len(d.entries) - 1)
	d.entries[i].Compressed += uint32(int16(o.n))
	d.entries[i+1].Compressed -= uint32(int16(o.n))
	d.entries[i].Decompressed += uint32(int8(o.x))
	d.entries[i+1].Decompressed -= uint32(int8(o.x))
}

// move moves packages about. It forges nothing: anybody can do that.
func (d *draft) move(f func()) {
	if f(); len(d.Packages) > maxPackages {
		d.Packages, d.payloads = d.Packages[:maxPackages], d.payloads[:maxPackages]
	}
}

// A pkg is a package that is about to be sealed.
type pkg struct {
	header, payload []byte
	number          uint32
}

// seal seals package i again, after edit.
func (d *draft) seal(i byte, edit func(p *pkg)) {
	if len(d.Packages) == 0 {
		return
	}
	at := int(i) % len(d.Packages)
	if len(d.Packages[at]) < 16 {
		return
	}
	p := &pkg{bytes.Clone(d.Packages[at][:16]), bytes.Clone(d.payloads[at]), uint32(at)}
	edit(p)
	d.Packages[at] = build.SealUnder(build.AEAD(d.base.Header.Suite, d.Keys.BodyKey), p.header, p.payload, p.number)
	d.payloads[at], d.forged = p.payload, true
}

func (d *draft) both(edit func(b []byte)) {
	d.EditHeader(edit)
	d.forged = true
}

func (d *draft) copyOp(block *[]byte, edit func(b []byte)) {
	d.EditCopy(block, edit)
	d.forged = true
}

// fieldAt is the place in a block that a step is about, mostly among the fields.
func fieldAt(b []byte, o op) int {
	if o.i < 200 {
		return int(o.i)
	}
	return int(o.n) % len(b)
}

func drop(s *[][]byte, i byte) {
	if n := len(*s); n > 0 {
		*s = slices.Delete(slices.Clone(*s), int(i)%n, int(i)%n+1)
	}
}

func duplicate(s *[][]byte, i byte) {
	if n := len(*s); n > 0 && n < maxFrames {
		*s = slices.Insert(slices.Clone(*s), int(i)%n, (*s)[int(i)%n])
	}
}

func swap(s [][]byte, i, k byte) {
	if n := len(s); n > 0 {
		i, k := int(i)%n, int(k)%n
		s[i], s[k] = s[k], s[i]
	}
}

func edit(s [][]byte, i byte, f func([]byte) []byte) {
	if n := len(s); n > 0 {
		s[int(i)%n] = f(s[int(i)%n])
	}
}

func trim(b []byte, n int) []byte { return b[:len(b)-n%(len(b)+1)] }

func grow(b []byte, n int, x byte) []byte {
	return append(bytes.Clone(b), bytes.Repeat([]byte{x}, n%1024)...)
}

// retag gives a frame another magic, and keeps its length.
func retag(f []byte, x byte) []byte {
	magics := []uint32{build.MagicZstd, build.MagicCatalog, build.MagicPadding, build.MagicSeekTable, build.MagicInfo, build.MagicInfo + 7, build.MagicInfo + 8, build.MagicInfo - 1}
	if f = bytes.Clone(f); len(f) >= 4 {
		le.PutUint32(f, magics[int(x)%len(magics)])
	}
	return f
}

// relength makes the payload length of a skippable frame right.
func relength(f []byte) []byte {
	if f = bytes.Clone(f); len(f) >= 8 && le.Uint32(f) != build.MagicZstd {
		le.PutUint32(f[4:], uint32(len(f)-8))
	}
	return f
}

// resum makes the checksum of a data frame right, unless it has compressed blocks.
func resum(f []byte) []byte {
	plain, n, _, state := walkBlocks(f, segment)
	if f = bytes.Clone(f); state == done {
		le.PutUint32(f[n-4:], uint32(xxhash.Sum64(plain)))
	}
	return f
}
