// Package interop_test has clients of two languages, on two implementations of OPAQUE,
// open what the other has registered, over HTTPS.
package interop_test

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/coffer-backup/coffer/internal/need"
	"github.com/coffer-backup/coffer/keys"
	"github.com/coffer-backup/coffer/vault"
	"github.com/coffer-backup/coffer/vault/evaluator"
	"github.com/coffer-backup/coffer/vault/httpapi"
	"github.com/coffer-backup/coffer/vault/store/storetest"
	"github.com/coffer-backup/coffer/vault/wire"
)

// A task is a line to drive.mjs.
type task struct {
	Do         string   `json:"do"`
	Address    string   `json:"address"`
	CA         string   `json:"ca"`
	Credential string   `json:"credential"`
	Password   string   `json:"password"`
	Ticket     string   `json:"ticket"`
	Keys       []string `json:"keys,omitempty"` // in hex, the newest last
}

// An answer is its line.
type answer struct {
	Keys     []string
	Failures int
	Ver, Gen string
	KV       uint32
	Code     string
	Left     int
	Max      int
	Kind     string // of the error
	Error    string
}

// startNode returns a function that has Node do a task.
func startNode(t *testing.T) func(task) answer {
	t.Helper()
	node := need.Command(t, "node", "apt-get install nodejs")
	_, err := os.Stat("node_modules/@serenity-kit/opaque-p256")
	need.That(t, err == nil, "needs the packages of npm: cd vault/interop && npm ci")
	cmd := exec.Command(node, "drive.mjs")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("node: %v", err)
		}
	})
	lines := bufio.NewReader(out)
	return func(do task) (a answer) {
		t.Helper()
		line, err := json.Marshal(do)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := in.Write(append(line, '\n')); err != nil {
			t.Fatal(err)
		}
		text, err := lines.ReadBytes('\n')
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, &a); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		return a
	}
}

// A relay is a vault behind HTTPS, whose answers a test can change.
type relay struct {
	vault.Transport
	descriptor []byte // nil: the vault's
	change     func(request, reply []byte)
	calls      []wire.Call
}

func (r *relay) Descriptor(ctx context.Context) ([]byte, error) {
	if r.descriptor != nil {
		return r.descriptor, nil
	}
	return r.Transport.Descriptor(ctx)
}

func (r *relay) Call(ctx context.Context, request []byte) ([]byte, error) {
	r.calls = append(r.calls, wire.Call(request[1]))
	reply, err := r.Transport.Call(ctx, request)
	if err == nil && r.change != nil {
		r.change(request, reply)
	}
	return reply, err
}

// A world is a vault, both clients of it, and who gives them tickets.
type world struct {
	t       *testing.T
	node    func(task) answer
	root    ed25519.PrivateKey
	issuer  *vault.Issuer
	ev      evaluator.Evaluator
	store   *storetest.Memory
	d       vault.Descriptor
	relay   *relay
	address string
	ca      []byte
	client  *vault.Client
}

func newWorld(t *testing.T, node func(task) answer, ev evaluator.Evaluator) *world {
	t.Helper()
	_, root, _ := ed25519.GenerateKey(nil)
	_, key, _ := ed25519.GenerateKey(nil)
	statement := ev.Info().Statement
	w := &world{
		t: t, node: node, root: root, ev: ev, store: storetest.NewMemory(), relay: new(relay),
		d: vault.Descriptor{
			Version: 1, Root: vault.Base64(root.Public().(ed25519.PublicKey)), Statement: statement[:],
			KSF: vault.KSF{Name: "argon2id", KiB: 19 << 10, Time: 2, Lanes: 1}, Max: vault.DefaultAttempts,
		},
	}
	for id := uint16(1); ; id++ {
		ake, ok := ev.Info().AKE[id]
		if !ok {
			break
		}
		w.d.AKE = append(w.d.AKE, vault.AKE{ID: id, Key: ake[:]})
	}
	w.issuer = &vault.Issuer{ID: "app", Key: key, Vault: w.d.ID()}
	w.revise()
	w.serve()
	return w
}

