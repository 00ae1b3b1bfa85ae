package wire_test

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"github.com/coffer-backup/coffer/vault/wire"
)

// requests has one of each call, with every field set.
func requests() []wire.Request {
	return []wire.Request{
		&wire.Start{Ticket: "ticket", Attempt: [16]byte{1}, KE1: [wire.KE1Size]byte{2}},
		&wire.Finish{Token: [wire.TokenSize]byte{1}, KE3: [32]byte{2}, Command: []byte("command")},
		&wire.Abort{Token: [wire.TokenSize]byte{3}},
		&wire.RegBegin{Ticket: "ticket", Registration: [16]byte{1}, Commitment: [32]byte{2}, Descriptor: [32]byte{3}, Blinded: [33]byte{4}},
		&wire.RegPut{Index: [32]byte{1}, Registration: [16]byte{2}, Secret: [32]byte{3}, Record: [wire.RecordSize]byte{4}, OwnerKey: [32]byte{5}, KV: 6, Keyring: []byte("ring")},
		&wire.RegTry{Index: [32]byte{1}, Registration: [16]byte{2}, Secret: [32]byte{3}, Attempt: [16]byte{4}, KE1: [wire.KE1Size]byte{5}},
		&wire.RegDone{Token: [wire.TokenSize]byte{1}, KE3: [32]byte{2}, Signature: &[64]byte{3}},
		&wire.RegDone{Token: [wire.TokenSize]byte{1}, KE3: [32]byte{2}},
		&wire.Owner{Ticket: "ticket", Op: wire.OpFreeze, Gen: 1, Until: 2, Signature: [64]byte{3}},
		&wire.Owner{Ticket: "ticket", Op: wire.OpDelete, Gen: 1, Signature: [64]byte{3}},
		&wire.Status{Ticket: "ticket"},
	}
}

func replies() []*wire.Reply {
	return []*wire.Reply{
		{Call: wire.CallStart, Code: wire.OK, Left: 1, Max: 2, Login: &wire.Login{KE2: [wire.KE2Size]byte{1}, Token: [wire.TokenSize]byte{2}, KSF: wire.KSF{KiB: 3, Time: 4, Lane: 5}, AKE: 6}},
		{Call: wire.CallStart, Code: wire.Busy, Left: 1, Max: 2, Until: 3},
		{Call: wire.CallRegTry, Code: wire.OK, Login: &wire.Login{AKE: 1}},
		{Call: wire.CallRegBegin, Code: wire.OK, Begun: &wire.Begun{Index: [32]byte{1}, Evaluated: [33]byte{2}, AKE: 3, ServerKey: [33]byte{4}}},
		{Call: wire.CallRegPut, Code: wire.OK},
		{Call: wire.CallRegDone, Code: wire.OK, Receipt: &wire.Receipt{Ver: 1, Gen: 2, KV: 3}},
		{Call: wire.CallRegDone, Code: wire.NeedOwner},
		{Call: wire.CallOwner, Code: wire.OK, Receipt: &wire.Receipt{Ver: 1, Gen: 2, KV: 3}},
		{Call: wire.CallStatus, Code: wire.OK, Left: 1, Max: 2, State: &wire.State{Gen: 3}},
		{Call: wire.CallStatus, Code: wire.Frozen, Until: 9, State: &wire.State{Gen: 3}},
		{Call: wire.CallFinish, Code: wire.OK, Release: bytes.Repeat([]byte{1}, wire.MaxRelease)},
		{Call: wire.CallFinish, Code: wire.Conflict, Release: []byte("sealed")},
		{Call: wire.CallFinish, Code: wire.Failed, Left: 1},
		{Call: wire.CallAbort, Code: wire.Dead, Tombstone: &wire.Tombstone{Cause: 1, Time: 2, Signature: [64]byte{3}}},
	}
}

