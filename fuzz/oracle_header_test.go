package fuzz_test

import (
	"bytes"
	"cmp"
	"hash/crc32"

	"golang.org/x/crypto/argon2"

	"github.com/coffer-backup/coffer/engine"
	"github.com/coffer-backup/coffer/vectors"
	"github.com/coffer-backup/coffer/vectors/build"
)

// The oracle: what SPEC.md says of a file, computed in the simplest way. This part
// of it is § 3 and § 4.

// An entry is a slot or a note (§ 3.2).
type entry struct {
	kind    uint16
	data    []byte
	known   bool // params and wrapped are those of § 3.3
	params  []byte
	wrapped []byte
}

func (e *entry) salt() []byte { return e.data[:32] }

// A block is a well-formed header block.
type block struct {
	bytes   []byte
	entries []entry
	opened  uint16 // the kind of the slot that unlock opened
}

func (b *block) size() int          { return len(b.bytes) }
func (b *block) suite() byte        { return b.bytes[10] }
func (b *block) segment() int       { return 1 << b.bytes[12] }
func (b *block) bound() bool        { return b.bytes[13] == 1 }
func (b *block) core() []byte       { return b.bytes[8:64] }
func (b *block) salt() []byte       { return b.bytes[16:48] }
func (b *block) contextTag() []byte { return b.bytes[48:64] }
func (b *block) generation() uint64 { return le.Uint64(b.bytes[64:]) }

// authentic is § 4.3.
func (b *block) authentic(k build.Keys) bool {
	end := b.size() - 40
	return bytes.Equal(build.HMAC(k.MACKey, b.bytes[:end]), b.bytes[end:end+32])
}

// judgeBlock judges the header block at the beginning of file (8.4.1 to 8.4.17). The
// class is empty if it is well-formed.
func judgeBlock(file []byte) (*block, vectors.Class) {
	begin := min(len(file), len(build.Magic))
	switch {
	case begin == 0 || string(file[:begin]) != build.Magic[:begin]:
		return nil, vectors.Magic
	case len(file) >= 10 && le.Uint16(file[8:]) != 1:
		return nil, vectors.Version
	case len(file) < 96:
		return nil, vectors.Truncated
	}
	h, s := le.Uint32(file[72:]), le.Uint32(file[76:])
	switch {
	case h < 4096 || h > 65536 || h%4096 != 0 || s > h-136:
		return nil, vectors.Header
	case uint32(len(file)) < h:
		return nil, vectors.Truncated
	}
	b := &block{bytes: file[:h]}
	if !b.fieldsGood() || !zero(file[96+s:h-40]) || !b.judgeEntries(file[96:96+s]) {
		return nil, vectors.Header
	}
	return b, ""
}

// fieldsGood is § 3.1, without magic, version, H and S.
func (b *block) fieldsGood() bool {
	f, h := b.bytes, b.size()
	count := le.Uint16(f[80:])
	return le.Uint32(f[h-8:]) == crc32.Checksum(f[:h-8], crc32.MakeTable(crc32.Castagnoli)) && le.Uint32(f[h-4:]) == uint32(h) &&
		(f[10] == 1 || f[10] == 2) && f[11] == 1 && f[12] >= 16 && f[12] <= 26 && f[13] <= 1 &&
		zero(f[14:16]) && zero(f[82:96]) && (f[13] == 1 || zero(f[48:64])) &&
		b.generation() >= 1 && b.generation() < 1<<63 && count >= 1 && count <= 32
}

// judgeEntries is § 3.2. region is [96, 96+S).
func (b *block) judgeEntries(region []byte) bool {
	slots, notes, salts := 0, 0, make(map[string]bool)
	for range le.Uint16(b.bytes[80:]) {
		if len(region) < 4 || len(region)-4 < int(le.Uint16(region[2:])) {
			return false
		}
		n := 4 + int(le.Uint16(region[2:]))
		e := entry{kind: le.Uint16(region), data: region[4:n]}
		region = region[n:]
		if e.kind&0x8000 != 0 {
			notes += len(e.data)
		} else {
			if len(e.data) < 32 || salts[string(e.salt())] || !e.judge() {
				return false
			}
			salts[string(e.salt())] = true
			slots++
		}
		b.entries = append(b.entries, e)
	}
	return len(region) == 0 && notes <= 4096 && slots >= 1
}

// judge is § 3.3, and § 3.2.3 for what is unknown. A slot that ends before its
// version, mech or kem is no unknown one.
func (e *entry) judge() bool {
	p := e.data[32:]
	n, ok := 0, false // the length of params, and whether they and wrapped are good
	switch e.kind {
	case 1:
		n, ok = 16, len(p) == 16+64
	case 2:
		if len(p) > 0 && p[0] != 0x13 {
			return true
		}
		n = 16
		ok = len(p) == 16+64 && zero(p[2:4]) && zero(p[12:16]) && costLegal(p)
	case 3:
		if len(p) > 0 && (p[0] < 1 || p[0] > 4) {
			return true
		}
		n, ok = pkcs11Params(p)
		ok = ok && sized(p[n:], map[byte][2]int{1: {92, 92}, 2: {72, 72}, 3: {72, 72}, 4: {1, 1024}}[p[0]])
	case 4:
		if len(p) > 0 {
			n = 1 + int(p[0])
		}
		ok = len(p) > n && n > 0 && sized(p[n:], [2]int{1, 4096})
	case 5:
		if len(p) >= 2 && le.Uint16(p) != 0x647A {
			return true
		}
		n, ok = 2, len(p) == 2+1120+48
	default:
		return true
	}
	if ok {
		e.known, e.params, e.wrapped = true, p[:n], p[n:]
	}
	return ok
}

