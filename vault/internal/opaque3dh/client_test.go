package opaque3dh_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/coffer-backup/coffer/vault/evaluator"
	"github.com/coffer-backup/coffer/vault/evaluator/evaluatortest"
	"github.com/coffer-backup/coffer/vault/internal/opaque3dh"
)

// identity is a stretch that does nothing.
func identity(output []byte) ([]byte, error) { return output, nil }

// keyShareAt is where KE2 has the server's key share.
const keyShareAt = opaque3dh.KE2Size - opaque3dh.HashSize - opaque3dh.PointSize

// account is a record that a client with random values has registered.
type account struct {
	oprf, ake evaluator.Scalar
	login     opaque3dh.Login // without what belongs to one login
	export    [opaque3dh.HashSize]byte
}

func newClient(t testing.TB, password string) *opaque3dh.Client {
	t.Helper()
	c, err := opaque3dh.NewClient([]byte(password))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func register(t testing.TB, password string) *account {
	t.Helper()
	a := &account{oprf: evaluator.NewScalar(), ake: evaluator.NewScalar()}
	a.login = opaque3dh.Login{
		ClientIdentity: []byte("client"), ServerIdentity: []byte("server"), ServerPublic: a.ake.Public(),
	}
	c := newClient(t, password)
	defer c.Wipe()
	var err error
	a.login.Record, a.export, err = c.Register(&opaque3dh.Registration{
		ClientIdentity: a.login.ClientIdentity, ServerIdentity: a.login.ServerIdentity,
		Evaluated: mul(t, a.oprf, c.Blinded()), ServerPublic: a.login.ServerPublic, Stretch: identity,
	})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// respond answers c.
func (a *account) respond(t testing.TB, c *opaque3dh.Client) (*opaque3dh.Answer, *opaque3dh.Reply) {
	t.Helper()
	l := a.login
	l.KE1 = c.KE1()
	l.MaskingNonce, l.ServerNonce, l.Ephemeral = evaluator.NewScalar(), evaluator.NewScalar(), evaluator.NewScalar()
	r := respond(t, &l, a.oprf, a.ake)
	return &opaque3dh.Answer{
		ClientIdentity: l.ClientIdentity, ServerIdentity: l.ServerIdentity, KE2: r.KE2, Stretch: identity,
	}, r
}

// TestClient registers and logs in with random values, which no two clients share.
func TestClient(t *testing.T) {
	seen := map[[opaque3dh.NonceSize]byte]bool{}
	fresh := func(what string, b []byte) {
		t.Helper()
		if k := [32]byte(b); seen[k] || k == [32]byte{} {
			t.Errorf("%s is not random", what)
		} else {
			seen[k] = true
		}
	}
	for _, password := range []string{"", "password", strings.Repeat("x", opaque3dh.MaxPassword)} {
		a := register(t, password)
		fresh("envelope's nonce", a.login.Record.Envelope[:32])
		for range 2 {
			c := newClient(t, password)
			ke1 := c.KE1()
			fresh("blind", ke1.Blinded[1:])
			fresh("nonce", ke1.Nonce[:])
			fresh("key share", ke1.KeyShare[1:])
			answer, reply := a.respond(t, c)
			s, err := c.Finish(answer)
			if err != nil {
				t.Fatal(err)
			}
			if s.KE3 != reply.ClientMAC || s.SessionKey != reply.SessionKey {
				t.Error("client and server disagree")
			}
			if s.ExportKey != a.export || s.ServerPublic != a.ake.Public() {
				t.Error("not what was registered")
			}
		}
	}
	if c, err := opaque3dh.NewClient(make([]byte, opaque3dh.MaxPassword+1)); c != nil || err == nil {
		t.Error("a longer password is taken")
	}
}

// TestClientCopies has a password that its owner overwrites.
func TestClientCopies(t *testing.T) {
	a := register(t, "password")
	password := []byte("password")
	c, err := opaque3dh.NewClient(password)
	if err != nil {
		t.Fatal(err)
	}
	clear(password)
	answer, _ := a.respond(t, c)
	if _, err := c.Finish(answer); err != nil {
		t.Error(err)
	}
}

// TestClientRefuses has what says that the password is wrong, and what else has that
// very error.
func TestClientRefuses(t *testing.T) {
	a := register(t, "password")
	for name, spoil := range map[string]func(*opaque3dh.Answer){
		"context":         func(in *opaque3dh.Answer) { in.Context = []byte{0} },
		"client identity": func(in *opaque3dh.Answer) { in.ClientIdentity = []byte("another") },
		"server identity": func(in *opaque3dh.Answer) { in.ServerIdentity = []byte("another") },
		"swapped identities": func(in *opaque3dh.Answer) {
			in.ClientIdentity, in.ServerIdentity = in.ServerIdentity, in.ClientIdentity
		},
		"shifted identities": func(in *opaque3dh.Answer) {
			in.ClientIdentity, in.ServerIdentity = []byte("clien"), []byte("tserver")
		},
		"no client identity": func(in *opaque3dh.Answer) { in.ClientIdentity = nil },
		"no server identity": func(in *opaque3dh.Answer) { in.ServerIdentity = nil },
		"stretch": func(in *opaque3dh.Answer) {
			in.Stretch = func(b []byte) ([]byte, error) { return append(b, 0), nil }
		},
		"another login": func(in *opaque3dh.Answer) {
			other, _ := a.respond(t, newClient(t, "password"))
			in.KE2 = other.KE2
		},
		"another record": func(in *opaque3dh.Answer) {
			other, _ := register(t, "password").respond(t, newClient(t, "password"))
			in.KE2 = other.KE2
		},
	} {
		c := newClient(t, "password")
		in, _ := a.respond(t, c)
		spoil(in)
		refused(t, name, c, in, opaque3dh.ErrAuthentication)
	}
	for _, password := range []string{"", "Password", "password ", "passwor"} {
		c := newClient(t, password)
		in, _ := a.respond(t, c)
		refused(t, fmt.Sprintf("%q", password), c, in, opaque3dh.ErrAuthentication)
	}
}

// refused wants that error, or one that wraps it, but for ErrAuthentication, which
// comes as it is.
func refused(t *testing.T, name string, c *opaque3dh.Client, in *opaque3dh.Answer, want error) {
	t.Helper()
	s, err := c.Finish(in)
	if s != nil || !errors.Is(err, want) || want == opaque3dh.ErrAuthentication && err != want {
		t.Errorf("%s: %v, want %v", name, err, want)
	}
}

// TestClientTampered changes every byte of KE2, at both its ends. The client's error must
// not tell more than everybody sees.
func TestClientTampered(t *testing.T) {
	a := register(t, "password")
	c := newClient(t, "password")
	in, _ := a.respond(t, c)
	right := in.KE2
	points := 0
	for i := range 2 * len(right) {
		in.KE2 = right
		in.KE2[i/2] ^= []byte{0x01, 0x80}[i%2]
		want := opaque3dh.ErrAuthentication
		for _, at := range []int{0, keyShareAt} {
			if p := evaluator.Point(in.KE2[at:]); evaluator.CheckPoint(p) != nil {
				want = evaluator.ErrPoint
				points++
			}
		}
		refused(t, fmt.Sprintf("byte %d, change %d", i/2, i%2), c, in, want)
	}
	if points < 20 || points > 112 {
		t.Errorf("%d of 132 changes of points leave none", points)
	}
	in.KE2 = right
	if _, err := c.Finish(in); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// TestClientSealed has servers' keys that are no points, and another server's, in an
// envelope that the password opens.
func TestClientSealed(t *testing.T) {
	bad := map[string]evaluator.Point{"another server's": evaluator.Point(decode(t, point5))}
	for name, text := range badPoints {
		bad[name] = evaluator.Point(decode(t, text))
	}
	for name, server := range bad {
		a := register(t, "password")
		c := newClient(t, "password")
		if err := opaque3dh.Reseal(&a.login, c, server, mul(t, a.oprf, c.Blinded()), identity); err != nil {
			t.Fatal(err)
		}
		in, _ := a.respond(t, c)
		refused(t, name, c, in, opaque3dh.ErrAuthentication)
	}
}

// TestClientThief has servers that know the record, and neither the password nor the AKE
// key. Their MAC is right for what they send.
func TestClientThief(t *testing.T) {
	for name, change := range map[string]func(*account){
		"own AKE key": func(a *account) {
			a.ake = evaluator.NewScalar()
			a.login.ServerPublic = a.ake.Public()
		},
		"AKE key not known": func(a *account) { a.ake = evaluator.NewScalar() },
		"envelope's tag":    func(a *account) { a.login.Record.Envelope[opaque3dh.EnvelopeSize-1] ^= 1 },
		"envelope's nonce":  func(a *account) { a.login.Record.Envelope[0] ^= 1 },
		"masking key":       func(a *account) { a.login.Record.MaskingKey[0] ^= 1 },
		"client's key":      func(a *account) { a.login.Record.ClientPublic[0] ^= 1 },
		"OPRF key":          func(a *account) { a.oprf = evaluator.NewScalar() },
	} {
		a := register(t, "password")
		change(a)
		c := newClient(t, "password")
		in, _ := a.respond(t, c)
		refused(t, name, c, in, opaque3dh.ErrAuthentication)
	}
}

// TestClientPoints has answers with points that are none, or the client's own.
func TestClientPoints(t *testing.T) {
	a := register(t, "password")
	c := newClient(t, "password")
	in, _ := a.respond(t, c)
	right := in.KE2
	stretched := false
	in.Stretch = func(b []byte) ([]byte, error) {
		stretched = true
		return b, nil
	}
	registration := opaque3dh.Registration{
		Evaluated: mul(t, a.oprf, c.Blinded()), ServerPublic: a.ake.Public(), Stretch: in.Stretch,
	}
	check := func(name, field string, err, want error) {
		t.Helper()
		if !errors.Is(err, want) || errors.Is(err, opaque3dh.ErrAuthentication) || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v, want %v with %q", name, err, want, field)
		}
	}
	login := func(at int, p evaluator.Point) error {
		in.KE2 = right
		copy(in.KE2[at:], p[:])
		_, err := c.Finish(in)
		return err
	}
	for name, text := range badPoints {
		p := evaluator.Point(decode(t, text))
		check(name, "evaluated element", login(0, p), evaluator.ErrPoint)
		check(name, "server's key share", login(keyShareAt, p), evaluator.ErrPoint)
		r := registration
		r.Evaluated = p
		_, _, err := c.Register(&r)
		check(name, "evaluated element", err, evaluator.ErrPoint)
		r = registration
		r.ServerPublic = p
		_, _, err = c.Register(&r)
		check(name, "server's public key", err, evaluator.ErrPoint)
	}
	check("reflected", "evaluated element", login(0, c.Blinded()), opaque3dh.ErrReflected)
	check("reflected", "server's key share", login(keyShareAt, c.KE1().KeyShare), opaque3dh.ErrReflected)
	r := registration
	r.Evaluated = c.Blinded()
	_, _, err := c.Register(&r)
	check("reflected", "evaluated element", err, opaque3dh.ErrReflected)
	if stretched {
		t.Error("a client stretches what it refuses")
	}
}

// TestClientErrors has those of a caller.
func TestClientErrors(t *testing.T) {
	long, failure := make([]byte, 1<<16), errors.New("no memory")
	failing := func([]byte) ([]byte, error) { return nil, failure }
	v := clientVectors(t)[0]
	for name, spoil := range map[string]func(*opaque3dh.Client, *opaque3dh.Answer, *opaque3dh.Registration){
		"long context": func(_ *opaque3dh.Client, in *opaque3dh.Answer, _ *opaque3dh.Registration) { in.Context = long },
		"long client identity": func(_ *opaque3dh.Client, in *opaque3dh.Answer, r *opaque3dh.Registration) {
			in.ClientIdentity, r.ClientIdentity = long, long
		},
		"long server identity": func(_ *opaque3dh.Client, in *opaque3dh.Answer, r *opaque3dh.Registration) {
			in.ServerIdentity, r.ServerIdentity = long, long
		},
		"stretch": func(_ *opaque3dh.Client, in *opaque3dh.Answer, r *opaque3dh.Registration) {
			in.Stretch, r.Stretch = failing, failing
		},
		"wiped": func(c *opaque3dh.Client, _ *opaque3dh.Answer, _ *opaque3dh.Registration) { c.Wipe() },
	} {
		c, in, r := v.login(t), v.answer(), v.registration()
		spoil(c, in, r)
		s, err := c.Finish(in)
		if s != nil || err == nil || errors.Is(err, opaque3dh.ErrAuthentication) {
			t.Errorf("%s: Finish: %v, want a caller's error", name, err)
		}
		if name == "stretch" && !errors.Is(err, failure) {
			t.Errorf("%s: %v, want %v", name, err, failure)
		}
		if name == "long context" {
			continue
		}
		record, export, err := c.Register(r)
		if err == nil || record != (opaque3dh.Record{}) || export != [opaque3dh.HashSize]byte{} {
			t.Errorf("%s: Register: %v, want an error and nothing else", name, err)
		}
	}
}

// TestClientLongest has identities and a context as long as they can be.
func TestClientLongest(t *testing.T) {
	long := bytes.Repeat([]byte{0xff}, 0xffff)
	a := &account{oprf: evaluator.NewScalar(), ake: evaluator.NewScalar()}
	a.login = opaque3dh.Login{Context: long, ClientIdentity: long, ServerIdentity: long, ServerPublic: a.ake.Public()}
	c := newClient(t, "password")
	var err error
	a.login.Record, _, err = c.Register(&opaque3dh.Registration{
		ClientIdentity: long, ServerIdentity: long,
		Evaluated: mul(t, a.oprf, c.Blinded()), ServerPublic: a.login.ServerPublic, Stretch: identity,
	})
	if err != nil {
		t.Fatal(err)
	}
	in, _ := a.respond(t, c)
	in.Context = long
	if _, err := c.Finish(in); err != nil {
		t.Error(err)
	}
}

func TestClientRedacted(t *testing.T) {
	v := clientVectors(t)[0]
	c := v.login(t)
	s, err := c.Finish(v.answer())
	if err != nil {
		t.Fatal(err)
	}
	for _, value := range []any{c, *c, s, *s} {
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
		if b, err := json.Marshal(value); err != nil || string(b) != `"[redacted]"` {
			t.Errorf("%T: %s, %v", value, b, err)
		}
	}
	s.Wipe()
	for _, secret := range [][32]byte{s.KE3, s.SessionKey, s.ExportKey} {
		if secret != [32]byte{} {
			t.Error("a secret is left after Wipe")
		}
	}
}

// FuzzFinish has a client take any bytes in the place of the first ones of KE2: there is a
// session for the right ones alone.
func FuzzFinish(f *testing.F) {
	v := clientVectors(f)[1]
	right := []byte(v.OPAQUEVector.Outputs.KE2)
	f.Add(right)
	for _, other := range evaluatortest.OPAQUE(f) {
		f.Add([]byte(other.Outputs.KE2))
	}
	for _, text := range slices.Sorted(maps.Values(badPoints)) {
		f.Add(slices.Concat(decode(f, text), right[opaque3dh.PointSize:]))
	}
	c := v.login(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		in := v.answer()
		copy(in.KE2[:], b)
		if s, err := c.Finish(in); (err == nil) != bytes.Equal(in.KE2[:], right) || (s == nil) != (err != nil) {
			t.Errorf("KE2 %x: %v", in.KE2, err)
		}
	})
}

// BenchmarkClient is a login without stretching.
func BenchmarkClient(b *testing.B) {
	v := clientVectors(b)[0]
	in := v.answer()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.login(b).Finish(in); err != nil {
			b.Fatal(err)
		}
	}
}
