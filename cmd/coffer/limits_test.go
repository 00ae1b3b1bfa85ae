//go:build linux

package main

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/coffer-backup/coffer/internal/need"
)

// textReader gives n bytes that compress about as text does.
type textReader struct {
	n     int64
	chunk []byte
	off   int
}

func newTextReader(n int64) *textReader {
	random := rand.New(rand.NewPCG(1, 2))
	words := make([][]byte, 4000)
	for i := range words {
		words[i] = make([]byte, 2+random.IntN(8))
		for j := range words[i] {
			words[i][j] = byte('a' + random.IntN(26))
		}
	}
	var b bytes.Buffer
	for b.Len() < 3<<20 {
		b.Write(words[random.IntN(len(words))])
		b.WriteByte(' ')
	}
	return &textReader{n: n, chunk: b.Bytes()}
}

func (r *textReader) Read(p []byte) (int, error) {
	if r.n == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(int64(len(p)), r.n)], r.chunk[r.off:])
	r.off = (r.off + n) % len(r.chunk)
	r.n -= int64(n)
	return n, nil
}

// tellPeaks has the commands of a test tell their peaks, for wantPeak.
func tellPeaks(t *testing.T) { t.Setenv(peakFile, filepath.Join(t.TempDir(), "status")) }

// wantPeak demands that the finished process never held more than limit KiB.
func wantPeak(t *testing.T, c *exec.Cmd, limit int64) {
	t.Helper()
	text, err := os.ReadFile(os.Getenv(peakFile))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "VmHWM:")
	var peak int64
	if _, err := fmt.Sscan(rest, &peak); err != nil || peak == 0 {
		t.Fatalf("the peak is %d KiB: %v", peak, err)
	}
	t.Logf("coffer %s: peak %d MiB", c.Args[1], peak>>10)
	if peak > limit {
		t.Errorf("coffer %s: peak memory %d MiB, more than %d", c.Args[1], peak>>10, limit>>10)
	}
}

