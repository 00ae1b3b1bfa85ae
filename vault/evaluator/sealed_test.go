package evaluator_test

import (
	"context"
	"encoding/hex"
	"errors"
	"testing"

	"github.com/coffer-backup/coffer/vault/evaluator"
)

// spy is a token that counts its MACs and can fail.
type spy struct {
	evaluator.Token
	macs int
	err  error
}

func (s *spy) MAC(ctx context.Context, message []byte) ([32]byte, error) {
	s.macs++
	if s.err != nil {
		return [32]byte{}, s.err
	}
	return s.Token.MAC(ctx, message)
}

func newSoftware(t *testing.T) *evaluator.Software {
	t.Helper()
	e, err := evaluator.NewSoftware(evaluator.GenerateSoftware())
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func newSealed(t *testing.T) (*evaluator.Sealed, *spy) {
	t.Helper()
	token := &spy{Token: newSoftware(t)}
	s, err := evaluator.NewSealed(t.Context(), token, evaluator.Point{}, map[uint16]evaluator.Key{
		1: sealAKE(t, token, 1), 2: sealAKE(t, token, 2),
	})
	if err != nil {
		t.Fatal(err)
	}
	return s, token
}

func sealAKE(t *testing.T, token evaluator.Token, id uint16) evaluator.Key {
	t.Helper()
	scalar := evaluator.NewScalar()
	key, err := evaluator.SealAKE(t.Context(), token, id, &scalar)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

var generator = (&evaluator.Scalar{31: 1}).Public()

// TestSealedToken looks at what a token has to do: one MAC a multiplication, and none
// for what is no point.
func TestSealedToken(t *testing.T) {
	s, token := newSealed(t)
	if s.Info().Mode != evaluator.ModeSealed {
		t.Errorf("mode %q", s.Info().Mode)
	}
	key, err := s.NewKey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	calls := map[string]func(evaluator.Point) error{
		"Evaluate": func(p evaluator.Point) error {
			_, err := s.Evaluate(t.Context(), key, p)
			return err
		},
		"Agree": func(p evaluator.Point) error {
			_, err := s.Agree(t.Context(), 2, p)
			return err
		},
	}
	for name, call := range calls {
		token.macs = 0
		if err := call(generator); err != nil || token.macs != 1 {
			t.Errorf("%s: %d MACs, error %v", name, token.macs, err)
		}
		if err := call(evaluator.Point{}); !errors.Is(err, evaluator.ErrPoint) || token.macs != 1 {
			t.Errorf("%s of no point: %d MACs, error %v", name, token.macs-1, err)
		}
		token.err = errors.New("the token is gone")
		if err := call(generator); !errors.Is(err, token.err) || errors.Is(err, evaluator.ErrPoint) {
			t.Errorf("%s without a token: %v", name, err)
		}
		token.err = nil
	}
	token.err = errors.New("the token is gone")
	if _, err := s.NewKey(t.Context()); !errors.Is(err, token.err) {
		t.Errorf("NewKey without a token: %v", err)
	}
}

// TestSealedFor has blobs that open for what they were made for alone.
func TestSealedFor(t *testing.T) {
	s, token := newSealed(t)
	scalar := evaluator.NewScalar()
	oprf, err := evaluator.SealOPRF(t.Context(), token, &scalar)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Evaluate(t.Context(), oprf, generator); err != nil {
		t.Error(err)
	}
	if _, err := s.Evaluate(t.Context(), sealAKE(t, token, 1), generator); err == nil {
		t.Error("an AKE key is used as an OPRF key")
	}
	if _, err := newSoftware(t).Evaluate(t.Context(), oprf, generator); err == nil {
		t.Error("a key of another token is used")
	}
	for name, ake := range map[string]map[uint16]evaluator.Key{
		"none":             {},
		"an OPRF key":      {1: oprf},
		"of another id":    {1: sealAKE(t, token, 2)},
		"of another token": {1: sealAKE(t, newSoftware(t), 1)},
		"one of two":       {1: sealAKE(t, token, 1), 2: {}},
	} {
		if _, err := evaluator.NewSealed(t.Context(), token, evaluator.Point{}, ake); err == nil {
			t.Errorf("AKE keys: %s: taken", name)
		}
	}
}

func TestSealScalar(t *testing.T) {
	token := newSoftware(t)
	for name, s := range badScalars(t) {
		if _, err := evaluator.SealOPRF(t.Context(), token, &s); err == nil {
			t.Errorf("%s is sealed as an OPRF key", name)
		}
		if _, err := evaluator.SealAKE(t.Context(), token, 1, &s); err == nil {
			t.Errorf("%s is sealed as an AKE key", name)
		}
	}
	for _, s := range []evaluator.Scalar{{31: 1}, orderPlus(t, -1)} {
		key, err := evaluator.SealOPRF(t.Context(), token, &s)
		if err != nil {
			t.Fatal(err)
		}
		p, err := token.Evaluate(t.Context(), key, generator)
		if err != nil || p != s.Public() {
			t.Errorf("%x, error %v", p, err)
		}
		again, err := evaluator.SealOPRF(t.Context(), token, &s)
		if err != nil || string(again.Blob) == string(key.Blob) {
			t.Errorf("the same blob twice, error %v", err)
		}
	}
}

// TestBlobsStay opens blobs of the scalar 5 that must open for ever, under the MAC key of
// file.
func TestBlobsStay(t *testing.T) {
	secrets, err := evaluator.ParseSoftware([]byte(file))
	if err != nil {
		t.Fatal(err)
	}
	token, err := evaluator.NewSoftware(secrets)
	if err != nil {
		t.Fatal(err)
	}
	five := evaluator.Scalar{31: 5}
	key := func(blob string) evaluator.Key {
		b, err := hex.DecodeString(blob)
		if err != nil {
			t.Fatal(err)
		}
		return evaluator.Key{Blob: b, Public: five.Public()}
	}
	s, err := evaluator.NewSealed(t.Context(), token, token.Info().Statement, map[uint16]evaluator.Key{
		1: key("012d2172692dd1cd7d67014bb4240945525739465562de30a1e7c097d2871cb23763616fde5664e72bde8f14fd0a08d53cd01150f6475241df9d9684eb92224c44"),
	})
	if err != nil {
		t.Fatal(err)
	}
	oprf := key("011d3f8823ec3d96836a442a7a0f0656ba3d3d5f02daba487792b967f3a7d7fd26ed9f8def32d1a8ec0b983af1ecad3a17e62fb88a65f47528671cdf6c68a3f60d")
	if p, err := s.Evaluate(t.Context(), oprf, generator); err != nil || p != five.Public() {
		t.Errorf("OPRF: %x, error %v", p, err)
	}
	if p, err := s.Agree(t.Context(), 1, generator); err != nil || p != five.Public() {
		t.Errorf("AKE: %x, error %v", p, err)
	}
}
