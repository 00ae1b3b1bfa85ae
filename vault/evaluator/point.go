package evaluator

import (
	"bytes"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"log/slog"

	"filippo.io/nistec"
)

// ScalarSize is the length of a scalar of P-256, in bytes.
const ScalarSize = 32

// A Scalar is one of P-256, big-endian. It is secret: fmt, log/slog and encoders
// redact it.
type Scalar [ScalarSize]byte

// order is that of the group.
var order = elliptic.P256().Params().N.Bytes()

// NewScalar makes a random one, from 1 to the order − 1.
func NewScalar() Scalar {
	for {
		var s Scalar
		_, _ = rand.Read(s[:]) // it never fails
		if s.valid() {
			return s
		}
	}
}

// valid reports whether s is from 1 to the order − 1. The time it takes says how many
// bytes s has in common with the order, which for a random s is none.
func (s *Scalar) valid() bool {
	return *s != Scalar{} && bytes.Compare(s[:], order) < 0
}

// Public returns sG. s must not be 0 modulo the order.
func (s *Scalar) Public() Point {
	g, err := nistec.NewP256Point().ScalarBaseMult(s[:])
	if err != nil {
		panic("evaluator: internal error: " + err.Error()) // the length is right
	}
	return compress(g)
}

// Mul returns sp, in time that depends on neither. A scalar above the order counts
// modulo the order; it must not be 0 modulo the order.
func (s *Scalar) Mul(p Point) (Point, error) {
	q, err := decompress(p)
	if err != nil {
		return Point{}, err
	}
	return s.mul(q), nil
}

func (s *Scalar) mul(q *nistec.P256Point) Point {
	r, err := nistec.NewP256Point().ScalarMult(q, s[:])
	if err != nil {
		panic("evaluator: internal error: " + err.Error()) // the length is right
	}
	return compress(r)
}

// Wipe overwrites s. Copies that the runtime made of it stay.
func (s *Scalar) Wipe() { clear(s[:]) }

// CheckPoint returns [ErrPoint] if p is no point: if its x is not below the prime, or no
// point of the curve has it.
func CheckPoint(p Point) error {
	_, err := decompress(p)
	return err
}

func decompress(p Point) (*nistec.P256Point, error) {
	q, err := nistec.NewP256Point().SetBytes(p[:])
	if err != nil {
		return nil, ErrPoint
	}
	return q, nil
}

// compress encodes q, which is not the identity.
func compress(q *nistec.P256Point) Point { return Point(q.BytesCompressed()) }

// redacted is embedded by what must not be printed.
type redacted struct{}

const redactedText = "[redacted]"

// Format redacts in fmt.
func (redacted) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redactedText)) }

// LogValue redacts in log/slog.
func (redacted) LogValue() slog.Value { return slog.StringValue(redactedText) }

// MarshalText redacts in encoders.
func (redacted) MarshalText() ([]byte, error) { return []byte(redactedText), nil }

// Format redacts in fmt.
func (Scalar) Format(f fmt.State, r rune) { redacted{}.Format(f, r) }

// LogValue redacts in log/slog.
func (Scalar) LogValue() slog.Value { return redacted{}.LogValue() }

// MarshalText redacts in encoders.
func (Scalar) MarshalText() ([]byte, error) { return redacted{}.MarshalText() }
