package corpus

import (
	"archive/tar"
	"bytes"
	"fmt"
	"slices"
	"time"
)

// source is a source tree as a tar stream: projects of packages of files, in one
// of four languages each.
type source struct {
	*random
	left    int64 // bytes of the corpus
	out     bytes.Buffer
	tar     *tar.Writer
	langs   [len(sourceLanguages)]*speaker
	main    int // language of the project
	project string
	dir     string
	dirs    int
	files   int // in dir that are still to come
	file    sourceFile
	kept    [64]sourceFile // to be vendored
}

type sourceFile struct {
	name     string // without folder and extension
	language int
	text     []byte
}

func (f *sourceFile) set(from *sourceFile) {
	f.name, f.language, f.text = from.name, from.language, append(f.text[:0], from.text...)
}

// languages of source files, and how many of 16 are in each.
var sourceLanguages = [4]struct {
	grammar, extension, indent string
	share                      int
}{
	{"go.txt", ".go", "\t", 6},
	{"c.txt", ".c", "\t", 6},
	{"json.txt", ".json", "  ", 2},
	{"md.txt", ".md", "", 2},
}

const (
	tarBlock  = 512
	tarEnd    = 2 * tarBlock // of zeros, or more
	leastTail = 4096         // room that is filled with zeros, as no file goes there

	variantOneIn = 8
)

func newSource(size int64, seed uint64) producer {
	s := &source{random: newRandom(seed, 5), left: size}
	s.tar = tar.NewWriter(&s.out)
	for i, l := range sourceLanguages {
		s.langs[i] = newSpeaker(readGrammar(l.indent, nil, "tech.txt", l.grammar), s.random)
	}
	return s
}

func (s *source) next() []byte {
	s.out.Reset()
	for s.left > 0 && s.out.Len() < 1<<16 {
		room := s.left - int64(s.out.Len())
		if room <= leastTail {
			s.out.Write(make([]byte, room)) // the end of the archive
			break
		}
		s.addFile(int(min(room-tarEnd-tarBlock, 1<<20)))
	}
	s.left -= int64(s.out.Len())
	return s.out.Bytes()
}

// addFile appends a file of at most limit bytes: one in nine is the file before it
// for another platform, one in forty a vendored copy of something else.
func (s *source) addFile(limit int) {
	if s.files == 0 {
		s.changeDir()
	}
	s.files--
	dir := s.dir
	kept := &s.kept[s.below(len(s.kept))]
	switch {
	case s.file.name != "" && s.oneIn(variantOneIn):
		s.edit()
	case kept.name != "" && s.oneIn(40):
		s.file.set(kept)
		s.edit()
		dir += "/vendor/" + kept.name
	default:
		s.write(s.scale(512, 50_000))
		if s.oneIn(4) {
			kept.set(&s.file)
		}
	}
	if len(s.file.text) > limit { // at the end of the corpus
		s.file.text = s.file.text[:1+bytes.LastIndexByte(s.file.text[:limit], '\n')]
	}
	s.addTar(fmt.Sprintf("src/%s/%s_%d%s", dir, s.file.name, s.files, sourceLanguages[s.file.language].extension))
}

// changeDir goes to another directory: of another project, or of the same.
func (s *source) changeDir() {
	s.dirs++
	s.files = s.between(3, 30)
	anew := 3
	if s.project == "" || s.oneIn(5) {
		s.project = fmt.Sprintf("%s-%d", s.langs[0].sayNamed(nil, "camel"), s.dirs)
		s.main = s.below(len(s.langs)) / 2 // Go or C
		anew = 1
	}
	for _, l := range s.langs {
		l.renew(anew)
	}
	s.dir = fmt.Sprintf("%s/%s%d", s.project, s.langs[0].sayNamed(nil, "thing"), s.dirs)
}

// language draws the next file's: that of the project, or what goes with it.
func (s *source) language() int {
	n := s.below(16)
	for i, l := range sourceLanguages {
		if n -= l.share; n < 0 {
			if i < 2 {
				return s.main
			}
			return i
		}
	}
	panic("corpus: internal error: shares are not 16")
}

// write makes a new file of about that size.
func (s *source) write(size int) {
	f := &s.file
	f.language = s.language()
	l := s.langs[f.language]
	l.steps = 0
	l.renew(3)
	f.name = string(l.sayNamed(nil, "snake"))
	f.text = l.sayNamed(l.sayNamed(f.text[:0], "licence"), "start")
	table := s.oneIn(14)
	for len(f.text) < size {
		rule := "decl"
		if table && s.oneIn(2) {
			rule = "table"
		}
		f.text = l.sayNamed(f.text, rule)
	}
	if sourceLanguages[f.language].extension == ".json" {
		f.text = append(bytes.TrimRight(f.text, ","), "\n}"...)
	}
	f.text = append(bytes.TrimRight(f.text, "\n"), '\n')
}

// edit makes another version of the file: some numbers differ, and a comment or
// two.
func (s *source) edit() {
	f := &s.file
	for range s.between(2, 20) {
		i := s.below(len(f.text))
		if f.text[i]-'1' < 9 {
			f.text[i] = decimalDigits[s.between(1, 9)]
		}
		if end := bytes.IndexByte(f.text[i:], '\n'); end >= 0 && f.language < 2 && s.oneIn(5) {
			f.text = slices.Insert(f.text, i+end, append([]byte("\n// "), s.langs[0].sayNamed(nil, "order")...)...)
		}
	}
}

func (s *source) addTar(name string) {
	err := s.tar.WriteHeader(&tar.Header{
		Format: tar.FormatUSTAR, Typeflag: tar.TypeReg, Name: name, Size: int64(len(s.file.text)), Mode: 0o644,
		Uid: 1000, Gid: 1000, Uname: "build", Gname: "build", ModTime: time.Unix(1_700_000_000+int64(s.bits(24)), 0),
	})
	if err == nil {
		_, err = s.tar.Write(s.file.text)
	}
	if err == nil {
		err = s.tar.Flush() // pads to whole blocks
	}
	if err != nil {
		panic("corpus: internal error: " + err.Error())
	}
}