// TestRequests: each reads as it was written, and nothing shorter or longer does.
func TestRequests(t *testing.T) {
	for _, want := range requests() {
		b := wire.AppendRequest(nil, want)
		got, err := wire.ParseRequest(b)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%v: got %+v, %v", want.Call(), got, err)
		}
		for n := range len(b) {
			if _, err := wire.ParseRequest(b[:n]); !errors.Is(err, wire.ErrSyntax) {
				t.Errorf("%v, %d of %d bytes: %v", want.Call(), n, len(b), err)
			}
		}
		if _, err := wire.ParseRequest(append(b, 0)); !errors.Is(err, wire.ErrSyntax) {
			t.Errorf("%v, a byte more: %v", want.Call(), err)
		}
	}
	owner := wire.AppendRequest(nil, &wire.Owner{Op: wire.OpFreeze, Until: 1})
	for _, op := range []wire.Op{0, wire.OpRelease, wire.OpPut, wire.OpSwap, wire.OpDelete, wire.OpUnfreeze, 7} {
		owner[4] = byte(op) // until is for freezes
		if _, err := wire.ParseRequest(owner); !errors.Is(err, wire.ErrSyntax) {
			t.Errorf("an owner's %v until then: %v", op, err)
		}
	}
	for what, b := range map[string][]byte{
		"nothing": nil, "another version": {2, 9, 0, 0}, "no call": {1, 0}, "another call": {1, 10, 0, 0},
		"too long": make([]byte, wire.MaxRequest+1), "a long ticket": append([]byte{1, 9, 8, 1}, make([]byte, 2049)...),
		"a negative time": append(wire.AppendRequest(nil, &wire.Owner{Op: wire.OpFreeze})[:13], bytes.Repeat([]byte{255}, 72)...),
		"neither":         append(wire.AppendRequest(nil, &wire.RegDone{})[:2+wire.TokenSize+32], 2),
	} {
		if _, err := wire.ParseRequest(b); !errors.Is(err, wire.ErrSyntax) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if s := wire.Call(99).String() + wire.Code(99).String() + wire.Op(99).String() + wire.CallStart.String() + wire.OK.String() + wire.OpSwap.String(); s != "call 99code 99op 99StartOKswap" {
		t.Error(s)
	}
}

// TestReplies: each has its size and reads as it was written.
func TestReplies(t *testing.T) {
	for _, want := range replies() {
		b := wire.AppendReply(nil, want)
		size := wire.ReplySize
		if want.Call == wire.CallFinish {
			size = wire.ReleaseSize
		}
		if len(b) != size {
			t.Fatalf("%v, %v: %d bytes", want.Call, want.Code, len(b))
		}
		got, err := wire.ParseReply(b, want.Call)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%v, %v: got %+v, %v", want.Call, want.Code, got, err)
		}
		b[size-wire.SignatureSize-1] = 1
		if want.Code != wire.OK || want.Call != wire.CallFinish { // else there is no padding
			if _, err := wire.ParseReply(b, want.Call); !errors.Is(err, wire.ErrSyntax) {
				t.Errorf("%v, %v: padding of ones: %v", want.Call, want.Code, err)
			}
		}
	}
	good := wire.AppendReply(nil, &wire.Reply{Call: wire.CallAbort, Code: wire.Failed})
	for what, b := range map[string][]byte{
		"short": good[:767], "long": append(bytes.Clone(good), 0), "another version": append([]byte{2}, good[1:]...),
		"another call": append([]byte{1, 4}, good[2:]...), "another code": append([]byte{1, 3, 13}, good[3:]...), "no code": append([]byte{1, 3, 0}, good[3:]...),
	} {
		if _, err := wire.ParseReply(b, wire.CallAbort); !errors.Is(err, wire.ErrSyntax) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := wire.ParseReply(make([]byte, wire.ReplySize), wire.CallFinish); !errors.Is(err, wire.ErrSyntax) {
		t.Errorf("the size of another call: %v", err)
	}
}

