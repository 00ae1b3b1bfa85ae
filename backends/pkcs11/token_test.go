//go:build cgo

package pkcs11_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/coffer-backup/coffer/backends"
	"github.com/coffer-backup/coffer/backends/pkcs11"
	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/internal/tokentest"
	"github.com/coffer-backup/coffer/keys"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// openToken opens the token of cfg for the time of the test.
func openToken(t testing.TB, cfg pkcs11.Config) *pkcs11.Token {
	t.Helper()
	token, err := pkcs11.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := token.Close(); err != nil {
			t.Error(err)
		}
	})
	return token
}

func softConfig(s *tokentest.Soft) pkcs11.Config {
	return pkcs11.Config{Module: s.Module, Token: s.Label, PIN: pin(s.PIN)}
}

func TestOpen(t *testing.T) {
	soft := tokentest.SoftHSM(t)
	token := openToken(t, softConfig(soft))
	info, err := token.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if info.Label != soft.Label || info.Serial == "" || info.Module != soft.Module || !info.Initialized || !info.LoginRequired ||
		info.PINLocked || !strings.HasPrefix(info.Library, "Implementation of PKCS11 2.") || !strings.Contains(info.Model, "SoftHSM") {
		t.Errorf("%+v", info)
	}
	for name, c := range map[string]struct {
		change func(*pkcs11.Config)
		want   error
	}{
		"nothing":           {func(c *pkcs11.Config) { c.Token = "" }, nil},
		"serial":            {func(c *pkcs11.Config) { c.Token, c.Serial = "", info.Serial }, nil},
		"both":              {func(c *pkcs11.Config) { c.Serial = info.Serial }, nil},
		"manufacturer":      {func(c *pkcs11.Config) { c.Manufacturer, c.Model = info.Manufacturer, info.Model }, nil},
		"another label":     {func(c *pkcs11.Config) { c.Token = "other" }, pkcs11.ErrTokenNotFound},
		"another serial":    {func(c *pkcs11.Config) { c.Serial = "other" }, pkcs11.ErrTokenNotFound},
		"another model":     {func(c *pkcs11.Config) { c.Model = "other" }, pkcs11.ErrTokenNotFound},
		"beside a relation": {func(c *pkcs11.Config) { c.Token = soft.Label[1:] }, pkcs11.ErrTokenNotFound},
	} {
		cfg := softConfig(soft)
		c.change(&cfg)
		token, err := pkcs11.Open(t.Context(), cfg)
		if !errors.Is(err, c.want) || (err == nil) != (token != nil) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if err != nil && !strings.Contains(err.Error(), `"`+soft.Label+`" (serial "`+info.Serial+`")`) {
			t.Errorf("%s: %v does not list what is there", name, err)
		}
		if token != nil {
			token.Close()
		}
	}
}

