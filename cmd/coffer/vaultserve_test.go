//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/coffer-backup/coffer/vault"
)

// A vault whose store cannot be written any more ends with an error, for a supervisor to
// start it again, and does not when it is only told to stop.
func TestServeFenced(t *testing.T) {
	p := newPlace(t)
	t.Setenv("XDG_STATE_HOME", p.path("state"))
	p.ok("vault", "init", "v", "--argon2=t=2,m=19MiB,p=1")
	info, err := os.Stat(p.path("v/store.db"))
	if err != nil {
		t.Fatal(err)
	}
	// The file cannot grow by more than some pages, so that one of many records is not
	// written.
	limited := fmt.Sprintf("ulimit -f %d; exec coffer vault serve v --listen 127.0.0.1:0", (info.Size()+64<<10)/512)
	serve := exec.Command("/bin/sh", "-c", limited)
	serve.Dir = p.dir
	stdout, err := serve.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	serve.Stderr = &stderr
	if err := serve.Start(); err != nil {
		t.Fatal(err)
	}
	defer serve.Process.Kill()
	url := address(t, stdout)
	if err := os.WriteFile(p.path("pass"), []byte("correct horse"), 0o600); err != nil {
		t.Fatal(err)
	}
	failed := false
	for i := 0; i < 100 && !failed; i++ {
		c := p.cmd("vault", "register", "--key-file", "k", "--vault", url, "--vault-ca", "v/tls.crt", "--credential", fmt.Sprint("user", i),
			"--vault-password-file", "pass", "--ticket-command", `coffer vault ticket v --credential $COFFER_TICKET_CREDENTIAL --op $COFFER_TICKET_OP`)
		code, _ := status(t, c)
		failed = code != 0
	}
	if !failed {
		t.Fatal("the file has grown beyond its limit")
	}
	ended := make(chan error, 1)
	go func() { ended <- serve.Wait() }()
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
		t.Fatal("it still runs")
	}
	if code := serve.ProcessState.ExitCode(); code != 1 || !strings.Contains(stderr.String(), "is used no more until it is opened anew") {
		t.Errorf("exit status %d\n%s", code, &stderr)
	}
	// It is as good as before for whoever opens it with room on the disk.
	again := p.cmd("vault", "serve", "v", "--listen", "127.0.0.1:0")
	if stdout, err = again.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	if err := again.Start(); err != nil {
		t.Fatal(err)
	}
	address(t, stdout)
	if err := again.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = again.Wait()
}

// address reads what a vault says at its start.
func address(t *testing.T, stdout io.Reader) string {
	t.Helper()
	var said bytes.Buffer
	b := make([]byte, 4096)
	for {
		n, err := stdout.Read(b)
		said.Write(b[:n])
		if i := strings.LastIndex(said.String(), "\nhttps://"); i >= 0 && strings.HasSuffix(said.String(), "\n") {
			return strings.TrimSpace(said.String()[i:])
		}
		if err != nil {
			t.Fatalf("it gave no address: %s", &said)
		}
	}
}

// The head of the log is told at once and again each time.
func TestTellHeads(t *testing.T) {
	d, err := newVaultDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	spec := newVaultSpec()
	if err := spec.make(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	r, err := d.start(t.Context(), hsmFlags{}, vault.Config{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer r.close(t.Context())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	lines := make(chan string, 3)
	go tellHeads(ctx, r.Server, time.Millisecond, slog.New(slog.NewTextHandler(lineWriter(lines), nil)))
	for range 3 {
		if line := <-lines; !strings.Contains(line, `msg="audit log" seq=0 hash=`) {
			t.Error(line)
		}
	}
}

// A lineWriter drops what nobody has read.
type lineWriter chan string

func (w lineWriter) Write(b []byte) (int, error) {
	select {
	case w <- string(b):
	default:
	}
	return len(b), nil
}
