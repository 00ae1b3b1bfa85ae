package engine

import (
	"context"
	"sync"
)

// A lifetime holds the goroutines of a pipe together.
type lifetime struct {
	caller  context.Context // the one that the caller gave
	ctx     context.Context // ends with the pipe, its cause is why
	cancel  context.CancelCauseFunc
	running sync.WaitGroup // all goroutines but the one that calls the caller's src or dst
	gone    chan struct{}  // closed when that one has ended
}

func (l *lifetime) begin(ctx context.Context) {
	l.caller, l.gone = ctx, make(chan struct{})
	l.ctx, l.cancel = context.WithCancelCause(ctx)
}

// released waits until src or dst is the caller's again. It gives up if the caller
// has cancelled: one that hangs is left behind only then.
func (l *lifetime) released() bool {
	select {
	case <-l.gone:
		return true
	case <-l.caller.Done():
		return false
	}
}

// send puts v into c, unless ctx ends first.
func send[T any](ctx context.Context, c chan<- T, v T) bool {
	select {
	case c <- v:
		return true
	case <-ctx.Done():
		return false
	}
}

// receive takes from c, unless ctx ends first.
func receive[T any](ctx context.Context, c <-chan T) (v T, ok bool) {
	select {
	case v = <-c:
		return v, true
	case <-ctx.Done():
		return v, false
	}
}

// A pool lends a fixed number of values, made when they are first needed. It
// bounds memory and, unlike sync.Pool, keeps what it has when the collector runs.
// One goroutine gets, any may put.
type pool[T any] struct {
	free     chan T
	made     int
	newValue func() T
}

func newPool[T any](size int, newValue func() T) pool[T] {
	return pool[T]{free: make(chan T, size), newValue: newValue}
}

// get returns a value that is not lent, waiting for one if it must.
func (p *pool[T]) get(ctx context.Context) (v T, ok bool) {
	select {
	case v = <-p.free:
		return v, true
	default:
	}
	if p.made < cap(p.free) {
		p.made++
		return p.newValue(), true
	}
	return receive(ctx, p.free)
}

func (p *pool[T]) put(v T) { p.free <- v }

// drain waits until every value is back.
func (p *pool[T]) drain(ctx context.Context) bool {
	held := make([]T, 0, p.made)
	for range p.made {
		v, ok := receive(ctx, p.free)
		if !ok {
			return false
		}
		held = append(held, v)
	}
	for _, v := range held {
		p.put(v)
	}
	return true
}

// A fifo is a queue of at most so many values as it was made for.
type fifo[T any] struct {
	ring []T
	at   int // of the first value
	n    int
}

func newFIFO[T any](size int) fifo[T] { return fifo[T]{ring: make([]T, size)} }

func (q *fifo[T]) len() int { return q.n }

func (q *fifo[T]) first() T { return q.ring[q.at] }

func (q *fifo[T]) push(v T) {
	q.ring[(q.at+q.n)%len(q.ring)] = v
	q.n++
}

func (q *fifo[T]) pop() T {
	v := q.ring[q.at]
	q.at = (q.at + 1) % len(q.ring)
	q.n--
	return v
}
