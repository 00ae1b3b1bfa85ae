//go:build linux || darwin

package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func write(t *testing.T, f *File, err error, content string) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
}

func put(t *testing.T, path, content string, opts *Options) error {
	t.Helper()
	f, err := Create(path, opts)
	if err != nil {
		return err
	}
	defer f.Abort()
	write(t, f, nil, content)
	return f.Commit()
}

func wantContent(t *testing.T, path, want string) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || string(got) != want {
		t.Errorf("%s holds %q, %v; want %q", path, got, err, want)
	}
}

func wantNames(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if len(got) != len(want) {
		t.Fatalf("%s holds %q, want %q", dir, got, want)
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("%s holds %q, want %q", dir, got, want)
		}
	}
}

func TestCommit(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x")
	f, err := Create(path, nil)
	write(t, f, err, "one")
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the name is there before Commit: %v", err)
	}
	b := make([]byte, 2)
	if _, err := f.ReadAt(b, 1); err != nil || string(b) != "ne" {
		t.Errorf("ReadAt: %q, %v", b, err)
	}
	if err := f.Commit(); err != nil {
		t.Fatal(err)
	}
	f.Abort()
	if err := f.Commit(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("second Commit: %v", err)
	}
	wantContent(t, path, "one")
	wantNames(t, dir, "x")
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
	}
}

func TestAbort(t *testing.T) {
	dir := t.TempDir()
	f, err := Create(filepath.Join(dir, "x"), nil)
	write(t, f, err, "one")
	f.Abort()
	f.Abort()
	if err := f.Commit(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Commit after Abort: %v", err)
	}
	wantNames(t, dir)
}

func TestNoCommitAfterFailedWrite(t *testing.T) {
	dir := t.TempDir()
	f, err := Create(filepath.Join(dir, "x"), nil)
	write(t, f, err, "one")
	f.err = syscall.ENOSPC
	if err := f.Commit(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Commit: %v", err)
	}
	wantNames(t, dir)
}

func TestExistingFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x")
	if err := os.WriteFile(path, []byte("old"), 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := Create(path, nil); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Create over a file: %v", err)
	}
	wantContent(t, path, "old")
	if err := put(t, path, "new", &Options{Replace: true}); err != nil {
		t.Fatal(err)
	}
	wantContent(t, path, "new")
	if info, _ := os.Stat(path); info.Mode() != 0o640 {
		t.Errorf("replacing changed the mode to %v", info.Mode())
	}
	wantNames(t, dir, "x")
	if _, err := Create(dir, &Options{Replace: true}); !errors.Is(err, syscall.EISDIR) {
		t.Errorf("Create over a directory: %v", err)
	}
}

// A file that appears while another one is written under its name stays.
func TestRace(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x")
	one, err := Create(path, nil)
	write(t, one, err, "loser")
	other, err := Create(path, &Options{Replace: true})
	write(t, other, err, "loser")
	if err := put(t, path, "winner", nil); err != nil {
		t.Fatal(err)
	}
	for _, f := range []*File{one, other} {
		if err := f.Commit(); !errors.Is(err, fs.ErrExist) {
			t.Errorf("Commit over a file that appeared: %v", err)
		}
	}
	wantContent(t, path, "winner")
	wantNames(t, dir, "x")
}

// An error names the target, and not the temporary file.
func TestErrorNamesTarget(t *testing.T) {
	absent := filepath.Join(t.TempDir(), "absent")
	for _, path := range []string{absent + "/", absent + "/x"} {
		_, err := Create(path, nil)
		if want := "create " + path + ": no such file or directory"; err == nil || err.Error() != want {
			t.Errorf("%v; want %s", err, want)
		}
	}
}

func TestErrorOfRenameNamesTarget(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	f, err := Create(path, nil)
	write(t, f, err, "one")
	if err := os.Remove(f.temp); err != nil {
		t.Fatal(err)
	}
	err = f.Commit()
	if want := "create " + path + ": no such file or directory"; err == nil || err.Error() != want {
		t.Errorf("%v; want %s", err, want)
	}
}

