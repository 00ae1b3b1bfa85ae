package archive_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/coffer-backup/coffer/archive"
	"github.com/coffer-backup/coffer/format"
)

var someTime = time.Unix(1_700_000_000, 123)

// tarOf writes headers as a hostile writer would. Content is Size bytes of 'x'.
func tarOf(t testing.TB, headers ...*tar.Header) []byte {
	t.Helper()
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	for _, h := range headers {
		h := *h
		if h.Format == 0 {
			h.Format = tar.FormatPAX
		}
		if h.Mode == 0 {
			h.Mode = 0o755
		}
		if h.ModTime.IsZero() && h.Typeflag != tar.TypeXGlobalHeader {
			h.ModTime = someTime
		}
		if h.Uid == 0 {
			h.Uid, h.Gid = os.Geteuid(), os.Getegid()
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			h = tar.Header{Typeflag: h.Typeflag, PAXRecords: h.PAXRecords, Format: tar.FormatPAX}
		}
		if err := tw.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write(bytes.Repeat([]byte{'x'}, int(h.Size))); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func file(name string) *tar.Header { return &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: 5} }
func dir(name string) *tar.Header  { return &tar.Header{Typeflag: tar.TypeDir, Name: name} }
func link(name, to string) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to}
}
func hard(name, to string) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: to}
}

