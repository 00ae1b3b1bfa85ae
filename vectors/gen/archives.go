package main

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/coffer-backup/coffer/vectors"
	"github.com/coffer-backup/coffer/vectors/build"
)

// A member is an entry of an archive and its record. Fields of the record that
// are not zero are instead of the entry's.
type member struct {
	name, link string
	kind       byte
	mode       int
	content    string
	pax        []string // "key=value"
	size       int      // instead of the content's, if not 0
	edit       func(header []byte)
	record     func(r *build.Record) // makes the record say something else
	ustar      string                // the name in the ustar block, instead
	global     bool
	unlisted   bool // without a record
}

const mtime = 1_700_000_000

// ustar returns a header block.
func ustar(name, link string, kind byte, mode, size int) []byte {
	b := make([]byte, 512)
	copy(b, name)
	copy(b[100:], fmt.Sprintf("%07o\x00%07o\x00%07o\x00%011o\x00%011o\x00", mode, 0, 0, size, mtime))
	b[156] = kind
	copy(b[157:], link)
	copy(b[257:], "ustar\x0000")
	checksum(b)
	return b
}

func checksum(b []byte) {
	copy(b[148:], "        ")
	sum := 0
	for _, v := range b {
		sum += int(v)
	}
	copy(b[148:], fmt.Sprintf("%06o\x00 ", sum))
}

func blocks(content []byte) []byte {
	return append(bytes.Clone(content), make([]byte, -len(content)&511)...)
}

// paxRecords encodes records of the form key=value.
func paxRecords(records []string) (b []byte) {
	for _, r := range records {
		n := len(r) + 3
		for len(fmt.Sprint(n))+len(r)+2 != n {
			n++
		}
		b = append(b, fmt.Sprintf("%d %s\n", n, r)...)
	}
	return b
}

// archiveOf returns the tar of members, without its end, and the records.
func archiveOf(members []member) (tar []byte, records [][]byte) {
	for _, m := range members {
		size := len(m.content)
		if m.size != 0 {
			size = m.size
		}
		if m.mode == 0 {
			m.mode = 0o644
		}
		r := build.Record{Offset: uint64(len(tar)), Size: uint64(size), ModTime: mtime * 1_000_000_000, Mode: uint32(m.mode), Type: m.kind, Path: m.name, Link: m.link}
		name, link := m.name, m.link
		if len(name) > 100 {
			m.pax = append(m.pax, "path="+name)
			name = name[:100]
		}
		if m.ustar != "" {
			name = m.ustar
		}
		if len(link) > 100 {
			m.pax = append(m.pax, "linkpath="+link)
			link = link[:100]
		}
		if len(m.pax) > 0 {
			kind := byte('x')
			if m.global {
				kind = 'g'
			}
			body := paxRecords(m.pax)
			tar = append(tar, ustar("PaxHeaders.0/x", "", kind, 0o644, len(body))...)
			tar = append(tar, blocks(body)...)
		}
		h := ustar(name, link, m.kind, m.mode, size)
		if m.edit != nil {
			m.edit(h)
		}
		tar = append(tar, h...)
		tar = append(tar, blocks([]byte(m.content))...)
		if m.record != nil {
			m.record(&r)
		}
		if !m.unlisted {
			records = append(records, r.Bytes())
		}
	}
	return tar, records
}

func file(name string) member { return member{name: name, kind: '0', content: "content\n"} }
func dir(name string) member  { return member{name: name, kind: '5', mode: 0o755} }

// archive adds a case whose plaintext is an archive and is judged as one.
func (s *set) archive(name, comment, spec string, class vectors.Class, members ...member) {
	tar, records := archiveOf(members)
	s.tar(name, comment, spec, class, append(tar, make([]byte, 1024)...), records)
}

func (s *set) tar(name, comment, spec string, class vectors.Class, tar []byte, records [][]byte) {
	d := s.draft("archive_"+name, comment, spec)
	d.Inputs.Archive, d.Plaintext = true, vectors.Plaintext{Repeat: tar, Length: len(tar)}
	d.after(class)
	d.pieces = []piece{data(tar)}
	if records != nil {
		d.pieces = append(d.pieces, other(build.Catalog(records...)))
	}
	s.add(d, d.build())
}

