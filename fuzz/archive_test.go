package fuzz_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coffer-backup/coffer/archive"
	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/vectors"
)

// maxTar bounds what is read as an archive.
const maxTar = 16 << 10

// repairTar makes the checksum of each block right that stands where a header is due,
// as far as sizes lead from one to the next.
func repairTar(stream []byte) {
	for at := 0; len(stream)-at >= 512; {
		b := stream[at : at+512]
		if zero(b) {
			return
		}
		copy(b[148:156], "        ")
		sum := 0
		for _, c := range b {
			sum += int(c)
		}
		copy(b[148:156], fmt.Sprintf("%06o\x00 ", sum))
		at += 512
		if size, ok := octal(b[124:136]); ok && strings.IndexByte("0xgLK7", b[156]) >= 0 {
			at += int(min(size+511, maxTar) / 512 * 512)
		}
	}
}

// FuzzArchiveCheck reads any bytes as an archive, and compares what is said of them with
// the oracle. A bit in the first byte has the checksums of headers made right.
func FuzzArchiveCheck(f *testing.F) {
	seeds := fromVectors(f, func(c *vectors.Case, _ []byte) []byte {
		if !c.Inputs.Archive || c.Plaintext.Length > maxTar {
			return nil
		}
		return append([]byte{0}, c.Plaintext.Bytes()...)
	})
	for _, s := range slices.Clone(seeds) {
		seeds = append(seeds, append([]byte{1}, s[1:]...))
	}
	start(f, 1+maxTar, seeds, func(t *testing.T, data []byte) {
		in := input(data)
		repair := in.u8()
		stream := in.rest()
		if repair&1 != 0 {
			repairTar(stream)
		}
		check := func() (*archive.Report, error) { return archive.Check(t.Context(), bytes.NewReader(stream)) }
		report, err := check()
		records, ok := judgeTar(stream)
		if (err == nil) != ok {
			t.Fatalf("%v, want accepted: %v", err, ok)
		}
		var want archive.CatalogDigest
		for _, r := range records {
			if err := want.Add(format.CatalogEntry{Offset: r.Offset, Size: r.Size, ModTime: r.ModTime, Mode: r.Mode, Type: r.Type, Path: r.Path, Link: r.Link}); err != nil {
				t.Fatal(err)
			}
		}
		switch {
		case err == nil && (report.Entries != int64(len(records)) || report.Catalog != want.Sum() || report.Next != int64(len(stream)) || report.Failed != 0):
			t.Errorf("accepted, but %+v of %d records and %d bytes", report, len(records), len(stream))
		case err != nil && !errors.Is(err, archive.ErrUnsafe) && !errors.Is(err, archive.ErrLimit) && !errors.Is(err, archive.ErrNotArchive):
			t.Errorf("%v is of no class", err)
		case report.Next > int64(len(stream)+511) || report.Bytes > int64(len(stream)):
			t.Errorf("%+v of %d bytes", report, len(stream))
		}
		if !fuzzing {
			// The buffer that content passes through, and PAX records, which archive/tar
			// has twice.
			budget(t, "check", 2<<20+uint64(4*len(stream)), len(stream), func() { _, _ = check() })
		}
	})
}

// An item is an entry of the archive that a script tells.
type item struct {
	*tar.Header
	content string
}

// itemsOf reads a script: a line for each entry, with type, name, target, mode and the
// name of an extended attribute, and tabs between them.
func itemsOf(script string) (items []item) {
	for i, line := range strings.Split(script, "\n") {
		fields := append(strings.Split(line, "\t"), "", "", "", "")
		if len(fields[0]) != 1 {
			continue
		}
		mode, err := strconv.ParseInt(fields[3], 8, 32)
		if err != nil {
			mode = 0o755
		}
		h := &tar.Header{
			Format: tar.FormatPAX, Typeflag: fields[0][0], Name: fields[1], Linkname: fields[2], Mode: mode,
			ModTime: time.Unix(1_700_000_000, int64(i)), Uid: os.Geteuid(), Gid: os.Getegid(),
		}
		if fields[4] != "" {
			h.PAXRecords = map[string]string{"SCHILY.xattr." + fields[4]: "value"}
		}
		it := item{Header: h}
		h.Mode |= 0o400 // or who is not root cannot look
		switch h.Typeflag {
		case 0: // what old tars have for a file, or a directory
			continue
		case tar.TypeReg:
			it.content = fmt.Sprintf("the content of entry %d", i)
			h.Size = int64(len(it.content))
		case tar.TypeDir:
			h.Mode |= 0o700 // nor clean up
		case tar.TypeChar, tar.TypeBlock:
			h.Devmajor, h.Devminor = 1, 3
		}
		items = append(items, it)
	}
	return items
}

