//go:build linux

package process_test

import (
	"context"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/coffer-backup/coffer/internal/need"
)

const (
	workers = 12
	records = 160 // so that one has forgotten its tickets when its turn comes again
)

// TestKilled kills a vault by SIGKILL every 20 to 150 ms while clients guess, vanish, log
// in and register. Nobody gets more guesses than are allowed, nothing that was
// acknowledged is lost, and nothing is evaluated that is not in the log.
func TestKilled(t *testing.T) {
	attempts := 2_000
	switch {
	case raceEnabled:
		attempts = 500
	case need.Long() || os.Getenv("CI") == "true":
		attempts = 10_000
	}
	p, _ := newSoftware(t, func(c *config) { c.Spy = true })
	testKilled(t, p, attempts, kills{least: 20 * time.Millisecond, most: 150 * time.Millisecond})
}

// kills says how long a process lives.
type kills struct {
	least, most time.Duration
	started     bool // it is not killed before it serves
	// faults returns the tracer of the next start, which may make it fail. nil: none does.
	faults func() []string
}

func testKilled(t *testing.T, p *process, attempts int, k kills) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	b := newBook(t)
	all := newPool(b, p.newClient())
	var work sync.WaitGroup
	for range workers {
		work.Go(func() {
			for int(b.attempts.Load()) < attempts && ctx.Err() == nil && !t.Failed() {
				r := all.take()
				r.episode(ctx)
				all.put(r)
			}
		})
	}
	done := make(chan struct{})
	go func() {
		work.Wait()
		close(done)
	}()
	begin := time.Now()
	starts := p.killUntil(ctx, done, k)
	cancel() // if the vault does not start
	<-done
	t.Logf("%d attempts in %v, %d starts of the vault; %d records, %d destroyed, %d recovered, %d tickets expired",
		b.attempts.Load(), time.Since(begin).Round(time.Second), starts, all.made, b.destroyed.Load(), b.recovered.Load(), b.expired.Load())
	if t.Failed() {
		return
	}
	if n := int(b.attempts.Load()); n < attempts {
		t.Fatalf("%d attempts in 5 minutes, not %d", n, attempts)
	}
	p.run()
	all.verify(t.Context())
	p.stop()
	b.audit(p, starts+1)
	if n := int(b.expired.Load()); n > attempts/20 {
		t.Errorf("%d tickets were refused", n)
	}
	if b.destroyed.Load() < 5 || b.recovered.Load() < 5 || starts < 10 {
		t.Errorf("%d records destroyed, %d recovered, %d starts: this test has seen nothing", b.destroyed.Load(), b.recovered.Load(), starts)
	}
}

// killUntil starts the process and kills it, until done, and returns how often.
func (p *process) killUntil(ctx context.Context, done <-chan struct{}, k kills) (starts int) {
	defer func() { p.tracer = nil }()
	for {
		if k.faults != nil {
			p.tracer = k.faults()
		}
		if err := p.start(); err != nil {
			p.t.Error(err)
			return starts
		}
		starts++
		pause := k.least + rand.N(k.most-k.least)
		if !k.started && rand.IntN(8) == 0 { // while it starts
			pause = rand.N(k.least)
		} else if err := p.wait(); err != nil {
			if k.faults == nil {
				p.t.Error(err)
				return starts
			}
			pause = 0
		}
		select {
		case <-time.After(pause):
			p.kill()
			continue
		case <-done:
		case <-ctx.Done():
		}
		p.kill()
		return starts
	}
}

// A pool has the records that nobody is at work on.
type pool struct {
	book   *book
	client *client

	mu    sync.Mutex
	idle  []*record
	aside []*record // an attempt on them vanished, and others have to wait
	dead  []*record // destroyed, and not registered again
	made  int
}

func newPool(b *book, c *client) *pool {
	l := &pool{book: b, client: c}
	for range records {
		l.idle = append(l.idle, l.fresh())
	}
	return l
}

func (l *pool) fresh() *record {
	l.made++
	return newRecord(l.book, l.client, l.made)
}

// take returns a record that the caller has for itself.
func (l *pool) take() *record {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.aside) > 0 && time.Now().After(l.aside[0].free) {
		r := l.aside[0]
		l.aside = l.aside[1:]
		return r
	}
	r := l.idle[0]
	l.idle = l.idle[1:]
	return r
}

// put gives a record back. New ones take the place of those that others have to wait for,
// and of a third of the destroyed, which are let rest.
func (l *pool) put(r *record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case r.free.After(time.Now().Add(2 * ticketTime)):
		l.aside = append(l.aside, r)
	case r.died && chance(33):
		l.dead = append(l.dead, r)
	default:
		l.idle = append(l.idle, r)
		return
	}
	l.idle = append(l.idle, l.fresh())
}

// verify looks at all records in the end.
func (l *pool) verify(ctx context.Context) {
	time.Sleep(looseTime) // nothing is on the way any more, and tickets are forgotten
	turn := make(chan *record)
	var work sync.WaitGroup
	for range workers {
		work.Go(func() {
			for r := range turn {
				r.verify(ctx)
			}
		})
	}
	for _, part := range [][]*record{l.idle, l.aside, l.dead} {
		for _, r := range part {
			turn <- r
		}
	}
	close(turn)
	work.Wait()
}

func chance(percent int) bool { return rand.IntN(100) < percent }
