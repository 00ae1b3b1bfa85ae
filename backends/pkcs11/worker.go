//go:build cgo

package pkcs11

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// errEnded is returned for a job that came when its worker had ended.
var errEnded = errors.New("the token was closed")

// A worker is a goroutine that makes all calls of one session, since two goroutines on
// one session crash the library.
type worker struct {
	gate  *gate
	limit time.Duration // of each call into the library

	jobs  chan *job
	quit  chan struct{} // closed to end it when it is idle
	stop  sync.Once     // of quit
	ended chan struct{}

	in   atomic.Pointer[call]
	lost atomic.Bool // nobody waited for a job's outcome: it ends by itself
	// closing gives back what the worker holds in the library. It is called by the
	// worker itself, inside the gate, once or more often.
	closing func()
	// gone is called at the end.
	gone func()
}

// A call is one into the library.
type call struct {
	fn    string
	since time.Time
}

// A job is several calls into the library that belong together, with one who waits for
// their outcome.
type job struct {
	run     func()
	timer   *time.Timer
	overdue chan struct{} // closed when a call of it is
	// With the gate's lock held:
	done bool  // it has its outcome; nothing below changes then
	left bool  // nobody waits for it
	late error // set when a call of it is overdue, before overdue is closed
}

// newWorker starts a worker. closing and gone may be nil.
func newWorker(g *gate, limit time.Duration, closing, gone func()) *worker {
	w := &worker{
		gate: g, limit: limit, closing: closing, gone: gone,
		jobs: make(chan *job), quit: make(chan struct{}), ended: make(chan struct{}),
	}
	go w.serve()
	return w
}

func (w *worker) serve() {
	defer close(w.ended)
	if w.gone != nil {
		defer w.gone()
	}
	for {
		select {
		case <-w.quit:
			return
		case j := <-w.jobs:
			w.start(j)
			j.run()
			if j.left {
				return
			}
		}
	}
}

// calling notes which call is about to be made. Each call has the whole deadline.
func (w *worker) calling(fn string) { w.in.Store(&call{fn, time.Now()}) }

func (w *worker) start(j *job) {
	w.calling("")
	w.gate.mu.Lock()
	defer w.gate.mu.Unlock()
	j.timer = time.AfterFunc(w.limit, func() { w.check(j) })
}

// check is called when a call of j may be overdue.
func (w *worker) check(j *job) {
	w.gate.mu.Lock()
	defer w.gate.mu.Unlock()
	if j.done || j.late != nil {
		return
	}
	in := w.in.Load()
	if rest := w.limit - time.Since(in.since); rest > 0 {
		j.timer.Reset(rest)
		return
	}
	w.leave(j) // or it was left before, and is noticed now
	j.late = w.gate.block(in.fn, w.limit)
	close(j.overdue)
}

// finish notes that j has its outcome, if somebody waits for it, and reports whether.
func (w *worker) finish(j *job) (awaited bool) {
	w.gate.mu.Lock()
	defer w.gate.mu.Unlock()
	if !j.left {
		j.done = true
		j.timer.Stop()
	}
	return j.done
}

// finishLate notes that j, for which nobody waits, has made its last call, and reports
// whether one of its calls was overdue.
func (w *worker) finishLate(j *job) (overdue bool) {
	w.gate.mu.Lock()
	defer w.gate.mu.Unlock()
	j.done = true
	j.timer.Stop()
	w.gate.left--
	return j.late != nil
}

// abandon notes that nobody waits for j any more. It returns false if j has its
// outcome by now.
func (w *worker) abandon(j *job) bool {
	w.gate.mu.Lock()
	defer w.gate.mu.Unlock()
	if !j.done {
		w.leave(j)
	}
	return !j.done
}

// leave is called with the gate's lock held, when nobody waits for j any more.
func (w *worker) leave(j *job) {
	if !j.left {
		j.left = true
		w.gate.left++
		w.lost.Store(true)
	}
}

// do has w run fn, which makes calls into the library, and returns what fn returned, or
// an error as soon as ctx ends or a call is overdue. The worker then ends by itself when
// fn has returned, so what was half done is never used again; fn must not use memory
// that the caller uses after do has returned.
func do[T any](ctx context.Context, w *worker, fn func() (T, error)) (T, error) {
	if err := w.gate.enter(ctx); err != nil {
		var none T
		return none, err
	}
	return doInside(ctx, w, w.gate.leave, fn)
}

// doInside is do for a caller inside the gate, which leave leaves.
func doInside[T any](ctx context.Context, w *worker, leave func(), fn func() (T, error)) (v T, err error) {
	type outcome struct {
		v   T
		err error
	}
	out := make(chan outcome, 1)
	j := &job{overdue: make(chan struct{})}
	j.run = func() {
		v, err := fn()
		if w.finish(j) {
			leave()
			out <- outcome{v, err}
			return
		}
		if b, ok := any(v).([]byte); ok {
			clear(b) // it may be a key
		}
		w.release()
		overdue := w.finishLate(j)
		leave()
		if overdue {
			w.gate.unblock()
		}
	}
	jam := w.gate.jammed()
	select {
	case w.jobs <- j:
	case <-jam.begun: // the worker may be what is overdue
		leave()
		return v, jam.err
	case <-w.ended:
		leave()
		return v, errEnded
	case <-ctx.Done():
		leave()
		return v, context.Cause(ctx)
	}
	select {
	case o := <-out:
		return o.v, o.err
	case <-j.overdue:
		return v, j.late
	case <-ctx.Done():
		if w.abandon(j) {
			return v, context.Cause(ctx)
		}
		o := <-out
		return o.v, o.err
	}
}

func (w *worker) release() {
	if w.closing != nil {
		w.closing()
	}
}

// end gives back what w holds in the library and ends it. If the library cannot be
// asked w ends all the same.
func (w *worker) end(ctx context.Context) {
	if !w.lost.Load() {
		_, _ = do(ctx, w, func() (none struct{}, err error) {
			w.release()
			return none, nil
		})
	}
	w.dismiss()
}

// dismiss ends w, which holds nothing in the library, when it is idle.
func (w *worker) dismiss() { w.stop.Do(func() { close(w.quit) }) }

// await waits until w has ended, but not for a library that hangs.
func (w *worker) await(ctx context.Context) {
	select {
	case <-w.ended:
	case <-w.gate.jammed().begun:
	case <-ctx.Done():
	}
}
