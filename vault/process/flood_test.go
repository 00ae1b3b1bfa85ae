//go:build linux

package process_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coffer-backup/coffer/vault"
	"github.com/coffer-backup/coffer/vault/wire"
)

// TestFlood sends 50,000 requests that are malformed or have no valid ticket. They move
// nothing on disk and take no memory that grows, and people recover meanwhile.
func TestFlood(t *testing.T) {
	requests := 50_000
	if raceEnabled {
		requests = 5_000
	}
	p, _ := newSoftware(t, func(*config) {})
	p.run()
	people := newPeople(t, p)
	all := p.floods()
	p.flood(all, 1000) // for what is made once
	before := p.settled()
	resident := p.memory("VmRSS")
	start := time.Now()
	p.flood(all, requests/2)
	if after := p.sumOfStore(); after != before {
		t.Error("requests without a ticket have changed the store")
	}
	end := people.recoverUntil()
	p.flood(all, requests-requests/2)
	recoveries, slowest := end()
	most := p.memory("VmHWM")
	t.Logf("%d requests in %v, %d recoveries beside the latter half, the slowest in %v; %d KiB resident before, %d KiB at most",
		requests, time.Since(start).Round(time.Millisecond), recoveries, slowest.Round(time.Millisecond), resident, most)
	if recoveries < 20 {
		t.Errorf("%d recoveries", recoveries)
	}
	if most > resident+32<<10 && !raceEnabled { // the race detector keeps account of it all
		t.Errorf("%d KiB were resident, and %d KiB at most", resident, most)
	}
	p.stop()
	// Four entries of each registration, two of each recovery.
	if got, want := len(p.readLog()), 4*len(people.all)+2*recoveries; got != want {
		t.Errorf("%d entries in the log, not %d", got, want)
	}
	log, err := os.ReadFile(p.file(logFile))
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(log, []byte("\n")) - 4*len(people.all) - 2*recoveries; n > 100 {
		t.Errorf("the flood makes %d lines of log", n)
	}
}

// settled returns a sum of the store when nothing is under way.
func (p *process) settled() (sum [32]byte) {
	p.t.Helper()
	for range 10 {
		before := p.sumOfStore()
		time.Sleep(2500 * time.Millisecond) // a head of the log is signed each second, if there is news
		if sum = p.sumOfStore(); sum == before {
			return sum
		}
	}
	p.t.Fatal("the store changes by itself")
	return sum
}

func (p *process) sumOfStore() [32]byte {
	p.t.Helper()
	b, err := os.ReadFile(p.file(storeFile))
	if err != nil {
		p.t.Fatal(err)
	}
	return sha256.Sum256(b)
}

// A throw is a request of a stranger who knows the protocol.
type throw struct {
	method, path, contentType string
	body                      []byte
}

func (p *process) floods() (all []throw) {
	p.t.Helper()
	call := func(body []byte) {
		all = append(all, throw{http.MethodPost, "/v1/call", "application/octet-stream", body})
	}
	_, foreign, _ := ed25519.GenerateKey(nil)
	stranger := vault.Issuer{ID: "app", Key: foreign, Vault: p.ID}
	old := time.Now().Add(-time.Hour)
	for _, op := range []vault.TicketOp{vault.TicketRecover, vault.TicketRegister, vault.TicketOwner, vault.TicketStatus} {
		forged, err1 := stranger.Ticket("person-0", op, time.Now())
		expired, err2 := p.issuer.Ticket("person-0", op, old)
		if err := errors.Join(err1, err2); err != nil {
			p.t.Fatal(err)
		}
		for _, ticket := range []string{"", forged, expired, strings.Repeat("e30.", wire.MaxTicket/4)} {
			for _, r := range []wire.Request{
				&wire.Start{Ticket: ticket, KE1: newAttempt("person-0", []byte("wrong")).ke1}, &wire.RegBegin{Ticket: ticket},
				&wire.Owner{Ticket: ticket, Op: wire.OpDelete}, &wire.Status{Ticket: ticket},
			} {
				call(wire.AppendRequest(nil, r))
			}
		}
	}
	for _, r := range []wire.Request{
		&wire.Finish{Command: make([]byte, wire.MaxCommand)}, new(wire.Abort), &wire.RegPut{Keyring: make([]byte, wire.MaxKeyring)},
		new(wire.RegTry), new(wire.RegDone),
	} {
		frame := wire.AppendRequest(nil, r)
		call(frame)
		call(frame[:len(frame)-1])
		invented := bytes.Clone(frame)
		rand.Read(invented[2:50]) // an index, and more
		call(invented)
	}
	call(nil)
	call([]byte{wire.Version, 200})
	call(make([]byte, wire.MaxRequest))
	call(make([]byte, wire.MaxRequest+1))
	return append(all, throw{http.MethodPost, "/v1/call", "application/json", []byte("{}")},
		throw{http.MethodPut, "/v1/call", "application/octet-stream", []byte{1, 1}}, throw{method: http.MethodGet, path: "/v1/records"})
}

