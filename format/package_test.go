package format_test

import (
	"bytes"
	"math"
	"testing"

	"github.com/coffer-backup/coffer/format"
)

var testNonce = format.Nonce(append(count(0x71, 8), 0, 0, 0, 0))

func TestPackageHeader(t *testing.T) {
	for _, tc := range []struct {
		suite   format.Suite
		payload int
		final   bool
		want    []byte
	}{
		{format.AES256GCM, 65536, false, []byte{0x20, 0, 0xFF, 0xFF, 0x71}},
		{format.AES256GCM, 1, true, []byte{0x20, 0, 0, 0, 0xF1}},
		{format.ChaCha20Poly1305, 258, true, []byte{0x20, 1, 1, 1, 0xF1}},
		{format.ChaCha20Poly1305, 65536, true, []byte{0x20, 1, 0xFF, 0xFF, 0xF1}},
	} {
		h := format.NewPackageHeader(tc.suite, &testNonce, tc.payload, tc.final)
		if want := append(tc.want, testNonce[1:]...); !bytes.Equal(h[:], want) {
			t.Errorf("header is %x, want %x", h, want)
		}
		if h.Payload() != tc.payload || h.Final() != tc.final || !h.Check(tc.suite, &testNonce) {
			t.Errorf("header %x: payload %d, final %v, check %v", h, h.Payload(), h.Final(), h.Check(tc.suite, &testNonce))
		}
	}
}

func TestPackageHeaderCheck(t *testing.T) {
	const suite, other = format.AES256GCM, format.ChaCha20Poly1305
	for _, final := range []bool{false, true} {
		good := format.NewPackageHeader(suite, &testNonce, 65536, final)
		for bit := range 8 * len(good) {
			h := good
			h[bit/8] ^= 1 << (bit % 8)
			// The reader learns length and finality from the header: a final
			// package may have any length, and a full one may be final.
			learned := bit/8 == 2 || bit/8 == 3
			want := learned && final || bit == 4*8+7
			if h.Check(suite, &testNonce) != want {
				t.Errorf("final %v, bit %d flipped: Check is %v", final, bit, !want)
			}
		}
		if good.Check(other, &testNonce) {
			t.Error("Check accepts another suite")
		}
		nonce := testNonce
		nonce[3]++
		if good.Check(suite, &nonce) {
			t.Error("Check accepts another nonce")
		}
	}
	short := format.NewPackageHeader(suite, &testNonce, 65535, false)
	if short.Check(suite, &testNonce) {
		t.Error("Check accepts a short package that is not final")
	}
}

func TestPackageCount(t *testing.T) {
	const full, most = 65568, 1 << 32
	for _, tc := range []struct {
		n        int64
		packages int64 // 0 if no body has n bytes
	}{
		{math.MinInt64, 0}, {-1, 0}, {0, 0}, {1, 0}, {32, 0}, {33, 1}, {34, 1},
		{full - 1, 1}, {full, 1}, {full + 1, 0}, {full + 32, 0}, {full + 33, 2},
		{2*full - 1, 2}, {2 * full, 2}, {2*full + 32, 0}, {2*full + 33, 3},
		{(most - 1) * full, most - 1}, {(most-1)*full + 32, 0}, {(most-1)*full + 33, most},
		{most*full - 1, most}, {most * full, most}, {most*full + 1, 0}, {most*full + 33, 0}, {math.MaxInt64, 0},
	} {
		packages, ok := format.PackageCount(tc.n)
		if ok != (tc.packages > 0) || ok && packages != tc.packages {
			t.Errorf("PackageCount(%d) = %d, %v, want %d", tc.n, packages, ok, tc.packages)
		}
	}
}
