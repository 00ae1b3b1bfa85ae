package httpapi

import (
	"context"
	"crypto/ed25519"
	"crypto/elliptic"
	"errors"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coffer-backup/coffer/keys"
	"github.com/coffer-backup/coffer/vault"
	"github.com/coffer-backup/coffer/vault/evaluator"
	"github.com/coffer-backup/coffer/vault/store"
	"github.com/coffer-backup/coffer/vault/store/storetest"
	"github.com/coffer-backup/coffer/vault/wire"
)

// A writeCount is a store that counts its writes.
type writeCount struct {
	store.Store
	n atomic.Int64
}

func (s *writeCount) Update(ctx context.Context, index store.Index, change func(store.Cells) (store.Change, error)) error {
	return s.Store.Update(ctx, index, func(c store.Cells) (store.Change, error) {
		made, err := change(c)
		if made.Row != nil || made.Pending != nil || len(made.Log) > 0 {
			s.n.Add(1)
		}
		return made, err
	})
}

// newVault returns a server in software mode, whom it takes tickets from, and its store.
func newVault(tb testing.TB) (*vault.Server, *vault.Issuer, *writeCount) {
	tb.Helper()
	_, root, _ := ed25519.GenerateKey(nil)
	public, key, _ := ed25519.GenerateKey(nil)
	ev, err := evaluator.NewSoftware(evaluator.GenerateSoftware())
	if err != nil {
		tb.Fatal(err)
	}
	statement, ake := ev.Info().Statement, ev.Info().AKE[1]
	d := &vault.Descriptor{
		Version: 1, Root: vault.Base64(root.Public().(ed25519.PublicKey)), Revision: 1, Statement: statement[:],
		AKE: []vault.AKE{{ID: 1, Key: ake[:]}}, KSF: vault.KSF{Name: "argon2id", KiB: 19 << 10, Time: 2, Lanes: 1}, Max: vault.DefaultAttempts,
	}
	signed, err := d.Sign(root)
	if err != nil {
		tb.Fatal(err)
	}
	s := &writeCount{Store: storetest.NewMemory()}
	server, err := vault.NewServer(tb.Context(), vault.Config{
		ID: d.ID(), Descriptor: signed, Evaluator: ev, Store: s, Log: slog.New(slog.DiscardHandler),
		Issuers: map[string]ed25519.PublicKey{"app": public},
	})
	if err != nil {
		tb.Fatal(err)
	}
	return server, &vault.Issuer{ID: "app", Key: key, Vault: d.ID()}, s
}

