//go:build cgo

package pkcs11

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	p11 "github.com/miekg/pkcs11"
)

// Defaults of Config.
const (
	defaultSessions = 4
	defaultTimeout  = 10 * time.Second
)

func (c *Config) timeout() time.Duration {
	if c.Timeout > 0 {
		return c.Timeout
	}
	return defaultTimeout
}

// A Token is an open token. Its keys are found by Key.
type Token struct {
	config  Config
	module  *module
	permits chan struct{} // one in it for each session of the pool
	idle    chan *session // those of the pool that nobody uses
	closing chan struct{} // closed by Close

	loggingIn chan struct{} // holds one while somebody does; who waits for it may give up

	mu       sync.Mutex
	current  *login            // nil: none
	opened   bool              // there was one
	refused  error             // the PIN was refused: there will be no other
	failed   error             // why the last operation failed, if the token is to blame
	closed   bool              // by Close
	sessions map[*session]bool // those that have not ended
	name     string            // for errors
	serial   string
}

// Open loads and initializes the library unless this process has it already, finds the
// token and logs in. ctx is for Open alone.
func Open(ctx context.Context, c Config) (*Token, error) {
	t, err := newToken(c)
	if err != nil {
		return nil, err
	}
	err = t.retry(ctx, "opening the token", func(o *op) error {
		_, err := t.ready(o)
		return err
	})
	if err != nil {
		t.closeAfter(ctx)
		return nil, err
	}
	return t, nil
}

// newToken takes a share in the module, and does not call it yet.
func newToken(c Config) (*Token, error) {
	m, err := openModule(&c)
	if err != nil {
		return nil, newError(c.Module, "loading the module", err)
	}
	n := c.Sessions
	if n <= 0 {
		n = defaultSessions
	}
	return &Token{
		config: c, module: m,
		permits: make(chan struct{}, n), idle: make(chan *session, n),
		closing: make(chan struct{}), loggingIn: make(chan struct{}, 1),
		sessions: make(map[*session]bool), name: c.Module,
	}, nil
}

// Health returns nil, or why calls fail at present. It asks nobody: what is wrong shows
// in the first call that meets it, and a call that succeeds ends it.
func (t *Token) Health() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	err := t.failed
	switch {
	case t.closed:
		err = errEnded
	case t.refused != nil:
		err = t.refused
	case t.module.gate.health() != nil:
		err = t.module.gate.health()
	}
	return newError(t.name, "health", err)
}

// Info asks the token what it says of itself.
func (t *Token) Info(ctx context.Context) (info TokenInfo, err error) {
	err = t.retry(ctx, "reading the token's information", func(o *op) error {
		return t.pooled(o, func(s *session) (err error) {
			info, err = ask(o.ctx, s, s.info)
			return err
		})
	})
	return info, err
}

func (s *session) info() (TokenInfo, error) {
	raw, err := s.lib("C_GetTokenInfo").GetTokenInfo(s.login.slot)
	if err != nil {
		return TokenInfo{}, s.failed(err)
	}
	return tokenInfo(s.token.module, raw), nil
}

// Close ends the sessions, and with the last of them the login; the library is finalized
// if nobody else in this process uses it. It waits for calls in the library, but not for
// one that hangs: if its caller gave it up or its deadline has passed, the rest of Close
// happens when it returns. Calls after Close fail. Closing twice does nothing.
func (t *Token) Close() error {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return nil
	}
	t.closed = true
	close(t.closing)
	var all []*worker
	for s := range t.sessions {
		all = append(all, s.worker)
	}
	t.mu.Unlock()

	if t.module.gate.leftBehind() {
		go t.cleanUp(all)
	} else {
		t.cleanUp(all)
	}
	return nil
}

// cleanUp is Close's part in the library.
func (t *Token) cleanUp(all []*worker) {
	ctx, cancel := context.WithTimeout(context.Background(), t.config.timeout())
	defer cancel()
	var ending sync.WaitGroup
	for _, w := range all {
		ending.Go(func() { w.end(ctx); w.await(ctx) })
	}
	ending.Wait()
	t.module.close(ctx, t.config.timeout())
}

// closeAfter is Close. If ctx has ended it waits for nothing.
func (t *Token) closeAfter(ctx context.Context) {
	if ctx.Err() != nil {
		go t.Close()
		return
	}
	t.Close()
}

// aside makes calls that need no session, in a worker that is there for nothing else:
// one that is given up ends.
func aside[T any](ctx context.Context, t *Token, fn func(w *worker) (T, error)) (T, error) {
	w := newWorker(t.module.gate, t.config.timeout(), nil, nil)
	defer w.dismiss()
	return do(ctx, w, func() (T, error) { return fn(w) })
}

func (t *Token) remember(s *session) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sessions[s] = true
	return !t.closed
}

func (t *Token) forget(s *session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.sessions, s)
}

// An op is an operation of the caller's: what ends it, and what it did.
type op struct {
	ctx context.Context // the caller's
	// wait ends, besides, when the operation has waited as long as a call into the
	// library may take. It is for waiting outside the library.
	wait  context.Context
	epoch uint64 // in which it is tried
	again bool   // it is tried for the second time, or must not be
	cause error  // why
	pin   bool   // C_Login was made: once is enough
}

var errBusy = fmt.Errorf("%w: it is busy", ErrTimeout)

// retry calls try, and once more if it failed for a reason that a new session or a
// library initialized anew may mend.
func (t *Token) retry(ctx context.Context, name string, try func(*op) error) error {
	wait, cancel := context.WithTimeoutCause(ctx, t.config.timeout(), errBusy)
	defer cancel()
	o := &op{ctx: ctx, wait: wait}
	for {
		o.epoch = t.module.epoch.Load()
		err := try(o)
		if err == nil {
			t.succeeded()
			return nil
		}
		if !o.again {
			o.cause = err
			if o.again, err = t.mend(o, err); o.again {
				continue
			}
		}
		return t.blame(name, err)
	}
}

// mend does what the class of err asks for and reports whether to try again; if not it
// returns why, which is err or what went wrong with mending.
func (t *Token) mend(o *op, err error) (bool, error) {
	t.mu.Lock()
	l, opened := t.current, t.opened
	t.mu.Unlock()
	c := classOf(err)
	if errors.Is(err, ErrTokenNotFound) && opened {
		c = classDevice // it was there: the library may have to look again
	}
	switch c {
	case classSession:
		t.dropIdle()
		var e *callError
		if l != nil && errors.As(err, &e) && e.code == p11.CKR_USER_NOT_LOGGED_IN {
			t.retire(l)
		}
		return true, err
	case classDevice:
		t.faulty(err)
		if err := t.module.renew(o, t.config.timeout(), o.epoch); err != nil {
			return false, fmt.Errorf("initializing the library anew: %w", err)
		}
		t.dropIdle()
		if l != nil && l.epoch == o.epoch { // else somebody logged in since
			t.retire(l)
		}
		return true, err
	}
	return false, err
}

func (t *Token) succeeded() {
	t.module.proved.Store(true)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failed = nil
}

// faulty notes why the token is to blame for a failure.
func (t *Token) faulty(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failed = err
}

// blame makes the error of an operation that failed.
func (t *Token) blame(name string, err error) error {
	err = newError(t.text(), name, err)
	if c := classOf(err); c == classSession || c == classDevice {
		t.faulty(err)
	}
	return err
}

// text names the token for errors.
func (t *Token) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.name
}

func (t *Token) serialNumber() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.serial
}
