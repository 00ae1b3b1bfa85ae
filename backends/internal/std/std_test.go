//go:build !purego

// With purego the ChaCha20-Poly1305 of golang.org/x/crypto allocates on its own.

package std_test

import (
	"testing"

	"github.com/coffer-backup/coffer/backends"
	"github.com/coffer-backup/coffer/backends/internal/std"
	"github.com/coffer-backup/coffer/format"
)

func TestNoAllocations(t *testing.T) {
	for _, suite := range []format.Suite{format.AES256GCM, format.ChaCha20Poly1305} {
		aead, err := std.NewAEAD(suite, make([]byte, backends.KeySize))
		if err != nil {
			t.Fatal(err)
		}
		nonce, ad := make([]byte, backends.NonceSize), make([]byte, format.PackageADSize)
		sealed, err := aead.Seal(nil, nonce, make([]byte, format.MaxPayload), ad)
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 0, len(sealed))
		allocs := testing.AllocsPerRun(20, func() {
			plain, err := aead.Open(buf, nonce, sealed, ad)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := aead.Seal(plain[:0], nonce, plain, ad); err != nil {
				t.Fatal(err)
			}
		})
		if allocs != 0 {
			t.Errorf("%v: one Open and one Seal allocate %v times", suite, allocs)
		}
	}
}
