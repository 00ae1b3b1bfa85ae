package opaque3dh_test

import (
	"bytes"
	"encoding/json"
	"os"
	"slices"
	"testing"

	"github.com/coffer-backup/coffer/vault/evaluator"
	"github.com/coffer-backup/coffer/vault/evaluator/evaluatortest"
	"github.com/coffer-backup/coffer/vault/internal/opaque3dh"
)

// A clientVector is what a client knows of a vector of RFC 9807.
type clientVector struct {
	evaluatortest.OPAQUEVector
	Inputs struct {
		BlindLogin        evaluatortest.Hex `json:"blind_login"`
		BlindRegistration evaluatortest.Hex `json:"blind_registration"`
		EnvelopeNonce     evaluatortest.Hex `json:"envelope_nonce"`
		KeyShareSeed      evaluatortest.Hex `json:"client_keyshare_seed"`
		Nonce             evaluatortest.Hex `json:"client_nonce"`
		Password          evaluatortest.Hex
	}
	Outputs struct {
		ExportKey evaluatortest.Hex `json:"export_key"`
	}
}

// clientVectors returns those in which there is a client.
func clientVectors(t testing.TB) []*clientVector {
	t.Helper()
	var all []*clientVector
	readVectors(t, "rfc9807.json", &all)
	server := evaluatortest.OPAQUE(t)
	if len(all) != len(server) {
		t.Fatalf("%d vectors, and %d for servers", len(all), len(server))
	}
	for i, v := range all {
		v.OPAQUEVector = server[i]
	}
	all = slices.DeleteFunc(all, func(v *clientVector) bool { return v.Fake() })
	if len(all) != 2 {
		t.Fatalf("%d vectors have a client, there are 2", len(all))
	}
	return all
}

func readVectors(t testing.TB, file string, v any) {
	t.Helper()
	b, err := os.ReadFile("../../evaluator/evaluatortest/testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

// client returns the client of v with a password, which blinds it with blind.
func (v *clientVector) client(t testing.TB, password, blind []byte) *opaque3dh.Client {
	t.Helper()
	c, err := opaque3dh.NewClientOf(password, &opaque3dh.Draw{
		Blind:     evaluator.Scalar(blind),
		Ephemeral: opaque3dh.DeriveKeyPair(v.Inputs.KeyShareSeed),
		Nonce:     [opaque3dh.NonceSize]byte(v.Inputs.Nonce),
		Envelope:  [opaque3dh.NonceSize]byte(v.Inputs.EnvelopeNonce),
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (v *clientVector) login(t testing.TB) *opaque3dh.Client {
	return v.client(t, v.Inputs.Password, v.Inputs.BlindLogin)
}

func (v *clientVector) answer() *opaque3dh.Answer {
	return &opaque3dh.Answer{
		Context:        v.Config.Context,
		ClientIdentity: v.OPAQUEVector.Inputs.ClientIdentity,
		ServerIdentity: v.OPAQUEVector.Inputs.ServerIdentity,
		KE2:            [opaque3dh.KE2Size]byte(v.OPAQUEVector.Outputs.KE2),
		Stretch:        identity,
	}
}

func (v *clientVector) registration() *opaque3dh.Registration {
	response := v.OPAQUEVector.Outputs.RegistrationResponse
	return &opaque3dh.Registration{
		ClientIdentity: v.OPAQUEVector.Inputs.ClientIdentity,
		ServerIdentity: v.OPAQUEVector.Inputs.ServerIdentity,
		Evaluated:      evaluator.Point(response[:opaque3dh.PointSize]),
		ServerPublic:   evaluator.Point(response[opaque3dh.PointSize:]),
		Stretch:        identity,
	}
}

// TestClientVectors is for RFC 9807, appendix C.
func TestClientVectors(t *testing.T) {
	for i, v := range clientVectors(t) {
		out := v.OPAQUEVector.Outputs
		c := v.client(t, v.Inputs.Password, v.Inputs.BlindRegistration)
		blinded := c.Blinded()
		equal(t, i, "registration request", blinded[:], out.RegistrationRequest)
		record, export, err := c.Register(v.registration())
		if err != nil {
			t.Fatal(err)
		}
		equal(t, i, "record", record.Append(nil), out.RegistrationUpload)
		equal(t, i, "export key at the registration", export[:], v.Outputs.ExportKey)

		c = v.login(t)
		ke1 := c.KE1()
		equal(t, i, "KE1", ke1.Append(nil), out.KE1)
		s, err := c.Finish(v.answer())
		if err != nil {
			t.Fatal(err)
		}
		equal(t, i, "KE3", s.KE3[:], out.KE3)
		equal(t, i, "session key", s.SessionKey[:], out.SessionKey)
		equal(t, i, "export key", s.ExportKey[:], v.Outputs.ExportKey)
		equal(t, i, "server's public key", s.ServerPublic[:], v.OPAQUEVector.Inputs.ServerPublic)
	}
}

// TestClientOPRF is for RFC 9497, appendix A.3.1. The output is what goes into Stretch.
func TestClientOPRF(t *testing.T) {
	var suites []struct {
		Vectors []struct{ Blind, BlindedElement, EvaluationElement, Input, Output evaluatortest.Hex }
	}
	readVectors(t, "rfc9497.json", &suites)
	n := 0
	for _, s := range suites {
		for i, v := range s.Vectors {
			n++
			c, err := opaque3dh.NewClientOf(v.Input, &opaque3dh.Draw{
				Blind: evaluator.Scalar(v.Blind), Ephemeral: evaluator.NewScalar(),
			})
			if err != nil {
				t.Fatal(err)
			}
			blinded := c.Blinded()
			equal(t, i, "blinded element", blinded[:], v.BlindedElement)
			var output []byte
			_, _, err = c.Register(&opaque3dh.Registration{
				Evaluated:    evaluator.Point(v.EvaluationElement),
				ServerPublic: evaluator.Point(decode(t, point5)),
				Stretch: func(b []byte) ([]byte, error) {
					output = bytes.Clone(b)
					return b, nil
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			equal(t, i, "output", output, v.Output)
		}
	}
	if n != 2 {
		t.Errorf("%d vectors of RFC 9497, there are 2", n)
	}
}
