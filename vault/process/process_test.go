//go:build linux

package process_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"filippo.io/nistec"

	"github.com/coffer-backup/coffer/vault"
	"github.com/coffer-backup/coffer/vault/evaluator"
	"github.com/coffer-backup/coffer/vault/httpapi"
	"github.com/coffer-backup/coffer/vault/store"
	"github.com/coffer-backup/coffer/vault/store/bolt"
)

// maxAttempts is how many a record allows here, and what vaults have by default.
const maxAttempts = vault.DefaultAttempts

// cheapKSF is the weakest that clients accept.
var cheapKSF = vault.KSF{Name: "argon2id", KiB: 19 << 10, Time: 2, Lanes: 1}

// A process is a vault, and what a test has to know to start it and to be its client.
type process struct {
	t testing.TB
	config
	issuer    vault.Issuer
	hash      [32]byte // of the descriptor
	statement *ecdsa.PublicKey
	address   string
	// tracer is the command line to put before that of the next start, for one that has
	// faults.
	tracer []string

	listener *os.File
	cmd      *exec.Cmd
	in       io.WriteCloser
	out      *bufio.Reader
}

// newProcess makes a vault without delays whose evaluator has these public halves. It
// does not start it.
func newProcess(t testing.TB, statement, ake evaluator.Point, change func(*config)) *process {
	t.Helper()
	_, root, _ := ed25519.GenerateKey(nil)
	public, key, _ := ed25519.GenerateKey(nil)
	d := &vault.Descriptor{
		Version: 1, Root: vault.Base64(root.Public().(ed25519.PublicKey)), Revision: 1, Statement: statement[:],
		AKE: []vault.AKE{{ID: 1, Key: ake[:]}}, KSF: cheapKSF, Max: maxAttempts,
	}
	signed, err := d.Sign(root)
	if err != nil {
		t.Fatal(err)
	}
	p := &process{
		t: t, issuer: vault.Issuer{ID: "app", Key: key, Vault: d.ID()}, hash: sha256.Sum256(signed),
		config: config{Dir: t.TempDir(), ID: d.ID(), Descriptor: signed, Issuer: public},
	}
	point, err := nistec.NewP256Point().SetBytes(statement[:])
	if err != nil {
		t.Fatal(err)
	}
	if p.statement, err = ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point.Bytes()); err != nil {
		t.Fatal(err)
	}
	if p.Certificate, p.Key, err = httpapi.NewCertificate([]string{"127.0.0.1"}, time.Now()); err != nil {
		t.Fatal(err)
	}
	change(&p.config)
	p.listen()
	text, err := json.Marshal(p.config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p.file("config"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.end)
	return p
}

// newSoftware makes a vault in mode software.
func newSoftware(t testing.TB, change func(*config)) (*process, *evaluator.SoftwareSecrets) {
	t.Helper()
	secrets := evaluator.GenerateSoftware()
	file, err := secrets.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	statement, ake := secrets.Statement, secrets.AKE[1]
	return newProcess(t, statement.Public(), ake.Public(), func(c *config) {
		c.Secrets = file
		change(c)
	}), secrets
}

func (p *process) listen() {
	p.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		p.t.Fatal(err)
	}
	defer l.Close()
	if p.listener, err = l.(*net.TCPListener).File(); err != nil {
		p.t.Fatal(err)
	}
	p.address = l.Addr().String()
}

// start starts the process. It is ready when wait returns.
func (p *process) start() error {
	log, err := appendTo(p.file(logFile))
	if err != nil {
		return err
	}
	defer log.Close()
	args := append(slices.Clip(p.tracer), os.Args[0])
	p.cmd = exec.Command(args[0], args[1:]...)
	p.cmd.Env = append(os.Environ(), childFile+"="+p.file("config"))
	p.cmd.ExtraFiles = []*os.File{p.listener}
	p.cmd.Stderr = log
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	p.out = bufio.NewReader(out)
	return p.cmd.Start()
}

// wait waits until the process serves.
func (p *process) wait() error {
	if line, err := p.out.ReadString('\n'); err != nil || line != "ready\n" {
		return fmt.Errorf("the vault does not start: %q, %w: %s", line, err, p.lastWords())
	}
	return nil
}

