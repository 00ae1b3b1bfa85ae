package evaluator_test

import (
	"bytes"
	"encoding/base64"
	"maps"
	"strings"
	"testing"

	"github.com/coffer-backup/coffer/vault/evaluator"
	"github.com/coffer-backup/coffer/vault/evaluator/evaluatortest"
)

func TestSoftware(t *testing.T) {
	evaluatortest.Run(t, func(t *testing.T, s *evaluatortest.Secrets) (evaluator.Evaluator, []evaluator.Key) {
		secrets := &evaluator.SoftwareSecrets{MAC: s.MAC, Statement: s.Statement, AKE: s.AKE}
		e, err := evaluator.NewSoftware(secrets)
		if err != nil {
			t.Fatal(err)
		}
		if e.Info().Mode != evaluator.ModeSoftware {
			t.Errorf("mode %q", e.Info().Mode)
		}
		var keys []evaluator.Key
		for _, scalar := range s.OPRF {
			key, err := evaluator.SealOPRF(t.Context(), e, &scalar)
			if err != nil {
				t.Fatal(err)
			}
			keys = append(keys, key)
		}
		return e, keys
	})
}

// TestSoftwareReopened has a blob open again after the secrets went through their file.
func TestSoftwareReopened(t *testing.T) {
	secrets := evaluator.GenerateSoftware()
	secrets.AKE[2] = evaluator.NewScalar()
	file, err := secrets.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	again, err := evaluator.ParseSoftware(file)
	if err != nil {
		t.Fatal(err)
	}
	if again.MAC != secrets.MAC || again.Statement != secrets.Statement || !maps.Equal(again.AKE, secrets.AKE) {
		t.Error("other secrets")
	}
	before, err := evaluator.NewSoftware(secrets)
	if err != nil {
		t.Fatal(err)
	}
	after, err := evaluator.NewSoftware(again)
	if err != nil {
		t.Fatal(err)
	}
	key, err := before.NewKey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if p, err := after.Evaluate(t.Context(), key, generator); err != nil || p != key.Public {
		t.Errorf("%x, want %x, error %v", p, key.Public, err)
	}
}

// file is one that must stay readable.
const file = `coffer vault secrets v1
mac AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE
statement AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI
ake 1 AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM
ake 10 BAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQ
`

func TestParseSoftware(t *testing.T) {
	s, err := evaluator.ParseSoftware([]byte(file))
	if err != nil {
		t.Fatal(err)
	}
	want := func(b byte) [32]byte { return [32]byte(bytes.Repeat([]byte{b}, 32)) }
	if s.MAC != want(1) || s.Statement != want(2) || len(s.AKE) != 2 || s.AKE[1] != want(3) || s.AKE[10] != want(4) {
		t.Error("other secrets")
	}
	if again, err := s.Append(nil); err != nil || string(again) != file {
		t.Errorf("appended:\n%s\nerror %v", again, err)
	}
}

func TestParseSoftwareRefuses(t *testing.T) {
	lines := strings.SplitAfter(file, "\n")
	head, mac, statement, ake1, ake10 := lines[0], lines[1], lines[2], lines[3], lines[4]
	order := orderPlus(t, 0)
	encode := base64.RawURLEncoding.EncodeToString
	for name, text := range map[string]string{
		"empty":            "",
		"head":             head,
		"other version":    strings.Replace(file, "v1", "v2", 1),
		"no MAC key":       head + statement + ake1,
		"no statement key": head + mac + ake1,
		"no AKE key":       head + mac + statement,
		"MAC key of 0":     strings.Replace(file, mac, "mac "+strings.Repeat("A", 43)+"\n", 1),
		"statement key 0":  strings.Replace(file, statement, "statement "+strings.Repeat("A", 43)+"\n", 1),
		"AKE key 0":        strings.Replace(file, ake1, "ake 1 "+strings.Repeat("A", 43)+"\n", 1),
		"AKE key above":    strings.Replace(file, ake1, "ake 1 "+encode(order[:])+"\n", 1),
		"two MAC keys":     head + mac + mac + statement + ake1,
		"two of one id":    head + mac + statement + ake1 + ake1,
		"other order":      head + mac + statement + ake10 + ake1,
		"no last newline":  strings.TrimSuffix(file, "\n"),
		"two newlines":     file + "\n",
		"CRLF":             strings.ReplaceAll(file, "\n", "\r\n"),
		"leading zero":     strings.Replace(file, "ake 1 ", "ake 01 ", 1),
		"plus":             strings.Replace(file, "ake 1 ", "ake +1 ", 1),
		"id of 17 bits":    strings.Replace(file, "ake 10 ", "ake 65536 ", 1),
		"no id":            strings.Replace(file, "ake 1 ", "ake ", 1),
		"two blanks":       strings.Replace(file, "mac ", "mac  ", 1),
		"unknown line":     file + "owner " + strings.Repeat("B", 43) + "\n",
		"short secret":     strings.Replace(file, "AQE\n", "AQ\n", 1),
		"long secret":      strings.Replace(file, "AQE\n", "AQEB\n", 1),
		"padded":           strings.Replace(file, "AQE\n", "AQE=\n", 1),
		"stray bits":       strings.Replace(file, "AQE\n", "AQF\n", 1),
		"no base64url":     strings.Replace(file, "AQE\n", "AQ+\n", 1),
		"CR in a secret":   strings.Replace(file, "AQE\n", "A\rQ\n", 1),
		"too long":         head + mac + statement + strings.Repeat(ake1, 80),
	} {
		s, err := evaluator.ParseSoftware([]byte(text))
		if err == nil || s != nil {
			t.Errorf("%s: taken", name)
		} else if strings.Contains(err.Error(), "AQEBAQ") || strings.Contains(err.Error(), encode(order[:])) {
			t.Errorf("%s: a secret in %q", name, err)
		}
	}
}

func TestSoftwareSecretsRefused(t *testing.T) {
	many := evaluator.GenerateSoftware()
	for id := range uint16(65) {
		many.AKE[id] = evaluator.NewScalar()
	}
	noMAC, noStatement, noAKE := evaluator.GenerateSoftware(), evaluator.GenerateSoftware(), evaluator.GenerateSoftware()
	noMAC.MAC, noStatement.Statement, noAKE.AKE = [32]byte{}, evaluator.Scalar{}, nil
	for name, s := range map[string]*evaluator.SoftwareSecrets{
		"65 AKE keys": many, "no MAC key": noMAC, "no statement key": noStatement, "no AKE key": noAKE,
	} {
		if _, err := evaluator.NewSoftware(s); err == nil {
			t.Errorf("%s: evaluator made", name)
		}
		if _, err := s.Append(nil); err == nil {
			t.Errorf("%s: file made", name)
		}
	}
	delete(many.AKE, 64)
	file, err := many.Append(nil)
	if err != nil || len(file) > 4096 {
		t.Errorf("64 AKE keys: file of %d bytes, error %v", len(file), err)
	}
}

func BenchmarkSoftware(b *testing.B) {
	e, err := evaluator.NewSoftware(evaluator.GenerateSoftware())
	if err != nil {
		b.Fatal(err)
	}
	key, err := e.NewKey(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	b.Run("Evaluate", func(b *testing.B) {
		for b.Loop() {
			if _, err := e.Evaluate(b.Context(), key, generator); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("Sign", func(b *testing.B) {
		for b.Loop() {
			if _, err := e.Sign(b.Context(), [32]byte{1}); err != nil {
				b.Fatal(err)
			}
		}
	})
}
