//go:build cgo

package pkcs11

import (
	"context"
	"fmt"
	"strings"

	p11 "github.com/miekg/pkcs11"
)

// List returns what the tokens of the module at c.Module say of themselves, those that
// are not initialized included. It logs in to none, and looks at nothing of c but
// Module, InitArgs and Timeout.
func List(ctx context.Context, c Config) ([]TokenInfo, error) {
	t, err := newToken(c)
	if err != nil {
		return nil, err
	}
	defer t.closeAfter(ctx)
	var infos []TokenInfo
	err = t.retry(ctx, "listing the tokens", func(o *op) error {
		if err := t.module.start(o, t.config.timeout()); err != nil {
			return err
		}
		all, err := aside(o.ctx, t, t.readSlots)
		if err != nil {
			return err
		}
		infos = nil
		for _, in := range all {
			if in.err == nil {
				infos = append(infos, in.info)
			}
		}
		return nil
	})
	return infos, err
}

// A slotToken is the token in a slot, or why it cannot be read.
type slotToken struct {
	slot  uint
	epoch uint64
	flags uint
	info  TokenInfo
	err   error
}

// readSlots returns the tokens in all slots. One that cannot be read does not hide the
// others.
func (t *Token) readSlots(w *worker) ([]slotToken, error) {
	m := t.module
	w.calling("C_GetSlotList")
	ids, err := m.lib.GetSlotList(true)
	if err != nil {
		return nil, called("C_GetSlotList", err)
	}
	var all []slotToken
	for _, id := range ids {
		w.calling("C_GetTokenInfo")
		raw, err := m.lib.GetTokenInfo(id)
		if isCode(err, p11.CKR_TOKEN_NOT_PRESENT) || isCode(err, p11.CKR_TOKEN_NOT_RECOGNIZED) {
			continue // an empty slot, or a card that is no token
		}
		all = append(all, slotToken{id, m.epoch.Load(), raw.Flags, tokenInfo(m, raw), called("C_GetTokenInfo", err)})
	}
	return all, nil
}

// findToken returns the one token that fits the Config.
func (t *Token) findToken(ctx context.Context) (slotToken, error) {
	all, err := aside(ctx, t, t.readSlots)
	if err != nil {
		return slotToken{}, err
	}
	var found, others []slotToken
	var unread error
	for _, in := range all {
		switch {
		case in.err != nil:
			unread = in.err
		case in.flags&p11.CKF_TOKEN_INITIALIZED == 0:
		case t.fits(in.info):
			found = append(found, in)
		default:
			others = append(others, in)
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return slotToken{}, fmt.Errorf("%w: %d tokens have %s, so give the serial number: %s", ErrTokenNotFound, len(found), t.config.text(), names(found))
	case unread != nil:
		return slotToken{}, fmt.Errorf("%w: none has %s; there is %s, and a slot that cannot be read: %w", ErrTokenNotFound, t.config.text(), names(others), unread)
	}
	return slotToken{}, fmt.Errorf("%w: none has %s; there is %s", ErrTokenNotFound, t.config.text(), names(others))
}

// fits reports whether the token is the one that was opened, or may be. One of the same
// label that took its place must not get its PIN.
func (t *Token) fits(info TokenInfo) bool {
	t.mu.Lock()
	serial, opened := t.serial, t.opened
	t.mu.Unlock()
	return t.config.Fits(info) && (!opened || info.Serial == serial)
}

// text names what c looks for.
func (c *Config) text() string {
	var texts []string
	for _, field := range []struct{ name, want string }{
		{"label", c.Token}, {"serial number", c.Serial}, {"manufacturer", c.Manufacturer}, {"model", c.Model},
	} {
		if field.want != "" {
			texts = append(texts, fmt.Sprintf("%s %q", field.name, field.want))
		}
	}
	if len(texts) == 0 {
		return "been initialized"
	}
	return strings.Join(texts, " and ")
}

// names lists tokens, for errors.
func names(all []slotToken) string {
	const limit = 8
	if len(all) == 0 {
		return "none"
	}
	var texts []string
	for _, in := range all[:min(len(all), limit)] {
		texts = append(texts, fmt.Sprintf("%q (serial %q)", in.info.Label, in.info.Serial))
	}
	if more := len(all) - limit; more > 0 {
		texts = append(texts, fmt.Sprintf("%d more", more))
	}
	return strings.Join(texts, ", ")
}

// tokenInfo is called inside the gate.
func tokenInfo(m *module, raw p11.TokenInfo) TokenInfo {
	is := func(flag uint) bool { return raw.Flags&flag != 0 }
	trim := func(text string) string { return strings.TrimRight(text, " \x00") }
	version := func(v p11.Version) string { return fmt.Sprintf("%d.%d", v.Major, v.Minor) }
	info := TokenInfo{
		Label: trim(raw.Label), Serial: trim(raw.SerialNumber), Manufacturer: trim(raw.ManufacturerID), Model: trim(raw.Model),
		Firmware: version(raw.FirmwareVersion), Hardware: version(raw.HardwareVersion),
		Module: m.path, Library: m.library,
		Initialized: is(p11.CKF_TOKEN_INITIALIZED), LoginRequired: is(p11.CKF_LOGIN_REQUIRED),
		PINCountLow: is(p11.CKF_USER_PIN_COUNT_LOW), PINFinalTry: is(p11.CKF_USER_PIN_FINAL_TRY),
		PINLocked: is(p11.CKF_USER_PIN_LOCKED), Sessions: int(raw.SessionCount),
	}
	if raw.SessionCount == p11.CK_UNAVAILABLE_INFORMATION {
		info.Sessions = -1
	}
	return info
}