// Where link leads elsewhere, link/.. is the directory above that place.
func TestDotDotBehindLink(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	if err := os.Mkdir(filepath.Join(other, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(other, "sub"), filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("y", filepath.Join(other, "to-y")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"x", "to-y"} {
		if err := put(t, dir+"/link/../"+name, "one", nil); err != nil {
			t.Fatal(err)
		}
	}
	wantNames(t, dir, "link")
	wantNames(t, other, "sub", "to-y", "x", "y")
}

func TestSymlink(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	link := filepath.Join(dir, "link")
	target := filepath.Join(other, "target")
	for _, l := range [][2]string{{"middle", link}, {target, filepath.Join(dir, "middle")}, {"loop", filepath.Join(dir, "loop")}} {
		if err := os.Symlink(l[0], l[1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := put(t, link, "one", nil); err != nil { // dangling
		t.Fatal(err)
	}
	if err := put(t, link, "two", nil); !errors.Is(err, fs.ErrExist) {
		t.Errorf("through a link to a file: %v", err)
	}
	wantContent(t, target, "one")
	if err := put(t, link, "two", &Options{Replace: true}); err != nil {
		t.Fatal(err)
	}
	wantContent(t, target, "two")
	if err := put(t, filepath.Join(dir, "loop"), "x", nil); err == nil {
		t.Error("a link to itself was written")
	}
	wantNames(t, dir, "link", "loop", "middle")
	wantNames(t, other, "target")
}

func TestDeviceStaysDevice(t *testing.T) {
	device := os.DevNull
	if os.Geteuid() == 0 { // and so could replace the real one
		device = filepath.Join(t.TempDir(), "null")
		const null = 1<<8 | 3 // on Linux
		if err := syscall.Mknod(device, syscall.S_IFCHR|0o666, null); err != nil {
			t.Fatal(err)
		}
	}
	for _, opts := range []*Options{nil, {Replace: true}} {
		f, err := Create(device, opts)
		write(t, f, err, "gone")
		if !f.InPlace() {
			t.Error("a device is not written in place")
		}
		if err := f.Commit(); err != nil {
			t.Error(err)
		}
	}
	if info, err := os.Stat(device); err != nil || info.Mode()&fs.ModeDevice == 0 {
		t.Fatalf("%s is now %v, %v", device, info.Mode(), err)
	}
}

func TestFIFO(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	got := make(chan []byte)
	go func() {
		b, _ := os.ReadFile(path)
		got <- b
	}()
	if err := put(t, path, "through", nil); err != nil {
		t.Error(err)
	}
	if b := <-got; string(b) != "through" {
		t.Errorf("the reader got %q", b)
	}
	wantNames(t, dir, "fifo")
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x")
	if err := put(t, path, "old", nil); err != nil {
		t.Fatal(err)
	}
	f, err := Create(path, &Options{Replace: true})
	write(t, f, err, "new")
	defer f.Abort()
	found := 0
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		info, _ := e.Info()
		for _, own := range f.Files() {
			if os.SameFile(info, own) {
				found++
			}
		}
	}
	if len(entries) != 2 || found != 2 {
		t.Errorf("%d files in the directory, %d of them recognised; want 2 and 2", len(entries), found)
	}
}

func TestReap(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x")
	live, err := Create(path, nil)
	write(t, live, err, "live")
	dead := filepath.Join(dir, TempPrefix+"dead")
	if err := os.WriteFile(dead, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	// What only looks like a leftover stays: it is not ours.
	stranger := filepath.Join(dir, TempPrefix+"link")
	if err := os.Symlink(dead, stranger); err != nil {
		t.Fatal(err)
	}
	if err := put(t, filepath.Join(dir, "y"), "next", nil); err != nil {
		t.Fatal(err)
	}
	if err := live.Commit(); err != nil {
		t.Errorf("a live file was reaped: %v", err)
	}
	wantNames(t, dir, TempPrefix+"link", "x", "y")
	wantContent(t, path, "live")
}
