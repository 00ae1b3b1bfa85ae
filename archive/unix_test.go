//go:build linux || darwin

package archive_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coffer-backup/coffer/archive"
	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/internal/need"
)

// during calls do when the entry of that base name was written, before its
// content is read.
func during(base string, do func()) func(format.CatalogEntry) {
	return func(e format.CatalogEntry) {
		if filepath.Base(e.Path) == base {
			do()
		}
	}
}

func TestSourceChanges(t *testing.T) {
	must := func(t *testing.T, err error) {
		if err != nil {
			t.Error(err)
		}
	}
	old := strings.Repeat("old ", 1<<20) // 4 MiB
	for _, tt := range []struct {
		name     string
		when     string // base name of the entry
		do       func(t *testing.T, b string)
		warning  string
		contains string // what is restored of b, "" for nothing
		size     int
	}{
		{"shrinks", "b", func(t *testing.T, b string) { must(t, os.Truncate(b, 1_500_000)) }, "shrank", old[:1_500_000] + "\x00\x00", len(old)},
		{"becomes empty", "b", func(t *testing.T, b string) { must(t, os.Truncate(b, 0)) }, "shrank", "\x00\x00\x00", len(old)},
		{"grows", "b", func(t *testing.T, b string) {
			f, err := os.OpenFile(b, os.O_APPEND|os.O_WRONLY, 0)
			must(t, err)
			defer f.Close()
			_, err = f.WriteString("more")
			must(t, err)
		}, "grew", old, len(old)},
		{"changes", "b", func(t *testing.T, b string) {
			f, err := os.OpenFile(b, os.O_WRONLY, 0)
			must(t, err)
			defer f.Close()
			_, err = f.WriteString("new ")
			must(t, err)
		}, "changed", "new old ", len(old)},
		{"is unlinked while open", "b", func(t *testing.T, b string) { must(t, os.Remove(b)) }, "", old, len(old)},
		{"vanishes", "a", func(t *testing.T, b string) { must(t, os.Remove(b)) }, "no such file", "", 0},
		{"becomes a FIFO", "a", func(t *testing.T, b string) { must(t, os.Remove(b)); must(t, syscall.Mkfifo(b, 0o600)) }, "", "", 0},
		{"becomes a socket", "a", func(t *testing.T, b string) {
			must(t, os.Remove(b))
			fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
			must(t, err)
			must(t, syscall.Bind(fd, &syscall.SockaddrUnix{Name: b}))
			syscall.Close(fd)
		}, "socket", "", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			t.Chdir(dir)
			write(t, "src/a", "first")
			write(t, "src/b", old)
			write(t, "src/c", "last")
			must(t, os.Chtimes("src/b", someTime, someTime))
			var w warnings
			s, report := create(t, &archive.CreateOptions{OnWarning: w.add, OnEntry: during(tt.when, func() { tt.do(t, "src/b") })}, "src")
			if tt.warning == "" && len(w) != 0 || tt.warning != "" && (len(w) != 1 || w[0].Path != "src/b" || !strings.Contains(w[0].Error(), tt.warning)) {
				t.Errorf("warnings %v, want %q", w, tt.warning)
			}
			if tt.warning != "socket" && int(report.Warnings) != len(w) {
				t.Errorf("%+v", report)
			}
			extract(t, &s.Buffer, "to", nil)
			if b, err := os.ReadFile("to/src/c"); string(b) != "last" {
				t.Errorf("the next file has %q, %v", b, err)
			}
			if tt.contains == "" {
				if fi, err := os.Lstat("to/src/b"); err == nil && fi.Mode().IsRegular() {
					t.Error("there is a file")
				}
				return
			}
			b, err := os.ReadFile("to/src/b")
			if err != nil || len(b) != tt.size || !bytes.HasPrefix(b, []byte(tt.contains)) {
				t.Errorf("restored %d bytes, %.30q… (%v)", len(b), b, err)
			}
		})
	}
}