// run starts the process for good.
func (p *process) run() {
	p.t.Helper()
	if err := p.start(); err != nil {
		p.t.Fatal(err)
	}
	if err := p.wait(); err != nil {
		p.t.Fatal(err)
	}
}

// kill is SIGKILL.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait() // "signal: killed"
	p.cmd = nil
}

// stop ends the process in good order.
func (p *process) stop() {
	p.t.Helper()
	p.in.Close()
	if err := p.cmd.Wait(); err != nil {
		p.t.Errorf("the vault ended with %v: %s", err, p.lastWords())
	}
	p.cmd = nil
}

func (p *process) end() {
	if p.cmd != nil {
		p.kill()
	}
	p.listener.Close()
}

// order has the process do something, and returns its answer.
func (p *process) order(text string) string {
	p.t.Helper()
	if _, err := fmt.Fprintln(p.in, text); err != nil {
		p.t.Fatal(err)
	}
	answer, err := p.out.ReadString('\n')
	if err != nil {
		p.t.Fatalf("%s: %v: %s", text, err, p.lastWords())
	}
	return strings.TrimSuffix(answer, "\n")
}

func (p *process) goroutines() int {
	p.t.Helper()
	n, err := strconv.Atoi(p.order("goroutines"))
	if err != nil {
		p.t.Fatal(err)
	}
	return n
}

// lastWords returns the end of the log.
func (p *process) lastWords() string {
	log, err := os.ReadFile(p.file(logFile))
	if err != nil {
		return err.Error()
	}
	return string(log[max(0, len(log)-2000):])
}

// readLog returns the log of a process that has ended, and verifies its chain.
func (p *process) readLog() []store.Entry {
	p.t.Helper()
	s, err := bolt.Open(p.file(storeFile), &bolt.Options{Existing: true})
	if err != nil {
		p.t.Fatal(err)
	}
	defer s.Close()
	entries, err := s.Log(p.t.Context(), 0, 1<<20)
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := store.Verify(store.Entry{}, entries); err != nil {
		p.t.Fatal(err)
	}
	return entries
}

// proc returns the path of a file about the process.
func (p *process) proc(name string) string {
	return filepath.Join("/proc", strconv.Itoa(p.cmd.Process.Pid), name)
}

// descriptors returns how many are open.
func (p *process) descriptors() int {
	p.t.Helper()
	all, err := os.ReadDir(p.proc("fd"))
	if err != nil {
		p.t.Fatal(err)
	}
	return len(all)
}

// memory returns a figure of the process' memory in KiB: "VmRSS" is what it has, "VmHWM"
// the most it ever had.
func (p *process) memory(name string) int {
	p.t.Helper()
	status, err := os.ReadFile(p.proc("status"))
	if err != nil {
		p.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), name+":")
	var kib int
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		p.t.Fatalf("%s: %v", name, err)
	}
	return kib
}

func (p *process) dial() *httpapi.Transport {
	p.t.Helper()
	t, _, err := httpapi.Dial("https://"+p.address+"/#"+p.ID, &httpapi.Options{CA: p.Certificate})
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = t.Close() })
	return t
}

// ticketTime is how long a ticket is good for, so that a record soon forgets it: it
// remembers few.
const ticketTime = 6 * time.Second

func (p *process) ticket(credential string, op vault.TicketOp) string {
	// It is good for ten minutes, and two more for the clocks.
	made := time.Now().Add(ticketTime - vault.MaxTicketTime - 2*time.Minute)
	text, err := p.issuer.Ticket(credential, op, made)
	if err != nil {
		panic(err) // for other credential ids than this test has
	}
	return text
}

// product returns the client that programs use.
func (p *process) product() *vault.Client {
	p.t.Helper()
	c, err := vault.NewClient(p.dial(), p.ID, &vault.ClientOptions{
		Tickets: func(_ context.Context, credential string, op vault.TicketOp) (string, error) {
			return p.ticket(credential, op), nil
		},
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return c
}
