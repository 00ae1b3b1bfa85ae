package dare_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/coffer-backup/coffer/backends"
	"github.com/coffer-backup/coffer/backends/software"
	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/internal/dare"
	"github.com/minio/sio"
)

var (
	suites = software.New().Suites()
	key    = bytes.Repeat([]byte{0x42}, backends.KeySize)
	// As DARE allows it: unlike those of coffer its last four bytes are not zero,
	// or the xor with the package number would not show.
	nonce = format.Nonce{0x7f, 1, 2, 3, 4, 5, 6, 7, 0xf8, 0xf9, 0xfa, 0xfb}
)

func newAEAD(t testing.TB, suite format.Suite) backends.AEAD {
	t.Helper()
	aead, err := software.New().NewAEAD(t.Context(), suite, key)
	if err != nil {
		t.Fatal(err)
	}
	return aead
}

func newStream(t testing.TB, suite format.Suite) *dare.Stream {
	t.Helper()
	return dare.New(newAEAD(t, suite), suite, nonce)
}

func sioConfig(suite format.Suite) sio.Config {
	n := [12]byte(nonce)
	return sio.Config{MinVersion: sio.Version20, CipherSuites: []byte{byte(suite) - 1}, Key: key, Nonce: &n}
}

func forSuites(t *testing.T, f func(t *testing.T, suite format.Suite)) {
	for _, suite := range suites {
		t.Run(suite.String(), func(t *testing.T) { f(t, suite) })
	}
}

// plaintext returns n bytes without a short period.
func plaintext(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i ^ i>>8 ^ i>>16)
	}
	return b
}

func sealAll(t testing.TB, s *dare.Stream, plain []byte) []byte {
	t.Helper()
	var out []byte
	packages := (len(plain) + format.MaxPayload - 1) / format.MaxPayload
	number := 0
	for payload := range slices.Chunk(plain, format.MaxPayload) {
		var err error
		if out, err = s.Seal(out, payload, uint64(number), number == packages-1); err != nil {
			t.Fatal(err)
		}
		number++
	}
	return out
}

// openAll opens body as a reader does that knows its length. It returns what it
// opened before the first error.
func openAll(s *dare.Stream, body []byte) (plain []byte, err error) {
	for number := uint64(0); ; number++ {
		pkg := body[:min(len(body), format.MaxPackageSize)]
		body = body[len(pkg):]
		out, err := s.Open(plain, pkg, number, len(body) == 0)
		if err != nil {
			return plain, err
		}
		if plain = out; len(body) == 0 {
			return plain, nil
		}
	}
}

var lengths = []int{
	1, 2, 15, 16, 17, 31, 32, 33, 255, 256, 1000, 4096,
	format.MaxPayload - 1, format.MaxPayload, format.MaxPayload + 1,
	2*format.MaxPayload - 1, 2 * format.MaxPayload, 2*format.MaxPayload + 1,
	5*format.MaxPayload + 12345,
}

func TestEqualsSio(t *testing.T) {
	forSuites(t, func(t *testing.T, suite format.Suite) {
		s := newStream(t, suite)
		for _, n := range lengths {
			plain := plaintext(n)
			var theirs bytes.Buffer
			if _, err := sio.Encrypt(&theirs, bytes.NewReader(plain), sioConfig(suite)); err != nil {
				t.Fatal(err)
			}
			ours := sealAll(t, s, plain)
			if !bytes.Equal(ours, theirs.Bytes()) {
				t.Fatalf("%d bytes: sio seals them differently", n)
			}
			if out, err := openAll(s, theirs.Bytes()); err != nil || !bytes.Equal(out, plain) {
				t.Fatalf("%d bytes: opening what sio sealed: wrong bytes or error %v", n, err)
			}
			if out, err := sio.DecryptBuffer(nil, ours, sioConfig(suite)); err != nil || !bytes.Equal(out, plain) {
				t.Fatalf("%d bytes: sio opening ours: wrong bytes or error %v", n, err)
			}
		}
	})
}