func TestSparseShrinks(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "s", "")
	if err := os.Truncate("s", 8<<20); err != nil {
		t.Fatal(err)
	}
	var w warnings
	create(t, &archive.CreateOptions{OnWarning: w.add, OnEntry: during("s", func() { os.Truncate("s", 1<<20) })}, "s")
	if len(w) != 1 || !strings.Contains(w[0].Error(), "shrank") {
		t.Errorf("warnings %v", w)
	}
}

func TestSocketIsSkipped(t *testing.T) {
	t.Chdir(t.TempDir())
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	if err := syscall.Bind(fd, &syscall.SockaddrUnix{Name: "socket"}); err != nil {
		t.Fatal(err)
	}
	var w warnings
	s, report := create(t, &archive.CreateOptions{OnWarning: w.add}, ".")
	if got := fmt.Sprint(members(t, s)); got != "[./]" || len(w) != 1 || report.Warnings != 0 {
		t.Errorf("%s, %v, %+v", got, w, report)
	}
	if _, err := archive.Create(t.Context(), &memSink{}, []string{"socket"}, nil); err == nil {
		t.Error("an archive of a socket alone")
	}
}

func TestOneFileSystem(t *testing.T) {
	dev, err := os.Stat("/dev")
	pts, perr := os.Stat("/dev/pts")
	need.That(t, err == nil && perr == nil && dev.Sys().(*syscall.Stat_t).Dev != pts.Sys().(*syscall.Stat_t).Dev, "needs another file system at /dev/pts")
	s, _ := create(t, &archive.CreateOptions{OneFileSystem: true, Exclude: []string{"/dev/[^p]*"}}, "/dev")
	got := strings.Join(members(t, s), " ")
	if !strings.Contains(got, "dev/pts/") || strings.Contains(got, "dev/pts/ptmx") {
		t.Errorf("stored %s", got)
	}
}

// limitedReader gives n bytes, then err.
type limitedReader struct {
	r   io.Reader
	n   int
	err error
}

func (l *limitedReader) Read(p []byte) (int, error) {
	if l.n == 0 {
		return 0, l.err
	}
	n, err := l.r.Read(p[:min(len(p), l.n)])
	l.n -= n
	return n, err
}

func TestReaderFails(t *testing.T) {
	from := t.TempDir()
	for i := range 8 {
		write(t, fmt.Sprintf("%s/dir%d/file", from, i%3), strings.Repeat(fmt.Sprint(i), 3000*i))
		write(t, fmt.Sprintf("%s/dir%d/file%d", from, i%3, i), strings.Repeat(fmt.Sprint(i), 3000*i))
	}
	t.Chdir(from)
	s, _ := create(t, nil, ".")
	stream := s.Bytes()
	damaged := errors.New("damaged")
	to := t.TempDir()
	for n := 0; n < len(stream); n += 1531 {
		for _, fault := range []error{damaged, io.EOF} {
			target := fmt.Sprintf("%s/%d%v", to, n, fault)
			if err := os.Mkdir(target, 0o755); err != nil {
				t.Fatal(err)
			}
			report, err := archive.Extract(t.Context(), &limitedReader{bytes.NewReader(stream), n, fault}, target, nil)
			if err == nil || fault == damaged && !errors.Is(err, damaged) || report.Ended {
				t.Fatalf("after %d bytes: %v, %+v", n, err, report)
			}
			if n > 1024 && report.Next > int64(n)+511 {
				t.Errorf("after %d bytes: %+v", n, report)
			}
			restored := 0
			for _, name := range tree(t, target) {
				if strings.Contains(name, ".coffer-tmp-") {
					t.Fatalf("after %d bytes there is %s", n, name)
				}
				if fi, _ := os.Stat(target + "/" + name); fi.IsDir() {
					continue
				}
				restored++
				got, _ := os.ReadFile(target + "/" + name)
				want, err := os.ReadFile(from + "/" + name)
				if err != nil || !bytes.Equal(got, want) {
					t.Fatalf("after %d bytes %s holds %d bytes (%v)", n, name, len(got), err)
				}
			}
			left := 0
			for _, e := range s.catalog {
				if e.Type == '0' && int64(e.Offset) >= report.Next {
					left++
				}
			}
			if restored+left != 11 {
				t.Fatalf("after %d bytes: %d restored, %d at or after %d", n, restored, left, report.Next)
			}
			os.RemoveAll(target)
		}
	}
	report, err := archive.Check(t.Context(), &limitedReader{bytes.NewReader(stream), len(stream), damaged})
	if !errors.Is(err, damaged) || !report.Ended || int(report.Entries) != len(s.catalog) {
		t.Errorf("after the end: %v, %+v", err, report)
	}
}