func archiveCases(s *set) {
	good, bad := vectors.OK, vectors.Content
	deep := strings.Repeat("long part of a name/", 8)
	s.archive("everything", "every type of entry", "7.1 7.2 7.3 7.5 6.3.1 6.3.4 6.4.1", good,
		dir("d/"), file("d/file"), member{name: "d/empty", kind: '0'},
		member{name: "d/hard", kind: '1', link: "d/file"}, member{name: "d/symbolic", kind: '2', link: "../anywhere", mode: 0o777},
		member{name: "d/char", kind: '3'}, member{name: "d/block", kind: '4'}, member{name: "d/fifo", kind: '6'})
	s.archive("edges", "the source itself as ./, mode bits 07777, a part of 255 bytes", "6.3.2 7.3 9.1", good,
		dir("./"), member{name: strings.Repeat("n", 255), kind: '0', mode: 0o7777})
	s.archive("pax", "long names, and PAX records of every kind", "7.3 7.4", good,
		member{name: deep + "file", kind: '0', content: "x", pax: []string{"uid=3000000", "gid=3000000", "uname=ü", "gname=g", "size=1", "atime=1.5", "ctime=2", "SCHILY.xattr.user.a%3Db%25=v\x00="}},
		member{name: "hard", kind: '1', link: deep + "file"}, member{name: "symbolic", kind: '2', link: deep, mode: 0o777})
	s.archive("mtime", "an mtime in nanoseconds, before 1970", "6.3.2 7.3", good,
		member{name: "f", kind: '0', pax: []string{"mtime=-1.25"}, record: func(r *build.Record) { r.ModTime = -1_250_000_000 }})
	s.archive("bytes", "a name of bytes that are no UTF-8", "6.3.4 7.3", good,
		member{name: "\xff\xfe", kind: '0', ustar: "x", pax: []string{"path=\xff\xfe"}})
	s.archive("ustar-bytes", "bytes that are no ASCII in a ustar block", "7.3 8.4.48", bad, file("first"), file("\xc3\xbc"))

	named := func(name string) member { return file(name) }
	for name, path := range map[string]string{
		"absolute": "/etc/passwd", "dot-dot": "a/../../b", "dot-dot-alone": "..", "dot": "a/./b", "empty-part": "a//b",
		"part-256": strings.Repeat("n", 256), "name-4097": strings.Repeat("abcdefg/", 512) + "n",
		"parts-1025": strings.Repeat("a/", 1024) + "a",
	} {
		s.archive("name-"+name, "a file with a name that is not allowed: "+name, "7.3 9.1 8.4.48", bad, file("first"), named(path))
	}
	s.archive("dir-no-slash", "a directory's name does not end in /", "7.3 8.4.48", bad, dir("d"))
	s.archive("dir-absolute", "a directory with an absolute name", "7.3 8.4.48", bad, dir("/d/"))
	s.archive("global", "a global PAX header", "7.1 8.4.48", bad, file("first"), member{name: "f", kind: '0', pax: []string{"mtime=1"}, global: true, record: func(r *build.Record) { r.ModTime = 1_000_000_000 }})
	for name, kind := range map[string]byte{"l": 'L', "s": 'S', "7": '7'} {
		s.archive("type-"+name, "an entry of type "+strings.ToUpper(name), "7.1 7.3 8.4.48", bad, file("first"), member{name: "f", kind: kind, content: "name"})
	}
	s.archive("gnu", "an entry with the magic of GNU tar", "7.1 7.3 8.4.48", bad, file("first"), member{name: "f", kind: '0', edit: func(h []byte) {
		copy(h[257:], "ustar  \x00")
		checksum(h)
	}})
	s.archive("record-comment", "a PAX record that archives do not have", "7.3 8.4.48", bad, member{name: "f", kind: '0', pax: []string{"comment=hello"}})
	s.archive("record-sparse", "a GNU sparse map in PAX records", "7.3 8.4.48", bad, member{name: "f", kind: '0', content: "x", pax: []string{"GNU.sparse.major=1", "GNU.sparse.minor=0"}})
	s.archive("mode-type", "a mode with the bits of a file type", "7.3 8.4.48", bad, member{name: "f", kind: '0', mode: 0o100644})
	s.archive("link-of-file", "a file with a link", "7.3 8.4.48", bad, member{name: "f", kind: '0', link: "target"})
	s.archive("link-empty", "a symbolic link to nothing", "7.3 9.1 8.4.48", bad, file("first"), member{name: "l", kind: '2'})
	s.archive("name-nul", "a NUL in a name", "7.3 8.4.48", bad, member{name: "a\x00b", kind: '0', ustar: "a", pax: []string{"path=a\x00b"}})
	s.archive("dir-4096", "a directory's name of 4096 bytes and its slash", "9.1 7.3", good, dir(strings.Repeat("abcdefg/", 511)+"abcdefgh/"))
	s.archive("link-absent", "a hard link to a member that is not there", "7.3 8.4.48", bad, file("first"), member{name: "h", kind: '1', link: "other"})
	s.archive("link-later", "a hard link to a later member", "7.3 8.4.48", bad, member{name: "h", kind: '1', link: "later"}, file("later"))
	s.archive("link-dot-dot", "a hard link out of the archive", "7.3 8.4.48", bad, file("first"), member{name: "h", kind: '1', link: "../first"})
	s.archive("link-size", "a symbolic link with content", "7.3 8.4.48", bad, member{name: "l", kind: '2', link: "x", content: "content"})
	s.archive("dir-size", "a directory with content", "7.3 8.4.48", bad, member{name: "d/", kind: '5', content: "content"})

	s.archive("record-path", "a record with another path", "7.2 8.4.48", bad, member{name: "f", kind: '0', record: func(r *build.Record) { r.Path = "g" }})
	s.archive("record-link", "a record with another link", "7.2 8.4.48", bad, member{name: "l", kind: '2', link: "a", record: func(r *build.Record) { r.Link = "b" }})
	s.archive("record-size", "a record with another size", "7.2 8.4.48", bad, member{name: "f", kind: '0', content: "abc", record: func(r *build.Record) { r.Size = 4 }})
	s.archive("record-type", "a record with another type", "7.2 8.4.48", bad, member{name: "f", kind: '0', record: func(r *build.Record) { r.Type = '6' }})
	s.archive("record-mode", "a record with another mode", "7.2 8.4.48", bad, member{name: "f", kind: '0', record: func(r *build.Record) { r.Mode = 0o600 }})
	s.archive("record-mtime", "a record with another mtime", "7.2 8.4.48", bad, member{name: "f", kind: '0', record: func(r *build.Record) { r.ModTime++ }})
	s.archive("record-offset", "a record with another offset", "7.2 8.4.48", bad, file("first"), member{name: "f", kind: '0', record: func(r *build.Record) { r.Offset += 512 }})
	s.archive("record-missing", "an entry without a record", "7.2 8.4.48", bad, file("first"), member{name: "f", kind: '0', unlisted: true})
	tar, records := archiveOf([]member{file("f")})
	end := make([]byte, 1024)
	s.tar("record-more", "a record without an entry", "7.2 8.4.48", bad, append(bytes.Clone(tar), end...), append(records, build.Record{Offset: 2048, Type: '0', Path: "g"}.Bytes()))

	s.tar("no-end", "the archive lacks its two blocks of zeros", "7.5 8.4.48", bad, tar, records)
	s.tar("half-end", "the archive ends with one block of zeros", "7.5 8.4.48", bad, append(bytes.Clone(tar), end[:512]...), records)
	long, longRecords := archiveOf([]member{file("f"), {name: "g", kind: '0', pax: []string{"path=g"}}})
	s.tar("pax-at-end", "the archive ends after PAX records, two blocks that are not zero", "7.5 8.4.48", bad, long[:2*512+2*512], longRecords[:1])
	s.tar("zeros-after", "more zeros follow the end", "7.5", good, append(bytes.Clone(tar), make([]byte, 1024+512)...), records)
	s.tar("data-after", "a byte that is not 0 follows the end", "7.5 8.4.48", bad, append(append(bytes.Clone(tar), end...), 0, 1), records)
	s.tar("cut", "the archive ends inside a file", "7.5 8.4.48", bad, tar[:515], records)
	s.archive("checksum", "a header block's checksum is wrong", "7.1 8.4.48", bad, file("first"), member{name: "f", kind: '0', edit: func(h []byte) { h[150] ^= 1 }})
	s.tar("no-tar", "a catalog, and the plaintext is no archive", "6.3.1 7.1 8.4.48", bad, []byte("some text"), records)
	tar, records = archiveOf([]member{{name: "f", kind: '0', pax: []string{"path=f"}}})
	tar[512]++ // the record's length, 10, becomes 20
	s.tar("pax-length", "a PAX record says that it is longer than it is", "7.3 8.4.48", bad, append(tar, end...), records)
}
