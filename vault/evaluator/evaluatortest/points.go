package evaluatortest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/big"
	"testing"

	"filippo.io/nistec"

	"github.com/coffer-backup/coffer/vault/evaluator"
)

// testPoints tries what a trick with x coordinates gets wrong first: the generator and
// the public key of the secret, their multiples and negatives, and products whose x
// begins with zeros.
func (s *suite) testPoints(t *testing.T) {
	one := evaluator.Scalar{31: 1}
	for _, secret := range []struct {
		evaluator.Scalar
		mul func(evaluator.Point) evaluator.Point
	}{
		{s.secrets.OPRF[0], func(p evaluator.Point) evaluator.Point { return s.evaluate(t, s.keys[0], p) }},
		{s.secrets.AKE[0], func(p evaluator.Point) evaluator.Point { return s.agree(t, 0, p) }},
	} {
		var points []evaluator.Point
		for _, p := range []evaluator.Point{one.Public(), secret.Public(), shortX(t, one), shortX(t, secret.Scalar)} {
			for m := byte(1); m <= 4; m++ {
				multiple := times(t, evaluator.Scalar{31: m}, p)
				points = append(points, multiple, negative(multiple))
			}
		}
		for _, p := range points {
			if got, want := secret.mul(p), times(t, secret.Scalar, p); got != want {
				t.Errorf("%x: %x, want %x", p, got, want)
			}
		}
	}
}

// shortX returns a p for which the x of secret·p begins with a zero byte.
func shortX(t *testing.T, secret evaluator.Scalar) evaluator.Point {
	t.Helper()
	for i := range 1 << 14 {
		p := evaluator.Scalar{30: byte(i >> 8), 31: byte(i) | 1}
		if q := p.Public(); times(t, secret, q)[1] == 0 {
			return q
		}
	}
	t.Fatal("no such point")
	return evaluator.Point{}
}

