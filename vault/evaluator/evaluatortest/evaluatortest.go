// Package evaluatortest is the suite that every evaluator.Evaluator passes:
//
//	func TestEvaluator(t *testing.T) {
//		evaluatortest.Run(t, func(t *testing.T, s *evaluatortest.Secrets) (evaluator.Evaluator, []evaluator.Key) {
//			…
//		})
//	}
//
// It runs the vectors of RFC 9807 and RFC 9497 through the evaluator, and so wants one
// with secrets that it names.
package evaluatortest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"

	"github.com/coffer-backup/coffer/vault/evaluator"
	"github.com/coffer-backup/coffer/vault/internal/opaque3dh"
)

// Secrets are those of the evaluator under test. All are used: it is made once for all
// tests.
type Secrets struct {
	MAC       [32]byte
	Statement evaluator.Scalar
	AKE       map[uint16]evaluator.Scalar
	OPRF      []evaluator.Scalar
}

// An Open makes an evaluator with these secrets, and the keys whose secrets are s.OPRF,
// in their order. What has to be closed it closes by t.Cleanup.
type Open func(t *testing.T, s *Secrets) (evaluator.Evaluator, []evaluator.Key)

// A suite is an evaluator and what the tests know of it.
type suite struct {
	evaluator.Evaluator
	secrets *Secrets
	keys    []evaluator.Key
}

// Run tests the evaluator that open makes.
func Run(t *testing.T, open Open) {
	s := &suite{secrets: newSecrets(t)}
	s.Evaluator, s.keys = open(t, s.secrets)
	if len(s.keys) != len(s.secrets.OPRF) {
		t.Fatalf("%d keys of %d OPRF secrets", len(s.keys), len(s.secrets.OPRF))
	}
	t.Run("Info", s.testInfo)
	t.Run("RFC9497", s.testOPRF)
	t.Run("RFC9807", s.testOPAQUE)
	t.Run("Points", s.testPoints)
	t.Run("NotPoints", s.testNotPoints)
	t.Run("NewKey", s.testNewKey)
	t.Run("WrongKey", s.testWrongKey)
	t.Run("WrongAKE", s.testWrongAKE)
	t.Run("MAC", s.testMAC)
	t.Run("Sign", s.testSign)
	t.Run("Canceled", s.testCanceled)
	t.Run("Concurrent", s.testConcurrent)
}

// newSecrets has the AKE and OPRF keys of the vectors: AKE key i and OPRF key i are
// those of vector i of RFC 9807, the OPRF keys after them those of RFC 9497.
func newSecrets(t *testing.T) *Secrets {
	s := &Secrets{
		MAC:       evaluator.NewScalar(),
		Statement: evaluator.NewScalar(),
		AKE:       map[uint16]evaluator.Scalar{},
	}
	for i, v := range OPAQUE(t) {
		s.AKE[uint16(i)] = evaluator.Scalar(v.Inputs.ServerPrivate)
		s.OPRF = append(s.OPRF, v.OPRFKey(t))
	}
	for _, v := range OPRF(t) {
		s.OPRF = append(s.OPRF, evaluator.Scalar(v.Key))
	}
	return s
}

func (s *suite) testInfo(t *testing.T) {
	info := s.Info()
	if !slices.Contains([]string{evaluator.ModeSoftware, evaluator.ModeSealed, evaluator.ModeHSM}, info.Mode) {
		t.Errorf("mode %q", info.Mode)
	}
	if info.Statement != s.secrets.Statement.Public() {
		t.Error("statement key is another one")
	}
	want := map[uint16]evaluator.Point{}
	for id, k := range s.secrets.AKE {
		want[id] = k.Public()
	}
	if !maps.Equal(info.AKE, want) {
		t.Errorf("AKE keys %x, want %x", info.AKE, want)
	}
	if len(info.Guarantees) == 0 || slices.Contains(info.Guarantees, "") {
		t.Errorf("guarantees %q", info.Guarantees)
	}
	clear(info.AKE)
	clear(info.Guarantees)
	if info = s.Info(); !maps.Equal(info.AKE, want) || slices.Contains(info.Guarantees, "") {
		t.Error("a caller can change what it says")
	}
	for i, k := range s.keys {
		if k.Public != s.secrets.OPRF[i].Public() {
			t.Errorf("key %d has another public half", i)
		}
	}
}

func (s *suite) testOPRF(t *testing.T) {
	first := len(OPAQUE(t))
	for i, v := range OPRF(t) {
		got := s.evaluate(t, s.keys[first+i], evaluator.Point(v.Blinded))
		if !bytes.Equal(got[:], v.Evaluated) {
			t.Errorf("vector %d: %x, want %x", i, got, v.Evaluated)
		}
	}
}