// revise signs the descriptor as it is now, and starts a server with it.
func (w *world) revise() {
	w.t.Helper()
	w.d.Revision++
	server, err := vault.NewServer(w.t.Context(), vault.Config{
		ID: w.d.ID(), Descriptor: w.sign(&w.d), Evaluator: w.ev, Store: w.store, Log: slog.New(slog.DiscardHandler),
		Issuers: map[string]ed25519.PublicKey{w.issuer.ID: w.issuer.Key.Public().(ed25519.PublicKey)},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.relay.Transport = server
}

func (w *world) sign(d *vault.Descriptor) []byte {
	w.t.Helper()
	signed, err := d.Sign(w.root)
	if err != nil {
		w.t.Fatal(err)
	}
	return signed
}

func (w *world) serve() {
	t := w.t
	t.Helper()
	ca, key, err := httpapi.NewCertificate([]string{"127.0.0.1"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(ca, key)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		h := httpapi.Handler(w.relay, &httpapi.HandlerOptions{Log: log})
		ended <- httpapi.Serve(ctx, l, h, &tls.Config{Certificates: []tls.Certificate{pair}}, &httpapi.ServeOptions{Log: log})
	}()
	w.ca, w.address = ca, "https://"+l.Addr().String()+"/#"+w.issuer.Vault
	d, id, err := httpapi.Dial(w.address, &httpapi.Options{CA: ca})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = d.Close()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	w.client, err = vault.NewClient(d, id, &vault.ClientOptions{
		Tickets: func(_ context.Context, credential string, op vault.TicketOp) (string, error) {
			return w.issuer.Ticket(credential, op, time.Now())
		},
	})
	if err != nil {
		t.Fatal(err)
	}
}

// js has the client in JavaScript do something.
func (w *world) js(do string, op vault.TicketOp, credential, password string, ring ...string) answer {
	w.t.Helper()
	ticket, err := w.issuer.Ticket(credential, op, time.Now())
	if err != nil {
		w.t.Fatal(err)
	}
	return w.node(task{Do: do, Address: w.address, CA: string(w.ca), Credential: credential, Password: password, Ticket: ticket, Keys: ring})
}

// newRing returns a keyring, and its keys in hex.
func newRing(t *testing.T, n int) (*vault.Keyring, []string) {
	t.Helper()
	var all []*keys.AccountKey
	for range n {
		all = append(all, keys.GenerateAccountKey())
	}
	ring, err := vault.NewKeyring(all...)
	if err != nil {
		t.Fatal(err)
	}
	return ring, hexOf(ring)
}

func hexOf(ring *vault.Keyring) (all []string) {
	for _, key := range ring.Keys() {
		all = append(all, hex.EncodeToString(key.Bytes()))
	}
	return all
}

func same(a, b []string) bool { return len(a) > 0 && strings.Join(a, " ") == strings.Join(b, " ") }

// wantLeft fails unless both clients say that so many attempts are left.
func (w *world) wantLeft(credential string, left int) {
	w.t.Helper()
	status, err := w.client.Status(w.t.Context(), credential)
	if err != nil || int(status.Left) != left {
		w.t.Errorf("Go: %+v, %v, want %d attempts", status, err, left)
	}
	if a := w.js("status", vault.TicketStatus, credential, ""); a.Code != "OK" || a.Left != left || a.Max != vault.DefaultAttempts {
		w.t.Errorf("JavaScript: %+v, want %d attempts", a, left)
	}
}

// passwords are a pair each that means the same: the second has another form of Unicode.
var passwords = [][2]string{
	{"nine jolly herons", "nine jolly herons"},
	{"Zw\u00f6lf \u00c4pfel \ud55c ", "Zwo\u0308lf A\u0308pfel \u1112\u1161\u11ab "},
}

func newSoftware(t *testing.T, secrets *evaluator.SoftwareSecrets) evaluator.Evaluator {
	t.Helper()
	ev, err := evaluator.NewSoftware(secrets)
	if err != nil {
		t.Fatal(err)
	}
	return ev
}

func TestSoftware(t *testing.T) {
	w := newWorld(t, startNode(t), newSoftware(t, evaluator.GenerateSoftware()))
	w.bothWays(1, 15, 16, vault.MaxKeys) // 15 fit into the smaller of two lengths
}

// bothWays registers keyrings of so many keys with each client and opens with both.
func (w *world) bothWays(sizes ...int) {
	w.t.Helper()
	for i, p := range passwords {
		for _, n := range sizes {
			name := fmt.Sprintf("%d.%d@", i, n)
			w.goToJS(name+"go", p, n)
			w.jsToGo(name+"js", p, n)
		}
	}
}

// goToJS registers in Go and opens in both.
func (w *world) goToJS(credential string, p [2]string, n int) {
	w.t.Helper()
	ring, want := newRing(w.t, n)
	receipt, err := w.client.Register(w.t.Context(), credential, []byte(p[0]), ring, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	w.opens(credential, p, want, receipt.KV)
}

// jsToGo registers in JavaScript and opens in both.
func (w *world) jsToGo(credential string, p [2]string, n int) {
	w.t.Helper()
	_, want := newRing(w.t, n)
	a := w.js("register", vault.TicketRegister, credential, p[0], want...)
	if a.Error != "" || a.Gen == "" {
		w.t.Fatalf("%+v", a)
	}
	w.opens(credential, p, want, a.KV)
}

// opens has both clients fail with a wrong password, which costs each an attempt, and
// then open what is kept.
func (w *world) opens(credential string, p [2]string, want []string, kv uint32) {
	t := w.t
	t.Helper()
	wrong := p[0] + "!"
	if a := w.js("recover", vault.TicketRecover, credential, wrong); a.Kind != "wrong password" || a.Error != "FAILED" || a.Left != 9 || a.Max != 10 {
		t.Errorf("JavaScript, wrong password: %+v", a)
	}
	w.wantLeft(credential, 9)
	var failed *vault.WrongPasswordError
	if _, err := w.client.Recover(t.Context(), credential, []byte(wrong)); !errors.As(err, &failed) || failed.Left != 8 {
		t.Errorf("Go, wrong password: %v", err)
	}
	w.wantLeft(credential, 8)
	if a := w.js("recover", vault.TicketRecover, credential, p[1]); !same(a.Keys, want) || a.Failures != 2 || a.KV != kv {
		t.Errorf("JavaScript: %d keys, %+v", len(a.Keys), a.Error)
	}
	w.wantLeft(credential, 10)
	got, err := w.client.Recover(t.Context(), credential, []byte(p[1]))
	if err != nil || !same(hexOf(got.Keyring), want) || got.Failures != 0 || got.Receipt.KV != kv {
		t.Errorf("Go: %+v, %v", got, err)
	}
}

// Nothing is kept: neither client can tell that from a wrong password.
func TestNothingKept(t *testing.T) {
	w := newWorld(t, startNode(t), newSoftware(t, evaluator.GenerateSoftware()))
	if a := w.js("recover", vault.TicketRecover, "nobody", "x"); a.Kind != "wrong password" || a.Left != 9 {
		t.Errorf("JavaScript: %+v", a)
	}
	var failed *vault.WrongPasswordError
	if _, err := w.client.Recover(t.Context(), "nobody", []byte("x")); !errors.As(err, &failed) || failed.Left != 8 {
		t.Errorf("Go: %v", err)
	}
	w.wantLeft("nobody", 8)
}

// What was made under an old descriptor opens under a new one, whatever has changed.
func TestRevisedDescriptor(t *testing.T) {
	secrets := evaluator.GenerateSoftware()
	w := newWorld(t, startNode(t), newSoftware(t, secrets))
	ring, want := newRing(t, 1)
	if _, err := w.client.Register(t.Context(), "go", []byte("x"), ring, nil); err != nil {
		t.Fatal(err)
	}
	if a := w.js("register", vault.TicketRegister, "js", "x", want...); a.Error != "" {
		t.Fatalf("%+v", a)
	}
	secrets.AKE[2] = evaluator.NewScalar()
	w.ev = newSoftware(t, secrets)
	second := w.ev.Info().AKE[2]
	w.d.AKE = append(w.d.AKE, vault.AKE{ID: 2, Key: second[:]})
	w.d.KSF = vault.KSF{Name: "argon2id", KiB: 20 << 10, Time: 3, Lanes: 2}
	w.revise()
	for _, credential := range []string{"go", "js"} {
		if a := w.js("recover", vault.TicketRecover, credential, "x"); !same(a.Keys, want) {
			t.Errorf("%s from JavaScript: %+v", credential, a)
		}
		if got, err := w.client.Recover(t.Context(), credential, []byte("x")); err != nil || !same(hexOf(got.Keyring), want) {
			t.Errorf("%s from Go: %v", credential, err)
		}
	}
	w.jsToGo("new", passwords[0], 1)
}