func TestHostile(t *testing.T) {
	long := strings.Repeat("p", 256)
	deep := strings.Repeat("d/", 1025) + "f"
	pax := func(h *tar.Header, key, value string) *tar.Header {
		h.PAXRecords = map[string]string{key: value}
		return h
	}
	for _, tt := range []struct {
		name    string
		entries []*tar.Header
		want    error  // nil: entries that are left out, no more
		left    string // what there is in the target afterwards
	}{
		{"dotdot", []*tar.Header{file("../out/new")}, archive.ErrUnsafe, ""},
		{"dotdot inside", []*tar.Header{file("a/../../out/new")}, archive.ErrUnsafe, ""},
		{"dotdot harmless", []*tar.Header{file("a/../b")}, archive.ErrUnsafe, ""},
		{"dotdot dir", []*tar.Header{dir("../out/new/")}, archive.ErrUnsafe, ""},
		{"dotdot itself", []*tar.Header{dir("../")}, archive.ErrUnsafe, ""},
		{"absolute", []*tar.Header{file("OUT/new")}, archive.ErrUnsafe, ""},
		{"absolute dir", []*tar.Header{dir("/")}, archive.ErrUnsafe, ""},
		{"dot", []*tar.Header{file("./a")}, archive.ErrUnsafe, ""},
		{"dot file", []*tar.Header{file(".")}, archive.ErrUnsafe, ""},
		{"empty part", []*tar.Header{file("a//b")}, archive.ErrUnsafe, ""},
		{"no name", []*tar.Header{file("")}, archive.ErrUnsafe, ""},
		{"long part", []*tar.Header{file("a/" + long)}, archive.ErrLimit, ""},
		{"long name", []*tar.Header{file(strings.Repeat("abcd/", 820) + "f")}, archive.ErrLimit, ""},
		{"deep", []*tar.Header{file(deep)}, archive.ErrLimit, ""},
		{"long link", []*tar.Header{link("l", strings.Repeat("x", 4097))}, archive.ErrLimit, ""},
		{"through link", []*tar.Header{link("l", "OUT"), file("l/new")}, nil, "l"},
		{"through relative link", []*tar.Header{link("l", "../out"), file("l/new")}, nil, "l"},
		{"through inner link", []*tar.Header{dir("d/"), link("l", "d"), file("l/new")}, nil, "d l"},
		{"through links", []*tar.Header{dir("a/"), link("a/b", ".."), link("c", "a/b/../out"), file("c/new"), file("a/b/new")}, nil, "a a/b c"},
		{"onto link", []*tar.Header{link("l", "OUT/secret"), file("l")}, nil, "l"},
		{"dir onto link", []*tar.Header{link("l", "OUT"), dir("l/"), file("l/new")}, nil, "l"},
		{"link onto dir", []*tar.Header{dir("l/"), link("l", "OUT"), file("l/new")}, nil, "l l/new"},
		{"hard link out", []*tar.Header{hard("h", "../out/secret")}, archive.ErrUnsafe, ""},
		{"hard link absolute", []*tar.Header{hard("h", "OUT/secret")}, archive.ErrUnsafe, ""},
		{"hard link through link", []*tar.Header{link("l", "OUT"), hard("h", "l/secret")}, archive.ErrUnsafe, "l"},
		{"hard link to link", []*tar.Header{link("l", "OUT/secret"), hard("h", "l"), file("h")}, nil, "h l"},
		{"hard link through inner link", []*tar.Header{dir("d/"), file("d/f"), link("s", "d"), hard("h", "s/f")}, archive.ErrUnsafe, "d d/f s"},
		{"hard link to nothing", []*tar.Header{hard("h", "absent")}, archive.ErrUnsafe, ""},
		{"hard link to a later one", []*tar.Header{hard("h", "f"), file("f")}, archive.ErrUnsafe, ""},
		{"hard link to itself", []*tar.Header{file("f"), hard("f", "f")}, nil, "f"},
		{"hard link to dir", []*tar.Header{dir("d/"), hard("h", "d")}, archive.ErrUnsafe, "d"},
		{"directory without a slash", []*tar.Header{dir("d")}, archive.ErrUnsafe, ""},
		{"twice", []*tar.Header{file("f"), file("f")}, nil, "f"},
		{"file below file", []*tar.Header{file("f"), file("f/g")}, nil, "f"},
		{"file onto dir", []*tar.Header{dir("d/"), file("d")}, nil, "d"},
		{"dir onto file", []*tar.Header{file("f"), dir("f/")}, nil, "f"},
		{"global header", []*tar.Header{file("f"), pax(&tar.Header{Typeflag: tar.TypeXGlobalHeader}, "path", "OUT/new"), file("g")}, archive.ErrUnsafe, "f"},
		{"GNU format", []*tar.Header{{Typeflag: tar.TypeReg, Name: strings.Repeat("n", 120), Format: tar.FormatGNU}}, archive.ErrUnsafe, ""},
		{"sparse", []*tar.Header{pax(file("f"), "GNU.sparse.name", "OUT/new")}, nil, "f"}, // archive/tar drops the record
		{"unknown record", []*tar.Header{pax(file("f"), "comment", "x")}, archive.ErrUnsafe, ""},
		{"contiguous", []*tar.Header{{Typeflag: tar.TypeCont, Name: "f"}}, archive.ErrUnsafe, ""},
		{"file type in mode", []*tar.Header{{Typeflag: tar.TypeReg, Name: "f", Mode: 0o120777}}, archive.ErrUnsafe, ""},
		{"unknown type", []*tar.Header{{Typeflag: 'Q', Name: "f"}}, archive.ErrUnsafe, ""},
		{"link with target on file", []*tar.Header{{Typeflag: tar.TypeReg, Name: "f", Linkname: "OUT/secret"}}, archive.ErrUnsafe, ""},
		{"temporary name", []*tar.Header{link(".coffer-tmp-1", "OUT/secret"), file("f")}, nil, ".coffer-tmp-1 f"},
	} {
		for _, force := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/force=%v", tt.name, force), func(t *testing.T) {
				work := t.TempDir()
				out, target := work+"/out", work+"/target"
				write(t, out+"/secret", "secret")
				var entries []*tar.Header
				for _, h := range tt.entries {
					h := *h
					h.Name = strings.Replace(h.Name, "OUT", out, 1)
					h.Linkname = strings.Replace(h.Linkname, "OUT", out, 1)
					entries = append(entries, &h)
				}
				stream := tarOf(t, entries...)
				report, err := archive.Extract(t.Context(), bytes.NewReader(stream), target, &archive.ExtractOptions{AllowNonEmpty: force})
				if tt.want != nil {
					if !errors.Is(err, tt.want) || !errors.As(err, new(*archive.EntryError)) {
						t.Errorf("error %v, want %v", err, tt.want)
					}
					if _, cerr := archive.Check(t.Context(), bytes.NewReader(stream)); !errors.Is(cerr, tt.want) {
						t.Errorf("Check says %v, want %v", cerr, tt.want)
					}
				} else if !force && (errors.Is(err, archive.ErrIncomplete) != (report.Failed > 0) || (err == nil) != (report.Failed == 0)) {
					t.Errorf("error %v, %+v", err, report)
				}
				if got := strings.Join(tree(t, target), " "); got != tt.left && !force {
					t.Errorf("target holds %q, want %q", got, tt.left)
				}
				if got := strings.Join(tree(t, out), " "); got != "secret" {
					t.Errorf("outside there is %q", got)
				}
				if b, _ := os.ReadFile(out + "/secret"); string(b) != "secret" {
					t.Errorf("outside was changed: %q", b)
				}
				if fi, _ := os.Stat(out + "/secret"); fi.Mode() != 0o644 || fi.ModTime().Equal(someTime) {
					t.Errorf("outside was changed: %v %v", fi.Mode(), fi.ModTime())
				}
			})
		}
	}
}

