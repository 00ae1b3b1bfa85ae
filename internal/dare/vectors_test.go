package dare_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"testing"

	"github.com/coffer-backup/coffer/backends/software"
	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/internal/dare"
	"github.com/coffer-backup/coffer/vectors"
)

func TestVectors(t *testing.T) {
	table, err := vectors.LoadDARE()
	if err != nil || len(table.Streams) == 0 {
		t.Fatal(table, err)
	}
	for _, v := range table.Streams {
		suite := format.Suite(v.Suite)
		t.Run(fmt.Sprintf("%v/%d", suite, v.Plaintext.Length), func(t *testing.T) {
			aead, err := software.New().NewAEAD(t.Context(), suite, v.Key)
			if err != nil {
				t.Fatal(err)
			}
			s := dare.New(aead, suite, format.Nonce(v.Nonce))
			sealed := sealAll(t, s, v.Plaintext.Bytes())
			sum := sha256.Sum256(sealed)
			if len(sealed) != v.SealedLength || !bytes.Equal(sum[:], v.SealedSHA256) || v.Sealed != nil && !bytes.Equal(sealed, v.Sealed) {
				t.Errorf("sealed, it is %d bytes, %x", len(sealed), sum)
			}
			if plain, err := openAll(s, sealed); err != nil || !bytes.Equal(plain, v.Plaintext.Bytes()) {
				t.Errorf("opened again, it is %d bytes, %v", len(plain), err)
			}
		})
	}
}
