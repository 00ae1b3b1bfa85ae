package bench

import (
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"
	"testing"

	"github.com/cespare/xxhash/v2"

	"github.com/coffer-backup/coffer/backends"
	"github.com/coffer-backup/coffer/backends/auto"
	"github.com/coffer-backup/coffer/format"
)

// Messages of the primitives. 64 KiB is a package's payload.
var messageSizes = []byteSize{1 << 10, 16 << 10, 64 << 10, 1 << 20}

// A cipher is a suite, and who computes it.
type cipher struct {
	suite   format.Suite
	backend backends.Backend
}

// ciphers returns all there are on this machine, the one that is chosen without
// being told first.
func ciphers() (all []cipher) {
	for _, b := range auto.Backends() {
		for _, s := range b.Suites() {
			all = append(all, cipher{s, b})
		}
	}
	return all
}

// aead returns the cipher under a key that is the same each time.
func (c cipher) aead(tb testing.TB) backends.AEAD {
	a, err := c.backend.NewAEAD(tb.Context(), c.suite, make([]byte, backends.KeySize))
	must(tb, err)
	tb.Cleanup(func() { _ = a.Close() })
	return a
}

func (c cipher) String() string {
	return fmt.Sprintf("suite=%v/backend=%s", c.suite, c.backend.Name())
}

// BenchmarkAEAD is the speed of one core on messages that are in its cache.
func BenchmarkAEAD(b *testing.B) {
	for _, do := range []string{"seal", "open"} {
		for _, c := range ciphers() {
			for _, size := range messageSizes {
				b.Run(fmt.Sprintf("do=%s/%v/size=%v", do, c, size), func(b *testing.B) {
					aead, nonce, ad := c.aead(b), make([]byte, backends.NonceSize), make([]byte, format.PackageADSize)
					out := make([]byte, 0, int(size)+backends.Overhead)
					src, work := make([]byte, size), aead.Seal
					if do == "open" {
						var err error
						src, err = aead.Seal(nil, nonce, src, ad)
						must(b, err)
						work = aead.Open
					}
					b.SetBytes(int64(size))
					b.ReportAllocs()
					for b.Loop() {
						_, err := work(out, nonce, src, ad)
						must(b, err)
					}
				})
			}
		}
	}
}

// BenchmarkSHA256 is the hash of the archive's catalog sum and of the key schedule.
func BenchmarkSHA256(b *testing.B) {
	benchmarkHash(b, func(p []byte) { sha256.Sum256(p) })
}

// BenchmarkXXH64 is the checksum in every data frame.
func BenchmarkXXH64(b *testing.B) {
	benchmarkHash(b, func(p []byte) { xxhash.Sum64(p) })
}

func benchmarkHash(b *testing.B, hash func([]byte)) {
	for _, size := range messageSizes {
		b.Run(fmt.Sprintf("size=%v", size), func(b *testing.B) {
			p := make([]byte, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				hash(p)
			}
		})
	}
}

// BenchmarkHKDF is one key of the schedule.
func BenchmarkHKDF(b *testing.B) {
	secret, salt := make([]byte, 32), make([]byte, 32)
	b.ReportAllocs()
	for b.Loop() {
		_, err := hkdf.Key(sha256.New, secret, salt, "coffer v1 benchmark", 32)
		must(b, err)
	}
}