// Peak memory does not grow with the input.
func TestMemory(t *testing.T) {
	size := int64(256 << 20)
	if need.Long() {
		size = 10 << 30
	}
	p := newPlace(t)
	tellPeaks(t)
	run := func(stdin io.Reader, stdout io.Writer, args ...string) {
		t.Helper()
		c := p.cmd(append(args, "--key-file", "k", "--workers", "2")...)
		c.Stdin, c.Stdout = stdin, stdout
		if code, stderr := status(t, c); code != 0 {
			t.Fatalf("coffer %s: exit status %d\n%s", args[0], code, stderr)
		}
		wantPeak(t, c, 128<<10)
	}
	run(newTextReader(size), nil, "seal", "-o", "s")
	run(nil, nil, "open", "-o", os.DevNull, "s")

	src, err := os.Create(filepath.Join(p.mkdir("src"), "text"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(src, newTextReader(size)); err != nil {
		t.Fatal(err)
	}
	src.Close()
	run(nil, nil, "backup", "--verify", "-o", "b", "src")
	run(nil, nil, "restore", "-C", "out", "b")
}

// A passphrase adds its Argon2 memory once, and it is gone before the segments come.
func TestMemoryOfPassphrase(t *testing.T) {
	if info, ok := debug.ReadBuildInfo(); ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		t.Skip("the race detector multiplies memory")
	}
	p := newPlace(t)
	tellPeaks(t)
	writeFile(t, p.path("p"), []byte("correct horse"))
	for _, args := range [][]string{{"seal", "-o", "s"}, {"open", "-o", os.DevNull, "s"}} {
		c := p.cmd(append(args, "--passphrase-file", "p", "--workers", "2")...)
		if args[0] == "seal" {
			c.Stdin = newTextReader(256 << 20)
		}
		if code, stderr := status(t, c); code != 0 {
			t.Fatalf("coffer %s: exit status %d\n%s", args[0], code, stderr)
		}
		wantPeak(t, c, (256+128)<<10)
	}
}

// A full disk is an error at every size: the target is as it was, or absent, and
// no temporary file is left.
func TestDiskFull(t *testing.T) {
	need.Root(t)
	p := newPlace(t)
	disk := p.mkdir("disk")
	err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=256k")
	need.That(t, err == nil, fmt.Sprintf("needs the right to mount: %v", err))
	defer syscall.Unmount(disk, 0)
	content := make([]byte, 300<<10)
	random := rand.NewChaCha8([32]byte{})
	_, _ = random.Read(content)
	writeFile(t, p.path("data"), content)
	p.ok("seal", "--key-file", "k", "-o", "sealed", "data")
	p.ok("backup", "--key-file", "k", "-o", "archive", "data")
	writeFile(t, p.path("disk/old"), []byte("old"))

	for full := 0; full < 256<<10; full += 64 << 10 {
		writeFile(t, p.path("disk/fill"), make([]byte, full))
		for _, args := range [][]string{
			{"seal", "-o", "disk/new", "data"},
			{"seal", "--force", "-o", "disk/old", "data"},
			{"backup", "-o", "disk/new", "data"},
			{"open", "-o", "disk/new", "sealed"},
			{"restore", "-C", "disk/out", "archive"},
		} {
			code, stderr := status(t, p.cmd(append(args, "--key-file", "k")...))
			if code != 1 || !strings.Contains(stderr, "the disk is full") {
				t.Errorf("%q: exit status %d, %s", args, code, stderr)
			}
			left, _ := filepath.Glob(p.path("disk/*"))
			hidden, _ := filepath.Glob(p.path("disk/.*"))
			restored, _ := os.ReadDir(p.path("disk/out"))
			if len(left) > 3 || len(hidden) > 0 || len(restored) > 0 {
				t.Errorf("%q left %q %q %v", args, left, hidden, restored)
			}
		}
		if b, err := os.ReadFile(p.path("disk/old")); err != nil || string(b) != "old" {
			t.Errorf("the old file is %d bytes, %v", len(b), err)
		}
	}
}

// What the user may not read is left out of the backup: exit status 3.
func TestUnreadable(t *testing.T) {
	need.Root(t)
	p := newPlace(t)
	if err := os.Chmod(filepath.Dir(p.dir), 0o755); err != nil { // t.TempDir is for its owner only
		t.Fatal(err)
	}
	src := p.mkdir("src")
	writeFile(t, filepath.Join(src, "secret"), []byte("root's"))
	writeFile(t, filepath.Join(src, "mine"), []byte("mine"))
	work := p.mkdir("work")
	const nobody = 65534
	for _, path := range []string{filepath.Join(src, "mine"), work, p.path("k")} {
		if err := os.Chown(path, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	asNobody := func(args ...string) *exec.Cmd {
		c := p.cmd(args...)
		// The directory of the real program is for root only.
		c.Path = copyProgram(t, p.path("coffer"))
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		return c
	}
	code, stderr := status(t, asNobody("backup", "--key-file", "k", "-o", "work/b", "src"))
	if code != 3 || !strings.Contains(stderr, `warning: "src/secret": permission denied`) {
		t.Errorf("backup: exit status %d\n%s", code, stderr)
	}
	code, stderr = status(t, asNobody("restore", "--key-file", "k", "-C", "work/out", "work/b"))
	if b, err := os.ReadFile(p.path("work/out/src/mine")); code != 0 || string(b) != "mine" {
		t.Errorf("restore: exit status %d, %q, %v\n%s", code, b, err, stderr)
	}
	if code, stderr = status(t, asNobody("backup", "--key-file", "k", "-o", "b", "src")); code != 1 {
		t.Errorf("into a directory that is not writable: exit status %d\n%s", code, stderr)
	}
}

func copyProgram(t *testing.T, to string) string {
	t.Helper()
	if _, err := os.Stat(to); err == nil {
		return to
	}
	program, err := exec.LookPath("coffer")
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, b, 0o755); err != nil {
		t.Fatal(err)
	}
	return to
}

// A device stays one, --force or not. It is a copy of /dev/null: a command that
// fails this test would break the machine's.
func TestDeviceStaysDevice(t *testing.T) {
	need.Root(t)
	p := newPlace(t)
	const null = 1<<8 | 3
	err := syscall.Mknod(p.path("null"), syscall.S_IFCHR|0o666, null)
	need.That(t, err == nil, fmt.Sprintf("needs the right to make devices: %v", err))
	writeFile(t, p.path("data"), []byte("data"))
	for _, args := range [][]string{
		{"seal", "--key-file", "k", "-o", "null", "--force", "data"},
		{"backup", "--key-file", "k", "-o", "null", "data"},
	} {
		p.ok(args...)
		info, err := os.Lstat(p.path("null"))
		if err != nil || info.Mode()&os.ModeCharDevice == 0 {
			t.Fatalf("coffer %q made the device %v, %v", args, info.Mode(), err)
		}
	}
	p.noTemps()
}
