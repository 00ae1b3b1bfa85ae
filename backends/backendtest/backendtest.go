// Package backendtest is the suite of tests that every backend must pass. A
// backend's own test is
//
//	func TestBackend(t *testing.T) { backendtest.Run(t, mine.New()) }
package backendtest

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/coffer-backup/coffer/backends"
	"github.com/coffer-backup/coffer/backends/selftest"
	"github.com/coffer-backup/coffer/format"
	"golang.org/x/crypto/chacha20poly1305"
)

// Run tests that b keeps the contract of package backends for each of its
// suites, and that it computes the same bytes as Go's library.
func Run(t *testing.T, b backends.Backend) {
	t.Run("Unavailable", func(t *testing.T) { testUnavailable(t, b) })
	for _, suite := range b.Suites() {
		h := &harness{b, suite, rand.NewChaCha8([32]byte{byte(suite)})}
		t.Run(suite.String(), func(t *testing.T) {
			t.Run("SelfTest", h.testSelfTest)
			t.Run("Reference", h.testReference)
			t.Run("InPlace", h.testInPlace)
			t.Run("Forged", h.testForged)
			t.Run("Keys", h.testKeys)
			t.Run("Close", h.testClose)
			t.Run("Concurrent", h.testConcurrent)
		})
	}
}

func testUnavailable(t *testing.T, b backends.Backend) {
	for suite := range format.Suite(8) {
		if slices.Contains(b.Suites(), suite) {
			continue
		}
		aead, err := b.NewAEAD(t.Context(), suite, make([]byte, backends.KeySize))
		if aead != nil || !errors.Is(err, backends.ErrUnavailable) {
			t.Errorf("NewAEAD(%v) = %v, %v, want ErrUnavailable", suite, aead, err)
		}
	}
}

type harness struct {
	b     backends.Backend
	suite format.Suite
	rng   *rand.ChaCha8 // its seed is fixed: failures repeat
}

func (h *harness) bytes(n int) []byte {
	b := make([]byte, n)
	h.rng.Read(b)
	return b
}

func (h *harness) newAEAD(t *testing.T, key []byte) backends.AEAD {
	t.Helper()
	aead, err := h.b.NewAEAD(t.Context(), h.suite, key)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { aead.Close() })
	return aead
}

// pair returns the backend's AEAD and the library's, under one key.
func (h *harness) pair(t *testing.T) (backends.AEAD, cipher.AEAD) {
	t.Helper()
	key := h.bytes(backends.KeySize)
	ref, err := chacha20poly1305.New(key)
	if h.suite == format.AES256GCM {
		block, _ := aes.NewCipher(key)
		ref, err = cipher.NewGCM(block)
	}
	if err != nil {
		t.Fatal(err)
	}
	return h.newAEAD(t, key), ref
}

// lengths are those of short messages, each of them, and those around a full
// package: what fast code splits into blocks and strides.
func lengths() []int {
	var ns []int
	for n := range 301 {
		ns = append(ns, n)
	}
	for n := format.MaxPayload - 17; n <= format.MaxPayload+17; n++ {
		ns = append(ns, n)
	}
	return ns
}

func (h *harness) testSelfTest(t *testing.T) {
	if err := selftest.Run(t.Context(), h.b, h.suite); err != nil {
		t.Error(err)
	}
}

// testReference compares both directions with the library for dst of every
// shape.
func (h *harness) testReference(t *testing.T) {
	aead, ref := h.pair(t)
	for _, n := range lengths() {
		for _, adLen := range []int{0, format.PackageADSize, 1 + n%40} {
			nonce, plain, ad := h.bytes(backends.NonceSize), h.bytes(n), h.bytes(adLen)
			sealed := ref.Seal(nil, nonce, plain, ad)
			for _, room := range []int{-1, 0, n, n + backends.Overhead, n + 100} {
				name := fmt.Sprintf("%d bytes, %d of ad, room for %d", n, adLen, room)
				h.checkAppend(t, name+": Seal", room, sealed, func(dst []byte) ([]byte, error) {
					return aead.Seal(dst, nonce, plain, ad)
				})
				h.checkAppend(t, name+": Open", room, plain, func(dst []byte) ([]byte, error) {
					return aead.Open(dst, nonce, sealed, ad)
				})
			}
		}
	}
}