// flood sends n of these, none of which is answered by the vault.
func (p *process) flood(all []throw, n int) {
	p.t.Helper()
	const floods = 25
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(p.Certificate)
	var next atomic.Int64
	var work sync.WaitGroup
	for range floods {
		work.Go(func() {
			c := &http.Client{
				Timeout:   10 * time.Second,
				Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true},
			}
			defer c.CloseIdleConnections()
			for i := next.Add(1); i <= int64(n); i = next.Add(1) {
				if err := all[i%int64(len(all))].send(c, p.address); err != nil {
					p.t.Error(err)
					return
				}
			}
		})
	}
	work.Wait()
}

func (w *throw) send(c *http.Client, address string) error {
	r, err := http.NewRequest(w.method, "https://"+address+w.path, bytes.NewReader(w.body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", w.contentType)
	answer, err := c.Do(r)
	if err != nil && len(w.body) > wire.MaxRequest {
		return nil // the stream was reset: the client has sent more than it may before it heard of the limit
	}
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return err
	}
	if s := answer.StatusCode; (s < 400 || s >= 500) && s != http.StatusServiceUnavailable {
		return fmt.Errorf("%s %s of %d bytes, %.2x: %s", w.method, w.path, len(w.body), w.body, answer.Status)
	}
	return nil
}

// People are those who have registered and are no strangers.
type people struct {
	t      *testing.T
	client *client
	all    []*registration
}

func newPeople(t *testing.T, p *process) *people {
	t.Helper()
	l := &people{t: t, client: p.newClient()}
	_, owner, _ := ed25519.GenerateKey(nil)
	for i := range 128 { // a record takes no more than eleven tickets before it forgets them
		r := &registration{credential: fmt.Sprintf("person-%d", i), password: []byte(rand.Text()), keyring: newKeyring(), kv: 1, owner: owner}
		r.prepare()
		if _, err := l.client.register(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		l.all = append(l.all, r)
	}
	return l
}

// recoverUntil has people recover, one after the other, until the function that it
// returns is called, which returns how many did, and how long the slowest took.
func (l *people) recoverUntil() (end func() (n int, slowest time.Duration)) {
	ctx, cancel := context.WithCancel(l.t.Context())
	done := make(chan struct{})
	var n int
	var slowest time.Duration
	go func() {
		defer close(done)
		for ; ctx.Err() == nil; n++ {
			start := time.Now()
			if err := l.recover(l.all[n%len(l.all)]); err != nil {
				l.t.Errorf("recovery %d: %v", n, err)
				return
			}
			slowest = max(slowest, time.Since(start))
			time.Sleep(10 * time.Millisecond) // so that a record has forgotten its tickets when its turn comes again
		}
	}()
	return func() (int, time.Duration) {
		cancel()
		<-done
		return n, slowest
	}
}

func (l *people) recover(r *registration) error {
	ctx, cancel := context.WithTimeout(l.t.Context(), 20*time.Second)
	defer cancel()
	a := newAttempt(r.credential, r.password)
	reply, err := l.client.ask(ctx, l.client.startOf(a))
	if err != nil {
		return err
	}
	session, err := l.client.open(a, reply.Login)
	if err != nil {
		return err
	}
	_, release, err := l.client.finish(ctx, a, reply.Login, session, &wire.Command{Op: wire.OpRelease})
	switch {
	case err != nil:
		return err
	case release == nil || string(release.Keyring) != string(r.keyring):
		return errors.New("another keyring came back")
	}
	return nil
}
