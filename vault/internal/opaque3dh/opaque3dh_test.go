package opaque3dh_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/coffer-backup/coffer/vault/evaluator"
	"github.com/coffer-backup/coffer/vault/evaluator/evaluatortest"
	"github.com/coffer-backup/coffer/vault/internal/opaque3dh"
)

// respond does what an evaluator and Respond do together, with scalars at hand.
func respond(t testing.TB, l *opaque3dh.Login, oprf, ake evaluator.Scalar) *opaque3dh.Reply {
	t.Helper()
	l.Evaluated, l.Static = mul(t, oprf, l.KE1.Blinded), mul(t, ake, l.KE1.KeyShare)
	r, err := opaque3dh.Respond(l)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func mul(t testing.TB, s evaluator.Scalar, p evaluator.Point) evaluator.Point {
	t.Helper()
	q, err := s.Mul(p)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func TestSizes(t *testing.T) {
	sizes := []int{opaque3dh.RecordSize, opaque3dh.RegistrationResponseSize, opaque3dh.KE1Size, opaque3dh.KE2Size, opaque3dh.KE3Size}
	if want := []int{129, 66, 98, 259, 32}; !slices.Equal(sizes, want) {
		t.Errorf("sizes %v, want %v", sizes, want)
	}
}

// TestVectors is for RFC 9807, appendix C: the two real ones and the fake one.
func TestVectors(t *testing.T) {
	for i, v := range evaluatortest.OPAQUE(t) {
		oprf, ake := v.OPRFKey(t), evaluator.Scalar(v.Inputs.ServerPrivate)
		r := respond(t, v.Login(t), oprf, ake)
		equal(t, i, "KE2", r.KE2[:], v.Outputs.KE2)
		if v.Fake() {
			continue
		}
		equal(t, i, "KE3", r.ClientMAC[:], v.Outputs.KE3)
		equal(t, i, "session key", r.SessionKey[:], v.Outputs.SessionKey)
		evaluated := mul(t, oprf, evaluator.Point(v.Outputs.RegistrationRequest))
		response := opaque3dh.RegistrationResponse(evaluated, ake.Public())
		equal(t, i, "registration response", response[:], v.Outputs.RegistrationResponse)
	}
}

func equal(t testing.TB, i int, what string, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("vector %d: %s %x, want %x", i, what, got, want)
	}
}

// point5 is a point with x = 5; points are changed from it.
const point5 = "020000000000000000000000000000000000000000000000000000000000000005"

// badPoints are 33 bytes that no point has. The x of the last is 5 plus the prime.
var badPoints = map[string]string{
	"identity, padded":     strings.Repeat("00", 33),
	"tag 0":                "00" + point5[2:],
	"tag 4":                "04" + point5[2:],
	"tag 6":                "06" + point5[2:],
	"not on the curve":     point5[:64] + "01",
	"x is the prime":       "02ffffffff00000001000000000000000000000000ffffffffffffffffffffffff",
	"x of 5 not reduced":   "02ffffffff00000001000000000000000000000001000000000000000000000004",
	"x as great as can be": "03" + strings.Repeat("ff", 32),
}

func TestParsePoints(t *testing.T) {
	good, zeros := decode(t, point5), make([]byte, 96)
	if _, err := opaque3dh.ParseKE1(slices.Concat(good, zeros[:32], good)); err != nil {
		t.Fatal(err)
	}
	if _, err := opaque3dh.ParseRecord(slices.Concat(good, zeros)); err != nil {
		t.Fatal(err)
	}
	for name, text := range badPoints {
		bad := decode(t, text)
		_, errBlinded := opaque3dh.ParseKE1(slices.Concat(bad, zeros[:32], good))
		_, errShare := opaque3dh.ParseKE1(slices.Concat(good, zeros[:32], bad))
		_, errRecord := opaque3dh.ParseRecord(slices.Concat(bad, zeros))
		for field, err := range map[string]error{
			"blinded element": errBlinded, "client's key share": errShare, "client's public key": errRecord,
		} {
			if !errors.Is(err, evaluator.ErrPoint) || !strings.Contains(err.Error(), field) {
				t.Errorf("%s: %v, want %v with %q", name, err, evaluator.ErrPoint, field)
			}
		}
	}
}

func TestParseLengths(t *testing.T) {
	v := evaluatortest.OPAQUE(t)[0]
	long := make([]byte, 65+32+65) // uncompressed points
	for n := range 300 {
		if n != opaque3dh.KE1Size {
			if _, err := opaque3dh.ParseKE1(resize(v.Outputs.KE1, n)); err == nil {
				t.Errorf("KE1 of %d bytes is taken", n)
			}
		}
		if n != opaque3dh.RecordSize {
			if _, err := opaque3dh.ParseRecord(resize(v.Outputs.RegistrationUpload, n)); err == nil {
				t.Errorf("record of %d bytes is taken", n)
			}
		}
	}
	long[0], long[97] = 4, 4
	if _, err := opaque3dh.ParseKE1(long); err == nil {
		t.Error("KE1 of uncompressed points is taken")
	}
}

func resize(b []byte, n int) []byte { return append(bytes.Clone(b), make([]byte, n)...)[:n] }

// TestRespondRefuses has what only a caller's error brings about.
func TestRespondRefuses(t *testing.T) {
	v := evaluatortest.OPAQUE(t)[0]
	for name, spoil := range map[string]func(*opaque3dh.Login){
		"long context":         func(l *opaque3dh.Login) { l.Context = make([]byte, 1<<16) },
		"long client identity": func(l *opaque3dh.Login) { l.ClientIdentity = make([]byte, 1<<16) },
		"long server identity": func(l *opaque3dh.Login) { l.ServerIdentity = make([]byte, 1<<16) },
		"no key share":         func(l *opaque3dh.Login) { l.KE1.KeyShare = evaluator.Point{} },
		"no public key":        func(l *opaque3dh.Login) { l.Record.ClientPublic = evaluator.Point{} },
	} {
		l := v.Login(t)
		spoil(l)
		if r, err := opaque3dh.Respond(l); err == nil || r != nil {
			t.Errorf("%s: %v, %v, want an error", name, r, err)
		}
	}
}

// TestBinding changes each input of a login: the client's MAC must change with all of
// them.
func TestBinding(t *testing.T) {
	v := evaluatortest.OPAQUE(t)[1]
	oprf, ake := v.OPRFKey(t), evaluator.Scalar(v.Inputs.ServerPrivate)
	seen := map[[opaque3dh.KE3Size]byte]string{respond(t, v.Login(t), oprf, ake).ClientMAC: "nothing"}
	other := evaluator.Point(decode(t, point5))
	for name, change := range map[string]func(*opaque3dh.Login){
		"context":               func(l *opaque3dh.Login) { l.Context = nil },
		"client identity":       func(l *opaque3dh.Login) { l.ClientIdentity = append(bytes.Clone(l.ClientIdentity), 0) },
		"server identity":       func(l *opaque3dh.Login) { l.ServerIdentity = append(bytes.Clone(l.ServerIdentity), 0) },
		"no client identity":    func(l *opaque3dh.Login) { l.ClientIdentity = nil },
		"no server identity":    func(l *opaque3dh.Login) { l.ServerIdentity = nil },
		"empty client identity": func(l *opaque3dh.Login) { l.ClientIdentity = []byte{} },
		"identities":            func(l *opaque3dh.Login) { l.ClientIdentity, l.ServerIdentity = l.ServerIdentity, l.ClientIdentity },
		"client public":         func(l *opaque3dh.Login) { l.Record.ClientPublic = other },
		"masking key":           func(l *opaque3dh.Login) { l.Record.MaskingKey[0] ^= 1 },
		"envelope":              func(l *opaque3dh.Login) { l.Record.Envelope[63] ^= 1 },
		"server public":         func(l *opaque3dh.Login) { l.ServerPublic = other },
		"blinded":               func(l *opaque3dh.Login) { l.KE1.Blinded = other },
		"client nonce":          func(l *opaque3dh.Login) { l.KE1.Nonce[31] ^= 1 },
		"key share":             func(l *opaque3dh.Login) { l.KE1.KeyShare = other },
		"masking nonce":         func(l *opaque3dh.Login) { l.MaskingNonce[31] ^= 1 },
		"server nonce":          func(l *opaque3dh.Login) { l.ServerNonce[31] ^= 1 },
		"ephemeral":             func(l *opaque3dh.Login) { l.Ephemeral = evaluator.Scalar{31: 2} },
	} {
		l := v.Login(t)
		change(l)
		mac := respond(t, l, oprf, ake).ClientMAC
		if before, ok := seen[mac]; ok {
			t.Errorf("%s and %s: the same MAC", name, before)
		}
		seen[mac] = name
	}
	l := v.Login(t)
	l.Evaluated, l.Static = mul(t, oprf, l.KE1.Blinded), other
	if r, err := opaque3dh.Respond(l); err != nil || seen[r.ClientMAC] != "" {
		t.Errorf("AKE: the same MAC with %s, error %v", seen[r.ClientMAC], err)
	}
}

func TestRedacted(t *testing.T) {
	v := evaluatortest.OPAQUE(t)[0]
	l := v.Login(t)
	r := respond(t, l, v.OPRFKey(t), evaluator.Scalar(v.Inputs.ServerPrivate))
	for _, value := range []any{l, *l, r, *r, &l.Record, l.Record, l.Ephemeral} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
			if got := fmt.Sprintf(verb, value); got != "[redacted]" {
				t.Errorf("%T with %s: %s", value, verb, got)
			}
		}
		var log bytes.Buffer
		slog.New(slog.NewTextHandler(&log, nil)).Info("", "value", value)
		if !strings.Contains(log.String(), "value=[redacted]") {
			t.Errorf("%T: %s", value, log.String())
		}
	}
}

// FuzzMessages holds the parsers to one encoding a value.
func FuzzMessages(f *testing.F) {
	for _, v := range evaluatortest.OPAQUE(f) {
		f.Add([]byte(v.Inputs.KE1))
		f.Add([]byte(v.Outputs.KE1))
		f.Add([]byte(v.Outputs.RegistrationUpload))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if k, err := opaque3dh.ParseKE1(b); err == nil && !bytes.Equal(k.Append(nil), b) {
			t.Errorf("KE1 %x is appended as %x", b, k.Append(nil))
		}
		if r, err := opaque3dh.ParseRecord(b); err == nil && !bytes.Equal(r.Append(nil), b) {
			t.Errorf("record %x is appended as %x", b, r.Append(nil))
		}
	})
}

func BenchmarkKE2(b *testing.B) {
	v := evaluatortest.OPAQUE(b)[0]
	l := v.Login(b)
	respond(b, l, v.OPRFKey(b), evaluator.Scalar(v.Inputs.ServerPrivate))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := opaque3dh.Respond(l); err != nil {
			b.Fatal(err)
		}
	}
}

func decode(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
