//go:build cgo

package pkcs11

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"unsafe"

	p11 "github.com/miekg/pkcs11"
)

var errLoggedOut = fmt.Errorf("%w: it did not stay logged in", ErrFailed)

// ready returns the login that is in force, or makes one. Only one caller does that at a
// time.
func (t *Token) ready(o *op) (*login, error) {
	jam := t.module.gate.jammed()
	select {
	case t.loggingIn <- struct{}{}:
		defer func() { <-t.loggingIn }()
	case <-jam.begun:
		return nil, jam.err
	case <-o.wait.Done():
		return nil, context.Cause(o.wait)
	}
	t.mu.Lock()
	l, refused, closed := t.current, t.refused, t.closed
	t.mu.Unlock()
	o.epoch = t.module.epoch.Load()
	switch {
	case closed:
		return nil, errEnded
	case l != nil && l.epoch == o.epoch:
		return l, nil
	case refused != nil:
		return nil, refused
	}
	if l != nil {
		t.retire(l) // of an older epoch
	}
	if err := t.module.start(o, t.config.timeout()); err != nil {
		return nil, err
	}
	o.epoch = t.module.epoch.Load()
	l, err := t.newLogin(o)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.current, t.opened = l, true
	return l, nil
}

// newLogin finds the token and logs in to it.
func (t *Token) newLogin(o *op) (*login, error) {
	found, err := t.findToken(o.ctx)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	t.name = fmt.Sprintf("token %q (serial %q)", found.info.Label, found.info.Serial)
	t.serial = found.info.Serial
	t.mu.Unlock()
	l := &login{slot: found.slot, epoch: found.epoch}
	if l.main, err = t.openSession(o.ctx, l, 0, false); err != nil {
		return nil, err
	}
	l.pin = t.config.PIN != nil && found.flags&p11.CKF_LOGIN_REQUIRED != 0
	if l.pin {
		if err := t.logIn(o, l, found.flags); err != nil {
			l.main.end(context.Background())
			return nil, err
		}
	}
	return l, nil
}

// logIn makes C_Login, unless somebody in this process did.
func (t *Token) logIn(o *op, l *login, flags uint) error {
	if in, err := ask(o.ctx, l.main, l.main.loggedIn); in || err != nil {
		return err
	}
	if o.pin {
		return o.cause
	}
	if flags&p11.CKF_USER_PIN_LOCKED != 0 {
		return t.refuse(&callError{"C_GetTokenInfo", p11.CKR_PIN_LOCKED})
	}
	var pin []byte
	if flags&p11.CKF_PROTECTED_AUTHENTICATION_PATH == 0 {
		given, err := t.config.PIN(o.ctx)
		pin = bytes.Clone(given)
		clear(given)
		if err != nil {
			clear(pin)
			return fmt.Errorf("asking for the PIN: %w", err)
		}
		if len(pin) == 0 {
			return t.refuse(errors.New("an empty one was not tried"))
		}
	}
	o.pin, o.cause = true, errLoggedOut
	_, err := ask(o.ctx, l.main, func() (none struct{}, err error) {
		defer clear(pin)
		s := l.main
		// The string shares the memory that is cleared.
		err = s.failed(s.lib("C_Login").Login(s.handle, p11.CKU_USER, unsafe.String(unsafe.SliceData(pin), len(pin))))
		if refusesPIN(err) {
			err = t.refuse(err) // here, as the answer may come when nobody waits for it
		}
		return none, err
	})
	var code *callError
	if !errors.As(err, &code) {
		return err
	}
	o.again = true
	switch {
	case code.code == p11.CKR_USER_ALREADY_LOGGED_IN:
		o.again = false
		return nil
	case errors.Is(err, ErrPIN):
		return t.refuse(fmt.Errorf("%w%s", code, t.triesLeft(o.ctx, l.slot)))
	}
	return err
}

// refusesPIN reports whether C_Login may have refused the PIN. What some tokens say of a
// wrong one is no code for that, and the next try may be the last.
func refusesPIN(err error) bool {
	var c *callError
	if !errors.As(err, &c) {
		return false
	}
	switch c.code {
	case p11.CKR_ARGUMENTS_BAD, p11.CKR_GENERAL_ERROR, p11.CKR_FUNCTION_FAILED:
		return true
	}
	return classOf(err) == classPIN || c.code >= p11.CKR_VENDOR_DEFINED
}

// refuse notes that the PIN was refused, for good.
func (t *Token) refuse(why error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.refused = fmt.Errorf("%w: %w", ErrPIN, why)
	return t.refused
}

// triesLeft returns what the token says of further tries.
func (t *Token) triesLeft(ctx context.Context, slot uint) string {
	raw, err := aside(ctx, t, func(w *worker) (p11.TokenInfo, error) {
		w.calling("C_GetTokenInfo")
		return t.module.lib.GetTokenInfo(slot)
	})
	switch {
	case err != nil:
		return ""
	case raw.Flags&p11.CKF_USER_PIN_LOCKED != 0:
		return "; the token is locked"
	case raw.Flags&p11.CKF_USER_PIN_FINAL_TRY != 0:
		return "; one try is left before the token locks"
	case raw.Flags&p11.CKF_USER_PIN_COUNT_LOW != 0:
		return "; wrong PINs were given since the last right one, and few tries may be left"
	}
	return ""
}

// retire ends l if it is in force: it may have no effect any more.
func (t *Token) retire(l *login) {
	t.mu.Lock()
	if t.current == l {
		t.current = nil
	}
	t.mu.Unlock()
	l.main.end(context.Background())
}