// checkAppend demands that call appends want to dst, which is nil if room is
// negative and else has a prefix and capacity for room more bytes, all dirty; and
// that it touches nothing before or behind.
func (h *harness) checkAppend(t *testing.T, name string, room int, want []byte, call func(dst []byte) ([]byte, error)) {
	t.Helper()
	const prefix, canary = 3, 64
	var dst, mem, before []byte
	if room >= 0 {
		mem = h.bytes(prefix + room + canary)
		before = bytes.Clone(mem)
		dst = mem[: prefix : prefix+room]
	}
	out, err := call(dst)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if len(out) < len(dst) || !bytes.Equal(out[:len(dst)], before[:len(dst)]) || !bytes.Equal(out[len(dst):], want) {
		t.Fatalf("%s: not dst and the %d bytes of the library", name, len(want))
	}
	if room >= 0 && (!bytes.Equal(mem[:prefix], before[:prefix]) || !bytes.Equal(mem[prefix+room:], before[prefix+room:])) {
		t.Fatalf("%s: memory outside dst's capacity was changed", name)
	}
}

// testInPlace has input and output in the same memory, behind a prefix, and
// demands that the other inputs are not changed.
func (h *harness) testInPlace(t *testing.T) {
	aead, ref := h.pair(t)
	const prefix = format.PackageHeaderSize
	nonce, ad := h.bytes(backends.NonceSize), h.bytes(format.PackageADSize)
	nonceBefore, adBefore := bytes.Clone(nonce), bytes.Clone(ad)
	for _, n := range lengths() {
		buf := h.bytes(prefix + n + backends.Overhead)
		before := bytes.Clone(buf)
		plain := bytes.Clone(buf[prefix : prefix+n])
		want := ref.Seal(before[:prefix:prefix], nonce, plain, ad)

		out, err := aead.Seal(buf[:prefix], nonce, buf[prefix:prefix+n], ad)
		if err != nil || !bytes.Equal(out, want) {
			t.Fatalf("%d bytes: sealing in place: wrong bytes or error %v", n, err)
		}
		copy(buf, out)
		out, err = aead.Open(buf[:prefix], nonce, buf[prefix:], ad)
		if err != nil || !bytes.Equal(out, before[:prefix+n]) {
			t.Fatalf("%d bytes: opening in place: wrong bytes or error %v", n, err)
		}
	}
	if !bytes.Equal(nonce, nonceBefore) || !bytes.Equal(ad, adBefore) {
		t.Error("nonce or associated data were changed")
	}
}

// testForged flips every bit of all that Open is given, and tries other lengths.
func (h *harness) testForged(t *testing.T) {
	aead, ref := h.pair(t)
	for _, n := range []int{0, 1, 16, 47, 300} {
		nonce, ad, plain := h.bytes(backends.NonceSize), h.bytes(format.PackageADSize), h.bytes(n)
		sealed := ref.Seal(nil, nonce, plain, ad)
		for name, field := range map[string][]byte{"nonce": nonce, "message": sealed, "associated data": ad} {
			for bit := range 8 * len(field) {
				field[bit/8] ^= 1 << (bit % 8)
				h.checkRefused(t, fmt.Sprintf("%d bytes: %s with bit %d flipped", n, name, bit), aead, nonce, sealed, ad)
				field[bit/8] ^= 1 << (bit % 8)
			}
		}
		for cut := range len(sealed) {
			h.checkRefused(t, fmt.Sprintf("%d bytes: message cut to %d", n, cut), aead, nonce, sealed[:cut], ad)
		}
		h.checkRefused(t, fmt.Sprintf("%d bytes: message too long", n), aead, nonce, append(sealed, 0), ad)
		h.checkRefused(t, fmt.Sprintf("%d bytes: associated data cut", n), aead, nonce, sealed, ad[1:])
	}
	full := ref.Seal(nil, make([]byte, backends.NonceSize), h.bytes(format.MaxPayload), nil)
	full[len(full)-1] ^= 1
	h.checkRefused(t, "full package with a wrong tag", aead, make([]byte, backends.NonceSize), full, nil)
}

