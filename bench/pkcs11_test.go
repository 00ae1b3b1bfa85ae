//go:build cgo

package bench

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	token "github.com/miekg/pkcs11"

	"github.com/coffer-backup/coffer/backends"
	"github.com/coffer-backup/coffer/backends/pkcs11"
	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/internal/tokentest"
	"github.com/coffer-backup/coffer/keys"
)

func tokenConfig(soft *tokentest.Soft) pkcs11.Config {
	return pkcs11.Config{
		Module: soft.Module,
		Token:  soft.Label,
		PIN:    func(context.Context) ([]byte, error) { return []byte(soft.PIN), nil },
	}
}

// tokenKey opens the token and finds the key. The caller closes the token.
func tokenKey(b *testing.B, soft *tokentest.Soft) (*pkcs11.Token, *pkcs11.Key) {
	t, err := pkcs11.Open(b.Context(), tokenConfig(soft))
	must(b, err)
	k, err := t.Key(b.Context(), pkcs11.KeyRef{Label: "bench"})
	must(b, err)
	return t, k
}

// BenchmarkToken is what a backup whose key is in a token pays for that: all of it,
// and the wrapping alone.
func BenchmarkToken(b *testing.B) {
	soft := tokentest.SoftHSM(b)
	soft.ImportAES("bench", make([]byte, 32), tokentest.Encrypt)
	core, fk := format.Core{1}, keys.NewFileKey()
	b.Run("do=open+login+wrap/module=softhsm", func(b *testing.B) {
		for b.Loop() {
			t, k := tokenKey(b, soft)
			_, err := k.Wrap(b.Context(), core, fk)
			must(b, err)
			must(b, t.Close())
		}
	})
	b.Run("do=wrap/module=softhsm", func(b *testing.B) {
		t, k := tokenKey(b, soft)
		defer t.Close()
		for b.Loop() {
			_, err := k.Wrap(b.Context(), core, fk)
			must(b, err)
		}
	})
	b.Run("do=unwrap/module=softhsm", func(b *testing.B) {
		t, k := tokenKey(b, soft)
		defer t.Close()
		slot, err := k.Wrap(b.Context(), core, fk)
		must(b, err)
		for b.Loop() {
			_, err := k.Unwrap(b.Context(), core, slot)
			must(b, err)
		}
	})
}

// BenchmarkTokenBulk is AES-256-GCM in a token, package by package, as the backend
// gives it (by=coffer), by calls of the token through the Go binding (by=binding), and
// by a program in C that copies nothing (by=c). by=all runs them in turn and reports our
// speed as a multiple of theirs.
func BenchmarkTokenBulk(b *testing.B) {
	soft := tokentest.SoftHSM(b)
	rate := soft.Rate(b)
	for _, do := range []string{"seal", "open"} {
		for _, sessions := range []int{1, 2} {
			name := fmt.Sprintf("do=%s/sessions=%d/by=", do, sessions)
			b.Run(name+"coffer", func(b *testing.B) {
				bulkLoop(b, sessions, openBulk(b, soft, do, sessions))
			})
			b.Run(name+"binding", func(b *testing.B) {
				bulkLoop(b, sessions, openRaw(b, soft, do, sessions))
			})
			b.Run(name+"c", func(b *testing.B) {
				took := rate(do, sessions, b.N*bulkMessages)
				b.ReportMetric(float64(took.Nanoseconds())/float64(b.N), "ns/op")
				b.ReportMetric(float64(sessions*b.N*bulkMessages*format.MaxPayload)/1e6/took.Seconds(), "MB/s")
			})
			b.Run(name+"all", func(b *testing.B) {
				ours := openBulk(b, soft, do, sessions)
				raw := openRaw(b, soft, do, sessions)
				round := func(work []func() error) func() time.Duration {
					return func() time.Duration {
						start := time.Now()
						for range compareRounds {
							bulkRound(b, work)
						}
						return time.Since(start)
					}
				}
				inC := func() time.Duration { return rate(do, sessions, compareRounds*bulkMessages) }
				all := []func() time.Duration{round(ours), round(raw), inC}
				took := make([]time.Duration, len(all))
				for first := 0; b.Loop(); first++ {
					for i := range all {
						at := (first + i) % len(all)
						took[at] += all[at]()
					}
				}
				b.ReportMetric(took[1].Seconds()/took[0].Seconds(), "of-binding")
				b.ReportMetric(took[2].Seconds()/took[0].Seconds(), "of-c")
				b.ReportMetric(0, "ns/op") // the time of all means nothing
			})
		}
	}
}

// bulkMessages is how many packages a session has in one round, compareRounds how many
// rounds are timed together where speeds are compared.
const (
	bulkMessages  = 64
	compareRounds = 8
)

