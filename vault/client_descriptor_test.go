package vault

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/coffer-backup/coffer/vault/evaluator"
	"github.com/coffer-backup/coffer/vault/store/storetest"
	"github.com/coffer-backup/coffer/vault/wire"
)

// A stand is a transport that gives out a descriptor of its own.
type stand struct {
	Transport
	signed []byte
}

func (s *stand) Descriptor(context.Context) ([]byte, error) { return s.signed, nil }

// TestMiddlemanDescriptor gives out wrong descriptors. Nothing at all is sent.
func TestMiddlemanDescriptor(t *testing.T) {
	v := newTestVault(t)
	old := v.signed
	v.revise(func(*Descriptor) {})
	other := newTestVault(t)
	flipped := bytes.Clone(v.signed)
	flipped[len(flipped)/2] ^= 1
	for name, signed := range map[string][]byte{"older": old, "another vault's": other.signed, "altered": flipped, "none": nil} {
		t.Run(name, func(t *testing.T) {
			s := &stand{v, v.signed}
			tap := &wiretap{Transport: s}
			c := v.client(tap)
			if d, err := c.Descriptor(t.Context()); err != nil || d.Revision != 2 {
				t.Fatalf("%+v, %v", d, err)
			}
			s.signed = signed
			c.distrust(c.trusted)
			_, recovered := c.Recover(t.Context(), alice, password)
			_, registered := c.Register(t.Context(), alice, password, newTestRing(t, 1), nil)
			_, status := c.Status(t.Context(), alice)
			for _, err := range []error{recovered, registered, status} {
				if !errors.Is(err, ErrDescriptor) {
					t.Errorf("%v", err)
				}
			}
			if len(tap.sizes) > 0 {
				t.Errorf("sent %v", tap.sizes)
			}
		})
	}
	pinned, err := NewClient(v, v.issuer.Vault, &ClientOptions{
		Revision: 3, Tickets: func(context.Context, string, TicketOp) (string, error) { return "", errors.New("none") },
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pinned.Descriptor(t.Context()); !errors.Is(err, ErrDescriptor) {
		t.Errorf("revision 2 after 3: %v", err)
	}
}

// TestRevisedDescriptor has a vault change what it asks for under its clients.
func TestRevisedDescriptor(t *testing.T) {
	v := newTestVault(t)
	ctx, c := t.Context(), v.client(v)
	ring := newTestRing(t, 1)
	if _, err := c.Register(ctx, alice, password, ring, nil); err != nil {
		t.Fatal(err)
	}
	v.secrets.AKE[2] = evaluator.NewScalar()
	v.revise(func(d *Descriptor) { d.KSF, d.Max = KSF{"argon2id", 20 << 10, 2, 2}, 7 })

	tap := &wiretap{Transport: v}
	late := c // goes by the descriptor before
	late.transport = tap
	if r, err := late.Recover(ctx, alice, password); err != nil || !sameRing(r.Keyring, ring) || r.Outdated {
		t.Fatalf("an old record by the old descriptor: %+v, %v", r, err)
	}
	if r, err := v.client(v).Recover(ctx, alice, password); err != nil || !r.Outdated {
		t.Fatalf("an old record by the new descriptor: %+v, %v", r, err)
	}
	tap.sizes = nil
	if _, err := late.ChangePassword(ctx, alice, password, password); err != nil {
		t.Fatal(err)
	}
	if want := []string{"Start", "Finish", "RegBegin", "RegBegin", "RegPut", "RegTry", "RegDone"}; !slices.Equal(tap.calls(), want) {
		t.Errorf("calls %v, want %v", tap.calls(), want)
	}
	var login *wire.Login
	tap.after = func(_ int, call wire.Call, _, reply []byte) ([]byte, error) {
		if call == wire.CallStart {
			r, err := wire.ParseReply(reply, call)
			if err != nil {
				t.Fatal(err)
			}
			login = r.Login
		}
		return reply, nil
	}
	if r, err := late.Recover(ctx, alice, password); err != nil || r.Outdated || !sameRing(r.Keyring, ring) {
		t.Fatalf("a new record: %+v, %v", r, err)
	}
	if login.AKE != 2 || login.KSF != (wire.KSF{KiB: 20 << 10, Time: 2, Lane: 2}) {
		t.Errorf("the new record has AKE key %d and %+v", login.AKE, login.KSF)
	}
	if s, err := late.Status(ctx, alice); err != nil || s.Max != 7 {
		t.Errorf("%+v, %v", s, err)
	}

	// A client that registers under a newer descriptor than another knows.
	v.secrets.AKE[3] = evaluator.NewScalar()
	v.revise(func(*Descriptor) {})
	if _, err := v.client(v).Register(ctx, "bob", password, ring, nil); err != nil {
		t.Fatal(err)
	}
	if r, err := late.Recover(ctx, "bob", password); err != nil || r.Outdated {
		t.Fatalf("a record of a newer descriptor: %+v, %v", r, err)
	}

	// A vault that has lost its token begins anew, under the same id. That costs who goes
	// by the old descriptor one call.
	v.secrets, v.store = evaluator.GenerateSoftware(), storetest.NewMemory()
	point := v.secrets.Statement.Public()
	v.revise(func(d *Descriptor) { d.Statement = point[:] })
	if _, err := late.Status(ctx, alice); !errors.Is(err, ErrForged) {
		t.Errorf("signed by a new key: %v", err)
	}
	if _, err := late.Register(ctx, alice, password, ring, nil); err != nil {
		t.Errorf("%v", err)
	}
	if r, err := late.Recover(ctx, alice, password); err != nil || !sameRing(r.Keyring, ring) {
		t.Errorf("%+v, %v", r, err)
	}
}
