//go:build linux

package durable

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coffer-backup/coffer/internal/need"
)

// childDir and childMode make a run of this test binary the process that is
// killed: in mode "loop" it writes files until then, in mode "once" one file.
const (
	childDir  = "COFFER_DURABLE_DIR"
	childMode = "COFFER_DURABLE_MODE"
)

func TestMain(m *testing.M) {
	dir := os.Getenv(childDir)
	if dir == "" {
		os.Exit(m.Run())
	}
	if err := child(dir, os.Getenv(childMode)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func child(dir, mode string) error {
	replaced := filepath.Join(dir, "replaced")
	if mode == "once" {
		return putBlock(replaced, &Options{Replace: true})
	}
	fmt.Println("ready")
	for i := 0; ; i++ {
		if err := putBlock(replaced, &Options{Replace: true}); err != nil {
			return err
		}
		if err := putBlock(filepath.Join(dir, fmt.Sprint("new", i)), nil); err != nil {
			return err
		}
	}
}

// putBlock writes a file that shows whether it is whole: random bytes and their
// hash, in several writes.
func putBlock(path string, opts *Options) error {
	f, err := Create(path, opts)
	if err != nil {
		return err
	}
	defer f.Abort()
	hash := sha256.New()
	for range 4 {
		chunk := make([]byte, 1+rand.IntN(64<<10))
		for i := range chunk {
			chunk[i] = byte(rand.Uint32())
		}
		hash.Write(chunk)
		if _, err := f.Write(chunk); err != nil {
			return err
		}
	}
	if _, err := f.Write(hash.Sum(nil)); err != nil {
		return err
	}
	return f.Commit()
}

func checkWhole(t *testing.T, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Error(err)
		return
	}
	if n := len(b) - sha256.Size; n < 0 || sha256.Sum256(b[:n]) != [sha256.Size]byte(b[n:]) {
		t.Errorf("%s is torn", filepath.Base(path))
	}
}

// checkDir checks every file under a final name, and that the next run of a
// program in the directory leaves no temporary file.
func checkDir(t *testing.T, dir string) {
	t.Helper()
	if err := putBlock(filepath.Join(dir, "next"), &Options{Replace: true}); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), TempPrefix) {
			t.Errorf("%s is left over", e.Name())
			continue
		}
		checkWhole(t, filepath.Join(dir, e.Name()))
	}
}

// A process killed at any moment leaves each final name absent or complete.
func TestKill(t *testing.T) {
	const kills = 200
	leftovers := 0
	for range kills {
		dir := t.TempDir()
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childDir+"="+dir, childMode+"=loop")
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(rand.IntN(15000)) * time.Microsecond)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // "signal: killed"
		temps, _ := filepath.Glob(filepath.Join(dir, TempPrefix+"*"))
		leftovers += len(temps)
		checkDir(t, dir)
	}
	t.Logf("%d kills left %d temporary files", kills, leftovers)
	if leftovers == 0 {
		t.Error("no kill hit a file being written: this test has seen nothing")
	}
}

// Every system call that a commit makes fails or is the last one, in turn.
func TestEverySyscallFails(t *testing.T) {
	strace := need.Command(t, "strace", "apt-get install strace")
	points := 0
	for _, call := range []string{"openat", "flock", "fchmod", "write", "fsync", "renameat", "renameat2", "unlinkat", "close"} {
		for _, fault := range []string{"error=EIO", "error=ENOSPC", "signal=KILL"} {
			for n := 1; ; n++ {
				if !injectFault(t, strace, call, fault, n) {
					break
				}
				points++
			}
		}
	}
	t.Logf("%d faults", points)
	if points < 50 {
		t.Errorf("only %d faults were injected", points)
	}
}

// injectFault runs one commit with a fault at the nth such call, and checks what
// is left. It returns false if there was no nth call.
func injectFault(t *testing.T, strace, call, fault string, n int) (hit bool) {
	dir := t.TempDir()
	path := filepath.Join(dir, "replaced")
	if err := putBlock(path, nil); err != nil {
		t.Fatal(err)
	}
	old, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(t.TempDir(), "log")
	cmd := exec.Command(strace, "-f", "-o", log, "-e", "trace="+call,
		"-e", fmt.Sprintf("inject=%s:%s:when=%d", call, fault, n), os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir, childMode+"=once")
	out, runErr := cmd.CombinedOutput()
	trace, err := os.ReadFile(log)
	if err != nil {
		t.Fatalf("strace: %v\n%s", err, out)
	}
	hit = bytes.Contains(trace, []byte("(INJECTED)")) || bytes.Contains(trace, []byte("killed by SIGKILL"))
	now, err := os.ReadFile(path)
	if err != nil {
		t.Errorf("%s %d %s: the old file is gone: %v", call, n, fault, err)
		return hit
	}
	changed := !bytes.Equal(now, old)
	var exit *exec.ExitError
	switch {
	case runErr == nil && !changed:
		t.Errorf("%s %d %s: success was told, but the file is the old one", call, n, fault)
	case runErr != nil && !errors.As(runErr, &exit):
		t.Fatal(runErr)
	case runErr != nil && changed && fault != "signal=KILL" && !bytes.Contains(out, []byte("may not survive a power cut")):
		t.Errorf("%s %d %s: the file was replaced, and yet: %s", call, n, fault, out)
	}
	if call == "fsync" && hit && fault != "signal=KILL" && bytes.Count(trace, []byte("fsync(")) > n {
		t.Errorf("fsync was tried again after it failed:\n%s", trace)
	}
	checkDir(t, dir)
	return hit
}

// A full disk at every size up to what is needed: an error, the old file, no
// temporary file.
func TestDiskFull(t *testing.T) {
	need.Root(t)
	const pages, page = 65, 4096
	dir := t.TempDir()
	err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=512k")
	need.That(t, err == nil, fmt.Sprintf("needs the right to mount: %v", err))
	defer syscall.Unmount(dir, 0)
	path := filepath.Join(dir, "x")
	if err := put(t, path, "old", nil); err != nil {
		t.Fatal(err)
	}
	content := bytes.Repeat([]byte{7}, pages*page)
	for free := range pages + 1 {
		fill(t, dir, free*page)
		f, err := Create(path, &Options{Replace: true})
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.Write(content)
		if free == pages {
			if err := errors.Join(err, f.Commit()); err != nil {
				t.Errorf("with enough room: %v", err)
			}
			wantContent(t, path, string(content))
			continue
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("%d pages free: %v", free, err)
		}
		if err := f.Commit(); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("Commit with %d pages free: %v", free, err)
		}
		wantContent(t, path, "old")
		wantNames(t, dir, "fill", "x")
	}
}

// fill leaves just free bytes in the file system of dir.
func fill(t *testing.T, dir string, free int) {
	t.Helper()
	path := filepath.Join(dir, "fill")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		t.Fatal(err)
	}
	room := int(s.Bavail)*int(s.Bsize) - free
	if err := os.WriteFile(path, make([]byte, room), 0o600); err != nil {
		t.Fatal(err)
	}
}