// bulkRound runs the work of each session in its own goroutine.
func bulkRound(b *testing.B, work []func() error) {
	var wg sync.WaitGroup
	for _, one := range work {
		wg.Go(func() {
			for range bulkMessages {
				if err := one(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func bulkLoop(b *testing.B, sessions int, work []func() error) {
	b.SetBytes(int64(sessions) * bulkMessages * format.MaxPayload)
	b.ReportAllocs()
	for b.Loop() {
		bulkRound(b, work)
	}
}

// openBulk returns work of the backend, one for each session.
func openBulk(b *testing.B, soft *tokentest.Soft, do string, sessions int) (work []func() error) {
	t, err := pkcs11.Open(b.Context(), tokenConfig(soft))
	must(b, err)
	b.Cleanup(func() { must(b, t.Close()) })
	bulk, err := t.Bulk(b.Context())
	must(b, err)
	for range sessions {
		aead, err := bulk.NewAEAD(b.Context(), format.AES256GCM, make([]byte, backends.KeySize))
		must(b, err)
		b.Cleanup(func() { must(b, aead.Close()) })
		nonce, ad := make([]byte, backends.NonceSize), make([]byte, format.PackageADSize)
		plain, out := make([]byte, format.MaxPayload), make([]byte, 0, format.MaxPayload+backends.Overhead)
		if do == "seal" {
			work = append(work, func() error {
				_, err := aead.Seal(out, nonce, plain, ad)
				return err
			})
			continue
		}
		sealed, err := aead.Seal(nil, nonce, plain, ad)
		must(b, err)
		work = append(work, func() error {
			_, err := aead.Open(out, nonce, sealed, ad)
			return err
		})
	}
	return work
}

// openRaw returns work of the token without us, one for each session.
func openRaw(b *testing.B, soft *tokentest.Soft, do string, sessions int) (work []func() error) {
	p := token.New(soft.Module)
	if err := p.Initialize(); err == nil {
		b.Cleanup(func() { must(b, p.Finalize()) })
	} else if err != token.Error(token.CKR_CRYPTOKI_ALREADY_INITIALIZED) { // by=both
		b.Fatal(err)
	}
	slots, err := p.GetSlotList(true)
	must(b, err)
	for i := range sessions {
		session, err := p.OpenSession(slots[0], token.CKF_SERIAL_SESSION)
		must(b, err)
		b.Cleanup(func() { must(b, p.CloseSession(session)) })
		if i == 0 {
			if err := p.Login(session, token.CKU_USER, soft.PIN); err != token.Error(token.CKR_USER_ALREADY_LOGGED_IN) {
				must(b, err)
			}
		}
		key, err := p.CreateObject(session, []*token.Attribute{
			token.NewAttribute(token.CKA_CLASS, token.CKO_SECRET_KEY),
			token.NewAttribute(token.CKA_KEY_TYPE, token.CKK_AES),
			token.NewAttribute(token.CKA_VALUE, make([]byte, backends.KeySize)),
			token.NewAttribute(token.CKA_ENCRYPT, true),
			token.NewAttribute(token.CKA_DECRYPT, true),
		})
		must(b, err)
		seal, open := rawCalls(p, session, key)
		plain := make([]byte, format.MaxPayload)
		if do == "seal" {
			work = append(work, func() error {
				_, err := seal(plain)
				return err
			})
			continue
		}
		sealed, err := seal(plain)
		must(b, err)
		work = append(work, func() error {
			_, err := open(sealed)
			return err
		})
	}
	return work
}

// rawCalls returns the two calls of the token for a message, by the Go binding.
func rawCalls(p *token.Ctx, session token.SessionHandle, key token.ObjectHandle) (seal, open func([]byte) ([]byte, error)) {
	nonce, ad := make([]byte, backends.NonceSize), make([]byte, format.PackageADSize)
	start := func(do func(token.SessionHandle, []*token.Mechanism, token.ObjectHandle) error) (*token.GCMParams, error) {
		params := token.NewGCMParams(nonce, ad, 8*backends.Overhead)
		return params, do(session, []*token.Mechanism{token.NewMechanism(token.CKM_AES_GCM, params)}, key)
	}
	seal = func(plain []byte) ([]byte, error) {
		params, err := start(p.EncryptInit)
		defer params.Free()
		if err != nil {
			return nil, err
		}
		return p.Encrypt(session, plain)
	}
	open = func(sealed []byte) ([]byte, error) {
		params, err := start(p.DecryptInit)
		defer params.Free()
		if err != nil {
			return nil, err
		}
		return p.Decrypt(session, sealed)
	}
	return seal, open
}