// costLegal is § 3.3.1.
func costLegal(params []byte) bool {
	p, t, m := uint32(params[1]), le.Uint32(params[4:]), le.Uint32(params[8:])
	return p >= 1 && p <= 16 && t >= 1 && t <= 16 && m >= 8*p && m <= 1<<22
}

// pkcs11Params returns the length of the params that p begins with.
func pkcs11Params(p []byte) (n int, ok bool) {
	n = 1
	for range 2 {
		if n >= len(p) || p[n] > 64 {
			return 0, false
		}
		n += 1 + int(p[n])
	}
	n += 16
	return n, n <= len(p)
}

// sized reports whether w is u16+ with a length within the limits.
func sized(w []byte, limits [2]int) bool {
	if len(w) < 2 {
		return false
	}
	n := int(le.Uint16(w))
	return n == len(w)-2 && n >= limits[0] && n <= limits[1]
}

func zero(b []byte) bool { return len(bytes.Trim(b, "\x00")) == 0 }

// A caller is what a reader is given besides the file.
type caller struct {
	accounts       [][]byte
	seeds          [][]byte // of kind 5
	passphrases    [][]byte
	context        []byte
	minGeneration  uint64
	argon2         engine.Argon2Policy // a field of 0 is the default
	maxMemory      int64
	allowAnonymous bool
	secrets        secrets // that no error may tell
}

// segmentFits is 8.4.23, by what package engine says that one worker needs.
func (c *caller) segmentFits(segment int) bool {
	return readerBuffers(1, segment) <= cmp.Or(c.maxMemory, 1<<30)
}

// readerBuffers is what the buffers of a reader take, in bytes: for each worker, and
// twice more, a segment, its frame, and as many packages, but at most 1 MiB of those.
func readerBuffers(workers, segment int) int64 {
	return int64(workers+2) * int64(segment+(segment+segment/256+64)+min(segment/build.MaxPayload, 16)*packageSize)
}

// unlock is § 3.4.3 and § 4.5: it returns the keys, and the copy they came from.
func (c *caller) unlock(copies []*block) (k build.Keys, used *block, class vectors.Class) {
	held := false
	tried := make(map[string]bool)
	spent := argon2Spent{policy: c.argon2}
	for _, b := range copies {
		for _, kind := range []uint16{1, 5, 2} {
			for i := range b.entries {
				e := &b.entries[i]
				if !e.known || e.kind != kind || tried[string(e.data)] {
					continue
				}
				tried[string(e.data)] = true
				fk, limited := c.open(b, e, &spent)
				held = held || limited
				if fk != nil {
					b.opened = kind
					k, class = c.authenticate(b, fk)
					return k, b, class
				}
			}
		}
	}
	if held {
		return k, nil, vectors.Limit
	}
	return k, nil, vectors.NoKey
}

// open tries every key on a slot.
func (c *caller) open(b *block, e *entry, spent *argon2Spent) (fk []byte, limited bool) {
	if e.kind == 5 {
		return c.openHybrid(b, e)
	}
	fits := func(kek []byte) bool {
		bind := build.Bind(b.core(), e.kind, e.salt(), e.params)
		w := build.Wrap(kek, bind, make([]byte, 32)) // of zeros, so that C is the pad
		ct, tag := e.wrapped[:32], e.wrapped[32:]
		if !bytes.Equal(build.HMAC(w.WrapKey, ct), tag) {
			return false
		}
		fk = xor(ct, w.C)
		return true
	}
	if e.kind == 1 {
		for _, ak := range c.accounts {
			if fits(build.AccountKEK(ak, e.salt())) {
				return fk, false
			}
		}
		return nil, false
	}
	t, m, p := le.Uint32(e.params[4:]), le.Uint32(e.params[8:]), e.params[1]
	for _, text := range c.passphrases {
		if !spent.allow(t, m) {
			limited = true
			continue
		}
		if fits(argon2.IDKey(text, e.salt(), t, m, p, 32)) {
			return fk, limited
		}
	}
	return nil, limited
}

// argon2Spent keeps the policy of § 4.5.8.
type argon2Spent struct {
	policy engine.Argon2Policy
	runs   int
	work   uint64
}

func (s *argon2Spent) allow(t, m uint32) bool {
	work := uint64(t) * uint64(m)
	if m > cmp.Or(s.policy.MaxMemoryKiB, 1<<20) || s.runs == cmp.Or(s.policy.MaxRuns, 4) || s.work+work > cmp.Or(s.policy.MaxWorkKiB, 4<<20) {
		return false
	}
	s.runs++
	s.work += work
	return true
}

// authenticate is 8.1.4.
func (c *caller) authenticate(b *block, fk []byte) (k build.Keys, class vectors.Class) {
	k = build.Derive(fk, b.salt(), b.core(), c.context)
	switch {
	case !b.authentic(k):
		return k, vectors.Auth
	case b.bound() != (len(c.context) > 0), b.bound() && !bytes.Equal(k.ContextTag, b.contextTag()):
		return k, vectors.Context
	case b.generation() < c.minGeneration, !c.segmentFits(b.segment()):
		return k, vectors.Limit
	}
	return k, ""
}

func xor(a, b []byte) []byte {
	out := make([]byte, len(a))
	for i := range out {
		out[i] = a[i] ^ b[i]
	}
	return out
}
