package vault

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/coffer-backup/coffer/vault/evaluator"
	"github.com/coffer-backup/coffer/vault/internal/opaque3dh"
	"github.com/coffer-backup/coffer/vault/wire"
)

// Places in a reply's frame: of KE2 in that to Start, and of Begun. SPEC.md § 4.3
const (
	atKE2       = 2 + 1 + 1 + 1 + 8
	atToken     = atKE2 + wire.KE2Size
	atKSF       = atToken + wire.TokenSize
	atBegun     = atKE2
	atEvaluated = atBegun + wire.IndexSize
	atAKE       = atEvaluated + wire.PointSize
)

// sign signs a frame as the vault does, for what no one in between can do: then the
// vault itself is not to be trusted.
func (v *testVault) sign(request, frame []byte) []byte {
	v.t.Helper()
	signature, err := v.evaluator.Sign(context.Background(), replyDigest(request, frame))
	if err != nil {
		v.t.Fatal(err)
	}
	copy(frame[len(frame)-wire.SignatureSize:], signature[:])
	return frame
}

// A middleman has keys of their own, and a guess at the password: it is right.
type middleman struct {
	oprf, ake, ephemeral evaluator.Scalar
	record               opaque3dh.Record
}

// newMiddleman makes a record of the password with their own keys, in which everything
// but the keys is as it should be.
func newMiddleman(t *testing.T, vault string, ake evaluator.Scalar) *middleman {
	t.Helper()
	m := &middleman{oprf: evaluator.NewScalar(), ake: ake, ephemeral: evaluator.NewScalar()}
	x, err := newExchange(vault, alice, password)
	if err != nil {
		t.Fatal(err)
	}
	evaluated, err := m.oprf.Mul(x.Blinded())
	if err != nil {
		t.Fatal(err)
	}
	record, _, err := x.register(&wire.Begun{Evaluated: evaluated, ServerKey: m.ake.Public()}, cheapKSF.wire())
	if err != nil {
		t.Fatal(err)
	}
	if m.record, err = opaque3dh.ParseRecord(record[:]); err != nil {
		t.Fatal(err)
	}
	return m
}

// answer puts a KE2 of their own into the frame that answers a Start.
func (m *middleman) answer(t *testing.T, vault string, request, frame []byte) {
	t.Helper()
	r, err := wire.ParseRequest(request)
	if err != nil {
		t.Fatal(err)
	}
	start := r.(*wire.Start)
	ke1, err := opaque3dh.ParseKE1(start.KE1[:])
	if err != nil {
		t.Fatal(err)
	}
	evaluated, err := m.oprf.Mul(ke1.Blinded)
	if err != nil {
		t.Fatal(err)
	}
	static, err := m.ake.Mul(ke1.KeyShare)
	if err != nil {
		t.Fatal(err)
	}
	in := &opaque3dh.Login{
		ClientIdentity: []byte(alice), ServerIdentity: []byte(serverIdentity + vault), Record: m.record,
		ServerPublic: m.ake.Public(), KE1: ke1, Evaluated: evaluated, Static: static, Ephemeral: m.ephemeral,
	}
	rand.Read(in.MaskingNonce[:])
	rand.Read(in.ServerNonce[:])
	out, err := opaque3dh.Respond(in)
	if err != nil {
		t.Fatal(err)
	}
	copy(frame[atKE2:], out.KE2[:])
}

