package bench

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	"filippo.io/age"
	"github.com/tink-crypto/tink-go/v2/streamingaead/subtle"

	"github.com/coffer-backup/coffer/format"
)

// BenchmarkStream is the speed of whole encrypted streams on one goroutine, from
// memory to nowhere: ours, sio's, age's and Tink's, each with the suites it has. What
// each does once a stream, as age's X25519, vanishes at 64 MiB.
func BenchmarkStream(b *testing.B) {
	plain := plaintext(b, "media")
	for _, do := range []string{"seal", "open"} {
		for _, suite := range suites {
			b.Run(fmt.Sprintf("do=%s/impl=dare/suite=%v", do, suite), func(b *testing.B) {
				c := selected(b, suite)
				loopBytes(b, len(plain), dareWork(b, do, c, 1, plain, sealDARE(b, c, plain)))
			})
			b.Run(fmt.Sprintf("do=%s/impl=sio/suite=%v", do, suite), func(b *testing.B) {
				sealed := sealDARE(b, selected(b, suite), plain)
				loopBytes(b, len(plain), sioWork(b, do, suite, plain, sealed))
			})
		}
		b.Run(fmt.Sprintf("do=%s/impl=age/suite=%v", do, format.ChaCha20Poly1305), func(b *testing.B) {
			benchmarkStreamOf(b, do, plain, ageStream(b))
		})
		b.Run(fmt.Sprintf("do=%s/impl=tink/suite=%v", do, format.AES256GCM), func(b *testing.B) {
			benchmarkStreamOf(b, do, plain, tinkStream(b))
		})
	}
}

// loopBytes measures work, which has size bytes of plaintext.
func loopBytes(b *testing.B, size int, work func()) {
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		work()
	}
}

// A peer encrypts on an io.Writer and decrypts from an io.Reader.
type peer struct {
	encrypt func(io.Writer) (io.WriteCloser, error)
	decrypt func(io.Reader) (io.Reader, error)
}

func benchmarkStreamOf(b *testing.B, do string, plain []byte, p peer) {
	seal := func(dst io.Writer) {
		w, err := p.encrypt(dst)
		must(b, err)
		_, err = w.Write(plain)
		must(b, err)
		must(b, w.Close())
	}
	if do == "seal" {
		loopBytes(b, len(plain), func() { seal(io.Discard) })
		return
	}
	var sealed bytes.Buffer
	seal(&sealed)
	buf := make([]byte, 1<<20)
	loopBytes(b, len(plain), func() {
		r, err := p.decrypt(bytes.NewReader(sealed.Bytes()))
		must(b, err)
		drain(b, r, buf)
	})
}

// ageStream is all of age, for one X25519 recipient: its stream cannot be imported
// alone.
func ageStream(tb testing.TB) peer {
	id, err := age.GenerateX25519Identity()
	must(tb, err)
	return peer{
		encrypt: func(w io.Writer) (io.WriteCloser, error) { return age.Encrypt(w, id.Recipient()) },
		decrypt: func(r io.Reader) (io.Reader, error) { return age.Decrypt(r, id) },
	}
}

// tinkStream has the parameters of Tink's template AES256_GCM_HKDF_1MB, its fastest.
func tinkStream(tb testing.TB) peer {
	t, err := subtle.NewAESGCMHKDF(make([]byte, 32), "SHA256", 32, 1<<20, 0)
	must(tb, err)
	return peer{
		encrypt: func(w io.Writer) (io.WriteCloser, error) { return t.NewEncryptingWriter(w, nil) },
		decrypt: func(r io.Reader) (io.Reader, error) { return t.NewDecryptingReader(r, nil) },
	}
}
