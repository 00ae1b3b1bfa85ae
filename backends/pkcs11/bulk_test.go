//go:build cgo

package pkcs11_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/coffer-backup/coffer/backends"
	"github.com/coffer-backup/coffer/backends/backendtest"
	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/internal/tokentest"
)

func TestBackend(t *testing.T) {
	token := openToken(t, softConfig(tokentest.SoftHSM(t)))
	bulk, err := token.Bulk(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if bulk.Name() != "pkcs11" || !slices.Equal(bulk.Suites(), []format.Suite{format.AES256GCM}) {
		t.Errorf("%s, %v", bulk.Name(), bulk.Suites())
	}
	backendtest.Run(t, bulk)
	if err := token.Health(); err != nil {
		t.Errorf("forged messages made the token ill: %v", err)
	}
}

// BenchmarkBulk seals and opens packages, each session in a goroutine. The metric
// share is the part of the rate that a C program reaches in the same token.
func BenchmarkBulk(b *testing.B) {
	soft := tokentest.SoftHSM(b)
	rate := soft.Rate(b)
	bulk, err := openToken(b, softConfig(soft)).Bulk(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	for _, do := range []string{"seal", "open"} {
		for _, sessions := range []int{1, 2} {
			b.Run(fmt.Sprintf("do=%s/sessions=%d", do, sessions), func(b *testing.B) {
				b.SetBytes(int64(sessions) * format.MaxPayload)
				var aeads []backends.AEAD
				for range sessions {
					aead, err := bulk.NewAEAD(b.Context(), format.AES256GCM, make([]byte, backends.KeySize))
					if err != nil {
						b.Fatal(err)
					}
					defer aead.Close()
					aeads = append(aeads, aead)
				}
				b.ResetTimer()
				var all sync.WaitGroup
				for _, aead := range aeads {
					all.Go(func() { repeat(b, aead, do == "open", b.N) })
				}
				all.Wait()
				b.StopTimer()
				const messages = 4000
				theirs := rate(do, sessions, messages) / messages
				ours := b.Elapsed() / time.Duration(b.N)
				b.ReportMetric(float64(theirs)/float64(ours), "share")
			})
		}
	}
}

// repeat seals or opens a package n times, in place as the engine does.
func repeat(b *testing.B, aead backends.AEAD, open bool, n int) {
	nonce, ad := make([]byte, backends.NonceSize), make([]byte, format.PackageADSize)
	plain := make([]byte, format.MaxPayload, format.MaxPayload+backends.Overhead)
	sealed, err := aead.Seal(nil, nonce, plain, ad)
	for range n {
		if err != nil {
			b.Error(err)
			return
		}
		if open {
			_, err = aead.Open(plain[:0], nonce, sealed, ad)
		} else {
			_, err = aead.Seal(plain[:0], nonce, plain, ad)
		}
	}
}
