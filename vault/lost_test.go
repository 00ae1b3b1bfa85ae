package vault

import (
	"errors"
	"testing"

	"github.com/coffer-backup/coffer/keys"
	"github.com/coffer-backup/coffer/vault/wire"
)

// TestClientPutMeanwhile: a keyring that was put on one registration does not get under
// another that took its place, with the same password and the same version.
func TestClientPutMeanwhile(t *testing.T) {
	v := newTestVault(t)
	c, ctx := v.client(v), t.Context()
	ring := newTestRing(t, 1)
	if _, err := c.Register(ctx, alice, password, ring, nil); err != nil {
		t.Fatal(err)
	}
	second, third := keys.GenerateAccountKey(), keys.GenerateAccountKey()
	rounds := 0
	_, err := c.Put(ctx, alice, password, func(k *Keyring) (*Keyring, error) {
		if rounds++; rounds == 1 {
			both, err := ring.Append(second)
			if err != nil {
				return nil, err
			}
			if _, err := v.client(v).Register(ctx, alice, password, both, ring.Newest()); err != nil {
				return nil, err
			}
		}
		return k.Append(third)
	})
	if err != nil || rounds != 2 {
		t.Fatalf("%v after %d rounds", err, rounds)
	}
	want, _ := ring.Append(second)
	want, _ = want.Append(third)
	if r, err := c.Recover(ctx, alice, password); err != nil || !sameRing(r.Keyring, want) {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestClientPasswordMeanwhile: a new password is not registered with a keyring that has
// changed since it was recovered, though its newest key is the same.
func TestClientPasswordMeanwhile(t *testing.T) {
	v := newTestVault(t)
	c, ctx := v.client(v), t.Context()
	newest := newTestRing(t, 1).Newest()
	ring, _ := NewKeyring(newest)
	if _, err := c.Register(ctx, alice, password, ring, nil); err != nil {
		t.Fatal(err)
	}
	r, err := c.Recover(ctx, alice, password)
	if err != nil {
		t.Fatal(err)
	}
	both, _ := NewKeyring(keys.GenerateAccountKey(), newest)
	if _, err := v.client(v).Put(ctx, alice, password, func(*Keyring) (*Keyring, error) { return both, nil }); err != nil {
		t.Fatal(err)
	}
	_, err = c.register(ctx, alice, password2, r.Keyring, &base{newest, r.Receipt.Gen, r.Receipt.KV})
	var state *StateError
	if !errors.As(err, &state) || state.Code != wire.NeedOwner {
		t.Errorf("%v", err)
	}
	if r, err := c.Recover(ctx, alice, password); err != nil || !sameRing(r.Keyring, both) {
		t.Errorf("%+v, %v", r, err)
	}
}