// TestMiddlemanLogin answers Start in every wrong way. The client never shows that it
// knows the password, and what it sends is what it sends for a wrong password.
func TestMiddlemanLogin(t *testing.T) {
	v := newTestVault(t)
	id, ctx := v.issuer.Vault, t.Context()
	honest := v.client(v)
	for _, who := range []string{alice, "mallory"} {
		if _, err := honest.Register(ctx, who, password, newTestRing(t, 1), nil); err != nil {
			t.Fatal(err)
		}
	}
	var wrong *WrongPasswordError
	usual := &wiretap{Transport: v}
	if _, err := v.client(usual).Recover(ctx, alice, password2); !errors.As(err, &wrong) {
		t.Fatal(err)
	}
	var replayed []byte
	keep := &wiretap{Transport: v, after: func(_ int, call wire.Call, _, reply []byte) ([]byte, error) {
		if call == wire.CallStart {
			replayed = bytes.Clone(reply)
		}
		return reply, nil
	}}
	if _, err := v.client(keep).Recover(ctx, alice, password); err != nil {
		t.Fatal(err)
	}
	mallory := newMiddleman(t, id, evaluator.NewScalar())
	random := evaluator.NewScalar()
	point := random.Public()
	// ofOther has the vault answer another's Start with the same KE1.
	ofOther := func(request []byte) []byte {
		r, _ := wire.ParseRequest(request)
		start := *r.(*wire.Start)
		start.Ticket, _ = v.issuer.Ticket("mallory", TicketRecover, v.now())
		frame, err := v.Server.Call(ctx, wire.AppendRequest(nil, &start))
		if err != nil {
			t.Fatal(err)
		}
		return frame
	}
	errWrong := errors.New("a *WrongPasswordError")
	for name, tc := range map[string]struct {
		signs bool // the vault itself is the attacker
		alter func(request, frame []byte) []byte
		want  error
	}{
		"own keys":        {false, func(q, f []byte) []byte { mallory.answer(t, id, q, f); return f }, ErrForged},
		"own OPRF key":    {false, func(_, f []byte) []byte { copy(f[atKE2:], point[:]); return f }, ErrForged},
		"own key share":   {false, func(_, f []byte) []byte { copy(f[atKE2+194:], point[:]); return f }, ErrForged},
		"a flipped bit":   {false, func(_, f []byte) []byte { f[atKE2+100] ^= 1; return f }, ErrForged},
		"other signature": {false, func(_, f []byte) []byte { f[len(f)-1] ^= 1; return f }, ErrForged},
		"no signature":    {false, func(_, f []byte) []byte { clear(f[len(f)-wire.SignatureSize:]); return f }, ErrForged},
		"replayed reply":  {false, func(_, _ []byte) []byte { return bytes.Clone(replayed) }, ErrForged},
		"another's reply": {false, func(q, _ []byte) []byte { return ofOther(q) }, ErrForged},
		"weak KSF":        {false, func(_, f []byte) []byte { f[atKSF+4] = 1; return f }, ErrForged},
		"busy, unsigned": {false, func(_, f []byte) []byte {
			return wire.AppendReply(nil, &wire.Reply{Call: wire.CallStart, Code: wire.Busy, Until: 1 << 40})
		}, ErrForged},
		"dead, unsigned": {false, func(_, f []byte) []byte {
			return wire.AppendReply(nil, &wire.Reply{Call: wire.CallStart, Code: wire.Dead, Tombstone: &wire.Tombstone{Cause: 1}})
		}, ErrForged},
		"nothing":       {false, func(_, _ []byte) []byte { return []byte{} }, ErrForged},
		"too short":     {false, func(_, f []byte) []byte { return f[:len(f)-1] }, ErrForged},
		"too long":      {false, func(_, f []byte) []byte { return append(f, 0) }, ErrForged},
		"another call":  {false, func(_, f []byte) []byte { f[1] = byte(wire.CallRegTry); return f }, ErrForged},
		"padding":       {false, func(_, f []byte) []byte { f[len(f)-wire.SignatureSize-1] = 1; return f }, ErrForged},
		"unknown state": {false, func(_, f []byte) []byte { f[2] = 99; return f }, ErrForged},

		"evil vault, masking":      {true, func(_, f []byte) []byte { f[atKE2+40] ^= 1; return f }, errWrong},
		"evil vault, own OPRF key": {true, func(_, f []byte) []byte { copy(f[atKE2:], point[:]); return f }, errWrong},
		"evil vault, key share":    {true, func(_, f []byte) []byte { copy(f[atKE2+194:], point[:]); return f }, errWrong},
		"evil vault, swapped ids":  {true, func(q, _ []byte) []byte { return ofOther(q) }, errWrong},
		"evil vault, replay":       {true, func(_, _ []byte) []byte { return bytes.Clone(replayed) }, errWrong},
		"evil vault, reflected":    {true, func(q, f []byte) []byte { ke1 := ke1Of(q); copy(f[atKE2:], ke1[:33]); return f }, ErrForged},
		"evil vault, share again":  {true, func(q, f []byte) []byte { ke1 := ke1Of(q); copy(f[atKE2+194:], ke1[65:]); return f }, ErrForged},
		"evil vault, no point":     {true, func(_, f []byte) []byte { copy(f[atKE2:], bytes.Repeat([]byte{0xff}, 33)); return f }, ErrForged},
		"evil vault, identity":     {true, func(_, f []byte) []byte { clear(f[atKE2 : atKE2+33]); return f }, ErrForged},
		"evil vault, KSF too weak": {true, func(_, f []byte) []byte { f[atKSF+4] = 1; return f }, ErrDescriptor},
		"evil vault, KSF too dear": {true, func(_, f []byte) []byte { f[atKSF] = 1; return f }, ErrDescriptor},
		"evil vault, nonce":        {true, func(_, f []byte) []byte { clear(f[atKE2+33 : atKE2+65]); return f }, errWrong},
	} {
		t.Run(name, func(t *testing.T) {
			tap := &wiretap{Transport: v, after: func(_ int, call wire.Call, request, reply []byte) ([]byte, error) {
				if call != wire.CallStart {
					return reply, nil
				}
				reply = tc.alter(request, reply)
				if tc.signs {
					reply = v.sign(request, reply)
				}
				return reply, nil
			}}
			_, err := v.client(tap).Recover(ctx, alice, password)
			if tc.want == errWrong {
				if !errors.As(err, &wrong) {
					t.Errorf("%v, want %v", err, tc.want)
				}
			} else if !errors.Is(err, tc.want) || errors.As(err, &wrong) {
				t.Errorf("%v, want %v", err, tc.want)
			}
			if !slices.Equal(tap.sizes, usual.sizes) {
				t.Errorf("sent %v, with a wrong password %v", tap.sizes, usual.sizes)
			}
			v.wait(t)
		})
	}
}