func (s *suite) testOPAQUE(t *testing.T) {
	for i, v := range OPAQUE(t) {
		key, ake := s.keys[i], uint16(i)
		if !v.Fake() {
			evaluated := s.evaluate(t, key, evaluator.Point(v.Outputs.RegistrationRequest))
			response := opaque3dh.RegistrationResponse(evaluated, s.Info().AKE[ake])
			if !bytes.Equal(response[:], v.Outputs.RegistrationResponse) {
				t.Errorf("vector %d: registration response %x, want %x", i, response, v.Outputs.RegistrationResponse)
			}
		}
		login := v.Login(t)
		login.Evaluated = s.evaluate(t, key, login.KE1.Blinded)
		login.Static = s.agree(t, ake, login.KE1.KeyShare)
		reply, err := opaque3dh.Respond(login)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(reply.KE2[:], v.Outputs.KE2) {
			t.Errorf("vector %d: KE2 %x, want %x", i, reply.KE2, v.Outputs.KE2)
		}
		if !v.Fake() && !bytes.Equal(reply.ClientMAC[:], v.Outputs.KE3) {
			t.Errorf("vector %d: KE3 is refused", i)
		}
		if !v.Fake() && !bytes.Equal(reply.SessionKey[:], v.Outputs.SessionKey) {
			t.Errorf("vector %d: session key is another one", i)
		}
	}
}

func (s *suite) evaluate(t *testing.T, key evaluator.Key, blinded evaluator.Point) evaluator.Point {
	t.Helper()
	p, err := s.Evaluate(t.Context(), key, blinded)
	if err != nil {
		t.Fatalf("Evaluate(%x): %v", blinded, err)
	}
	return p
}

func (s *suite) agree(t *testing.T, ake uint16, share evaluator.Point) evaluator.Point {
	t.Helper()
	p, err := s.Agree(t.Context(), ake, share)
	if err != nil {
		t.Fatalf("Agree(%d, %x): %v", ake, share, err)
	}
	return p
}

func (s *suite) testMAC(t *testing.T) {
	for _, n := range []int{1, 55, 64, 65, 1000} {
		message := bytes.Repeat([]byte{byte(n)}, n)
		got, err := s.MAC(t.Context(), message)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got[:], mac(s.secrets.MAC, message)) {
			t.Errorf("%d bytes: not HMAC-SHA256 of the message", n)
		}
	}
}

func (s *suite) testSign(t *testing.T) {
	for i := range 8 {
		digest, other := sha256.Sum256([]byte{byte(i)}), sha256.Sum256([]byte{byte(i), 0})
		signature, err := s.Sign(t.Context(), digest)
		if err != nil {
			t.Fatal(err)
		}
		if !verify(t, s.Info().Statement, digest, signature) {
			t.Errorf("signature %d is not valid", i)
		}
		if verify(t, s.Info().Statement, other, signature) {
			t.Errorf("signature %d is valid for another digest", i)
		}
	}
}

// calls are one of each method that can fail, with arguments that are right.
func (s *suite) calls(ctx context.Context) map[string]func() error {
	blinded := s.keys[0].Public
	return map[string]func() error{
		"NewKey": func() error {
			_, err := s.NewKey(ctx)
			return err
		},
		"Evaluate": func() error {
			p, err := s.Evaluate(ctx, s.keys[1], blinded)
			return compare(p, err, s.secrets.OPRF[1], blinded)
		},
		"Agree": func() error {
			p, err := s.Agree(ctx, 2, blinded)
			return compare(p, err, s.secrets.AKE[2], blinded)
		},
		"MAC": func() error {
			got, err := s.MAC(ctx, []byte("message"))
			if err == nil && !bytes.Equal(got[:], mac(s.secrets.MAC, []byte("message"))) {
				err = errors.New("wrong MAC")
			}
			return err
		},
		"Sign": func() error {
			_, err := s.Sign(ctx, [32]byte{1})
			return err
		},
	}
}

func compare(got evaluator.Point, err error, secret evaluator.Scalar, p evaluator.Point) error {
	if err != nil {
		return err
	}
	want, err := secret.Mul(p)
	if err == nil && got != want {
		err = fmt.Errorf("%x, want %x", got, want)
	}
	return err
}

func (s *suite) testCanceled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for name, call := range s.calls(ctx) {
		if err := call(); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v, want %v", name, err, context.Canceled)
		}
	}
	for name, call := range s.calls(t.Context()) {
		if err := call(); err != nil {
			t.Errorf("afterwards: %s: %v", name, err)
		}
	}
}

func (s *suite) testConcurrent(t *testing.T) {
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 4 {
				for name, call := range s.calls(t.Context()) {
					if err := call(); err != nil {
						t.Errorf("%s: %v", name, err)
					}
				}
			}
		})
	}
	wg.Wait()
}
