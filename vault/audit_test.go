package vault

import (
	"bytes"
	"crypto/rand"
	"slices"
	"testing"

	"github.com/coffer-backup/coffer/vault/evaluator"
	"github.com/coffer-backup/coffer/vault/internal/machine"
	"github.com/coffer-backup/coffer/vault/internal/opaque3dh"
	"github.com/coffer-backup/coffer/vault/wire"
)

// badPoints are 33 bytes that are no point. The identity has no encoding of that length:
// what somebody may take for one is among them.
func badPoints() map[string][]byte {
	offCurve := make([]byte, evaluator.PointSize)
	for offCurve[0] = 2; evaluator.CheckPoint(evaluator.Point(offCurve)) == nil; {
		offCurve[len(offCurve)-1]++
	}
	one := evaluator.NewScalar()
	point := one.Public()
	return map[string][]byte{
		"zeros": make([]byte, evaluator.PointSize), "x off the curve": offCurve,
		"x above the prime": append([]byte{3}, bytes.Repeat([]byte{0xff}, 32)...),
		"uncompressed":      with(point[:], 0, 4), "hybrid": with(point[:], 0, 6), "unknown": with(point[:], 0, 5), "identity": with(point[:], 0, 0),
	}
}

// TestPoints has what is no point at every place of one, in every call. Nothing is
// counted, the evaluator does not see it, and the ticket is good for another try.
func TestPoints(t *testing.T) {
	v := newTestVault(t)
	v.registered(alice, password)
	s, ev := v.frailNode()
	e, g := v.enrol(alice, password, 2), v.guess(alice, password)
	at := func(b []byte, offset int, point []byte) { copy(b[offset:], point) }
	bad := func(r func(point []byte) wire.Request) {
		t.Helper()
		before := ev.count("Evaluate") + ev.count("Agree") + ev.count("NewKey")
		v.unwritten(func() {
			for what, point := range badPoints() {
				v.refuse(s, what, r(point))
			}
		})
		if n := ev.count("Evaluate") + ev.count("Agree") + ev.count("NewKey"); n != before {
			t.Errorf("the evaluator had %d computations", n-before)
		}
	}
	for _, offset := range []int{0, wire.KE1Size - wire.PointSize} {
		bad(func(p []byte) wire.Request { r := g.start; at(r.KE1[:], offset, p); return &r })
	}
	g.on(s)
	bad(func(p []byte) wire.Request { r := e.begin; at(r.Blinded[:], 0, p); return &r })
	e.begun(v.expect(s, &e.begin, wire.OK).Begun)
	bad(func(p []byte) wire.Request { r := e.put; at(r.Record[:], 0, p); return &r })
	v.expect(s, &e.put, wire.OK)
	for _, offset := range []int{0, wire.KE1Size - wire.PointSize} {
		bad(func(p []byte) wire.Request { r := e.try; at(r.KE1[:], offset, p); return &r })
	}
	e.tried(v.expect(s, &e.try, wire.OK).Login)
	v.expect(s, &e.done, wire.NeedOwner)
	v.expect(s, g.ends(release), wire.OK)
}

// TestFrames has every call at every wrong length, and as what it is not.
func TestFrames(t *testing.T) {
	v := newTestVault(t)
	owner := v.registered(alice, password)
	gen := v.status(v.Server, alice).State.Gen
	e := v.enrol(alice, password, 2).upTo(v.Server)
	g := v.guess(alice, password).on(v.Server)
	begin := v.enrol(alice, password, 2).begin
	requests := []wire.Request{
		&v.guess(alice, password).start, g.ends(release), g.aborts(), &begin, &e.put, &e.try, &e.done,
		v.orders(alice, owner.owner, wire.OpDelete, gen, 0), &wire.Status{Ticket: v.ticket(alice, TicketStatus)},
	}
	v.unwritten(func() {
		refused := func(what string, frame []byte) {
			t.Helper()
			if reply, err := v.Call(t.Context(), frame); err != ErrRefused {
				t.Errorf("%s: %x, %v", what, reply, err)
			}
		}
		for _, r := range requests {
			frame := wire.AppendRequest(nil, r)
			for n := range len(frame) {
				refused(r.Call().String()+" cut", frame[:n])
			}
			refused(r.Call().String()+" and a byte", append(bytes.Clone(frame), 0))
			refused(r.Call().String()+" and many", append(bytes.Clone(frame), make([]byte, wire.MaxRequest)...))
			for _, version := range []byte{0, 2, 0xff} {
				refused("another version", with(frame, 0, version))
			}
			for _, call := range []byte{0, 10, 0xff} {
				refused("another call", with(frame, 1, call))
			}
		}
	})
	if entries := v.count(machine.LogStart); entries != 1 {
		t.Errorf("%d attempts", entries)
	}
}

