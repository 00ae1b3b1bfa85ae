//go:build linux

package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/coffer-backup/coffer/internal/need"
)

// waitFor polls for something that another process does.
func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	for range 1000 {
		if done() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("waited in vain for %s", what)
}

func (p place) hasTemp() bool {
	left, _ := filepath.Glob(p.path(".coffer-tmp-*"))
	return len(left) > 0
}

// wantInterrupted waits for a command that was sent a signal.
func (p place) wantInterrupted(c *exec.Cmd, stderr *bytes.Buffer) {
	p.t.Helper()
	_ = c.Wait()
	if code := c.ProcessState.ExitCode(); code != exitInterrupted || stderr.String() != "coffer: interrupted\n" {
		p.t.Errorf("exit status %d, %s", code, stderr)
	}
	p.noTemps()
}

// A signal ends a command that waits for its input: no temporary file is left and
// the target is as it was.
func TestInterruptedSeal(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		if signal.Ignored(sig) { // by nohup: then the command ignores it, too
			continue
		}
		p := newPlace(t)
		writeFile(t, p.path("out"), []byte("old"))
		c := p.cmd("seal", "--key-file", "k", "--force", "-o", "out")
		var stderr bytes.Buffer
		c.Stderr = &stderr
		stdin, err := c.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyN(stdin, newTextReader(8<<20), 8<<20); err != nil {
			t.Fatal(err)
		}
		waitFor(t, "the temporary file", p.hasTemp)
		if err := c.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		p.wantInterrupted(c, &stderr)
		if b, err := os.ReadFile(p.path("out")); string(b) != "old" {
			t.Errorf("the target is now %q, %v", b, err)
		}
	}
}

