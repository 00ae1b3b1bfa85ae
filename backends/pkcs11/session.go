//go:build cgo

package pkcs11

import (
	"context"

	p11 "github.com/miekg/pkcs11"
)

// A session is one with a token, and the worker that alone uses it.
type session struct {
	*worker
	token *Token
	login *login
	// Of the worker alone:
	handle p11.SessionHandle
	live   bool
	// spoiled: it did what it was asked, and then failed to clean up.
	spoiled bool
}

// A login is a time in which the handles of the token's keys hold: from C_Login until
// the token is logged out or the library initialized anew.
type login struct {
	slot  uint
	epoch uint64
	pin   bool     // C_Login was made
	main  *session // does nothing but keep the token logged in
}

// ask has the worker of s run fn, which uses the session. See do.
func ask[T any](ctx context.Context, s *session, fn func() (T, error)) (T, error) {
	return do(ctx, s.worker, func() (none T, err error) {
		if !s.live || s.login.epoch != s.token.module.epoch.Load() {
			// The number may be that of another session by now.
			return none, &callError{"C_GetSessionInfo", p11.CKR_SESSION_HANDLE_INVALID}
		}
		return fn()
	})
}

// openSession opens a session in l. If it is pooled it has a permit, which it gives back
// when it ends.
func (t *Token) openSession(ctx context.Context, l *login, flags uint, pooled bool) (*session, error) {
	s := &session{token: t, login: l}
	s.worker = newWorker(t.module.gate, t.config.timeout(), s.close, func() {
		t.forget(s)
		if pooled {
			<-t.permits
		}
	})
	_, err := do(ctx, s.worker, func() (none struct{}, err error) {
		if !t.remember(s) {
			return none, errEnded
		}
		if l.epoch != t.module.epoch.Load() {
			// The slot may be that of another token by now.
			return none, &callError{"C_OpenSession", p11.CKR_SLOT_ID_INVALID}
		}
		s.handle, err = s.lib("C_OpenSession").OpenSession(l.slot, flags|p11.CKF_SERIAL_SESSION)
		s.live = err == nil
		return none, s.failed(err)
	})
	if err != nil {
		s.end(context.Background())
		return nil, err
	}
	return s, nil
}

// close is called by the worker, inside the gate.
func (s *session) close() {
	if s.live && s.login.epoch == s.token.module.epoch.Load() {
		_ = s.lib("C_CloseSession").CloseSession(s.handle)
	}
	s.live = false
}

// lib returns the library, of which fn is about to be called.
func (s *session) lib(fn string) *p11.Ctx {
	s.calling(fn)
	return s.token.module.lib
}

// failed names the function that returned err.
func (s *session) failed(err error) error { return called(s.in.Load().fn, err) }

// loggedIn reports whether s sees what only the token's user sees. Logins are of the
// process: others in it may have ended ours, or have made one.
func (s *session) loggedIn() (bool, error) {
	info, err := s.lib("C_GetSessionInfo").GetSessionInfo(s.handle)
	if err != nil {
		return false, s.failed(err)
	}
	return info.State == p11.CKS_RO_USER_FUNCTIONS || info.State == p11.CKS_RW_USER_FUNCTIONS, nil
}

// pooled calls fn with a session of the pool. After an error the session is closed: it
// may be in the midst of an operation.
func (t *Token) pooled(o *op, fn func(s *session) error) error {
	s, err := t.acquire(o)
	if s == nil && err == nil {
		s, err = t.newSession(o, 0, true)
	}
	if err != nil {
		return err
	}
	if err := fn(s); err != nil || s.spoiled {
		s.end(context.Background())
		return err
	}
	t.idle <- s
	return nil
}

// private calls fn with a session that is closed afterwards, with what was made in it.
func (t *Token) private(o *op, flags uint, fn func(s *session) error) error {
	s, err := t.newSession(o, flags, false)
	if err != nil {
		return err
	}
	defer s.end(context.Background())
	return fn(s)
}

// acquire returns a session of the pool that is idle, or nil and the permit to open one
// more.
func (t *Token) acquire(o *op) (*session, error) {
	for {
		select {
		case s := <-t.idle:
			if s.login.epoch == t.module.epoch.Load() {
				return s, nil
			}
			s.end(context.Background())
			continue
		default:
		}
		jam := t.module.gate.jammed()
		select {
		case s := <-t.idle:
			return s, nil
		case t.permits <- struct{}{}:
			return nil, nil
		case <-jam.begun:
			return nil, jam.err
		case <-t.closing:
			return nil, errEnded
		case <-o.wait.Done():
			return nil, context.Cause(o.wait)
		}
	}
}

// dropIdle closes the sessions of the pool that are idle.
func (t *Token) dropIdle() {
	for {
		select {
		case s := <-t.idle:
			s.end(context.Background())
		default:
			return
		}
	}
}

// newSession opens a session that is logged in, if the token wants that. If the login
// has ended behind our back it logs in again. A permit that the caller has for a pooled
// session is the session's then, or given back.
func (t *Token) newSession(o *op, flags uint, pooled bool) (*session, error) {
	for again := false; ; again = true {
		l, err := t.ready(o)
		if err != nil {
			if pooled {
				<-t.permits
			}
			return nil, err
		}
		s, err := t.openSession(o.ctx, l, flags, pooled)
		if err != nil || !l.pin {
			return s, err
		}
		in, err := ask(o.ctx, s, s.loggedIn)
		if err == nil && in {
			return s, nil
		}
		s.end(context.Background())
		switch {
		case err != nil:
			return nil, err
		case again:
			return nil, &callError{"C_GetSessionInfo", p11.CKR_USER_NOT_LOGGED_IN}
		}
		t.retire(l)
		if pooled {
			select {
			case t.permits <- struct{}{}:
			case <-o.wait.Done():
				return nil, context.Cause(o.wait)
			}
		}
	}
}