// tarOf returns the items that a writer takes, as a stream and as a list.
func tarOf(all []item) (stream []byte, items []item) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, it := range all {
		if w.WriteHeader(it.Header) == nil {
			_, _ = io.WriteString(w, it.content)
			items = append(items, it)
		}
	}
	_ = w.Close()
	return b.Bytes(), items
}

const maxScript = 1 << 10

// FuzzExtract restores the entries that a script tells. Nothing outside the target may
// change, be read, or get another name. The first byte has a bit for a target that is not
// empty, and one to be allowed to restore into one; if the next two are not zero, the
// archive is cut there.
func FuzzExtract(f *testing.F) {
	const filled, force = 1, 2
	var seeds [][]byte
	for _, script := range []string{
		"5\td/\n0\td/f\n1\th\td/f\n2\tl\td\n6\tfifo\n0\td/g",
		"2\tl\t../out\n0\tl/new\n5\tl/\n0\tl/secret\n0\tl",
		"2\ta\t..\n1\th\ta/out/secret\n0\th\n5\ta/b/\n0\ta/b/c",
		"0\t../out/secret",
		"5\t./\n2\ta\tb\n2\tb\ta\n0\ta/c\n5\tb/\n1\tb/x\ta",
		"5\ta/\n2\ta/b\t../../out\n1\tc\ta/b\n5\tc/\n0\tc/secret",
		"0\tmine\n1\th\tmine\n0\tkept/mine\n1\tkept/h\tkept/mine\n0\taway/new\n5\taway/\n0\taway/secret",
		"0\ts\t\t6755\tuser.x\n3\tnull\n5\td/\t\t1777\n0\td/f\t\t0\n5\t../out/dir/\n0\t/etc/passwd",
		"5\td/\n2\tl\td\n0\tl/f\n5\tl/\n0\tl/g\n1\th\tl/f\n0\td/f",
		"0\tf\n2\tl\tf\n0\tl\n1\th\tl\n2\to\t../out/secret\t600\tuser.x\n1\tp\to\n0\to",
		"5\ta/\n5\ta/b/\n0\ta/b/c\n5\ta/\n0\ta/d\n0\tx\n5\ta/b/\n2\ta/b/c\tx\n0\t.coffer-tmp-1",
	} {
		for mode := range byte(4) {
			seeds = append(seeds, append([]byte{mode, 0, 0}, script...), append([]byte{mode, 5, 6}, script...))
		}
	}
	start(f, 3+maxScript, seeds, func(t *testing.T, data []byte) {
		in := input(data)
		mode, cut := in.u8(), int(in.u16())
		stream, items := tarOf(itemsOf(string(in)))
		if cut != 0 {
			stream = stream[:min(cut, len(stream))]
		}
		work := t.TempDir()
		target := work + "/target"
		outside(t, work)
		if mode&filled != 0 {
			fill(t, target)
		}
		before := snapshot(t, work+"/out")
		report, err := archive.Extract(t.Context(), bytes.NewReader(stream), target,
			&archive.ExtractOptions{AllowNonEmpty: mode&force != 0})
		if after := snapshot(t, work+"/out"); !slices.Equal(before, after) {
			t.Errorf("outside there was %q, and now is %q", before, after)
		}
		if names, _ := os.ReadDir(work); len(names) > 2 || len(names) == 2 && names[1].Name() != "target" {
			t.Errorf("beside the target there is %v", names)
		}
		if mode&filled != 0 && mode&force == 0 {
			if !errors.Is(err, archive.ErrNotEmpty) && !errors.Is(err, archive.ErrNotArchive) && !isRefused(err) {
				t.Errorf("into a target that is not empty: %v", err)
			}
			items = nil // nothing may be restored
		}
		checkTarget(t, work, items, bytes.Contains(in, []byte(".coffer-tmp-")))
		checkAgreement(t, stream, report, err)
		if err == nil {
			checkRestored(t, target, items)
		}
	})
}

