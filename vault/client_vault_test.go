package vault

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/coffer-backup/coffer/keys"
	"github.com/coffer-backup/coffer/vault/evaluator"
	"github.com/coffer-backup/coffer/vault/store/storetest"
	"github.com/coffer-backup/coffer/vault/wire"
)

// A testVault is a server with its store in memory, and what belongs to it.
type testVault struct {
	*Server
	t          testing.TB
	root       ed25519.PrivateKey
	secrets    *evaluator.SoftwareSecrets
	store      *storetest.Memory
	issuer     *Issuer
	descriptor Descriptor
	ahead      time.Duration // of its clock
}

func (v *testVault) now() time.Time { return time.Now().Add(v.ahead) }

// cheapKSF is the weakest that is accepted.
var cheapKSF = KSF{"argon2id", 19 << 10, 2, 1}

func newTestVault(t testing.TB) *testVault {
	_, root, _ := ed25519.GenerateKey(nil)
	_, key, _ := ed25519.GenerateKey(nil)
	v := &testVault{t: t, root: root, secrets: evaluator.GenerateSoftware(), store: storetest.NewMemory()}
	statement := v.secrets.Statement
	point := statement.Public()
	v.descriptor = Descriptor{
		Version: 1, Root: Base64(root.Public().(ed25519.PublicKey)), Statement: point[:], KSF: cheapKSF, Max: DefaultAttempts,
	}
	v.issuer = &Issuer{ID: "app", Key: key, Vault: v.descriptor.ID()}
	v.revise(func(*Descriptor) {})
	return v
}

// revise puts a server with a new descriptor in the place of the one before.
func (v *testVault) revise(change func(*Descriptor)) {
	v.t.Helper()
	d := &v.descriptor
	d.Revision++
	d.AKE = nil
	for id := range uint16(len(v.secrets.AKE)) {
		scalar := v.secrets.AKE[id+1]
		point := scalar.Public()
		d.AKE = append(d.AKE, AKE{id + 1, point[:]})
	}
	change(d)
	signed, err := d.Sign(v.root)
	if err != nil {
		v.t.Fatal(err)
	}
	v.Server, err = NewServer(v.t.Context(), v.config(signed))
	if err != nil {
		v.t.Fatal(err)
	}
}

// client returns a client that speaks over t.
func (v *testVault) client(t Transport) *Client {
	v.t.Helper()
	c, err := NewClient(t, v.issuer.Vault, &ClientOptions{
		Tickets: func(_ context.Context, credential string, op TicketOp) (string, error) {
			return v.issuer.Ticket(credential, op, v.now())
		},
	})
	if err != nil {
		v.t.Fatal(err)
	}
	return c
}

// count returns how many events of that kind are in the log.
func (v *testVault) count(kind uint8) (n int) {
	v.t.Helper()
	entries, err := v.store.Log(context.Background(), 0, 10_000)
	if err != nil {
		v.t.Fatal(err)
	}
	for _, e := range entries {
		if e.Kind == kind {
			n++
		}
	}
	return n
}

func newTestRing(t testing.TB, n int) *Keyring {
	t.Helper()
	var all []*keys.AccountKey
	for range n {
		all = append(all, keys.GenerateAccountKey())
	}
	ring, err := NewKeyring(all...)
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

func sameRing(a, b *Keyring) bool {
	return slices.EqualFunc(a.Keys(), b.Keys(), func(a, b *keys.AccountKey) bool { return string(a.Bytes()) == string(b.Bytes()) })
}

// A wiretap notes what goes over a transport, and may change it.
type wiretap struct {
	Transport
	mu    sync.Mutex
	sizes []string // of requests and replies
	// before may answer a call itself; after may change its reply.
	before func(n int, call wire.Call, request []byte) (reply []byte, err error)
	after  func(n int, call wire.Call, request, reply []byte) ([]byte, error)
}

func (w *wiretap) Call(ctx context.Context, request []byte) (reply []byte, err error) {
	call := wire.Call(request[1])
	w.mu.Lock()
	n := len(w.sizes)
	w.sizes = append(w.sizes, fmt.Sprintf("%v %d", call, len(request)))
	w.mu.Unlock()
	if w.before != nil {
		if reply, err = w.before(n, call, request); reply != nil || err != nil {
			return reply, err
		}
	}
	if reply, err = w.Transport.Call(ctx, request); err == nil && w.after != nil {
		return w.after(n, call, request, reply)
	}
	return reply, err
}

// calls returns which calls there were.
func (w *wiretap) calls() (all []string) {
	for _, s := range w.sizes {
		var call string
		fmt.Sscan(s, &call)
		all = append(all, call)
	}
	return all
}

func codeOf(err error) wire.Code {
	var e *StateError
	if errors.As(err, &e) {
		return e.Code
	}
	return 0
}