// wait has tickets and attempts run out, and checks that the client who has the
// password still gets in.
func (v *testVault) wait(t *testing.T) {
	t.Helper()
	v.ahead += 20 * time.Minute
	if _, err := v.client(v).Recover(t.Context(), alice, password); err != nil {
		t.Fatalf("afterwards: %v", err)
	}
}

func ke1Of(request []byte) [wire.KE1Size]byte {
	r, _ := wire.ParseRequest(request)
	return r.(*wire.Start).KE1
}

// TestMiddlemanWouldWin shows what the vault's keys are for: who guesses the password gets
// an answer together that OPAQUE has nothing against, but needs the statement key, and the
// AKE key, to have the client believe it.
func TestMiddlemanWouldWin(t *testing.T) {
	v := newTestVault(t)
	if _, err := v.client(v).Register(t.Context(), alice, password, newTestRing(t, 1), nil); err != nil {
		t.Fatal(err)
	}
	try := func(ake evaluator.Scalar) ([]string, error) {
		mallory := newMiddleman(t, v.issuer.Vault, ake)
		tap := &wiretap{Transport: v, after: func(_ int, call wire.Call, request, reply []byte) ([]byte, error) {
			if call == wire.CallStart {
				mallory.answer(t, v.issuer.Vault, request, reply)
				v.sign(request, reply)
			}
			return reply, nil
		}}
		_, err := v.client(tap).Recover(t.Context(), alice, password)
		return tap.calls(), err
	}
	if calls, err := try(evaluator.NewScalar()); !errors.Is(err, ErrForged) || !slices.Equal(calls, []string{"Start", "Abort"}) {
		t.Errorf("with the statement key: %v after %v", err, calls)
	}
	if calls, err := try(v.secrets.AKE[1]); codeOf(err) != wire.Failed || !slices.Equal(calls, []string{"Start", "Finish"}) {
		t.Errorf("with all keys: %v after %v", err, calls)
	}
}