// checkRefused demands ErrAuth, and that each byte of dst's memory is zero or what
// it was, both apart from the message and in place.
func (h *harness) checkRefused(t *testing.T, name string, aead backends.AEAD, nonce, sealed, ad []byte) {
	t.Helper()
	inPlace := bytes.Clone(sealed)
	apart := h.bytes(len(sealed))
	for _, in := range []struct{ mem, sealed []byte }{{apart, sealed}, {inPlace, inPlace}} {
		before := bytes.Clone(in.mem)
		out, err := aead.Open(in.mem[:0], nonce, in.sealed, ad)
		if !errors.Is(err, backends.ErrAuth) {
			t.Fatalf("%s: error %v, want ErrAuth", name, err)
		}
		if len(out) != 0 {
			t.Fatalf("%s: %d bytes were returned", name, len(out))
		}
		for i, b := range in.mem {
			if b != 0 && b != before[i] {
				t.Fatalf("%s: output was left in dst's memory", name)
			}
		}
	}
}

func (h *harness) testKeys(t *testing.T) {
	for _, n := range []int{0, 16, 24, 31, 33, 64} {
		if aead, err := h.b.NewAEAD(t.Context(), h.suite, make([]byte, n)); err == nil {
			aead.Close()
			t.Errorf("a key of %d bytes was accepted", n)
		}
	}
	key := h.bytes(backends.KeySize)
	before := bytes.Clone(key)
	first := h.newAEAD(t, key)
	if !bytes.Equal(key, before) {
		t.Error("the key was changed")
	}
	clear(key) // NewAEAD's contract: the caller may erase it
	second, erased := h.newAEAD(t, before), h.newAEAD(t, key)
	nonce := make([]byte, backends.NonceSize)
	sealed, err := first.Seal(nil, nonce, before, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := second.Open(nil, nonce, sealed, nil); err != nil {
		t.Errorf("another AEAD under the same key: %v", err)
	}
	if _, err := erased.Open(nil, nonce, sealed, nil); !errors.Is(err, backends.ErrAuth) {
		t.Errorf("AEAD under another key: %v, want ErrAuth", err)
	}
}

func (h *harness) testClose(t *testing.T) {
	aead, ref := h.pair(t)
	nonce := make([]byte, backends.NonceSize)
	sealed := ref.Seal(nil, nonce, []byte("plaintext"), nil)
	for range 2 {
		if err := aead.Close(); err != nil {
			t.Fatalf("Close: %v", err)
		}
	}
	if out, err := aead.Seal(nil, nonce, []byte("plaintext"), nil); err == nil || out != nil {
		t.Errorf("Seal after Close = %x, %v", out, err)
	}
	if out, err := aead.Open(nil, nonce, sealed, nil); err == nil || errors.Is(err, backends.ErrAuth) || out != nil {
		t.Errorf("Open after Close = %x, %v; it is no fault of the data", out, err)
	}
}

// testConcurrent makes AEADs in several goroutines, as the engine's workers do.
func (h *harness) testConcurrent(t *testing.T) {
	key, plain := h.bytes(backends.KeySize), h.bytes(4096)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			aead, err := h.b.NewAEAD(t.Context(), h.suite, key)
			if err != nil {
				t.Error(err)
				return
			}
			defer aead.Close()
			nonce := make([]byte, backends.NonceSize)
			var buf []byte
			for i := range 50 {
				nonce[0] = byte(i)
				if buf, err = aead.Seal(buf[:0], nonce, plain, nil); err != nil {
					t.Error(err)
					return
				}
				if buf, err = aead.Open(buf[:0], nonce, buf, nil); err != nil || !bytes.Equal(buf, plain) {
					t.Errorf("opening what was sealed: wrong bytes or error %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
}
