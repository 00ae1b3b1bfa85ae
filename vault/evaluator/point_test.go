package evaluator_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/elliptic"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/big"
	"strings"
	"testing"

	"github.com/coffer-backup/coffer/vault/evaluator"
)

// orderPlus returns the order of the group plus n.
func orderPlus(t *testing.T, n int64) (s evaluator.Scalar) {
	t.Helper()
	new(big.Int).Add(elliptic.P256().Params().N, big.NewInt(n)).FillBytes(s[:])
	return s
}

func badScalars(t *testing.T) map[string]evaluator.Scalar {
	t.Helper()
	return map[string]evaluator.Scalar{
		"0":             {},
		"the order":     orderPlus(t, 0),
		"the order + 1": orderPlus(t, 1),
		"2^256 - 1":     evaluator.Scalar(bytes.Repeat([]byte{0xff}, 32)),
	}
}

// TestScalar compares with crypto/ecdh, which tells x only, and takes no other scalars
// than NewScalar may make.
func TestScalar(t *testing.T) {
	for range 50 {
		s, k := evaluator.NewScalar(), evaluator.NewScalar()
		key, err := ecdh.P256().NewPrivateKey(s[:])
		if err != nil {
			t.Fatal(err)
		}
		other, err := ecdh.P256().NewPrivateKey(k[:])
		if err != nil {
			t.Fatal(err)
		}
		if public := s.Public(); !bytes.Equal(public[:], compress(key.PublicKey().Bytes())) {
			t.Errorf("public key %x", public)
		}
		x, err := key.ECDH(other.PublicKey())
		if err != nil {
			t.Fatal(err)
		}
		p, err := s.Mul(k.Public())
		if err != nil || !bytes.Equal(p[1:], x) {
			t.Errorf("%x, want x = %x, error %v", p, x, err)
		}
		if q, err := k.Mul(s.Public()); err != nil || q != p {
			t.Errorf("sign differs: %x and %x, error %v", p, q, err)
		}
	}
}

func compress(uncompressed []byte) []byte {
	return append([]byte{2 | uncompressed[64]&1}, uncompressed[1:33]...)
}

// TestScalarReduced is for scalars that come from a MAC.
func TestScalarReduced(t *testing.T) {
	three, above := evaluator.Scalar{31: 3}, orderPlus(t, 3)
	if three.Public() != above.Public() {
		t.Error("not the same public key")
	}
	want, err := three.Mul(generator)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := above.Mul(generator); err != nil || got != want {
		t.Errorf("%x, want %x, error %v", got, want, err)
	}
}

func TestWipe(t *testing.T) {
	s := evaluator.NewScalar()
	s.Wipe()
	if s != (evaluator.Scalar{}) {
		t.Error("something is left")
	}
}

func TestRedacted(t *testing.T) {
	secrets := evaluator.GenerateSoftware()
	for _, value := range []any{secrets, *secrets, secrets.Statement, &secrets.Statement} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d", "%q"} {
			if got := fmt.Sprintf(verb, value); got != "[redacted]" {
				t.Errorf("%T with %s: %s", value, verb, got)
			}
		}
		var log bytes.Buffer
		slog.New(slog.NewJSONHandler(&log, nil)).Info("", "value", value)
		if !strings.Contains(log.String(), `"value":"[redacted]"`) {
			t.Errorf("%T: %s", value, log.String())
		}
		if b, err := json.Marshal(value); err != nil || string(b) != `"[redacted]"` {
			t.Errorf("%T: %s, error %v", value, b, err)
		}
	}
	e, err := evaluator.NewSoftware(secrets)
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%x"} {
		got := fmt.Sprintf(verb, e)
		for _, secret := range [][32]byte{secrets.MAC, secrets.Statement, secrets.AKE[1]} {
			for _, format := range []string{"%v", "%x", "%#v"} {
				text := strings.Trim(fmt.Sprintf(format, secret[:]), "[]byte{}")
				if strings.Contains(got, text) {
					t.Errorf("%s of the evaluator has a secret", verb)
				}
			}
		}
	}
}