func TestCommands(t *testing.T) {
	for _, want := range []*wire.Command{
		{Op: wire.OpRelease}, {Op: wire.OpDelete}, {Op: wire.OpFreeze, Until: 7}, {Op: wire.OpSwap, Registration: [16]byte{1}, Upload: [32]byte{2}},
		{Op: wire.OpPut, Gen: 4, KV: 1, OwnerKey: [32]byte{2}, Keyring: make([]byte, wire.MaxKeyring)},
	} {
		b := want.Append(nil)
		if got, err := wire.ParseCommand(b); err != nil || !reflect.DeepEqual(got, want) || len(b) > wire.MaxCommand-28 {
			t.Errorf("%v: got %+v, %v, %d bytes", want.Op, got, err, len(b))
		}
		for n := range len(b) {
			if _, err := wire.ParseCommand(b[:n]); !errors.Is(err, wire.ErrSyntax) {
				t.Errorf("%v, %d bytes: %v", want.Op, n, err)
			}
		}
		if _, err := wire.ParseCommand(append(b, 0)); !errors.Is(err, wire.ErrSyntax) {
			t.Errorf("%v, a byte more: %v", want.Op, err)
		}
	}
	for _, op := range []wire.Op{0, wire.OpUnfreeze, 7} {
		if _, err := wire.ParseCommand([]byte{byte(op)}); !errors.Is(err, wire.ErrSyntax) {
			t.Errorf("%v: %v", op, err)
		}
	}
	want := &wire.Release{Receipt: wire.Receipt{Ver: 1, Gen: 2, KV: 3}, Failures: 4, Descriptor: [32]byte{5}, Keyring: make([]byte, wire.MaxKeyring)}
	b := want.Append(nil)
	if got, err := wire.ParseRelease(b); err != nil || !reflect.DeepEqual(got, want) || len(b) > wire.MaxRelease-28 {
		t.Errorf("release: got %+v, %v, %d bytes", got, err, len(b))
	}
	if _, err := wire.ParseRelease(b[:len(b)-1]); !errors.Is(err, wire.ErrSyntax) {
		t.Errorf("release, a byte less: %v", err)
	}
}

// TestLimits: what is over a limit is a fault of who writes it.
func TestLimits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(wire.MaxTicket+1, 100_000).Draw(t, "length")
		defer func() {
			if recover() == nil {
				t.Fatalf("a ticket of %d bytes was written", n)
			}
		}()
		wire.AppendRequest(nil, &wire.Status{Ticket: string(make([]byte, n))})
	})
}

// FuzzParseRequest: there is one encoding for each request.
func FuzzParseRequest(f *testing.F) {
	for _, r := range requests() {
		f.Add(wire.AppendRequest(nil, r))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := wire.ParseRequest(b)
		if err != nil {
			if !errors.Is(err, wire.ErrSyntax) {
				t.Fatal(err)
			}
			return
		}
		if again := wire.AppendRequest(nil, r); !bytes.Equal(again, b) {
			t.Fatalf("%x is written as %x", b, again)
		}
	})
}

// FuzzParseReply: there is one encoding for each reply, its signature apart, and for what
// travels sealed.
func FuzzParseReply(f *testing.F) {
	for _, r := range replies() {
		f.Add(wire.AppendReply(nil, r), uint8(r.Call))
	}
	for _, m := range []*wire.Command{{Op: wire.OpPut, Keyring: []byte("ring")}, {Op: wire.OpSwap}, {Op: wire.OpFreeze}} {
		f.Add(m.Append(nil), uint8(0))
	}
	f.Add((&wire.Release{Keyring: []byte("ring")}).Append(nil), uint8(0))
	f.Fuzz(func(t *testing.T, b []byte, call uint8) {
		if r, err := wire.ParseReply(b, wire.Call(call)); err == nil {
			again := wire.AppendReply(nil, r)
			if !bytes.Equal(again[:len(b)-wire.SignatureSize], b[:len(b)-wire.SignatureSize]) {
				t.Fatalf("%x is written as %x", b, again)
			}
		} else if !errors.Is(err, wire.ErrSyntax) {
			t.Fatal(err)
		}
		if m, err := wire.ParseCommand(b); err == nil && !bytes.Equal(m.Append(nil), b) {
			t.Fatalf("%x is written as %x", b, m.Append(nil))
		}
		if r, err := wire.ParseRelease(b); err == nil && !bytes.Equal(r.Append(nil), b) {
			t.Fatalf("%x is written as %x", b, r.Append(nil))
		}
	})
}
