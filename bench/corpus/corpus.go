// Package corpus makes the data that the benchmarks compress, encrypt and archive:
// five streams of any size, and trees of small files.
//
//	r, err := corpus.New("chat", corpus.DefaultSize("chat"), 1)
//	err := corpus.SmallFiles(dir, 100_000, 1)
//
// Each is made by code, from words and rules that are part of the package, in memory
// that does not grow with the size, and is the same bytes on every machine: there is
// nothing to download, and whoever doubts a figure can measure it again. Only
// integers are computed with, no map is iterated, and the random numbers are PCG and
// ChaCha8, which leave an implementation no choice. Tests pin hashes and ratios, so
// that no change bends a comparison unseen.
//
// A corpus decides how a comparison of backup programs comes out, so each is a model
// of something that people have much of, and all but media, which is the worst case
// of its kind, take their ratio from the same causes as the original does:
//
//   - chat is a messenger's store: a SQLite database with messages in four languages,
//     their senders, times and states, contacts, attachments, and two indexes. A sixth
//     of it is the text: short sentences of some 20,000 different words by Zipf's law,
//     names, links, emoji and typing errors, now and then the same again. What keeps
//     its ratio at 1.6 is what such stores are full of besides: random message keys in
//     hexadecimal, once in the row and once in the index, secrets, hashes and keys of
//     attachments, thumbnails of some of them. 286 MB hold 938,000 messages.
//   - media is a camera's folder: JPEG and MP4 files of 100 KB to 8 MB with the
//     headers and tables of real ones. The coder's output is drawn evenly instead, in
//     JPEG with its stuffing, so this is the kind of media that compresses least: of
//     cameras' JPEG files zstd saves a percent or two at best.
//   - source is a source tree as a tar stream: projects in Go or C, with JSON and
//     Markdown, where names repeat within a file, less so within a directory and a
//     project. One file in eight is the one before it with small changes, one in forty
//     a vendored copy of an older one, and one in fourteen has tables of numbers. It
//     was tuned against the source of Go 1.26, 137 MB as tar (in brackets below).
//   - logs is what the servers of a shop write: combined access logs, JSON lines of
//     services and some syslog, with random trace ids, and addresses, paths and users
//     of which few make most of the requests.
//   - mix is a third each of chat, media and source, by turns in runs of 100 KB to
//     8 MB: a home directory's files, read one after another. The runs are cut by
//     length, wherever that falls, so it is no row of valid files. With seed 1 each has
//     27 to 39 % of any prefix of 32 MB or more.
//
// Plain size by compressed size, at 40 MB; chat and source have the same at their
// default sizes with zstd -1, within 0.02:
//
//	         zstd -1      -3           -9           -19          klauspost fastest  gzip
//	chat     1.58         1.70         1.81         1.97         1.60               1.65
//	media    1.00         1.00         1.00         1.00         1.00               1.00
//	source   4.19 [4.19]  4.70 [4.76]  5.37 [5.50]  6.44 [6.18]  4.26               4.46 [4.28]
//	logs     5.71         6.07         7.52         9.87         5.68               5.77
//	mix      1.60         1.66         1.72         1.80         1.61               1.64
//
// In independent pieces of 1 MiB, zstd -1 gets 4.13 of source [4.15].
//
// SmallFiles is a home directory's worst part: as many files as asked for, nine in
// ten of which are below 8 KiB.
package corpus

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
)

// A producer makes a corpus piece by piece. Each piece is valid until the next
// call; an empty one is the end.
type producer interface {
	next() []byte
}

// kinds are the corpora in the order of Names.
var kinds = []struct {
	name        string
	defaultSize int64
	unit, least int64 // sizes are multiples of unit, and least or more
	make        func(size int64, seed uint64) producer
}{
	{"chat", 286e6, pageSize, chatLeast, newChat},
	{"media", 268e6, 1, 0, newMedia},
	{"source", 137e6, tarBlock, tarEnd, newSource},
	{"logs", 256e6, 1, 0, newLogs},
	{"mix", 300e6, 1, 3 * chatLeast, newMix},
}

// Names returns the names of the corpora.
func Names() []string {
	var names []string
	for _, k := range kinds {
		names = append(names, k.name)
	}
	return names
}

// DefaultSize returns the size in bytes that a corpus has in published comparisons,
// or 0 if there is no such corpus.
func DefaultSize(name string) int64 {
	for _, k := range kinds {
		if k.name == name {
			return k.defaultSize
		}
	}
	return 0
}

// New returns a corpus of size bytes, of chat rounded down to pages of 4096 and of
// source to blocks of 512. Another seed gives other data of the same kind. The
// reader is for one goroutine, and an io.WriterTo.
func New(name string, size int64, seed uint64) (io.Reader, error) {
	for _, k := range kinds {
		switch {
		case k.name != name:
		case size < k.least:
			return nil, fmt.Errorf("corpus %s takes %d bytes or more", name, k.least)
		default:
			return &reader{p: k.make(size/k.unit*k.unit, seed)}, nil
		}
	}
	return nil, fmt.Errorf("no corpus %q, there are %s", name, strings.Join(Names(), ", "))
}

// Bytes returns all that New would give.
func Bytes(name string, size int64, seed uint64) ([]byte, error) {
	r, err := New(name, size, seed)
	if err != nil {
		return nil, err
	}
	b := make([]byte, size)
	n, err := io.ReadFull(r, b)
	if err == io.ErrUnexpectedEOF {
		err = nil // rounded down
	}
	return b[:n], err
}

type reader struct {
	p     producer
	piece []byte
}

func (r *reader) Read(b []byte) (int, error) {
	if len(r.piece) == 0 {
		if r.piece = r.p.next(); len(r.piece) == 0 {
			return 0, io.EOF
		}
	}
	n := copy(b, r.piece)
	r.piece = r.piece[n:]
	return n, nil
}

// WriteTo writes what is left of the corpus to w.
func (r *reader) WriteTo(w io.Writer) (total int64, err error) {
	for {
		n, err := w.Write(r.piece)
		total += int64(n)
		if err != nil {
			return total, err
		}
		if r.piece = r.p.next(); len(r.piece) == 0 {
			return total, nil
		}
	}
}

// A mix alternates between its parts, in runs as long as files are.
type mix struct {
	*random
	parts []*part
	now   *part
	run   int64 // bytes of it that are still to come
}

// A part is one of a mix.
type part struct {
	producer
	left  int64
	piece []byte // what is left of its last one
}

func newMix(size int64, seed uint64) producer {
	chat := size / 3 / pageSize * pageSize
	source := size / 3 / tarBlock * tarBlock
	media := size - chat - source
	return &mix{random: newRandom(seed, 8), parts: []*part{
		{producer: newChat(chat, seed), left: chat},
		{producer: newMedia(media, seed), left: media},
		{producer: newSource(source, seed), left: source},
	}}
}

func (m *mix) next() []byte {
	if m.run == 0 && !m.turn() {
		return nil
	}
	p := m.now
	if len(p.piece) == 0 {
		p.piece = p.next()
	}
	n := min(m.run, int64(len(p.piece)))
	piece := p.piece[:n]
	p.piece = p.piece[n:]
	p.left -= n
	m.run -= n
	return piece
}

// turn goes on with the part of which most is left: so the shares of what has been
// made never differ by more than a run.
func (m *mix) turn() bool {
	m.now = slices.MaxFunc(m.parts, func(a, b *part) int { return cmp.Compare(a.left, b.left) })
	m.run = min(m.now.left, int64(m.scale(100<<10, 8<<20)))
	return m.run > 0
}
