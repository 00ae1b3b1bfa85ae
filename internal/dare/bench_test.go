package dare_test

import (
	"io"
	"slices"
	"testing"

	"github.com/coffer-backup/coffer/format"
	"github.com/minio/sio"
)

const benchSize = 16 * format.MaxPayload

func BenchmarkSeal(b *testing.B) {
	plain := plaintext(benchSize)
	for _, suite := range suites {
		buf := make([]byte, 0, 16*format.MaxPackageSize)
		seal := func(name string, f func() error) { bench(b, suite.String()+"/"+name, f) }
		aead, s := newAEAD(b, suite), newStream(b, suite)
		n, ad := nonce[:], make([]byte, format.PackageADSize)
		seal("raw", func() (err error) {
			buf = buf[:0]
			for payload := range slices.Chunk(plain, format.MaxPayload) {
				if buf, err = aead.Seal(buf, n, payload, ad); err != nil {
					return err
				}
			}
			return nil
		})
		seal("dare", func() (err error) {
			buf = buf[:0]
			for payload := range slices.Chunk(plain, format.MaxPayload) {
				if buf, err = s.Seal(buf, payload, 0, false); err != nil {
					return err
				}
			}
			return nil
		})
		w, err := sio.EncryptWriter(io.Discard, sioConfig(suite))
		if err != nil {
			b.Fatal(err)
		}
		seal("sio", func() error {
			_, err := w.Write(plain)
			return err
		})
	}
}

func BenchmarkOpen(b *testing.B) {
	for _, suite := range suites {
		buf := make([]byte, 0, benchSize)
		open := func(name string, f func() error) { bench(b, suite.String()+"/"+name, f) }
		aead, s := newAEAD(b, suite), newStream(b, suite)
		body := sealAll(b, s, plaintext(benchSize))
		n, ad := nonce[:], make([]byte, format.PackageADSize)
		pkg, err := aead.Seal(nil, n, plaintext(format.MaxPayload), ad)
		if err != nil {
			b.Fatal(err)
		}
		open("raw", func() (err error) {
			buf = buf[:0]
			for range 16 {
				if buf, err = aead.Open(buf, n, pkg, ad); err != nil {
					return err
				}
			}
			return nil
		})
		open("dare", func() (err error) {
			buf = buf[:0]
			number := uint64(0)
			for pkg := range slices.Chunk(body, format.MaxPackageSize) {
				if buf, err = s.Open(buf, pkg, number, number == 15); err != nil {
					return err
				}
				number++
			}
			return nil
		})
		open("sio", func() (err error) {
			buf, err = sio.DecryptBuffer(buf[:0], body, sioConfig(suite))
			return err
		})
	}
}

// bench measures f, which works on benchSize bytes of plaintext.
func bench(b *testing.B, name string, f func() error) {
	b.Run(name, func(b *testing.B) {
		b.SetBytes(benchSize)
		b.ReportAllocs()
		for b.Loop() {
			if err := f(); err != nil {
				b.Fatal(err)
			}
		}
	})
}
