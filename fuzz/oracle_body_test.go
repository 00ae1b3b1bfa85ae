package fuzz_test

import (
	"bytes"
	"crypto/cipher"
	"slices"

	"github.com/coffer-backup/coffer/vectors"
	"github.com/coffer-backup/coffer/vectors/build"
)

// This part of the oracle is § 5 and § 8: the body, the end, and the order in which
// the two readers judge.

// A verdict is what a reader must say.
type verdict struct {
	// classes has one class, or all those that may be said where several faults
	// are in one file and the specification leaves the order to the reader.
	classes []vectors.Class
	used    *block // the copy that opened
	content contentVerdict
	view    *view // of a body that is authentic, at random
}

func say(classes ...vectors.Class) verdict { return verdict{classes: classes} }

func (v *verdict) allows(c vectors.Class) bool { return slices.Contains(v.classes, c) }

// packageSize is that of every package but the last.
const packageSize = 16 + build.MaxPayload + 16

// A sealed body, with the keys to it.
type sealed struct {
	*block
	keys build.Keys
	aead cipher.AEAD
}

func newSealed(b *block, k build.Keys) *sealed {
	return &sealed{b, k, build.AEAD(b.suite(), k.BodyKey)}
}

// header judges the package header that p begins with (§ 5.2.1).
func (s *sealed) header(p []byte) (payload int, final, ok bool) {
	payload, final = 1+int(le.Uint16(p[2:])), p[4]&0x80 != 0
	ok = bytes.Equal(p[:16], build.PackageHeader(s.suite(), s.keys.Nonce, payload, final)) && (final || payload == build.MaxPayload)
	return payload, final, ok
}

// open opens one package, whose header is right, as number.
func (s *sealed) open(p []byte, number uint32) ([]byte, bool) {
	nonce := bytes.Clone(p[4:16])
	le.PutUint32(nonce[8:], le.Uint32(nonce[8:])^number)
	payload, err := s.aead.Open(nil, nonce, p[16:], p[:4])
	return payload, err == nil
}

// body opens the packages that rest begins with, up to FINAL or the first fault.
func (s *sealed) body(rest []byte) (content []byte, length int, class vectors.Class) {
	for number := uint32(0); ; number++ {
		p := rest[length:]
		if len(p) < 16 {
			return content, length, vectors.Truncated
		}
		n, final, ok := s.header(p)
		if !ok {
			return content, length, vectors.Auth
		}
		if len(p) < 16+n+16 {
			return content, length, vectors.Truncated
		}
		payload, ok := s.open(p[:16+n+16], number)
		if !ok {
			return content, length, vectors.Auth
		}
		content = append(content, payload...)
		length += 16 + n + 16
		if final {
			return content, length, ""
		}
	}
}

// other judges the copy that did not open the file (§ 3.4.4). It is OK, Skew, Auth,
// or DamagedCopy.
func (s *sealed) other(file []byte) vectors.Class {
	if len(file) == s.size() && bytes.Equal(file, s.bytes) {
		return vectors.OK
	}
	b, class := judgeBlock(file)
	switch {
	case class != "" || len(file) != s.size() || b.size() != s.size():
		return vectors.DamagedCopy
	case !bytes.Equal(b.bytes[:64], s.bytes[:64]) || !b.authentic(s.keys):
		return vectors.Auth
	}
	return vectors.Skew
}

// stream is § 8.1: the verdict of a stream reader.
func (c *caller) stream(file []byte) verdict {
	head, class := judgeBlock(file)
	if class != "" {
		return say(class)
	}
	k, _, class := c.unlock([]*block{head})
	if class != "" {
		return say(class)
	}
	s := newSealed(head, k)
	rest := file[head.size():]
	content, length, class := s.body(rest)
	v := verdict{used: head, content: judgeContent(content, s.segment(), class == "")}
	if v.content.fault {
		v.classes = []vectors.Class{vectors.Content}
		return v
	}
	if class == "" {
		class = s.tail(rest[length:])
	}
	v.classes = []vectors.Class{class}
	return v
}

// tail judges what follows the body in a stream (8.1.6).
func (s *sealed) tail(rest []byte) vectors.Class {
	h := s.size()
	if len(rest) < h {
		return vectors.Truncated
	}
	switch class := s.other(rest[:h]); {
	case class == vectors.DamagedCopy, class == vectors.Auth:
		return vectors.Auth
	case len(rest) > h:
		return vectors.Trailing
	default:
		return class
	}
}