func times(t *testing.T, s evaluator.Scalar, p evaluator.Point) evaluator.Point {
	t.Helper()
	q, err := s.Mul(p)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func negative(p evaluator.Point) evaluator.Point {
	p[0] ^= 1
	return p
}

// notPoints are 33 bytes that are the encoding of no point.
func notPoints(t testing.TB) map[string]evaluator.Point {
	t.Helper()
	g := evaluator.Scalar{31: 1}
	bad := map[string]evaluator.Point{
		"zeros": {},
		"ones":  evaluator.Point(bytes.Repeat([]byte{0xff}, evaluator.PointSize)),
	}
	for _, tag := range []byte{0, 1, 4, 5, 6, 7, 0x82} {
		p := g.Public()
		p[0] = tag
		bad[fmt.Sprintf("tag %d", tag)] = p
	}
	curve := elliptic.P256()
	onCurve := func(x int64) bool {
		p := evaluator.Point{0: 2}
		big.NewInt(x).FillBytes(p[1:])
		q, _ := elliptic.UnmarshalCompressed(curve, p[:])
		return q != nil
	}
	if !onCurve(5) || onCurve(1) {
		t.Fatal("5 is to be the x of a point, and 1 is not")
	}
	for name, x := range map[string]*big.Int{
		"x of no point":        big.NewInt(1),
		"x is the prime":       curve.Params().P,
		"x above the prime":    new(big.Int).Add(curve.Params().P, big.NewInt(5)),
		"x of no point either": new(big.Int).Add(curve.Params().P, big.NewInt(1)),
	} {
		for tag := byte(2); tag <= 3; tag++ {
			p := evaluator.Point{0: tag}
			x.FillBytes(p[1:])
			bad[fmt.Sprintf("%s, tag %d", name, tag)] = p
		}
	}
	return bad
}

func (s *suite) testNotPoints(t *testing.T) {
	for name, p := range notPoints(t) {
		if _, err := s.Evaluate(t.Context(), s.keys[0], p); !errors.Is(err, evaluator.ErrPoint) {
			t.Errorf("%s: Evaluate: %v, want %v", name, err, evaluator.ErrPoint)
		}
		if _, err := s.Agree(t.Context(), 0, p); !errors.Is(err, evaluator.ErrPoint) {
			t.Errorf("%s: Agree: %v, want %v", name, err, evaluator.ErrPoint)
		}
	}
}

// testNewKey makes keys of which it does not know the secrets.
func (s *suite) testNewKey(t *testing.T) {
	one, two, five := evaluator.Scalar{31: 1}, evaluator.Scalar{31: 2}, evaluator.Scalar{31: 5}
	seen := map[evaluator.Point]bool{}
	for range 3 {
		key, err := s.NewKey(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(key.Blob) == 0 || len(key.Blob) > evaluator.MaxBlob {
			t.Errorf("blob of %d bytes, at most %d are allowed", len(key.Blob), evaluator.MaxBlob)
		}
		if seen[key.Public] {
			t.Error("the same key again")
		}
		seen[key.Public] = true
		blob := bytes.Clone(key.Blob)
		for _, m := range []evaluator.Scalar{one, two, five} {
			// k(mG) = m(kG)
			if got, want := s.evaluate(t, key, m.Public()), times(t, m, key.Public); got != want {
				t.Errorf("%x, want %x", got, want)
			}
		}
		if !bytes.Equal(blob, key.Blob) {
			t.Error("Evaluate changes the blob")
		}
	}
}

// testWrongKey changes what is stored of a key. A blob that was changed is refused. With
// another public half there is an error or a wrong result, never the right one.
func (s *suite) testWrongKey(t *testing.T) {
	key, other := s.keys[0], s.keys[3]
	blinded := evaluator.Scalar{31: 7}
	right := s.evaluate(t, key, blinded.Public())

	var blobs [][]byte
	for i := range key.Blob {
		blob := bytes.Clone(key.Blob)
		blob[i] ^= 0x40
		blobs = append(blobs, blob)
	}
	blobs = append(blobs, nil, key.Blob[:1], key.Blob[:len(key.Blob)-1],
		append(bytes.Clone(key.Blob), 0), make([]byte, evaluator.MaxBlob))
	for i, blob := range blobs {
		_, err := s.Evaluate(t.Context(), evaluator.Key{Blob: blob, Public: key.Public}, blinded.Public())
		if err == nil || errors.Is(err, evaluator.ErrPoint) {
			t.Errorf("blob %d: %v, want an error that is not about points", i, err)
		}
	}

	for name, k := range map[string]evaluator.Key{
		"another public half":  {Blob: key.Blob, Public: other.Public},
		"the negative":         {Blob: key.Blob, Public: negative(key.Public)},
		"the blob of another":  {Blob: other.Blob, Public: key.Public},
		"no public half":       {Blob: key.Blob},
		"a public half off it": {Blob: key.Blob, Public: notPoints(t)["x of no point, tag 2"]},
	} {
		got, err := s.Evaluate(t.Context(), k, blinded.Public())
		if err == nil && got == right {
			t.Errorf("%s: evaluated as if nothing were wrong", name)
		}
		if errors.Is(err, evaluator.ErrPoint) {
			t.Errorf("%s: %v, which is not for keys", name, err)
		}
	}
	if got := s.evaluate(t, key, blinded.Public()); got != right {
		t.Errorf("afterwards: %x, want %x", got, right)
	}
}

func (s *suite) testWrongAKE(t *testing.T) {
	one := evaluator.Scalar{31: 1}
	if _, err := s.Agree(t.Context(), 0xffff, one.Public()); err == nil || errors.Is(err, evaluator.ErrPoint) {
		t.Errorf("unknown AKE key: %v, want an error that is not about points", err)
	}
}

func mac(key [32]byte, message []byte) []byte {
	h := hmac.New(sha256.New, key[:])
	h.Write(message)
	return h.Sum(nil)
}

// verify reports whether signature is r ‖ s by key over digest.
func verify(t *testing.T, key evaluator.Point, digest [32]byte, signature [64]byte) bool {
	t.Helper()
	p, err := nistec.NewP256Point().SetBytes(key[:])
	if err != nil {
		t.Fatal(err)
	}
	public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), p.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	r, s := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])
	return ecdsa.Verify(public, digest[:], r, s)
}
