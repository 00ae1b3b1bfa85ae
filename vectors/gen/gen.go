// Command gen writes the conformance vectors: the containers of v1 and the tables
// beside them. Run it in vectors:
//
//	go run ./gen
//
// It is deterministic, and a test compares what it makes with what is committed.
// What the standard library cannot make twice alike (a public-key encryption) or
// another program makes (zstd) comes from testdata/fixtures.json; -refresh makes
// those that are missing.
//
// It uses package build alone, and nothing of the packages it is there to judge.
package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/coffer-backup/coffer/vectors"
	"github.com/coffer-backup/coffer/vectors/build"
)

func main() {
	refresh := flag.Bool("refresh", false, "make the fixtures that are missing, too")
	flag.Parse()
	if err := run(".", *refresh); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

// run writes all files below dir, and removes containers that are no longer made.
func run(dir string, refresh bool) error {
	if _, err := os.Stat(filepath.Join(dir, "v1")); err != nil {
		return fmt.Errorf("run this in the folder vectors: %w", err)
	}
	f, err := loadFixtures(filepath.Join(dir, "gen", "testdata", "fixtures.json"))
	if err != nil {
		return err
	}
	f.refresh = refresh
	files := generate(f)
	old, err := filepath.Glob(filepath.Join(dir, "v1", "*.coffer"))
	if err != nil {
		return err
	}
	for _, name := range old {
		if _, ok := files["v1/"+filepath.Base(name)]; !ok {
			if err := os.Remove(name); err != nil {
				return err
			}
		}
	}
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(dir, filepath.FromSlash(name)), b, 0o644); err != nil {
			return err
		}
	}
	return f.save()
}

// generate returns every file by its name in package vectors.
func generate(f *fixtures) map[string][]byte {
	s := &set{fixtures: f, files: make(map[string][]byte)}
	goodCases(s)
	headerCases(s)
	slotCases(s)
	keyCases(s)
	otherKeyCases(s)
	bodyCases(s)
	endCases(s)
	copyCases(s)
	frameCases(s)
	skippableCases(s)
	catalogCases(s)
	tableCases(s)
	archiveCases(s)
	slices.SortFunc(s.cases, func(a, b vectors.Case) int { return strings.Compare(a.File, b.File) })
	s.table("manifest.json", vectors.Manifest{Version: 1, Cases: s.cases})
	s.table("kdf.json", keySchedules(f))
	s.table("dare.json", dareStreams())
	s.table("keytext.json", keyTexts())
	s.table("padding.json", paddings())
	return s.files
}

// A set is the vectors made so far.
type set struct {
	fixtures *fixtures
	cases    []vectors.Case
	files    map[string][]byte
}

func (s *set) table(name string, v any) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", " ")
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err)
	}
	s.files[name] = b.Bytes()
}

// The keys of most cases.
var (
	accountKey = seq(0x00, 32)
	passphrase = []byte("correct horse battery staple")
)

// seq is n bytes that count up from first.
func seq(first byte, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = first + byte(i)
	}
	return b
}

// chosen is 32 bytes that stand for random ones.
func chosen(label string) []byte {
	sum := sha256.Sum256([]byte("coffer vectors: " + label))
	return sum[:]
}

// A piece is a frame with the plaintext size that the seek table gives it.
type piece struct {
	bytes []byte
	dsize int
}

func data(plain []byte) piece            { return piece{build.Stored(plain), len(plain)} }
func framed(f *build.Frame, n int) piece { return piece{f.Bytes(), n} }
func other(frame []byte) piece           { return piece{frame, 0} }

// A draft is a case in the making. Its zero fields are the plainest container
// there is: one account slot, one segment of some text.
type draft struct {
	name   string
	recipe build.Recipe
	pieces []piece
	table  []byte // instead of the one that describes pieces
	vectors.Case
}

// text is the plaintext of most cases.
var text = vectors.Plaintext{Repeat: vectors.Hex("a backup is as good as its restore\n"), Length: 100}

// draft begins the case area_name, which shows the numbers of SPEC.md in spec,
// separated by spaces.
func (s *set) draft(name, comment, spec string) *draft {
	d := &draft{name: name, Case: vectors.Case{
		File: "v1/" + name + ".coffer", Comment: comment, Spec: strings.Fields(spec), Class: vectors.OK,
		Inputs: vectors.Inputs{AccountKeys: []vectors.Hex{accountKey}}, Plaintext: text,
	}}
	salt := chosen(name + ": salt")
	d.recipe = build.Recipe{
		Header:  build.Header{Suite: 1 + salt[0]%2, SegmentLog2: 16, Salt: [32]byte(salt), Generation: 1, Size: 4096},
		FileKey: chosen(name + ": file key"),
	}
	d.recipe.Slots = func(core []byte) []build.Entry { return []build.Entry{d.account(core, "slot")} }
	return d
}

// account is a slot for accountKey, with a salt of its own for each label.
func (d *draft) account(core []byte, label string) build.Entry {
	e, _ := build.AccountSlot(core, accountKey, chosen(d.name+": "+label), nil, d.recipe.FileKey)
	return e
}

// build makes the container of the draft.
func (d *draft) build() *build.Container {
	if d.pieces == nil {
		for plain := d.Plaintext.Bytes(); len(plain) > 0; {
			n := min(len(plain), 1<<d.recipe.Header.SegmentLog2)
			d.pieces = append(d.pieces, data(plain[:n]))
			plain = plain[n:]
		}
	}
	if d.recipe.Content == nil {
		d.recipe.Content = append(join(d.pieces), d.tableBytes()...)
	}
	return d.recipe.Build()
}

func (d *draft) tableBytes() []byte {
	if d.table != nil {
		return d.table
	}
	var entries []build.SeekEntry
	for _, p := range d.pieces {
		entries = append(entries, build.SeekEntry{Compressed: uint32(len(p.bytes)), Decompressed: uint32(p.dsize)})
	}
	return build.SeekTable(entries...)
}

func join(pieces []piece) (b []byte) {
	for _, p := range pieces {
		b = append(b, p.bytes...)
	}
	return b
}

// releasedBefore is how much plaintext is in the data frames that lie wholly in
// the first n bytes of the content.
func (d *draft) releasedBefore(n int) (released int) {
	for _, p := range d.pieces {
		if n -= len(p.bytes); n < 0 {
			break
		}
		released += p.dsize
	}
	return released
}

// add finishes a case. A whole container releases all of its plaintext.
func (s *set) add(d *draft, c *build.Container) { s.addBytes(d, c.Bytes()) }

func (s *set) addBytes(d *draft, file []byte) {
	if d.Class.Whole() {
		d.Released = d.Plaintext.Length
	}
	if _, twice := s.files[d.File]; twice {
		panic(d.File + " is made twice")
	}
	s.files[d.File] = file
	s.cases = append(s.cases, d.Case)
}

// after says that all data are released before the fault, by all readers.
func (d *draft) after(class vectors.Class) {
	d.Class, d.Released = class, d.Plaintext.Length
}

// good adds a case without a fault.
func (s *set) good(name, comment, spec string, edit func(d *draft)) {
	d := s.draft(name, comment, spec)
	if edit != nil {
		edit(d)
	}
	s.add(d, d.build())
}