// TestIdentities has a client that takes the names of others.
func TestIdentities(t *testing.T) {
	v := newTestVault(t)
	v.registered(alice, password)
	vault := serverIdentity + v.issuer.Vault
	for name, id := range map[string][2]string{
		"another client": {"bob", vault}, "another server": {alice, serverIdentity + newTestVault(t).issuer.Vault}, "swapped": {vault, alice},
		"none": {"", ""}, "moved": {alice + vault[:1], vault[1:]},
	} {
		g := v.guess(alice, password)
		g.client, g.server = id[0], id[1]
		if g.on(v.Server); g.session != nil {
			t.Errorf("%s: logged in", name)
		}
		v.expect(v.Server, g.ends(release), wire.Failed)
		// Who registers in that way gets no record: it could not be opened.
		e := v.enrol("mallory", password, 1)
		e.client, e.server = id[0], id[1]
		e.upTo(v.Server)
		v.expect(v.Server, &e.done, wire.Failed)
		v.expect(v.Server, v.guess(alice, password).on(v.Server).ends(release), wire.OK)
	}
}

// TestTokens has tokens of everything else, and every byte of one changed.
func TestTokens(t *testing.T) {
	v := newTestVault(t)
	v.registered(alice, password)
	v.registered("bob", password2)
	e := v.enrol(alice, password, 2).upTo(v.Server)
	g := v.guess(alice, password).on(v.Server)
	bob := v.guess("bob", password2).on(v.Server)
	stranger := newTestVault(t)
	stranger.registered(alice, password)
	other := stranger.guess(alice, password).on(stranger.Server)

	finish := func(token [wire.TokenSize]byte) wire.Request { r := *g.ends(release); r.Token = token; return &r }
	abort := func(token [wire.TokenSize]byte) wire.Request { return &wire.Abort{Token: token} }
	done := func(token [wire.TokenSize]byte) wire.Request { r := e.done; r.Token = token; return &r }
	all := []func([wire.TokenSize]byte) wire.Request{finish, abort, done}
	none := [wire.TokenSize]byte{}
	random := none
	rand.Read(random[:])
	// Of one record the place, of the other all else; and the attempt of one, and what
	// is sealed of the other.
	ofBoth, ofBoth2 := g.login.Token, g.login.Token
	copy(ofBoth[:wire.IndexSize], bob.login.Token[:])
	copy(ofBoth2[wire.IndexSize:], e.login.Token[wire.IndexSize:wire.IndexSize+wire.IDSize])
	v.unwritten(func() {
		for _, r := range all {
			v.refuse(v.Server, "another vault's", r(other.login.Token))
			v.refuse(v.Server, "zeros", r(none))
			v.refuse(v.Server, "noise", r(random))
			v.refuse(v.Server, "two records'", r(ofBoth))
			v.refuse(v.Server, "two attempts'", r(ofBoth2))
		}
		v.refuse(v.Server, "a registration's", finish(e.login.Token))
		v.refuse(v.Server, "a registration's", abort(e.login.Token))
		v.refuse(v.Server, "a login's", done(g.login.Token))
		for i := range g.login.Token {
			for _, bit := range []byte{1, 0x80} {
				token, try := g.login.Token, e.login.Token
				token[i] ^= bit
				try[i] ^= bit
				v.refuse(v.Server, "changed", finish(token))
				v.refuse(v.Server, "changed", abort(token))
				v.refuse(v.Server, "changed", done(try))
			}
		}
	})
	// What is shown of another record ends that one's attempt, and as failed.
	r := *g.ends(release)
	r.Token = bob.login.Token
	v.expect(v.Server, &r, wire.Failed)
	if left := v.status(v.Server, "bob").Left; left != DefaultAttempts-1 {
		t.Errorf("%d left", left)
	}
	v.expect(v.Server, g.ends(release), wire.OK)
	v.expect(v.Server, &e.done, wire.NeedOwner)
}

