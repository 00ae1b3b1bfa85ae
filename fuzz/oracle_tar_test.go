package fuzz_test

import (
	"bytes"
	"math"
	"strconv"
	"strings"

	"github.com/coffer-backup/coffer/vectors/build"
)

// This part of the oracle is § 7 and the limits of archives in § 9.1.

// A tarHeader is what a ustar block and the PAX records before it say.
type tarHeader struct {
	typ        byte
	size, mode uint64
	modTime    int64
	name, link string
}

// A tarJudge goes through an archive block by block.
type tarJudge struct {
	left    []byte
	offset  int
	records []build.Record
	members map[string]bool // names that a hard link may have
}

// judgeTar returns the records of the catalog that belongs to an archive, and whether
// it is one.
func judgeTar(stream []byte) (records []build.Record, ok bool) {
	j := &tarJudge{left: stream, members: make(map[string]bool)}
	for {
		if len(j.left) >= 512 && zero(j.left[:512]) {
			return j.records, len(j.records) > 0 && len(j.left) >= 1024 && zero(j.left)
		}
		if !j.entry() {
			return j.records, false
		}
	}
}

// take returns the next n bytes, and skips what fills their last block.
func (j *tarJudge) take(n uint64) ([]byte, bool) {
	end := (n + 511) / 512 * 512
	if end < n || end > uint64(len(j.left)) {
		return nil, false
	}
	b := j.left[:n]
	j.left, j.offset = j.left[end:], j.offset+int(end)
	return b, true
}

// entry judges the next entry.
func (j *tarJudge) entry() bool {
	offset := j.offset
	var pax map[string]string
	for {
		b, ok := j.take(512)
		if !ok || !ustarGood(b) {
			return false
		}
		h, ok := readUSTAR(b)
		if !ok {
			return false
		}
		if h.typ == 'x' {
			body, ok := j.take(h.size)
			if !ok || h.size > 1<<20 {
				return false
			}
			if pax, ok = readPAX(body); !ok {
				return false
			}
			continue
		}
		if !h.apply(pax) {
			return false
		}
		if !h.good(j.members) {
			return false
		}
		if h.typ != '5' {
			j.members[h.name] = true
		}
		if _, ok := j.take(h.size); !ok {
			return false
		}
		j.records = append(j.records, build.Record{Offset: uint64(offset), Size: h.size, ModTime: h.modTime, Mode: uint32(h.mode), Type: h.typ, Path: h.name, Link: h.link})
		return true
	}
}

// ustarGood judges a block by the form of ustar alone.
func ustarGood(b []byte) bool {
	var want uint64
	for i, c := range b {
		if c >= 0x80 {
			return false
		}
		if i >= 148 && i < 156 {
			c = ' '
		}
		want += uint64(c) // signed or not, as all is ASCII
	}
	sum, ok := octal(b[148:156])
	for _, last := range []int{107, 115, 123, 135, 147, 336, 344} {
		ok = ok && b[last] == 0
	}
	return ok && sum == want && string(b[257:263]) == "ustar\x00" && string(b[508:512]) != "tar\x00"
}

func readUSTAR(b []byte) (h tarHeader, ok bool) {
	ok = true
	number := func(from, to int) uint64 {
		n, good := octal(b[from:to])
		ok = ok && good
		return n
	}
	h = tarHeader{typ: b[156], mode: number(100, 108), size: number(124, 136), name: text(b[:100]), link: text(b[157:257])}
	seconds := number(136, 148)
	for _, other := range [][2]int{{108, 116}, {116, 124}, {329, 337}, {337, 345}} {
		number(other[0], other[1])
	}
	h.modTime = nanoseconds(int64(seconds), 0)
	if prefix := text(b[345:500]); prefix != "" {
		h.name = prefix + "/" + h.name
	}
	return h, ok && h.size < 1<<63
}