func TestHighNumber(t *testing.T) {
	forSuites(t, func(t *testing.T, suite format.Suite) {
		s := newStream(t, suite)
		const last = 1<<32 - 1
		plain := plaintext(100)
		pkg, err := s.Seal(nil, plain, last, true)
		if err != nil {
			t.Fatal(err)
		}
		config := sioConfig(suite)
		config.SequenceNumber = last
		if out, err := sio.DecryptBuffer(nil, pkg, config); err != nil || !bytes.Equal(out, plain) {
			t.Errorf("sio opening the last package: wrong bytes or error %v", err)
		}
		if out, err := s.Open(nil, pkg, last, true); err != nil || !bytes.Equal(out, plain) {
			t.Errorf("opening the last package: wrong bytes or error %v", err)
		}
		for _, number := range []uint64{last + 1, 1 << 33, 1<<64 - 1} {
			if _, err := s.Seal(nil, plain, number, true); !errors.Is(err, dare.ErrTooLong) {
				t.Errorf("Seal of number %d: %v, want ErrTooLong", number, err)
			}
			if _, err := s.Open(nil, pkg, number, true); !errors.Is(err, dare.ErrTooLong) {
				t.Errorf("Open of number %d: %v, want ErrTooLong", number, err)
			}
		}
	})
}

func TestPayloadSizes(t *testing.T) {
	s := newStream(t, format.AES256GCM)
	for _, c := range []struct {
		size  int
		final bool
	}{{0, true}, {0, false}, {1, false}, {format.MaxPayload - 1, false}, {format.MaxPayload + 1, true}, {format.MaxPayload + 1, false}} {
		if _, err := s.Seal(nil, make([]byte, c.size), 0, c.final); err == nil {
			t.Errorf("Seal of %d bytes (final: %v) succeeded", c.size, c.final)
		}
	}
}

func TestInPlace(t *testing.T) {
	forSuites(t, func(t *testing.T, suite format.Suite) {
		s := newStream(t, suite)
		plain := plaintext(format.MaxPayload)
		want := sealAll(t, s, plain)
		buf := make([]byte, format.MaxPackageSize)
		body := buf[format.PackageHeaderSize:]
		copy(body, plain)
		if pkg, err := s.Seal(buf[:0], body[:len(plain)], 0, true); err != nil || !bytes.Equal(pkg, want) || &pkg[0] != &buf[0] {
			t.Errorf("sealing in place: wrong bytes or place, or error %v", err)
		}
		if out, err := s.Open(body[:0], buf, 0, true); err != nil || !bytes.Equal(out, plain) || &out[0] != &body[0] {
			t.Errorf("opening in place: wrong bytes or place, or error %v", err)
		}
	})
}

// TestBitFlips flips each bit of a short package, and those of header and tag of a
// full one.
func TestBitFlips(t *testing.T) {
	forSuites(t, func(t *testing.T, suite format.Suite) {
		s := newStream(t, suite)
		var buf []byte
		flip := func(pkg []byte, number uint64, final bool, from, to int) {
			for bit := 8 * from; bit < 8*to; bit++ {
				pkg[bit/8] ^= 1 << (bit % 8)
				out, err := s.Open(buf[:0], pkg, number, final)
				if !errors.Is(err, backends.ErrAuth) || len(out) != 0 {
					t.Fatalf("package of %d bytes with bit %d flipped: %d bytes, error %v, want ErrAuth", len(pkg), bit, len(out), err)
				}
				pkg[bit/8] ^= 1 << (bit % 8)
			}
		}
		body := sealAll(t, s, plaintext(format.MaxPayload+40))
		full, short := body[:format.MaxPackageSize], body[format.MaxPackageSize:]
		buf = make([]byte, 0, format.MaxPayload)
		flip(short, 1, true, 0, len(short))
		flip(full, 0, false, 0, format.PackageHeaderSize)
		flip(full, 0, false, len(full)-format.PackageTagSize, len(full))
		if _, err := openAll(s, body); err != nil {
			t.Fatalf("the stream itself: %v", err)
		}
	})
}

// sealUnder seals payload as package 0 under a header of which nothing is judged.
func sealUnder(t testing.TB, aead backends.AEAD, header, payload []byte) []byte {
	t.Helper()
	pkg, err := aead.Seal(bytes.Clone(header), header[4:], payload, header[:4])
	if err != nil {
		t.Fatal(err)
	}
	return pkg
}

