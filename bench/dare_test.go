package bench

import (
	"fmt"
	"io"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/minio/sio"

	"github.com/coffer-backup/coffer/backends"
	"github.com/coffer-backup/coffer/backends/auto"
	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/internal/dare"
)

var suites = []format.Suite{format.AES256GCM, format.ChaCha20Poly1305}

// selected returns the backend that is chosen for suite.
func selected(tb testing.TB, suite format.Suite) cipher {
	backend, err := auto.Select(suite)
	must(tb, err)
	return cipher{suite, backend}
}

func newStream(tb testing.TB, c cipher) *dare.Stream {
	return dare.New(c.aead(tb), c.suite, format.Nonce{})
}

// sealDARE returns all packages of plain.
func sealDARE(tb testing.TB, c cipher, plain []byte) []byte {
	s, n := newStream(tb, c), parts(plain, format.MaxPayload)
	sealed := make([]byte, 0, n*format.MaxPackageSize)
	for i := range n {
		var err error
		sealed, err = s.Seal(sealed, part(plain, format.MaxPayload, i), uint64(i), i == n-1)
		must(tb, err)
	}
	return sealed
}

// parts is how many parts of size bytes p has, the last one shorter.
func parts(p []byte, size int) int { return (len(p) + size - 1) / size }

// part returns part number i of p.
func part(p []byte, size, i int) []byte { return p[i*size : min((i+1)*size, len(p))] }

// dareWork returns what seals plain, or opens sealed, on as many goroutines as
// cores. Each has a Stream of its own, a run of consecutive packages, and a buffer
// that holds one result at a time, as sio has.
func dareWork(tb testing.TB, do string, c cipher, cores int, plain, sealed []byte) func() {
	n := parts(plain, format.MaxPayload)
	halves := make([]func(), cores)
	for k := range halves {
		s, buf := newStream(tb, c), make([]byte, 0, format.MaxPackageSize)
		first, end := n*k/cores, n*(k+1)/cores
		halves[k] = func() {
			for i := first; i < end; i++ {
				var err error
				if do == "seal" {
					_, err = s.Seal(buf, part(plain, format.MaxPayload, i), uint64(i), i == n-1)
				} else {
					_, err = s.Open(buf, part(sealed, format.MaxPackageSize, i), uint64(i), i == n-1)
				}
				if err != nil {
					tb.Error(err)
					return
				}
			}
		}
	}
	if cores == 1 {
		return halves[0]
	}
	return func() {
		var running sync.WaitGroup
		for _, half := range halves {
			running.Go(half)
		}
		running.Wait()
	}
}

// sioWork returns what seals plain, or opens sealed, by sio. Of its calls Writers on
// whole slices are the fastest: they copy next to nothing, and their results stay in
// the cache.
func sioWork(tb testing.TB, do string, suite format.Suite, plain, sealed []byte) func() {
	config := sio.Config{
		MinVersion:   sio.Version20,
		MaxVersion:   sio.Version20,
		CipherSuites: []byte{sio.AES_256_GCM},
		Key:          make([]byte, backends.KeySize),
		Nonce:        new([12]byte),
	}
	if suite == format.ChaCha20Poly1305 {
		config.CipherSuites[0] = sio.CHACHA20_POLY1305
	}
	start, p := sio.EncryptWriter, plain
	if do == "open" {
		start, p = sio.DecryptWriter, sealed
	}
	return func() {
		w, err := start(io.Discard, config)
		must(tb, err)
		_, err = w.Write(p)
		must(tb, err)
		must(tb, w.Close())
	}
}

// BenchmarkShareOfSio is the speed of DARE packages, on one core and on two, as a
// multiple of sio's, which uses one: it has no way to work in parallel on a stream.
// Both take plain or sealed bytes from memory and throw the result away.
func BenchmarkShareOfSio(b *testing.B) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	plain := plaintext(b, "media")
	for _, do := range []string{"seal", "open"} {
		for _, suite := range suites {
			for _, cores := range []int{1, 2} {
				b.Run(fmt.Sprintf("do=%s/suite=%v/cores=%d", do, suite, cores), func(b *testing.B) {
					if runtime.NumCPU() < cores {
						b.Skipf("needs %d cores", cores)
					}
					c := selected(b, suite)
					sealed := sealDARE(b, c, plain)
					runtime.GOMAXPROCS(cores)
					compare(b, "of-sio", sioWork(b, do, suite, plain, sealed), dareWork(b, do, c, cores, plain, sealed))
				})
			}
		}
	}
}

// TestPackageAllocations demands that a package costs no allocation, with any
// suite and backend.
func TestPackageAllocations(t *testing.T) {
	plain := make([]byte, format.MaxPayload)
	for _, c := range ciphers() {
		t.Run(c.String(), func(t *testing.T) {
			s := newStream(t, c)
			sealed := sealDARE(t, c, slices.Concat(plain, plain))
			for do, work := range map[string]func() error{
				"seal": func() error {
					_, err := s.Seal(sealed[:0], plain, 0, false)
					return err
				},
				"open": func() error {
					_, err := s.Open(plain[:0], sealed[:format.MaxPackageSize], 0, false)
					return err
				},
			} {
				if n := testing.AllocsPerRun(100, func() { must(t, work()) }); n != 0 {
					t.Errorf("%s: %v allocations a package", do, n)
				}
			}
		})
	}
}