// TestMiddlemanRegistration answers the steps of a registration in wrong ways. Nothing is
// uploaded, or what was uploaded is not made the record.
func TestMiddlemanRegistration(t *testing.T) {
	v := newTestVault(t)
	ctx := t.Context()
	mallory, other := evaluator.NewScalar(), evaluator.NewScalar()
	ake, point := mallory.Public(), other.Public()
	replayed := map[wire.Call][]byte{}
	keep := &wiretap{Transport: v, after: func(_ int, call wire.Call, _, reply []byte) ([]byte, error) {
		replayed[call] = bytes.Clone(reply)
		return reply, nil
	}}
	if _, err := v.client(keep).Register(ctx, "bob", password, newTestRing(t, 1), nil); err != nil {
		t.Fatal(err)
	}
	n := 0
	begin := []string{"RegBegin"}
	put := append(begin, "RegPut")
	try := append(put, "RegTry")
	done := append(try, "RegDone")
	replay := func(call wire.Call) func(_, _ []byte) []byte {
		return func(_, _ []byte) []byte { return bytes.Clone(replayed[call]) }
	}
	for name, tc := range map[string]struct {
		call  wire.Call
		signs bool
		alter func(request, frame []byte) []byte
		sent  []string
	}{
		"own AKE key":         {wire.CallRegBegin, false, func(_, f []byte) []byte { copy(f[atAKE+2:], ake[:]); return f }, begin},
		"own OPRF key":        {wire.CallRegBegin, false, func(_, f []byte) []byte { copy(f[atEvaluated:], point[:]); return f }, begin},
		"replay":              {wire.CallRegBegin, false, replay(wire.CallRegBegin), begin},
		"nothing":             {wire.CallRegBegin, false, func(_, _ []byte) []byte { return nil }, begin},
		"evil vault, AKE key": {wire.CallRegBegin, true, func(_, f []byte) []byte { copy(f[atAKE+2:], ake[:]); return f }, begin},
		"evil vault, AKE id":  {wire.CallRegBegin, true, func(_, f []byte) []byte { f[atAKE+1]++; return f }, begin},
		"evil vault, reflected": {wire.CallRegBegin, true, func(q, f []byte) []byte {
			r, _ := wire.ParseRequest(q)
			copy(f[atEvaluated:], r.(*wire.RegBegin).Blinded[:])
			return f
		}, begin},
		"evil vault, no point":       {wire.CallRegBegin, true, func(_, f []byte) []byte { f[atEvaluated] = 5; return f }, begin},
		"evil vault, identity":       {wire.CallRegBegin, true, func(_, f []byte) []byte { clear(f[atEvaluated : atEvaluated+33]); return f }, begin},
		"stored, unsigned":           {wire.CallRegPut, false, func(_, f []byte) []byte { f[len(f)-1] ^= 1; return f }, put},
		"stored, replay":             {wire.CallRegPut, false, replay(wire.CallRegPut), put},
		"login, own OPRF key":        {wire.CallRegTry, false, func(_, f []byte) []byte { copy(f[atKE2:], point[:]); return f }, try},
		"login, replay":              {wire.CallRegTry, false, replay(wire.CallRegTry), try},
		"evil vault, other OPRF key": {wire.CallRegTry, true, func(_, f []byte) []byte { copy(f[atKE2:], point[:]); return f }, try},
		"done, replay":               {wire.CallRegDone, false, replay(wire.CallRegDone), done},
		"done, unsigned":             {wire.CallRegDone, false, func(_, f []byte) []byte { f[len(f)-1] ^= 1; return f }, done},
	} {
		t.Run(name, func(t *testing.T) {
			n++
			who := "alice-" + strconv.Itoa(int(n))
			tap := &wiretap{Transport: v, after: func(_ int, call wire.Call, request, reply []byte) ([]byte, error) {
				if call != tc.call {
					return reply, nil
				}
				if reply = tc.alter(request, reply); tc.signs {
					v.sign(request, reply)
				}
				return reply, nil
			}}
			_, err := v.client(tap).Register(ctx, who, password, newTestRing(t, 1), nil)
			if !errors.Is(err, ErrForged) {
				t.Errorf("%v", err)
			}
			if got := tap.calls(); !slices.Equal(got, tc.sent) {
				t.Errorf("sent %v, want %v", got, tc.sent)
			}
		})
	}
}