// octal reads a number with spaces or NULs around it.
func octal(b []byte) (n uint64, ok bool) {
	for _, c := range text(bytes.Trim(b, " \x00")) {
		if c < '0' || c > '7' || n >= 1<<61 {
			return 0, false
		}
		n = n<<3 | uint64(c-'0')
	}
	return n, true
}

func text(b []byte) string {
	s, _, _ := strings.Cut(string(b), "\x00")
	return s
}

// nanoseconds since 1970, saturated (§ 6.3.2).
func nanoseconds(seconds, nanos int64) int64 {
	switch limit := int64(math.MaxInt64 / 1_000_000_000); {
	case seconds >= limit:
		return math.MaxInt64
	case seconds <= -limit:
		return math.MinInt64
	}
	return seconds*1_000_000_000 + nanos
}

// readPAX reads records of the form "LENGTH KEY=VALUE\n".
func readPAX(body []byte) (map[string]string, bool) {
	pax := make(map[string]string)
	for s := string(body); s != ""; {
		digits, _, found := strings.Cut(s, " ")
		n, err := strconv.Atoi(digits)
		if !found || err != nil || n > len(s) || n < len(digits)+3 || s[n-1] != '\n' {
			return nil, false
		}
		key, value, found := strings.Cut(s[len(digits)+1:n-1], "=")
		s = s[n:]
		switch key {
		case "path", "linkpath", "uname", "gname":
			found = found && !strings.Contains(value, "\x00")
		case "size", "uid", "gid", "mtime", "atime", "ctime":
		default:
			found = found && strings.HasPrefix(key, "SCHILY.xattr.") && !strings.Contains(key, "\x00")
		}
		if !found {
			return nil, false
		}
		pax[key] = value
	}
	return pax, true
}

// apply puts PAX records in the place of what the ustar block says. An empty one
// leaves it.
func (h *tarHeader) apply(pax map[string]string) bool {
	for key, v := range pax {
		if v == "" {
			continue
		}
		var err error
		switch key {
		case "path":
			h.name = v
		case "linkpath":
			h.link = v
		case "uid", "gid":
			_, err = strconv.ParseInt(v, 10, 64)
		case "size":
			h.size, err = strconv.ParseUint(strings.TrimPrefix(v, "+"), 10, 63)
		case "mtime", "atime", "ctime":
			seconds, fraction, _ := strings.Cut(v, ".")
			var s, n int64
			s, err = strconv.ParseInt(seconds, 10, 64)
			if err == nil && strings.Trim(fraction, "0123456789") != "" {
				return false
			}
			n, _ = strconv.ParseInt((fraction + "000000000")[:9], 10, 64)
			if strings.HasPrefix(seconds, "-") {
				n = -n
			}
			if key == "mtime" {
				h.modTime = nanoseconds(s, n)
			}
		}
		if err != nil {
			return false
		}
	}
	return true
}

// good is § 7.3. It takes the type NUL of old tars as archive/tar does (README.md).
func (h *tarHeader) good(members map[string]bool) bool {
	if h.typ == 0 {
		if h.typ = '0'; strings.HasSuffix(h.name, "/") {
			h.typ = '5'
		}
	}
	if h.mode > 0o7777 || h.typ != '0' && h.size != 0 {
		return false
	}
	switch h.typ {
	case '0', '3', '4', '6':
		return nameGood(h.name) && h.link == ""
	case '1':
		return nameGood(h.name) && members[h.link]
	case '2':
		return nameGood(h.name) && len(h.link) >= 1 && len(h.link) <= 4096
	case '5':
		name, slash := strings.CutSuffix(h.name, "/")
		return slash && (name == "." || nameGood(name)) && h.link == ""
	}
	return false
}

func nameGood(name string) bool {
	parts := strings.Split(name, "/")
	for _, p := range parts {
		if p == "" || p == "." || p == ".." || len(p) > 255 || strings.Contains(p, "\x00") {
			return false
		}
	}
	return len(name) <= 4096 && len(parts) <= 1024
}
