package archive_test

import (
	"archive/tar"
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/coffer-backup/coffer/archive"
)

// FuzzCheck reads anything as an archive.
func FuzzCheck(f *testing.F) {
	f.Chdir(f.TempDir())
	write(f, "dir/file", "content")
	write(f, "dir/"+strings.Repeat("long name ", 20), "")
	s, _ := create(f, nil, ".")
	f.Add(s.Bytes())
	f.Add(tarOf(f, link("l", "../out"), hard("h", "l"), file("f")))
	f.Fuzz(func(t *testing.T, stream []byte) {
		report, err := archive.Check(t.Context(), bytes.NewReader(stream))
		if err == nil && (report.Entries == 0 || report.Next != int64(len(stream))) {
			t.Errorf("accepted, but %+v of %d bytes", report, len(stream))
		}
		if report.Next > int64(len(stream)+511) || report.Bytes > int64(len(stream)) {
			t.Errorf("%+v of %d bytes", report, len(stream))
		}
	})
}

// FuzzExtract restores the entries that script tells, a line each: type, name,
// target, with tabs between. Nothing outside the target may change.
func FuzzExtract(f *testing.F) {
	f.Add("5\td/\n0\td/f\n1\th\td/f\n2\tl\td\n6\tfifo\n0\td/g", false)
	f.Add("2\tl\t../out\n0\tl/new\n5\tl/\n0\tl/secret\n0\tl", true)
	f.Add("2\ta\t..\n1\th\ta/out/secret\n0\th\n5\ta/b/\n0\ta/b/c", true)
	f.Add("0\t../out/secret", false)
	f.Add("5\t./\n2\ta\tb\n2\tb\ta\n0\ta/c\n5\tb/\n1\tb/x\ta", true)
	f.Add("5\ta/\n2\ta/b\t../../out\n1\tc\ta/b\n5\tc/\n0\tc/secret", true)
	f.Fuzz(func(t *testing.T, script string, force bool) {
		var stream bytes.Buffer
		tw := tar.NewWriter(&stream)
		for i, line := range strings.Split(script, "\n") {
			fields := append(strings.Split(line, "\t"), "", "", "")
			if len(fields[0]) != 1 || strings.ContainsAny(fields[0], "34xg") {
				continue
			}
			h := &tar.Header{Format: tar.FormatPAX, Typeflag: fields[0][0], Name: fields[1], Linkname: fields[2], Mode: int64(0o777 - i%8), ModTime: someTime}
			if h.Typeflag == tar.TypeReg {
				h.Size = 4
			}
			if tw.WriteHeader(h) == nil && h.Size > 0 {
				fmt.Fprint(tw, "evil")
			}
		}
		if err := tw.Close(); err != nil {
			t.Fatal(err)
		}
		work := t.TempDir()
		write(t, work+"/out/secret", "secret")
		if err := os.Mkdir(work+"/target", 0o755); err != nil {
			t.Fatal(err)
		}
		before, err := os.Stat(work + "/out")
		if err != nil {
			t.Fatal(err)
		}
		report, err := archive.Extract(t.Context(), bytes.NewReader(stream.Bytes()), work+"/target", &archive.ExtractOptions{AllowNonEmpty: force})
		after, _ := os.Stat(work + "/out")
		secret, _ := os.Stat(work + "/out/secret")
		b, _ := os.ReadFile(work + "/out/secret")
		names := tree(t, work+"/out")
		if len(names) != 1 || string(b) != "secret" || secret.Mode() != 0o644 || !before.ModTime().Equal(after.ModTime()) || before.Mode() != after.Mode() {
			t.Errorf("outside there is %q: %q, %v, %v", names, b, secret.Mode(), after)
		}
		if got, _ := os.ReadDir(work); len(got) != 2 {
			t.Errorf("beside the target there is %v", got)
		}
		for _, name := range tree(t, work+"/target") {
			if strings.Contains(name, ".coffer-tmp-") && !strings.Contains(script, ".coffer-tmp-") {
				t.Errorf("left over: %s", name)
			}
		}
		checked, cerr := archive.Check(t.Context(), &stream)
		if err == nil && (cerr != nil || checked.Catalog != report.Catalog) {
			t.Errorf("Check says %v, %+v; Extract %+v", cerr, checked, report)
		}
	})
}