// TestReplays plays a finished exchange again, whole and in parts.
func TestReplays(t *testing.T) {
	v := newTestVault(t)
	v.registered(alice, password)
	wrong := v.guess(alice, password2).on(v.Server)
	v.expect(v.Server, wrong.aborts(), wire.Failed)
	g := v.guess(alice, password).on(v.Server)
	finish := g.ends(release)
	first := g.released(v.expect(v.Server, finish, wire.OK))
	if first.Failures != 1 || !bytes.Equal(first.Keyring, keyring) {
		t.Errorf("%+v", first)
	}
	again := func(what string) {
		t.Helper()
		v.unwritten(func() {
			r := g.released(v.expect(v.Server, finish, wire.OK))
			if r.Receipt != first.Receipt || r.Failures != 1 || !bytes.Equal(r.Keyring, keyring) {
				t.Errorf("%s: %+v, first %+v", what, r, first)
			}
		})
	}
	again("at once")
	v.unwritten(func() {
		v.expect(v.Server, g.aborts(), wire.Stale)
		v.expect(v.Server, g.ends(&wire.Command{Op: wire.OpDelete}), wire.Stale)
		zero := *finish
		zero.KE3 = [wire.KE3Size]byte{}
		v.expect(v.Server, &zero, wire.Stale)
		v.expect(v.Server, &g.start, wire.Used)
	})
	// A thief begins an attempt that looks like it: id and KE1 are the same, the ticket
	// is another. What was finished does not end it.
	thief := *g
	thief.start.Ticket = v.ticket(alice, TicketRecover)
	thief.login = v.expect(v.Server, &thief.start, wire.OK).Login
	again("in an attempt of the same id")
	v.unwritten(func() { v.expect(v.Server, g.aborts(), wire.Stale) })
	if left := v.status(v.Server, alice).Left; left != DefaultAttempts-1 {
		t.Errorf("%d left", left)
	}
	// Nor does its KE3, under the new token.
	crossed := *finish
	crossed.Token = thief.login.Token
	v.expect(v.Server, &crossed, wire.Failed)
	v.unwritten(func() {
		v.expect(v.Server, finish, wire.Stale)
		v.expect(v.Server, g.aborts(), wire.Stale)
		v.expect(v.Server, &crossed, wire.Failed)
	})
	// Two attempts of one who knows the password: each proof fits its own.
	a := v.guess(alice, password).on(v.Server)
	v.expect(v.Server, a.ends(release), wire.OK)
	b := v.guess(alice, password).on(v.Server)
	crossed = *b.ends(release)
	crossed.KE3 = a.session.KE3
	v.expect(v.Server, &crossed, wire.Failed)
	v.unwritten(func() { v.expect(v.Server, b.ends(release), wire.Failed) }) // it is over
	if left := v.status(v.Server, alice).Left; left != DefaultAttempts-1 {
		t.Errorf("%d left", left)
	}
}

// TestReplayedRegistration plays the steps of a registration again, when they are over.
func TestReplayedRegistration(t *testing.T) {
	v := newTestVault(t)
	e := v.enrol(alice, password, 1)
	e.begun(v.expect(v.Server, &e.begin, wire.OK).Begun)
	v.unwritten(func() {
		v.expect(v.Server, &e.begin, wire.OK)
		v.expect(v.Server, &e.try, wire.Stale)
		none := e.put
		none.Secret[0] ^= 1
		v.expect(v.Server, &none, wire.Stale)
	})
	v.expect(v.Server, &e.put, wire.OK)
	other := e.put
	other.OwnerKey[0] ^= 1
	none := e.try
	none.Secret[31] ^= 1
	v.unwritten(func() {
		v.expect(v.Server, &e.put, wire.OK)
		v.expect(v.Server, &other, wire.Stale)
		v.expect(v.Server, &none, wire.Stale)
	})
	e.tried(v.expect(v.Server, &e.try, wire.OK).Login)
	receipt := v.expect(v.Server, &e.done, wire.OK).Receipt
	stolen := v.enrol(alice, password2, 2) // a ticket holder who saw the registration's id
	stolen.begin.Registration = e.begin.Registration
	v.unwritten(func() {
		if r := v.expect(v.Server, &e.done, wire.OK).Receipt; *r != *receipt {
			t.Errorf("%+v, first %+v", r, receipt)
		}
		v.expect(v.Server, &e.begin, wire.Used)
		v.expect(v.Server, &e.put, wire.Stale)
		v.expect(v.Server, &e.try, wire.Stale)
	})
	v.expect(v.Server, &stolen.begin, wire.OK)
	v.unwritten(func() { v.expect(v.Server, &e.put, wire.Stale) })
	v.expect(v.Server, v.guess(alice, password).on(v.Server).ends(release), wire.OK)
}

