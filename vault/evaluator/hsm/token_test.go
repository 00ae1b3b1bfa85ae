package hsm

import (
	"crypto/ecdh"
	"errors"
	"testing"

	"github.com/coffer-backup/coffer/vault/evaluator"
)

// A derivation is what a token does with the points that it gets.
type derivation = func(public *ecdh.PublicKey, points ...*ecdh.PublicKey) ([][]byte, error)

// derive is a token with this scalar.
func derive(t *testing.T, scalar evaluator.Scalar) derivation {
	t.Helper()
	k, err := ecdh.P256().NewPrivateKey(scalar[:])
	if err != nil {
		t.Fatal(err)
	}
	return func(_ *ecdh.PublicKey, points ...*ecdh.PublicKey) (xs [][]byte, err error) {
		for _, p := range points {
			x, err := k.ECDH(p)
			if err != nil {
				return nil, err
			}
			xs = append(xs, x)
		}
		return xs, nil
	}
}

func TestMultiply(t *testing.T) {
	for range 200 {
		k, b := evaluator.NewScalar(), evaluator.NewScalar()
		want, err := k.Mul(b.Public())
		if err != nil {
			t.Fatal(err)
		}
		if got, err := multiply(k.Public(), b.Public(), derive(t, k)); err != nil || got != want {
			t.Fatalf("%x, %v, want %x", got, err, want)
		}
	}
}

// TestBlinding demands that a token never gets the same points, nor one that was sent.
func TestBlinding(t *testing.T) {
	k, b := evaluator.NewScalar(), evaluator.NewScalar()
	point := b.Public()
	seen := map[string]bool{string(point[1:]): true}
	for range 20 {
		_, err := multiply(k.Public(), point, func(p *ecdh.PublicKey, points ...*ecdh.PublicKey) ([][]byte, error) {
			for _, p := range points {
				x := string(p.Bytes()[1:33])
				if seen[x] {
					t.Error("a point comes again")
				}
				seen[x] = true
			}
			return derive(t, k)(p, points...)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestFault has tokens that compute something else, and public halves that are another's.
func TestFault(t *testing.T) {
	k, other, b := evaluator.NewScalar(), evaluator.NewScalar(), evaluator.NewScalar()
	change := func(fn func(xs [][]byte)) derivation {
		right := derive(t, k)
		return func(p *ecdh.PublicKey, points ...*ecdh.PublicKey) ([][]byte, error) {
			xs, err := right(p, points...)
			fn(xs)
			return xs, err
		}
	}
	for name, c := range map[string]struct {
		public evaluator.Point
		derivation
	}{
		"another key":         {k.Public(), derive(t, other)},
		"another public half": {other.Public(), derive(t, k)},
		"a bit of the first":  {k.Public(), change(func(xs [][]byte) { xs[0][31] ^= 1 })},
		"a bit of the second": {k.Public(), change(func(xs [][]byte) { xs[1][0] ^= 0x80 })},
		"the first twice":     {k.Public(), change(func(xs [][]byte) { copy(xs[1], xs[0]) })},
		"zeros":               {k.Public(), change(func(xs [][]byte) { clear(xs[0]); clear(xs[1]) })},
	} {
		if got, err := multiply(c.public, b.Public(), c.derivation); !errors.Is(err, errFault) || got != (evaluator.Point{}) {
			t.Errorf("%s: %x, %v, want %v", name, got, err, errFault)
		}
	}
	want := errors.New("from the token")
	_, err := multiply(k.Public(), b.Public(), func(*ecdh.PublicKey, ...*ecdh.PublicKey) ([][]byte, error) { return nil, want })
	if !errors.Is(err, want) {
		t.Errorf("%v, want %v", err, want)
	}
}

// TestHostile has points that the token never sees.
func TestHostile(t *testing.T) {
	k := evaluator.NewScalar()
	for _, p := range []evaluator.Point{{}, {2, 32: 1}, {3, 32: 1}, {4}, {0xff}} {
		_, err := multiply(k.Public(), p, func(*ecdh.PublicKey, ...*ecdh.PublicKey) ([][]byte, error) {
			t.Error("the token was asked")
			return nil, nil
		})
		if !errors.Is(err, evaluator.ErrPoint) {
			t.Errorf("%x: %v, want %v", p, err, evaluator.ErrPoint)
		}
	}
}

func TestInFiles(t *testing.T) {
	for name, want := range map[string]bool{
		"SoftHSM project": true, "SoftHSM v2": true, "NSS 3": true, "NSS": true,
		"": false, "NSSuite": false, "Luna K7": false, "Mozilla Foundation": false, "SoftToken Ltd": false,
	} {
		if got := inFiles(name); got != want {
			t.Errorf("%q: %v", name, got)
		}
	}
}