// The whole of it: a vault, HTTPS, a client.
func TestOverHTTPS(t *testing.T) {
	server, issuer, _ := newVault(t)
	s := serve(t, server, HandlerOptions{}, ServeOptions{})
	d, _, err := Dial("https://"+s.addr+"/#"+issuer.Vault, &Options{CA: s.ca})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	client, err := vault.NewClient(d, issuer.Vault, &vault.ClientOptions{
		Tickets: func(_ context.Context, credential string, op vault.TicketOp) (string, error) {
			return issuer.Ticket(credential, op, time.Now())
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	key := keys.GenerateAccountKey()
	ring, err := vault.NewKeyring(key)
	if err != nil {
		t.Fatal(err)
	}
	password := []byte("nine jolly herons")
	if _, err := client.Register(t.Context(), "ann", password, ring, nil); err != nil {
		t.Fatal(err)
	}
	var wrong *vault.WrongPasswordError
	if _, err := client.Recover(t.Context(), "ann", []byte("nine jolly herrings")); !errors.As(err, &wrong) {
		t.Errorf("error %v", err)
	}
	got, err := client.Recover(t.Context(), "ann", password)
	if err != nil || got.Keyring.Newest().ID() != key.ID() || got.Failures != 1 {
		t.Errorf("recovered %+v, %v", got, err)
	}
	if log := s.log.String(); strings.Contains(log, "ann") || strings.Contains(log, "herons") {
		t.Errorf("the log tells who asked: %s", log)
	}
}

// floods are requests that no ticket goes with, of a stranger who knows the protocol.
func floods(tb testing.TB, stranger *vault.Issuer) (all [][]byte) {
	tb.Helper()
	for _, op := range []vault.TicketOp{vault.TicketRecover, vault.TicketRegister, vault.TicketOwner, vault.TicketStatus} {
		ticket, err := stranger.Ticket("ann", op, time.Now())
		if err != nil {
			tb.Fatal(err)
		}
		for _, r := range []wire.Request{
			&wire.Start{Ticket: ticket}, &wire.RegBegin{Ticket: ticket}, &wire.Owner{Ticket: ticket, Op: wire.OpDelete}, &wire.Status{Ticket: ticket},
		} {
			all = append(all, wire.AppendRequest(nil, r))
		}
	}
	point := elliptic.MarshalCompressed(elliptic.P256(), elliptic.P256().Params().Gx, elliptic.P256().Params().Gy)
	put := &wire.RegPut{Keyring: make([]byte, wire.MaxKeyring)} // of no registration
	copy(put.Record[:], point)
	for _, r := range []wire.Request{
		put, &wire.Finish{Command: make([]byte, wire.MaxCommand)}, new(wire.Abort), new(wire.RegPut),
		new(wire.RegTry), new(wire.RegDone),
	} {
		all = append(all, wire.AppendRequest(nil, r))
	}
	return append(all, make([]byte, wire.MaxRequest), []byte{wire.Version, 200})
}

// 50,000 requests without a valid ticket change nothing, and cost no memory that stays.
func TestFlood(t *testing.T) {
	const workers = 25
	requests := 50_000
	if raceEnabled {
		requests = 5_000
	}
	server, issuer, writes := newVault(t)
	s := serve(t, server, HandlerOptions{}, ServeOptions{})
	_, foreign, _ := ed25519.GenerateKey(nil)
	all := floods(t, &vault.Issuer{ID: issuer.ID, Key: foreign, Vault: issuer.Vault})

	flood := func(n int) (turnedDown int64) {
		var count atomic.Int64
		var done sync.WaitGroup
		for w := range workers {
			d := s.dial(t)
			done.Go(func() {
				defer func() { _ = d.Close() }()
				for i := range n / workers {
					_, err := d.Call(context.Background(), all[(i+w)%len(all)])
					if !errors.Is(err, vault.ErrRefused) && !errors.Is(err, vault.ErrOverloaded) {
						t.Errorf("request %d: %v", (i+w)%len(all), err)
						return
					}
					count.Add(1)
				}
			})
		}
		done.Wait()
		return count.Load()
	}
	flood(1000) // for what is made once
	written := writes.n.Load()
	before, peak := heap(), watchHeap()
	n := flood(requests)
	most, after := peak(), heap()
	if n != int64(requests) {
		t.Errorf("%d of %d requests were turned down", n, requests)
	}
	if n := writes.n.Load() - written; n != 0 {
		t.Errorf("%d writes", n)
	}
	if entries, err := writes.Log(t.Context(), 0, 10); err != nil || len(entries) != 0 {
		t.Errorf("%d entries in the log, %v", len(entries), err)
	}
	t.Logf("heap before %d KiB, at most %d KiB, after %d KiB", before>>10, most>>10, after>>10)
	if most > before+64<<20 || after > before+4<<20 {
		t.Errorf("the heap had %d KiB before, at most %d KiB, then %d KiB", before>>10, most>>10, after>>10)
	}
	if lines := strings.Count(s.log.String(), "\n"); lines > 200 {
		t.Errorf("%d lines in the log", lines)
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse
}

// watchHeap returns a function that ends watching and returns the most of it.
func watchHeap() func() uint64 {
	stop, most := make(chan struct{}), make(chan uint64)
	go func() {
		var m runtime.MemStats
		var max uint64
		for {
			runtime.ReadMemStats(&m)
			if m.HeapInuse > max {
				max = m.HeapInuse
			}
			select {
			case <-stop:
				most <- max
				return
			case <-time.After(100 * time.Millisecond):
			}
		}
	}()
	return func() uint64 { close(stop); return <-most }
}
