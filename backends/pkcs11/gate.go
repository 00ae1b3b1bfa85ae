//go:build cgo

package pkcs11

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// A gate is what every use of a library passes. Many may be inside at a time, or one
// alone: C_Initialize and C_Finalize must not run beside anything. While a call is
// overdue nobody gets in, or threads would pile up behind it.
type gate struct {
	mu      sync.Mutex
	inside  int
	alone   bool          // somebody is alone inside, or waits for the others to leave
	overdue int           // how many inside are past their deadline
	left    int           // how many inside nobody waits for, those included
	reason  error         // what the last of them waits for, if overdue
	changed chan struct{} // closed when a waiter should look again
	jam     *jam
}

// A jam is a time in which calls are overdue.
type jam struct {
	begun chan struct{} // closed when it begins
	err   error         // what the first of them waits for; it stays
}

func newJam() *jam { return &jam{begun: make(chan struct{})} }

func newGate() *gate {
	return &gate{changed: make(chan struct{}), jam: newJam()}
}

// enter waits while somebody is alone inside.
func (g *gate) enter(ctx context.Context) error {
	return g.await(ctx, func() bool {
		if g.alone {
			return false
		}
		g.inside++
		return true
	})
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.inside--; g.alone && g.inside == 0 {
		g.wake()
	}
}

// enterAlone lets nobody else in any more and waits until all have left.
func (g *gate) enterAlone(ctx context.Context) error {
	err := g.await(ctx, func() bool {
		if g.alone {
			return false
		}
		g.alone = true
		return true
	})
	if err != nil {
		return err
	}
	if err := g.await(ctx, func() bool { return g.inside == 0 }); err != nil {
		g.leaveAlone()
		return err
	}
	return nil
}

func (g *gate) leaveAlone() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.alone = false
	g.wake()
}

// await returns nil when ok, which is called with the lock held, returns true.
func (g *gate) await(ctx context.Context, ok func() bool) error {
	for {
		g.mu.Lock()
		if g.overdue > 0 {
			defer g.mu.Unlock()
			return g.reason
		}
		if ok() {
			g.mu.Unlock()
			return nil
		}
		changed := g.changed
		g.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// wake is called with the lock held.
func (g *gate) wake() {
	close(g.changed)
	g.changed = make(chan struct{})
}

// block is called with the lock held, when a call is overdue.
func (g *gate) block(fn string, limit time.Duration) error {
	if fn == "" {
		fn = "the library"
	}
	g.reason = fmt.Errorf("%w: %s has not returned within %v", ErrTimeout, fn, limit)
	if g.overdue++; g.overdue == 1 {
		g.jam.err = g.reason
		close(g.jam.begun)
	}
	g.wake()
	return g.reason
}

// unblock is called when such a call has returned after all.
func (g *gate) unblock() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.overdue--; g.overdue == 0 {
		g.reason = nil
		g.jam = newJam()
	}
	g.wake()
}

// jammed returns the jam that there is, or the next one.
func (g *gate) jammed() *jam {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.jam
}

// leftBehind reports whether there is a call for which nobody waits any more.
func (g *gate) leftBehind() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.left > 0
}

// health says which call is overdue, if any.
func (g *gate) health() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.reason
}