// TestCommands changes each byte of a sealed command, and seals what is none.
func TestCommands(t *testing.T) {
	v := newTestVault(t)
	v.registered(alice, password)
	g := v.guess(alice, password).on(v.Server)
	put := g.ends(&wire.Command{Op: wire.OpFreeze, Until: 1})
	other := g.start.Attempt
	other[0] ^= 1
	v.unwritten(func() {
		for i := range put.Command {
			r := *put
			r.Command = with(put.Command, i, put.Command[i]^1)
			v.refuse(v.Server, "changed", &r)
		}
		session := g.session.SessionKey
		for what, command := range map[string][]byte{
			"nothing": nil, "short": put.Command[:nonceSize+tagSize-1], "cut": put.Command[:len(put.Command)-1],
			"a release":         seal(session, labelRelease, g.start.Attempt, release.Append(nil)),
			"another attempt's": seal(session, labelCommand, other, release.Append(nil)),
			"another session's": seal([32]byte{1}, labelCommand, g.start.Attempt, release.Append(nil)),
			"no operation":      seal(session, labelCommand, g.start.Attempt, []byte{}),
			"operation 0":       seal(session, labelCommand, g.start.Attempt, []byte{0}),
			"unfreeze":          seal(session, labelCommand, g.start.Attempt, []byte{byte(wire.OpUnfreeze)}),
			"too long":          seal(session, labelCommand, g.start.Attempt, []byte{byte(wire.OpRelease), 0}),
			"freeze for ever":   seal(session, labelCommand, g.start.Attempt, append([]byte{byte(wire.OpFreeze)}, bytes.Repeat([]byte{0xff}, 8)...)),
		} {
			r := *put
			r.Command = command
			v.refuse(v.Server, what, &r)
		}
	})
	// The attempt is there still, and the proof was right.
	v.expect(v.Server, g.ends(release), wire.OK)
}

// TestEnds: an attempt ends once.
func TestEnds(t *testing.T) {
	v := newTestVault(t)
	v.registered(alice, password)
	g := v.guess(alice, password).on(v.Server)
	failed := v.expect(v.Server, g.aborts(), wire.Failed)
	v.unwritten(func() {
		if r := v.expect(v.Server, g.aborts(), wire.Failed); r.Left != failed.Left {
			t.Errorf("%d left, then %d", failed.Left, r.Left)
		}
		v.expect(v.Server, g.ends(release), wire.Failed) // the password is right, and it is too late
	})
	g = v.guess(alice, password).on(v.Server)
	v.expect(v.Server, g.ends(release), wire.OK)
	v.unwritten(func() { v.expect(v.Server, g.aborts(), wire.Stale) })
	if left := v.status(v.Server, alice).Left; left != DefaultAttempts {
		t.Errorf("%d left", left)
	}
}

// TestNodes has each step of an exchange at another server of the vault.
func TestNodes(t *testing.T) {
	v := newTestVault(t)
	a, b, c := v.Server, v.node(nil), v.node(nil)
	e := v.enrol(alice, password, 1)
	e.begun(v.expect(a, &e.begin, wire.OK).Begun)
	v.expect(b, &e.put, wire.OK)
	e.tried(v.expect(c, &e.try, wire.OK).Login)
	v.expect(a, &e.done, wire.OK)
	v.unwritten(func() { v.expect(b, &e.done, wire.OK) })
	g := v.guess(alice, password).on(a)
	finish := g.ends(release)
	receipt := g.released(v.expect(b, finish, wire.OK)).Receipt
	v.unwritten(func() {
		if r := g.released(v.expect(c, finish, wire.OK)); r.Receipt != receipt {
			t.Errorf("%+v, %+v", r.Receipt, receipt)
		}
	})
	// A virtual record is the same at each of them, and after a restart: § 6.3.2.2 of
	// RFC 9807.
	n := v.guess("nobody", password)
	first := n.on(a).login.KE2
	second := v.expect(b, &n.start, wire.OK).Login.KE2
	if !slices.Equal(first[:opaque3dh.PointSize], second[:opaque3dh.PointSize]) {
		t.Error("a point is evaluated in two ways")
	}
	v.expect(c, n.aborts(), wire.Failed)
}