// random is § 8.2: the verdict of a random-access reader that reads everything.
func (c *caller) random(file []byte) verdict {
	head, class := judgeBlock(file)
	tailBytes := tailOf(file, head)
	tail, tailClass := judgeBlock(tailBytes)
	if tailClass != "" || tail.size() != len(tailBytes) {
		tail = nil
	}
	var copies []*block
	switch {
	case head == nil && tail == nil:
		return say(class)
	case head == nil:
		copies = []*block{tail}
	case tail == nil || !bytes.Equal(head.bytes[:64], tail.bytes[:64]):
		copies = []*block{head}
	case tail.generation() > head.generation():
		copies = []*block{tail, head}
	default:
		copies = []*block{head, tail}
	}
	k, used, class := c.unlock(copies)
	if class != "" {
		return say(class)
	}
	s := newSealed(used, k)
	if classes := s.end(file); classes != nil {
		return say(classes...)
	}
	other := tailBytes
	if used == tail {
		other = file[:s.size()]
	}
	verdictOfCopy := s.other(other)
	if verdictOfCopy == vectors.Auth {
		return say(vectors.Auth)
	}
	region := file[s.size() : len(file)-s.size()]
	content, length, class := s.body(region)
	if length < len(region) {
		class = vectors.Auth // FINAL is expected at the end only (§ 5.3.2)
	}
	v := verdict{used: used, content: judgeContent(content, s.segment(), class == "")}
	if class == "" {
		seen := viewOf(content, s.segment())
		v.view = &seen
	}
	switch {
	case class != "": // which of the faults inside is met first is not laid down
		v.classes = []vectors.Class{vectors.Auth, vectors.Content}
	case v.content.fault:
		v.classes = []vectors.Class{vectors.Content}
	default:
		v.classes = []vectors.Class{verdictOfCopy}
	}
	return v
}

// tailOf is § 3.4.2. It is nil if the file has no room for TAIL, or nothing says how
// long it is.
func tailOf(file []byte, head *block) []byte {
	h := 0
	switch {
	case head != nil:
		h = head.size()
	case len(file) >= 4:
		n := le.Uint32(file[len(file)-4:])
		if n < 4096 || n > 65536 || n%4096 != 0 {
			return nil
		}
		h = int(n)
	}
	if h == 0 || 2*h > len(file) {
		return nil
	}
	return file[len(file)-h:]
}

// end is § 8.2.3: nil if the final package is where the length says, and
// authentic, else what to report.
func (s *sealed) end(file []byte) []vectors.Class {
	h := s.size()
	length := len(file) - 2*h
	if n, r := (length+packageSize-1)/packageSize, length%packageSize; length >= 33 && (r == 0 || r >= 33) {
		p := file[h+(n-1)*packageSize : len(file)-h]
		if payload, final, ok := s.header(p); ok && final && 16+payload+16 == len(p) {
			if _, ok := s.open(p, uint32(n-1)); ok {
				return nil
			}
		}
	}
	// known[i] says that the derived header without FINAL stands at position i.
	var known []bool
	for at := h; at+16 <= len(file); at += packageSize {
		_, final, ok := s.header(file[at:])
		known = append(known, ok && !final)
	}
	first := slices.Index(append(known, false), false)
	if slices.Contains(known[first:], true) {
		// Walking and bisection end in different places.
		return []vectors.Class{vectors.Auth, vectors.Truncated, vectors.Trailing}
	}
	return []vectors.Class{s.lastOf(file, first)}
}

// lastOf judges the real end, which package number is.
func (s *sealed) lastOf(file []byte, number int) vectors.Class {
	at := s.size() + number*packageSize
	p := file[min(at, len(file)):]
	n := 0
	if len(p) >= 16 {
		payload, final, ok := s.header(p)
		if !ok || !final {
			return vectors.Auth
		}
		n = payload
	}
	if n == 0 || len(p) < 16+n+16 {
		if number > 0 && at <= len(file) {
			if _, ok := s.open(file[at-packageSize:at], uint32(number-1)); !ok {
				return vectors.Auth
			}
		}
		return vectors.Truncated
	}
	if _, ok := s.open(p[:16+n+16], uint32(number)); !ok {
		return vectors.Auth
	}
	// It cannot be TAIL and nothing else that follows: then the length would have been
	// right.
	return s.tail(p[16+n+16:])
}