// outside makes what no archive may touch.
func outside(t *testing.T, work string) {
	t.Helper()
	for _, err := range []error{
		os.MkdirAll(work+"/out/dir", 0o755),
		os.WriteFile(work+"/out/secret", []byte("secret"), 0o644),
		os.Symlink("secret", work+"/out/link"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// fill makes a target that holds something: files, and a link that leads out.
func fill(t *testing.T, target string) {
	t.Helper()
	for _, err := range []error{
		os.MkdirAll(target+"/kept", 0o755),
		os.WriteFile(target+"/mine", []byte("mine"), 0o644),
		os.WriteFile(target+"/kept/mine", []byte("mine"), 0o644),
		os.Symlink("../out", target+"/away"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// walkTree calls visit for all that is below root, and follows no link.
func walkTree(t *testing.T, root string, visit func(name string, fi fs.FileInfo)) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		fi, err := d.Info()
		if err == nil {
			name, _ := filepath.Rel(root, path)
			visit(filepath.ToSlash(name), fi)
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
}

// snapshot describes all that is at and below root.
func snapshot(t *testing.T, root string) (lines []string) {
	t.Helper()
	describe := func(name string, fi fs.FileInfo) {
		line := fmt.Sprint(name, fi.Mode(), fi.ModTime().UnixNano())
		if fi.Mode().IsRegular() {
			line += string(must(os.ReadFile(filepath.Join(root, name))))
		}
		if fi.Mode()&fs.ModeSymlink != 0 {
			line += must(os.Readlink(filepath.Join(root, name)))
		}
		lines = append(lines, line)
	}
	describe(".", must(os.Lstat(root)))
	walkTree(t, root, describe)
	return lines
}

// isRefused reports whether Check would refuse the archive too.
func isRefused(err error) bool {
	return errors.Is(err, archive.ErrUnsafe) || errors.Is(err, archive.ErrLimit)
}

// checkTarget demands that every file in the target is of the archive, or was there
// before under its own name.
func checkTarget(t *testing.T, work string, items []item, tempNamed bool) {
	t.Helper()
	secret := must(os.Stat(work + "/out/secret"))
	contents := make(map[string]bool)
	for _, it := range items {
		contents[it.content] = true
	}
	walkTree(t, work+"/target", func(name string, fi fs.FileInfo) {
		if strings.Contains(name, ".coffer-tmp-") && !tempNamed {
			t.Errorf("left over: %s", name)
		}
		if os.SameFile(fi, secret) {
			t.Errorf("%s is a name of a file outside", name)
		}
		if !fi.Mode().IsRegular() {
			return
		}
		b := must(os.ReadFile(work + "/target/" + name))
		if own := name == "mine" || name == "kept/mine"; !contents[string(b)] && !(own && string(b) == "mine") {
			t.Errorf("%s holds %q", name, b)
		}
	})
}

// checkAgreement demands that Check says of the archive what Extract met.
func checkAgreement(t *testing.T, stream []byte, report *archive.Report, err error) {
	t.Helper()
	checked, cerr := archive.Check(t.Context(), bytes.NewReader(stream))
	if _, ok := judgeTar(stream); (cerr == nil) != ok {
		t.Errorf("Check: %v, want accepted: %v", cerr, ok)
	}
	switch {
	case errors.Is(err, archive.ErrNotEmpty):
	case cerr != nil && (err == nil || err.Error() != cerr.Error() || report.Next != checked.Next):
		t.Errorf("Check says %v at %d, Extract %v at %d", cerr, checked.Next, err, report.Next)
	case cerr == nil && err != nil && !errors.Is(err, archive.ErrIncomplete):
		t.Errorf("Check finds nothing wrong, and Extract %v", err)
	case cerr == nil && (checked.Catalog != report.Catalog || checked.Entries != report.Entries+report.Failed || (err == nil) != (report.Failed == 0)):
		t.Errorf("Check says %+v, Extract %+v, %v", checked, report, err)
	}
}

// checkRestored demands that the last entry of each name is what has that name, and no
// part of the way there is a link.
func checkRestored(t *testing.T, target string, items []item) {
	t.Helper()
	types := map[byte]fs.FileMode{
		tar.TypeDir: fs.ModeDir, tar.TypeSymlink: fs.ModeSymlink, tar.TypeFifo: fs.ModeNamedPipe,
		tar.TypeChar: fs.ModeDevice | fs.ModeCharDevice, tar.TypeBlock: fs.ModeDevice,
	}
	last := make(map[string]item)
	for _, it := range items {
		last[strings.TrimSuffix(it.Name, "/")] = it
	}
	for name, it := range last {
		fi, err := os.Lstat(target + "/" + name)
		if err != nil || it.Typeflag != tar.TypeLink && fi.Mode().Type() != types[it.Typeflag] {
			t.Errorf("%q of type %c was restored: %v, %v", name, it.Typeflag, fi, err)
			continue
		}
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			if fi, err := os.Lstat(target + "/" + dir); err != nil || !fi.IsDir() {
				t.Errorf("%q was restored, and %q is %v, %v", name, dir, fi.Mode(), err)
			}
		}
		if it.Typeflag == tar.TypeReg {
			if b := must(os.ReadFile(target + "/" + name)); string(b) != it.content || !fi.ModTime().Equal(it.ModTime) {
				t.Errorf("%q holds %q from %v", name, b, fi.ModTime())
			}
		}
	}
}
