package archive_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coffer-backup/coffer/archive"
	"github.com/coffer-backup/coffer/archive/archivetest"
	"github.com/coffer-backup/coffer/format"
)

// memSink keeps an archive and its catalog in memory.
type memSink struct {
	bytes.Buffer
	catalog []format.CatalogEntry
}

func (s *memSink) AddCatalogEntry(e format.CatalogEntry) error {
	s.catalog = append(s.catalog, e)
	return nil
}

// create archives roots and demands that there is no error.
func create(t testing.TB, opts *archive.CreateOptions, roots ...string) (*memSink, *archive.Report) {
	t.Helper()
	s := &memSink{}
	report, err := archive.Create(t.Context(), s, roots, opts)
	if err != nil {
		t.Fatal(err)
	}
	if int(report.Entries) != len(s.catalog) || report.Next != int64(s.Len()) {
		t.Fatalf("report %+v of %d records and %d bytes", report, len(s.catalog), s.Len())
	}
	return s, report
}

// extract restores and demands that there is neither error nor warning.
func extract(t testing.TB, r io.Reader, dir string, opts *archive.ExtractOptions) *archive.Report {
	t.Helper()
	if opts == nil {
		opts = &archive.ExtractOptions{}
	}
	opts.OnWarning = func(e *archive.EntryError) { t.Errorf("warning: %v", e) }
	report, err := archive.Extract(t.Context(), r, dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// warnings collects what OnWarning is told.
type warnings []*archive.EntryError

func (w *warnings) add(e *archive.EntryError) { *w = append(*w, e) }

func write(t testing.TB, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func noDiff(t testing.TB, a, b string) {
	t.Helper()
	for _, line := range archivetest.Diff(a, b) {
		t.Errorf("after restoring: %s", line)
	}
}

// members lists the names in an archive, as archive/tar sees them.
func members(t testing.TB, s *memSink) []string {
	t.Helper()
	var names []string
	tr := tar.NewReader(bytes.NewReader(s.Bytes()))
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return names
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
	}
}

func TestRoundTrip(t *testing.T) {
	for name, make := range map[string]func(t *testing.T, dir string){
		"every kind": func(t *testing.T, dir string) { archivetest.Populate(t, dir) },
		"empty dir":  func(t *testing.T, dir string) {},
		"empty file": func(t *testing.T, dir string) { write(t, dir+"/empty", "") },
		"4000 bytes": func(t *testing.T, dir string) { archivetest.Deep(t, dir, 4000-len(dir)) },
		"4096 bytes": func(t *testing.T, dir string) { archivetest.Deep(t, dir, archive.MaxPath-len(dir)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			work, to := t.TempDir(), t.TempDir()
			from := filepath.Join(work, "tree")
			if err := os.Mkdir(from, 0o750); err != nil {
				t.Fatal(err)
			}
			make(t, from)
			// The tree's name in the archive is "tree": its parent's is dropped.
			s, created := create(t, &archive.CreateOptions{OnWarning: func(e *archive.EntryError) { t.Errorf("warning: %v", e) }}, from)
			if created.Warnings != 0 {
				t.Errorf("%d warnings", created.Warnings)
			}
			checked, err := archive.Check(t.Context(), bytes.NewReader(s.Bytes()))
			if err != nil {
				t.Error(err)
			}
			extracted := extract(t, &s.Buffer, to, nil)
			t.Cleanup(func() { os.Chmod(filepath.Join(to, from, "readonly"), 0o755) })
			noDiff(t, from, filepath.Join(to, from))
			if *created != *checked || *created != *extracted {
				t.Errorf("reports differ:\n%+v\n%+v\n%+v", created, checked, extracted)
			}
			if temps, _ := filepath.Glob(to + "/*/*/.coffer-tmp-*"); temps != nil {
				t.Errorf("left over: %q", temps)
			}
		})
	}
}

func TestRootNames(t *testing.T) {
	work := t.TempDir()
	write(t, work+"/a/b/file", "x")
	write(t, work+"/c/file", "y")
	write(t, work+"/a/c/file", "z")
	if err := errors.Join(os.Symlink("a", work+"/l"), os.Symlink("a/b", work+"/p")); err != nil {
		t.Fatal(err)
	}
	t.Chdir(work + "/c")
	abs := strings.TrimPrefix(work, "/")
	for _, tt := range []struct {
		roots, want []string
	}{
		{[]string{work + "/c"}, []string{abs + "/c/", abs + "/c/file"}},
		{[]string{"."}, []string{"./", "file"}},
		{[]string{"./"}, []string{"./", "file"}},
		{[]string{"./file"}, []string{"file"}},
		{[]string{".."}, []string{"./", "a/", "a/b/", "a/b/file", "a/c/", "a/c/file", "c/", "c/file", "l", "p"}},
		{[]string{"../a/b"}, []string{"a/b/", "a/b/file"}},
		{[]string{"../a/../c//file"}, []string{"c/file"}},
		{[]string{"../a/c/.."}, []string{"./", "b/", "b/file", "c/", "c/file"}},
		{[]string{"../a/b", "../c"}, []string{"a/b/", "a/b/file", "c/", "c/file"}},
		{[]string{"../a/b", "../a/b/file", "../a/b/"}, []string{"a/b/file", "a/b/"}},
		{[]string{".", "file"}, []string{"file", "./"}},
		{[]string{"..", "../c/absent", "../a/b"}, []string{"a/b/", "a/b/file", "./", "a/", "a/c/", "a/c/file", "c/", "c/file", "l", "p"}},
		{[]string{"../l"}, []string{"l"}},
		{[]string{"../l/"}, []string{"l/", "l/b/", "l/b/file", "l/c/", "l/c/file"}},
		{[]string{"../c", "../a/b/../../c"}, []string{"c/", "c/file"}},
		{[]string{"../c", "../l/../c"}, []string{"c/", "c/file"}},
		{[]string{"../p/../c"}, []string{"c/", "c/file"}}, // a/c
	} {
		s, _ := create(t, nil, tt.roots...)
		if got := members(t, s); fmt.Sprint(got) != fmt.Sprint(tt.want) {
			t.Errorf("%q: stored %q, want %q", tt.roots, got, tt.want)
		}
	}
	for _, roots := range [][]string{
		{}, {""}, {"absent"},
		{"../c", "../a/b/../c"},      // both c
		{"..", "../a/b/../c"},        // ../c is c too
		{"../c", "../a/b/../c/file"}, // both c/file
		{"../l", "../l/b"},           // l is stored as a link
		{"../l", "../l/"},            // both l
		{"../c", "../p/../c"},        // p/../c is a/c
		{"../p/../c/file", "../c/file"},
		{"../c", "../p/../c/file"},
		{"..", "../l/b"}, // .. stores l as a link
		{"..", "../l/b/file"},
	} {
		s := &memSink{}
		if report, err := archive.Create(t.Context(), s, roots, nil); err == nil {
			t.Errorf("%q: no error, but %+v", roots, report)
		}
	}
}

func TestMissingRootIsWarning(t *testing.T) {
	dir := t.TempDir()
	var w warnings
	_, report := create(t, &archive.CreateOptions{OnWarning: w.add}, dir+"/absent", dir)
	if report.Warnings != 1 || len(w) != 1 || w[0].Path != dir+"/absent" || !errors.Is(w[0], fs.ErrNotExist) {
		t.Errorf("%+v, warnings %v", report, w)
	}
}

// A root that another one's walk would leave out is archived all the same.
func TestNestedRoots(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "home/cache/CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55")
	write(t, "home/cache/kept/file", "x")
	write(t, "home/cache/dropped", "x")
	write(t, "home/z", "z")
	s, _ := create(t, &archive.CreateOptions{ExcludeCaches: true}, "home", "home/cache/kept")
	want := "[home/cache/kept/ home/cache/kept/file home/ home/cache/ home/cache/CACHEDIR.TAG home/z]"
	if got := fmt.Sprint(members(t, s)); got != want {
		t.Errorf("stored %s, want %s", got, want)
	}
	if err := os.Remove("home/cache/dropped"); err != nil {
		t.Fatal(err)
	}
	for _, force := range []bool{false, true} {
		target := t.TempDir()
		s, _ := create(t, nil, "home", "home/cache/kept")
		extract(t, &s.Buffer, target, &archive.ExtractOptions{AllowNonEmpty: force})
		noDiff(t, "home", target+"/home")
	}
}

func TestCatalogOffsets(t *testing.T) {
	dir := t.TempDir()
	archivetest.Populate(t, dir)
	s, report := create(t, nil, dir)
	var digest archive.CatalogDigest
	last := int64(-1)
	for _, e := range s.catalog {
		if err := digest.Add(e); err != nil {
			t.Fatal(err)
		}
		if int64(e.Offset) <= last || last < 0 && e.Offset != 0 {
			t.Fatalf("%q at %d, after %d", e.Path, e.Offset, last)
		}
		last = int64(e.Offset)
		h, err := tar.NewReader(bytes.NewReader(s.Bytes()[e.Offset:])).Next()
		if err != nil {
			t.Fatalf("%q: %v", e.Path, err)
		}
		got := format.CatalogEntry{Offset: e.Offset, Size: uint64(h.Size), ModTime: h.ModTime.UnixNano(), Mode: uint32(h.Mode), Type: h.Typeflag, Path: h.Name, Link: h.Linkname}
		if got != e {
			t.Errorf("catalog %+v, tar %+v", e, got)
		}
	}
	if digest.Sum() != report.Catalog {
		t.Error("the sum of the catalog is not the one of the report")
	}
	if !bytes.HasSuffix(s.Bytes(), make([]byte, 1024)) {
		t.Error("no two blocks of zeros at the end")
	}
}

func TestExclude(t *testing.T) {
	dir := t.TempDir()
	for _, f := range []string{"a.o", "a.c", "src/b.o", "src/tmp/x", "tmp", "build/out/x", "build/out/deep/y", "!odd"} {
		write(t, dir+"/"+f, "")
	}
	t.Chdir(dir)
	all := []string{"!odd", "a.c", "a.o", "build/", "build/out/", "build/out/deep/", "build/out/deep/y", "build/out/x", "src/", "src/b.o", "src/tmp/", "src/tmp/x", "tmp"}
	for _, tt := range []struct {
		patterns, gone []string
	}{
		{nil, nil},
		{[]string{"*.o"}, []string{"a.o", "src/b.o"}},
		{[]string{"/*.o"}, []string{"a.o"}},
		{[]string{"**/*.o"}, []string{"a.o", "src/b.o"}},
		{[]string{"src/*.o"}, []string{"src/b.o"}},
		{[]string{"tmp"}, []string{"tmp", "src/tmp/", "src/tmp/x"}},
		{[]string{"tmp/"}, []string{"src/tmp/", "src/tmp/x"}},
		{[]string{"build/**/y"}, []string{"build/out/deep/y"}},
		{[]string{"**/deep"}, []string{"build/out/deep/", "build/out/deep/y"}},
		{[]string{"build/*"}, []string{"build/out/", "build/out/deep/", "build/out/deep/y", "build/out/x"}},
		{[]string{"[a-b].?", `\!*`}, []string{"!odd", "a.c", "a.o", "src/b.o"}},
	} {
		gone := map[string]bool{}
		for _, g := range tt.gone {
			gone[g] = true
		}
		want := []string{"./"}
		for _, name := range all {
			if !gone[name] {
				want = append(want, name)
			}
		}
		s, report := create(t, &archive.CreateOptions{Exclude: tt.patterns}, ".")
		if got := members(t, s); fmt.Sprint(got) != fmt.Sprint(want) || report.Warnings != 0 {
			t.Errorf("%q: got %q, want %q, %d warnings", tt.patterns, got, want, report.Warnings)
		}
	}
	for _, bad := range []string{"", "/", "[", "a//b", "!x"} {
		if _, err := archive.Create(t.Context(), &memSink{}, []string{"."}, &archive.CreateOptions{Exclude: []string{bad}}); err == nil {
			t.Errorf("pattern %q was accepted", bad)
		}
	}
}

func TestExcludeCachesAndOmit(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/cache/CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55\n# made by a test")
	write(t, dir+"/cache/thing", "x")
	write(t, dir+"/no cache/CACHEDIR.TAG", "Signature: none")
	write(t, dir+"/no cache/thing", "x")
	write(t, dir+"/out.coffer", "x")
	out, err := os.Lstat(dir + "/out.coffer")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	s, report := create(t, &archive.CreateOptions{ExcludeCaches: true, Omit: []os.FileInfo{out}}, ".")
	want := "[./ cache/ cache/CACHEDIR.TAG no cache/ no cache/CACHEDIR.TAG no cache/thing]"
	if got := fmt.Sprint(members(t, s)); got != want || report.Warnings != 0 {
		t.Errorf("got %s, want %s; %d warnings", got, want, report.Warnings)
	}
}

// failingSink fails in its n-th call of Write or AddCatalogEntry.
type failingSink struct{ n int }

var errSink = errors.New("sink is full")

func (s *failingSink) Write(p []byte) (int, error) {
	if s.n--; s.n < 0 {
		return len(p) / 2, errSink
	}
	return len(p), nil
}

func (s *failingSink) AddCatalogEntry(format.CatalogEntry) error {
	_, err := s.Write(nil)
	return err
}

func TestSinkFails(t *testing.T) {
	dir := t.TempDir()
	archivetest.Populate(t, dir)
	for n := 0; ; n++ {
		s := &failingSink{n: n}
		var w warnings
		_, err := archive.Create(t.Context(), s, []string{dir}, &archive.CreateOptions{Exclude: []string{"*sparse*", "big", "all hole"}, OnWarning: w.add})
		if err == nil && s.n >= 0 {
			if n < 100 {
				t.Errorf("only %d calls", n)
			}
			return
		}
		if !errors.Is(err, errSink) {
			t.Fatalf("after %d calls: %v", n, err)
		}
		if w != nil {
			t.Fatalf("after %d calls the sink's error became a warning: %v", n, w)
		}
	}
}

func TestCancelCreate(t *testing.T) {
	dir := t.TempDir()
	archivetest.Populate(t, dir)
	ctx, cancel := context.WithCancel(t.Context())
	entries := 0
	_, err := archive.Create(ctx, &memSink{}, []string{dir}, &archive.CreateOptions{OnEntry: func(format.CatalogEntry) {
		if entries++; entries == 5 {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) || entries != 5 {
		t.Errorf("%v after %d entries", err, entries)
	}
}