// tree lists all names below root.
func tree(t testing.TB, root string) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if path != root {
			names = append(names, strings.TrimPrefix(path, root+"/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestForceReplaces(t *testing.T) {
	work := t.TempDir()
	target := work + "/target"
	write(t, work+"/out/secret", "secret")
	write(t, target+"/old file", "old")
	write(t, target+"/keep/mine", "mine")
	if err := os.Symlink(work+"/out", target+"/was link"); err != nil {
		t.Fatal(err)
	}
	stream := tarOf(t, file("old file"), dir("keep/"), file("keep/new"), dir("was link/"), file("was link/secret"))
	if _, err := archive.Extract(t.Context(), bytes.NewReader(stream), target, nil); !errors.Is(err, archive.ErrNotEmpty) {
		t.Errorf("restoring into a directory that is not empty: %v", err)
	}
	extract(t, bytes.NewReader(stream), target, &archive.ExtractOptions{AllowNonEmpty: true, Fsync: true})
	if got := fmt.Sprint(tree(t, target)); got != "[keep keep/mine keep/new old file was link was link/secret]" {
		t.Errorf("target holds %s", got)
	}
	for name, want := range map[string]string{target + "/old file": "xxxxx", target + "/was link/secret": "xxxxx", work + "/out/secret": "secret"} {
		if b, err := os.ReadFile(name); err != nil || string(b) != want {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
}

func TestReentry(t *testing.T) {
	// A directory that the archive made read-only, left, and comes back to.
	d := dir("d/")
	d.Mode, d.ModTime = 0o555, someTime
	target := t.TempDir()
	extract(t, bytes.NewReader(tarOf(t, d, file("d/one"), file("other"), file("d/two"))), target, nil)
	fi, err := os.Stat(target + "/d")
	if err != nil || fi.Mode().Perm() != 0o555 || !fi.ModTime().Equal(someTime) {
		t.Errorf("%v %v %v", fi.Mode(), fi.ModTime(), err)
	}
	if got := fmt.Sprint(tree(t, target)); got != "[d d/one d/two other]" {
		t.Errorf("target holds %s", got)
	}
	os.Chmod(target+"/d", 0o755)
}

func TestNotArchive(t *testing.T) {
	good := tarOf(t, file("f"))
	for name, stream := range map[string][]byte{
		"empty": nil, "text": []byte(strings.Repeat("just text\n", 200)), "short": good[:100], "zeros": make([]byte, 10240),
	} {
		for what, read := range map[string]func() (*archive.Report, error){
			"Extract": func() (*archive.Report, error) {
				return archive.Extract(t.Context(), bytes.NewReader(stream), t.TempDir(), nil)
			},
			"Check": func() (*archive.Report, error) { return archive.Check(t.Context(), bytes.NewReader(stream)) },
		} {
			if _, err := read(); !errors.Is(err, archive.ErrNotArchive) {
				t.Errorf("%s of %s: %v", what, name, err)
			}
		}
	}
	target := t.TempDir() + "/target"
	for what, r := range map[string]io.Reader{
		"text":           strings.NewReader(strings.Repeat("just text\n", 200)),
		"failing source": iotest.ErrReader(fs.ErrClosed),
	} {
		_, err := archive.Extract(t.Context(), r, target, nil)
		if _, serr := os.Stat(target); err == nil || strings.Contains(err.Error(), `""`) || !errors.Is(serr, fs.ErrNotExist) {
			t.Errorf("%s: %v, target: %v", what, err, serr)
		}
	}
}

func TestEnd(t *testing.T) {
	good := tarOf(t, file("f"), dir("d/"))
	for name, tt := range map[string]struct {
		stream []byte
		ok     bool
	}{
		"whole":       {good, true},
		"zeros after": {append(bytes.Clone(good), make([]byte, 9000)...), true},
		"data after":  {append(bytes.Clone(good), "x"...), false},
		"second tar":  {append(bytes.Clone(good), good...), false},
		"one block":   {good[:len(good)-512], false},
		"no end":      {good[:len(good)-1024], false},
		"half":        {good[:len(good)-2048-100], false},
	} {
		_, err := archive.Check(t.Context(), bytes.NewReader(tt.stream))
		_, xerr := archive.Extract(t.Context(), bytes.NewReader(tt.stream), t.TempDir(), nil)
		for _, err := range []error{err, xerr} {
			if (err == nil) != tt.ok || !tt.ok && !errors.Is(err, archive.ErrUnsafe) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// With AllowNonEmpty, a hard link must not become a name of what the user had.
func TestForceHardLink(t *testing.T) {
	target := t.TempDir()
	write(t, target+"/mine", "mine")
	write(t, target+"/taken/mine", "mine")
	write(t, target+"/twice", "mine")
	for _, name := range []string{"mine", "taken/mine"} {
		_, err := archive.Extract(t.Context(), bytes.NewReader(tarOf(t, hard("h", name))), target, &archive.ExtractOptions{AllowNonEmpty: true})
		if !errors.Is(err, archive.ErrUnsafe) {
			t.Errorf("hard link to %s: %v", name, err)
		}
	}
	stream := tarOf(t, file("taken"), hard("h3", "taken"), file("twice"), hard("h4", "twice"), hard("h5", "h4"))
	report, err := archive.Extract(t.Context(), bytes.NewReader(stream), target, &archive.ExtractOptions{AllowNonEmpty: true})
	if !errors.Is(err, archive.ErrIncomplete) || report.Failed != 2 {
		t.Errorf("%v, %+v", err, report)
	}
	if got := fmt.Sprint(tree(t, target)); got != "[h4 h5 mine taken taken/mine twice]" {
		t.Errorf("target holds %s", got)
	}
}

// Directories that are still open must not keep their headers in memory.
func TestHostileMemory(t *testing.T) {
	const depth = 30
	var entries []*tar.Header
	name := ""
	for range depth {
		name += "ü/" // not ASCII, and so in a PAX record of one string with the rest
		d := dir(name)
		d.Uname = strings.Repeat("u", 900<<10)
		entries = append(entries, d)
	}
	stream := tarOf(t, entries...)
	heap := func() int {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	before, n := heap(), 0
	extract(t, bytes.NewReader(stream), t.TempDir(), &archive.ExtractOptions{OnEntry: func(format.CatalogEntry) {
		if n++; n == depth {
			if held := heap() - before; held > 8<<20 {
				t.Errorf("%d MiB are held", held>>20)
			}
		}
	}})
}

func TestEntryErrorIsShort(t *testing.T) {
	for _, path := range []string{"short", strings.Repeat("x", 5000), strings.Repeat("\x00\xff", 3000), strings.Repeat("ü", 1000)} {
		e := &archive.EntryError{Path: path, Err: fs.ErrExist}
		if text := e.Error(); len(text) > 300 || !strings.Contains(text, fs.ErrExist.Error()) {
			t.Errorf("%d bytes: %.400s", len(text), text)
		}
	}
}