// Nor does what is no regular file keep a command that was told to end.
func TestInterruptedFIFO(t *testing.T) {
	for _, args := range [][]string{
		{"seal", "--key-file", "k", "-o", "out", "silent"},
		{"seal", "--key-file", "silent", "-o", "out", "k"},
		{"seal", "--key-file", "nobody", "-o", "out", "k"},
		{"seal", "--passphrase-file", "nobody", "-o", "out", "k"},
	} {
		p := newPlace(t)
		for _, name := range []string{"silent", "nobody"} {
			if err := syscall.Mkfifo(p.path(name), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		writer, err := os.OpenFile(p.path("silent"), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer writer.Close()
		c := p.cmd(args...)
		var stderr bytes.Buffer
		c.Stderr = &stderr
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		waitFor(t, "the temporary file", p.hasTemp)
		if err := c.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		p.wantInterrupted(c, &stderr)
	}
}

// A command ends at the first fault, though its input goes on in silence.
func TestSilentInput(t *testing.T) {
	p := newPlace(t)
	writeFile(t, p.path("data"), make([]byte, 8<<20))
	p.ok("backup", "--key-file", "k", "--level", "store", "-o", "b", "data")
	sealed, err := os.ReadFile(p.path("b"))
	if err != nil {
		t.Fatal(err)
	}
	sealed[20<<10] ^= 1
	sealed = sealed[:1<<20+16<<10] // hardly more than is read before any of it is opened
	for _, args := range [][]string{{"restore", "-C", "out", "-"}, {"open"}, {"verify", "-"}, {"ls", "-"}} {
		c := p.cmd(append(args, "--key-file", "k")...)
		stdin, err := c.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		defer stdin.Close()
		go stdin.Write(sealed)
		stuck := time.AfterFunc(10*time.Second, func() { _ = c.Process.Kill() })
		if code, stderr := status(t, c); code != 13 {
			t.Errorf("%s: exit status %d\n%s", args[0], code, stderr)
		}
		stuck.Stop()
	}
}

// Nothing can be cleaned up after SIGKILL, but what has the final name is whole,
// and the next run takes the leftovers away.
func TestKilled(t *testing.T) {
	p := newPlace(t)
	writeFile(t, p.path("data"), make([]byte, 4<<20))
	p.ok("seal", "--key-file", "k", "-o", "out", "data")
	took := time.Now()
	p.ok("seal", "--key-file", "k", "--force", "-o", "out", "data")
	whole := time.Since(took)
	leftovers := 0
	for i := range 30 {
		c := p.cmd("seal", "--key-file", "k", "--level", "store", "--force", "-o", "out", "data")
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(whole * time.Duration(i+1) / 30)
		_ = c.Process.Kill() // it may have ended
		_ = c.Wait()
		if p.hasTemp() {
			leftovers++
		}
		p.ok("verify", "--key-file", "k", "out")
	}
	t.Logf("%d of 30 kills left a temporary file", leftovers)
	p.ok("seal", "--key-file", "k", "--force", "-o", "out", "data")
	p.noTemps()
}

func TestInterruptedBackup(t *testing.T) {
	p := newPlace(t)
	f, err := os.Create(filepath.Join(p.mkdir("src"), "huge"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(1 << 40); err != nil { // more than is ever read
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	c := p.cmd("backup", "--key-file", "k", "-o", "b", "src")
	c.Stderr = &stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the temporary file", p.hasTemp)
	time.Sleep(50 * time.Millisecond)
	if err := c.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	p.wantInterrupted(c, &stderr)
	if _, err := os.Lstat(p.path("b")); err == nil {
		t.Error("an interrupted backup got its name")
	}
}

// startRestore begins to restore a container of one file and stops in its middle.
// finish gives it the rest.
func (p place) startRestore() (c *exec.Cmd, stderr *bytes.Buffer, finish func()) {
	p.t.Helper()
	writeFile(p.t, filepath.Join(p.mkdir("src"), "data"), make([]byte, 8<<20))
	p.ok("backup", "--key-file", "k", "--level", "store", "-o", "b", "src")
	sealed, err := os.ReadFile(p.path("b"))
	if err != nil {
		p.t.Fatal(err)
	}
	c = p.cmd("restore", "--key-file", "k", "-C", "out", "-")
	stderr = new(bytes.Buffer)
	c.Stderr = stderr
	stdin, err := c.StdinPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		p.t.Fatal(err)
	}
	half := len(sealed) / 2
	if _, err := stdin.Write(sealed[:half]); err != nil {
		p.t.Fatal(err)
	}
	waitFor(p.t, "the temporary file", p.hasRestoreTemp)
	return c, stderr, func() {
		if _, err := stdin.Write(sealed[half:]); err != nil {
			p.t.Error(err)
		}
		stdin.Close()
	}
}

func (p place) hasRestoreTemp() bool {
	left, _ := filepath.Glob(p.path("out/src/.coffer-tmp-*"))
	return len(left) > 0
}

func TestInterruptedRestore(t *testing.T) {
	p := newPlace(t)
	c, stderr, _ := p.startRestore()
	if err := c.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	p.wantInterrupted(c, stderr)
	if left, err := os.ReadDir(p.path("out/src")); err != nil || len(left) > 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
}

// What a restore that was killed left behind, the next one into the same directory
// takes away.
func TestKilledRestore(t *testing.T) {
	p := newPlace(t)
	c, _, _ := p.startRestore()
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait() // "signal: killed"
	if !p.hasRestoreTemp() {
		t.Fatal("nothing was left")
	}
	p.ok("restore", "--key-file", "k", "--force", "-C", "out", "b")
	if p.hasRestoreTemp() {
		t.Error("it is still there")
	}
}

// Nor does it take away what a living one is about to write.
func TestRestoreIntoRestore(t *testing.T) {
	p := newPlace(t)
	c, stderr, finish := p.startRestore()
	writeFile(t, p.path("src/other"), []byte("other"))
	p.ok("backup", "--key-file", "k", "-o", "b2", "src/other")
	p.ok("restore", "--key-file", "k", "--force", "-C", "out", "b2")
	if !p.hasRestoreTemp() {
		t.Error("the file of a living process was removed")
	}
	finish()
	if err := c.Wait(); err != nil {
		t.Errorf("%v\n%s", err, stderr)
	}
}

// A backup that is written to a directory takes leftovers away, but not what a
// restore is about to write there.
func TestBackupIntoRestore(t *testing.T) {
	p := newPlace(t)
	c, stderr, finish := p.startRestore()
	p.ok("seal", "--key-file", "k", "-o", "out/src/other", "k")
	if !p.hasRestoreTemp() {
		t.Error("the file of a living process was removed")
	}
	finish()
	if err := c.Wait(); err != nil {
		t.Errorf("%v\n%s", err, stderr)
	}
}

// A reader of stdout that goes away is an error, and no fatal signal.
func TestClosedPipe(t *testing.T) {
	p := newPlace(t)
	writeFile(t, p.path("data"), make([]byte, 4<<20))
	p.ok("seal", "--key-file", "k", "-o", "s", "data")
	for _, args := range [][]string{{"open", "s"}, {"seal", "--level", "store", "data"}, {"backup", "--level", "store", "data"}} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		c := p.cmd(append(args, "--key-file", "k")...)
		c.Stdout = w
		r.Close()
		code, stderr := status(t, c)
		w.Close()
		if code != 1 || !strings.Contains(stderr, "broken pipe") {
			t.Errorf("%s: exit status %d, %s", args[0], code, stderr)
		}
	}
}

// openPTY returns the two ends of a new pseudo-terminal.
func openPTY(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	need.That(t, err == nil, fmt.Sprintf("needs /dev/ptmx: %v", err))
	t.Cleanup(func() { master.Close() })
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { slave.Close() })
	return master, slave
}

// shown returns all that a terminal got, whose last user was the test.
func shown(master, slave *os.File) string {
	slave.Close()
	var b bytes.Buffer
	_, _ = io.Copy(&b, master) // EIO when the other end is closed
	return b.String()
}

// onTerminal makes slave the terminal of c.
func onTerminal(c *exec.Cmd, slave *os.File) {
	c.ExtraFiles = []*os.File{slave}
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 3}
}

func echoes(t *testing.T, terminal *os.File) bool {
	t.Helper()
	state, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return state.Lflag&unix.ECHO != 0
}

// A prompt does not echo, and an interrupted one leaves the terminal as it was.
func TestPrompt(t *testing.T) {
	master, slave := openPTY(t)
	p := newPlace(t)
	c := p.cmd("seal", "--passphrase", "--argon2", "t=1,m=8KiB,p=1", "-o", "s", "k")
	var stderr bytes.Buffer
	c.Stderr = &stderr
	onTerminal(c, slave)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the echo to go off", func() bool { return !echoes(t, slave) })
	if err := c.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	p.wantInterrupted(c, &stderr)
	if !echoes(t, slave) {
		t.Error("the terminal does not echo any more")
	}
	if s := shown(master, slave); s != "New passphrase: \r\n" {
		t.Errorf("the terminal got %q", s)
	}
}

// Sealed bytes go to a terminal only if told to by -o -.
func TestSealToTerminal(t *testing.T) {
	master, slave := openPTY(t)
	go io.Copy(io.Discard, master)
	p := newPlace(t)
	for _, test := range []struct {
		args []string
		code int
	}{
		{[]string{"seal", "k"}, 2},
		{[]string{"seal", "-o", slave.Name(), "k"}, 2},
		{[]string{"seal", "-o", slave.Name(), "--force", "k"}, 2},
		{[]string{"seal", "-o", "-", "k"}, 0},
	} {
		c := p.cmd(append(test.args, "--key-file", "k")...)
		c.Stdout = slave
		onTerminal(c, slave)
		code, stderr := status(t, c)
		if code != test.code || code == 2 && !strings.Contains(stderr, "nothing for") {
			t.Errorf("%q: exit status %d, want %d\n%s", test.args, code, test.code, stderr)
		}
	}
}

// On a terminal there is progress, and it is gone at the end.
func TestProgress(t *testing.T) {
	master, slave := openPTY(t)
	p := newPlace(t)
	c := p.cmd("seal", "--key-file", "k", "-o", "s")
	c.Stdin, c.Stderr = newTextReader(64<<20), slave
	if err := c.Run(); err != nil {
		t.Fatal(err)
	}
	if s := shown(master, slave); !strings.Contains(s, " sealed  ") || !strings.HasSuffix(s, "\r\x1b[K") {
		t.Errorf("the terminal got %q", s)
	}
}