// TestMiddlemanOldRecord has a vault show, in place of what was registered, an older
// record that the same password opens.
func TestMiddlemanOldRecord(t *testing.T) {
	v := newTestVault(t)
	ctx, ring := t.Context(), newTestRing(t, 1)
	if _, err := v.client(v).Register(ctx, alice, password, ring, nil); err != nil {
		t.Fatal(err)
	}
	tap := &wiretap{Transport: v, after: func(_ int, call wire.Call, request, reply []byte) ([]byte, error) {
		if call != wire.CallRegTry {
			return reply, nil
		}
		r, _ := wire.ParseRequest(request)
		try := r.(*wire.RegTry)
		frame, err := v.Server.Call(ctx, wire.AppendRequest(nil, &wire.Start{
			Ticket: must(v.issuer.Ticket(alice, TicketRecover, v.now())), Attempt: try.Attempt, KE1: try.KE1,
		}))
		if err != nil {
			t.Fatal(err)
		}
		frame[1] = byte(wire.CallRegTry)
		return v.sign(request, frame), nil
	}}
	_, err := v.client(tap).Register(ctx, alice, password, ring, ring.Newest())
	if !errors.Is(err, ErrForged) || slices.Contains(tap.calls(), "RegDone") {
		t.Errorf("%v after %v", err, tap.calls())
	}
}

// TestMiddlemanFinish answers what comes after the login in wrong ways.
func TestMiddlemanFinish(t *testing.T) {
	v := newTestVault(t)
	ctx := t.Context()
	if _, err := v.client(v).Register(ctx, alice, password, newTestRing(t, 1), nil); err != nil {
		t.Fatal(err)
	}
	const atRelease = atKE2 + 2
	var replayed []byte
	for _, tc := range []struct {
		name  string
		call  wire.Call
		signs bool
		alter func(request, frame []byte) []byte
	}{
		{"unsigned", wire.CallFinish, false, func(_, f []byte) []byte { replayed = bytes.Clone(f); f[len(f)-1] ^= 1; return f }},
		{"replay", wire.CallFinish, false, func(_, _ []byte) []byte { return bytes.Clone(replayed) }},
		{"conflict, unsigned", wire.CallFinish, false, func(_, f []byte) []byte { f[2] = byte(wire.Conflict); return f }},
		{"evil vault, replay", wire.CallFinish, true, func(_, _ []byte) []byte { return bytes.Clone(replayed) }},
		{"evil vault, nonce", wire.CallFinish, true, func(_, f []byte) []byte { f[atRelease] ^= 1; return f }},
		{"evil vault, keyring", wire.CallFinish, true, func(_, f []byte) []byte { f[atRelease+200] ^= 1; return f }},
		{"evil vault, nothing", wire.CallFinish, true, func(_, _ []byte) []byte {
			return wire.AppendReply(nil, &wire.Reply{Call: wire.CallFinish, Code: wire.OK})
		}},
		{"evil vault, tombstone", wire.CallFinish, true, func(_, _ []byte) []byte {
			return wire.AppendReply(nil, &wire.Reply{Call: wire.CallFinish, Code: wire.Dead, Tombstone: &wire.Tombstone{Cause: 1, Time: 1}})
		}},
		{"evil vault, tombstone at once", wire.CallStart, true, func(_, _ []byte) []byte {
			return wire.AppendReply(nil, &wire.Reply{Call: wire.CallStart, Code: wire.Dead, Tombstone: &wire.Tombstone{Cause: 1, Time: 1}})
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tap := &wiretap{Transport: v, after: func(_ int, call wire.Call, request, reply []byte) ([]byte, error) {
				if call == tc.call {
					if reply = tc.alter(request, reply); tc.signs {
						v.sign(request, reply)
					}
				}
				return reply, nil
			}}
			r, err := v.client(tap).Recover(ctx, alice, password)
			var dead *TombstoneError
			if r != nil || !errors.Is(err, ErrForged) || errors.As(err, &dead) {
				t.Errorf("%+v, %v", r, err)
			}
			v.wait(t)
		})
	}
}
