package fuzz_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/minio/sio"

	"github.com/coffer-backup/coffer/backends"
	"github.com/coffer-backup/coffer/backends/software"
	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/internal/dare"
	"github.com/coffer-backup/coffer/vectors/build"
)

var (
	suites  = []format.Suite{format.AES256GCM, format.ChaCha20Poly1305}
	bodyKey = chosen("body key")
	// As DARE allows it: unlike those of coffer its last four bytes are not zero, or
	// the xor with the package number would not show.
	nonce   = format.Nonce{0x7f, 1, 2, 3, 4, 5, 6, 7, 0xf8, 0xf9, 0xfa, 0xfb}
	pattern = noise(3*format.MaxPayload, "pattern")
)

func newStream(t testing.TB, suite format.Suite, nonce format.Nonce) *dare.Stream {
	t.Helper()
	aead, err := software.New().NewAEAD(t.Context(), suite, bodyKey)
	if err != nil {
		t.Fatal(err)
	}
	return dare.New(aead, suite, nonce)
}

func sioConfig(suite format.Suite, nonce format.Nonce, first uint32) sio.Config {
	n := [12]byte(nonce)
	return sio.Config{MinVersion: sio.Version20, CipherSuites: []byte{byte(suite) - 1}, Key: bodyKey, Nonce: &n, SequenceNumber: first}
}

// sealStream seals plain from package first on.
func sealStream(t testing.TB, s *dare.Stream, plain []byte, first uint64) (body []byte) {
	t.Helper()
	for begin := 0; begin < len(plain); begin += format.MaxPayload {
		end := min(begin+format.MaxPayload, len(plain))
		var err error
		if body, err = s.Seal(body, plain[begin:end], first, end == len(plain)); err != nil {
			t.Fatal(err)
		}
		first++
	}
	return body
}

// openStream opens body as a reader does that knows its length. It returns what it
// opened before the first error.
func openStream(s *dare.Stream, body []byte) (plain []byte, err error) {
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

// FuzzDAREOpen seals packages under headers from the fuzzer, with tags that are right,
// so that only the headers decide. The input is the suite, 16 bytes for each of at most
// three packages, their number before them, and the payload of the last one; the others
// are full. What Open accepts, Seal must make, and sio must open with the same bytes.
// sio accepts more (README.md): it believes the first header's nonce.
func FuzzDAREOpen(f *testing.F) {
	const most = 3
	var seeds [][]byte
	for i, suite := range suites {
		for _, n := range []int{1, 16, 255, 1000, format.MaxPayload - 1, format.MaxPayload, format.MaxPayload + 1, 2*format.MaxPayload + 40} {
			packages := build.Seal(byte(suite), bodyKey, nonce[:], pattern[:n])
			seed := []byte{byte(i), byte(len(packages))}
			for _, p := range packages {
				seed = append(seed, p[:16]...)
			}
			if last := pattern[(n-1)/format.MaxPayload*format.MaxPayload : n]; len(last) <= maxContent {
				seeds = append(seeds, append(seed, last...))
			}
		}
	}
	start(f, 2+16*most+maxContent, seeds, func(t *testing.T, data []byte) {
		in := input(data)
		suite := suites[in.u8()%2]
		count := 1 + int(in.u8()-1)%most
		var headers [][]byte
		for range count {
			headers = append(headers, in.next(16))
		}
		aead := build.AEAD(byte(suite), bodyKey)
		var body, sealed []byte
		for i, h := range headers {
			payload := pattern[i*format.MaxPayload:][:format.MaxPayload]
			if i == count-1 {
				payload = in
			}
			body = append(body, build.SealUnder(aead, h, payload, uint32(i))...)
			sealed = append(sealed, payload...)
		}
		s := newStream(t, suite, nonce)
		ours, err := openStream(s, body)
		right := len(sealed) > 0 && bytes.Equal(bytes.Join(build.Seal(byte(suite), bodyKey, nonce[:], sealed), nil), body)
		if (err == nil) != right {
			t.Errorf("%d packages: %v, want accepted: %v", count, err, right)
		}
		if err != nil {
			if err != backends.ErrAuth || !bytes.HasPrefix(sealed, ours) {
				t.Errorf("%v after %d bytes", err, len(ours))
			}
			return
		}
		if !bytes.Equal(sealStream(t, s, ours, 0), body) {
			t.Error("we open what we would not seal")
		}
		if theirs, err := sio.DecryptBuffer(nil, body, sioConfig(suite, nonce, 0)); err != nil || !bytes.Equal(ours, theirs) {
			t.Errorf("sio gives other bytes, or %v", err)
		}
	})
}

// FuzzDARESeal seals as the input says and compares with sio, byte for byte: the suite,
// a nonce, the number of the first package, and the length of the plaintext.
func FuzzDARESeal(f *testing.F) {
	var seeds [][]byte
	for i := range suites {
		for _, n := range []uint32{1, 100, format.MaxPayload, format.MaxPayload + 1, 2*format.MaxPayload + 7, 3 * format.MaxPayload} {
			for _, first := range []uint32{0, 1, 255, 1<<16 - 1, 1<<32 - 4} {
				seed := slices.Concat([]byte{byte(i)}, nonce[:], le.AppendUint32(nil, first))
				seeds = append(seeds, le.AppendUint32(seed, n-1))
			}
		}
	}
	start(f, 1+12+4+4, seeds, func(t *testing.T, data []byte) {
		in := input(data)
		suite := suites[in.u8()%2]
		nonce := format.Nonce(in.next(12))
		nonce[0] &= 0x7f
		first := min(in.u32(), 1<<32-4) // the number must not wrap
		plain := pattern[:1+in.u32()%uint32(len(pattern))]
		s := newStream(t, suite, nonce)
		ours := sealStream(t, s, plain, uint64(first))
		var theirs bytes.Buffer
		w := must(sio.EncryptWriter(&theirs, sioConfig(suite, nonce, first)))
		if _, err := w.Write(plain); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(ours, theirs.Bytes()) {
			t.Fatalf("%v, %x, %d bytes from package %d on: sio seals them otherwise", suite, nonce, len(plain), first)
		}
		// In the place of their ciphertext they come out again.
		last := ours[(len(plain)-1)/format.MaxPayload*format.MaxPackageSize:]
		number := uint64(first) + uint64((len(plain)-1)/format.MaxPayload)
		out, err := s.Open(last[16:16], last, number, true)
		if want := plain[(len(plain)-1)/format.MaxPayload*format.MaxPayload:]; err != nil || !bytes.Equal(out, want) {
			t.Errorf("the last package gives %d bytes, %v", len(out), err)
		}
	})
}

// TestSioOpensMore shows the one known difference: a stream without its first two
// packages, the header of the third edited to fit, by somebody who has no key.
func TestSioOpensMore(t *testing.T) {
	plain := pattern[:2*format.MaxPayload+40]
	for _, suite := range suites {
		packages := build.Seal(byte(suite), bodyKey, nonce[:], plain)
		last := packages[2]
		le.PutUint32(last[12:], le.Uint32(last[12:])^2)
		if theirs, err := sio.DecryptBuffer(nil, last, sioConfig(suite, nonce, 0)); err != nil || !bytes.Equal(theirs, plain[2*format.MaxPayload:]) {
			t.Errorf("%v: sio gives %d bytes, %v: README.md says otherwise", suite, len(theirs), err)
		}
		if ours, err := openStream(newStream(t, suite, nonce), last); err != backends.ErrAuth || len(ours) > 0 {
			t.Errorf("%v: we give %d bytes, %v", suite, len(ours), err)
		}
	}
}