func TestList(t *testing.T) {
	soft := tokentest.SoftHSM(t)
	soft.Init("second")
	cfg := pkcs11.Config{Module: soft.Module, PIN: func(context.Context) ([]byte, error) {
		t.Error("the PIN was asked for")
		return nil, nil
	}}
	infos, err := pkcs11.List(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	labels := map[string]bool{}
	for _, info := range infos {
		labels[info.Label] = info.Initialized
	}
	// SoftHSM shows one slot more than there are tokens.
	if len(infos) != 3 || !labels[soft.Label] || !labels["second"] || labels[""] {
		t.Errorf("%+v", infos)
	}
}

// TestConfig has configurations that are refused before the library is asked.
func TestConfig(t *testing.T) {
	soft := tokentest.SoftHSM(t)
	openToken(t, softConfig(soft))
	for name, c := range map[string]struct {
		cfg  pkcs11.Config
		says string
	}{
		"no path":        {pkcs11.Config{}, "absolute"},
		"a relative one": {pkcs11.Config{Module: "lib/softhsm.so"}, "absolute"},
		"other args":     {pkcs11.Config{Module: soft.Module, InitArgs: "x"}, "other initialization arguments"},
		"NUL in args":    {pkcs11.Config{Module: soft.Module, InitArgs: "x\x00y"}, "NUL"},
		"NUL in path":    {pkcs11.Config{Module: soft.Module + "\x00"}, "absolute"},
	} {
		_, err := pkcs11.Open(t.Context(), c.cfg)
		var typed *pkcs11.Error
		if !errors.As(err, &typed) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
}

// TestShare has several Tokens in one library. The last one to be closed finalizes it.
func TestShare(t *testing.T) {
	soft := tokentest.SoftHSM(t)
	soft.Init("second")
	second := softConfig(soft)
	second.Token = "second"
	var tokens []*pkcs11.Token
	var made []*pkcs11.Key
	for i, cfg := range []pkcs11.Config{softConfig(soft), softConfig(soft), second} {
		token := openToken(t, cfg)
		key, err := token.GenerateKey(t.Context(), pkcs11.KeySpec{Label: []string{"a", "b", "c"}[i]})
		if err != nil {
			t.Fatal(err)
		}
		tokens, made = append(tokens, token), append(made, key)
	}
	for i, token := range tokens {
		for _, key := range made[i:] {
			roundTrip(t, key)
		}
		if err := token.Close(); err != nil {
			t.Error(err)
		}
	}
	again := openToken(t, softConfig(soft))
	for _, label := range []string{"a", "b"} {
		if _, err := again.Key(t.Context(), pkcs11.KeyRef{Label: label}); err != nil {
			t.Error(err)
		}
	}
}

func TestClose(t *testing.T) {
	soft := tokentest.SoftHSM(t)
	token := openToken(t, softConfig(soft))
	key, err := token.GenerateKey(t.Context(), pkcs11.KeySpec{Label: "key"})
	if err != nil {
		t.Fatal(err)
	}
	core := format.Core{1}
	slot, err := key.Wrap(t.Context(), core, keys.NewFileKey())
	if err != nil {
		t.Fatal(err)
	}
	bulk, err := token.Bulk(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	aead, err := bulk.NewAEAD(t.Context(), format.AES256GCM, make([]byte, backends.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	nonce := make([]byte, backends.NonceSize)
	sealed, err := aead.Seal(nil, nonce, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := token.Health(); err != nil {
		t.Errorf("Health: %v", err)
	}
	for range 2 {
		if err := token.Close(); err != nil {
			t.Fatal(err)
		}
	}
	_, keyErr := token.Key(t.Context(), pkcs11.KeyRef{Label: "key"})
	_, wrapErr := key.Wrap(t.Context(), core, keys.NewFileKey())
	_, unwrapErr := key.Unwrap(t.Context(), core, slot)
	_, infoErr := token.Info(t.Context())
	_, bulkErr := token.Bulk(t.Context())
	_, newErr := bulk.NewAEAD(t.Context(), format.AES256GCM, make([]byte, backends.KeySize))
	_, sealErr := aead.Seal(nil, nonce, nil, nil)
	_, openErr := aead.Open(nil, nonce, sealed, nil)
	for name, err := range map[string]error{
		"Health": token.Health(), "Key": keyErr, "Wrap": wrapErr, "Unwrap": unwrapErr, "Info": infoErr,
		"Bulk": bulkErr, "NewAEAD": newErr, "Seal": sealErr, "Open": openErr,
	} {
		if err == nil || !strings.Contains(err.Error(), "closed") || errors.Is(err, keys.ErrNoMatch) ||
			errors.Is(err, backends.ErrAuth) || errors.Is(err, backends.ErrUnavailable) {
			t.Errorf("%s after Close: %v", name, err)
		}
	}
	if err := aead.Close(); err != nil {
		t.Error(err)
	}
}

// TestNoLogin opens a token without a PIN. What it does not show is not found, and the
// error says why that may be.
func TestNoLogin(t *testing.T) {
	soft := tokentest.SoftHSM(t)
	soft.ImportAES("key", keyBytes["gcm"], tokentest.Encrypt)
	cfg := softConfig(soft)
	cfg.PIN = nil
	token := openToken(t, cfg)
	_, err := token.Key(t.Context(), pkcs11.KeyRef{Label: "key"})
	if !errors.Is(err, pkcs11.ErrKeyNotFound) || !strings.Contains(err.Error(), "no PIN was given") {
		t.Errorf("%v, want %v for want of a PIN", err, pkcs11.ErrKeyNotFound)
	}
}

// TestConcurrent has more callers than sessions, and closes the token under them.
func TestConcurrent(t *testing.T) {
	soft := tokentest.SoftHSM(t)
	soft.ImportAES("key", keyBytes["kw"], tokentest.Wrap)
	cfg := softConfig(soft)
	cfg.Sessions = 2
	token := openToken(t, cfg)
	key, err := token.Key(t.Context(), pkcs11.KeyRef{Label: "key"})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	done := make(chan struct{}, 100)
	for i := range 8 {
		wg.Go(func() {
			core, fk := format.Core{byte(i)}, keys.NewFileKey()
			for {
				slot, err := key.Wrap(t.Context(), core, fk)
				if err == nil {
					var got *keys.FileKey
					if got, err = key.Unwrap(t.Context(), core, slot); err == nil && !bytes.Equal(got.Bytes(), fk.Bytes()) {
						t.Error("another file key came back")
					}
				}
				if err != nil {
					if !strings.Contains(err.Error(), "closed") {
						t.Error(err)
					}
					return
				}
				select {
				case done <- struct{}{}:
				default:
				}
			}
		})
	}
	for range cap(done) {
		<-done
	}
	if err := token.Close(); err != nil {
		t.Error(err)
	}
	wg.Wait()
}

// TestContext holds that a context that has ended stops all.
func TestContext(t *testing.T) {
	soft := tokentest.SoftHSM(t)
	soft.ImportAES("key", keyBytes["gcm"], tokentest.Encrypt)
	token := openToken(t, softConfig(soft))
	key, err := token.Key(t.Context(), pkcs11.KeyRef{Label: "key"})
	if err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	_, openErr := pkcs11.Open(ended, softConfig(soft))
	_, wrapErr := key.Wrap(ended, format.Core{}, keys.NewFileKey())
	_, bulkErr := token.Bulk(ended)
	for name, err := range map[string]error{"Open": openErr, "Wrap": wrapErr, "Bulk": bulkErr, "SelfTest": key.SelfTest(ended)} {
		if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, pkcs11.ErrTimeout) || errors.Is(err, backends.ErrUnavailable) {
			t.Errorf("%s: %v, want the context's error", name, err)
		}
	}
	if err := token.Health(); err != nil {
		t.Errorf("Health: %v", err)
	}
}