// TestWrongHeaders flips each bit of a header before sealing under it, as someone
// who has the key can: the tag is right, and still the package is refused.
func TestWrongHeaders(t *testing.T) {
	forSuites(t, func(t *testing.T, suite format.Suite) {
		aead, s := newAEAD(t, suite), newStream(t, suite)
		plain := plaintext(40)
		header := sealAll(t, s, plain)[:format.PackageHeaderSize]
		for bit := range 8 * len(header) {
			header[bit/8] ^= 1 << (bit % 8)
			pkg := sealUnder(t, aead, header, plain)
			if _, err := s.Open(nil, pkg, 0, true); !errors.Is(err, backends.ErrAuth) {
				t.Errorf("header with bit %d flipped: error %v, want ErrAuth", bit, err)
			}
			header[bit/8] ^= 1 << (bit % 8)
		}
	})
}

// TestRearranged makes streams of whole, authentic packages that are no streams,
// and cuts streams. What comes out before the error is a prefix of the plaintext.
func TestRearranged(t *testing.T) {
	forSuites(t, func(t *testing.T, suite format.Suite) {
		s := newStream(t, suite)
		const size = format.MaxPackageSize
		plain := plaintext(2*format.MaxPayload + 40)
		body := sealAll(t, s, plain)
		a, b, last := body[:size], body[size:2*size], body[2*size:]
		fullEnd := sealAll(t, s, plain[:2*format.MaxPayload])
		otherNonce := dare.New(newAEAD(t, suite), suite, format.Nonce{1})

		rearranged := map[string][]byte{
			"nothing":                nil,
			"swapped":                slices.Concat(b, a, last),
			"first dropped":          slices.Concat(b, last),
			"middle dropped":         slices.Concat(a, last),
			"last dropped":           slices.Concat(a, b),
			"duplicate":              slices.Concat(a, a, b, last),
			"last doubled":           slices.Concat(a, b, last, last),
			"last first":             slices.Concat(last, a, b),
			"two ends":               slices.Concat(fullEnd, last),
			"short final in between": slices.Concat(a, last, b),
			"another stream":         sealAll(t, otherNonce, plain),
			"spliced":                slices.Concat(sealAll(t, otherNonce, plain)[:size], b, last),
			"trailing byte":          slices.Concat(body, []byte{0}),
		}
		for _, cut := range []int{1, 15, 16, 17, 31, 32, 33, size - 1, size + 1, size + 16, size + 32, size + 33, 2*size - 1, 2*size + 1, 2*size + 16, 2*size + 32, 2*size + 33, len(body) - 1} {
			rearranged[fmt.Sprintf("cut to %d", cut)] = body[:cut]
		}
		for name, r := range rearranged {
			out, err := openAll(s, r)
			if !errors.Is(err, backends.ErrAuth) {
				t.Errorf("%s: error %v, want ErrAuth", name, err)
			}
			if !bytes.HasPrefix(plain, out) {
				t.Errorf("%s: gave %d bytes that do not begin the plaintext", name, len(out))
			}
		}
	})
}

// A failing AEAD is the token that was pulled out.
type failing struct{ backends.AEAD }

var errToken = errors.New("the token was removed")

func (failing) Seal(_, _, _, _ []byte) ([]byte, error) { return nil, errToken }
func (failing) Open(_, _, _, _ []byte) ([]byte, error) { return nil, errToken }

func TestBackendFails(t *testing.T) {
	pkg := sealAll(t, newStream(t, format.AES256GCM), plaintext(10))
	s := dare.New(failing{}, format.AES256GCM, nonce)
	if _, err := s.Seal(nil, plaintext(10), 0, true); !errors.Is(err, errToken) {
		t.Errorf("Seal: %v", err)
	}
	if _, err := s.Open(nil, pkg, 0, true); !errors.Is(err, errToken) || errors.Is(err, backends.ErrAuth) {
		t.Errorf("Open: %v", err)
	}
}

// The AEADs have a test of their own for this, so one suite will do.
func TestNoAllocations(t *testing.T) {
	s := newStream(t, format.AES256GCM)
	plain := plaintext(format.MaxPayload)
	pkg, out := make([]byte, 0, format.MaxPackageSize), make([]byte, 0, format.MaxPayload)
	allocs := testing.AllocsPerRun(20, func() {
		var err error
		if pkg, err = s.Seal(pkg[:0], plain, 7, false); err != nil {
			t.Fatal(err)
		}
		if out, err = s.Open(out[:0], pkg, 7, false); err != nil {
			t.Fatal(err)
		}
	})
	if allocs != 0 {
		t.Errorf("a package sealed and opened allocates %v times", allocs)
	}
}