// cancelReader cancels after some bytes.
type cancelReader struct {
	io.Reader
	left   int
	cancel func()
}

func (r *cancelReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if r.left -= n; r.left < 0 {
		r.cancel()
	}
	return n, err
}

func TestCancelExtract(t *testing.T) {
	big := file("big")
	big.Size = 8 << 20
	stream := tarOf(t, file("a"), big)
	ctx, cancel := context.WithCancel(t.Context())
	target := t.TempDir()
	_, err := archive.Extract(ctx, &cancelReader{bytes.NewReader(stream), 3 << 20, cancel}, target, nil)
	if !errors.Is(err, context.Canceled) || fmt.Sprint(tree(t, target)) != "[a]" {
		t.Errorf("%v, %v", err, tree(t, target))
	}
}

func TestHugeSparse(t *testing.T) {
	const size = 10 << 30
	from, to := t.TempDir(), t.TempDir()
	t.Chdir(from)
	f, err := os.Create("sparse")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("in the middle"), 5<<30); err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(size); err != nil {
		t.Skip("file system: ", err)
	}
	r, w := io.Pipe()
	go func() {
		_, err := archive.Create(t.Context(), pipeSink{w}, []string{"."}, nil)
		w.CloseWithError(err)
	}()
	start := time.Now()
	extract(t, r, to, nil)
	t.Logf("10 GiB in %v", time.Since(start))
	fi, err := os.Stat(to + "/sparse")
	if err != nil || fi.Size() != size {
		t.Fatalf("%v, %v", fi, err)
	}
	if room := fi.Sys().(*syscall.Stat_t).Blocks * 512; room > 64<<10 {
		t.Errorf("the restored file takes %d bytes", room)
	}
	b := make([]byte, 13)
	g, err := os.Open(to + "/sparse")
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if _, err := g.ReadAt(b, 5<<30); string(b) != "in the middle" {
		t.Errorf("%q, %v", b, err)
	}
}

// pipeSink writes to a pipe and drops the catalog.
type pipeSink struct{ io.Writer }

func (pipeSink) AddCatalogEntry(format.CatalogEntry) error { return nil }

// many makes n small files in directories of 1000.
func many(t testing.TB, dir string, n int) {
	t.Helper()
	for i := range n {
		d := fmt.Sprintf("%s/%03d", dir, i/1000)
		if i%1000 == 0 {
			if err := os.Mkdir(d, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(fmt.Sprintf("%s/%06d", d, i), fmt.Append(nil, "small file ", i), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestManyFiles(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	n := 5_000
	if need.Long() {
		n = 100_000
	}
	many(t, from, n)
	t.Chdir(from)
	start := time.Now()
	s, _ := create(t, nil, ".")
	t.Logf("archived in %v", time.Since(start))
	start = time.Now()
	report := extract(t, &s.Buffer, to, nil)
	t.Logf("restored in %v", time.Since(start))
	if want := int64(n + n/1000 + 1); report.Entries != want {
		t.Errorf("%d entries, want %d", report.Entries, want)
	}
	for _, d := range []string{"/000", fmt.Sprintf("/%03d", n/1000-1)} {
		noDiff(t, from+d, to+d)
	}
}
