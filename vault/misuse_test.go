package vault

import (
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestMisuse: what is missing is an error, and costs nothing.
func TestMisuse(t *testing.T) {
	v := newTestVault(t)
	c, ctx := v.client(v), t.Context()
	ring := newTestRing(t, 1)
	for _, none := range []*Keyring{nil, {}} {
		if _, err := c.Register(ctx, alice, password, none, nil); err == nil {
			t.Error("an empty keyring was registered")
		}
	}
	if _, err := c.Register(ctx, alice, password, ring, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Put(ctx, alice, password, func(*Keyring) (*Keyring, error) { return nil, nil }); err == nil {
		t.Error("no keyring was put")
	}
	if s, err := c.Status(ctx, alice); err != nil || s.Left != s.Max {
		t.Errorf("%+v, %v", s, err)
	}
	if _, err := NewServer(ctx, Config{}); err == nil {
		t.Error("a server of nothing")
	}
	if _, err := NewClient(nil, v.issuer.Vault, &ClientOptions{}); err == nil {
		t.Error("a client of nothing")
	}
	if _, err := new(Issuer).Ticket(alice, TicketRecover, time.Now()); err == nil {
		t.Error("a ticket by nobody")
	}
	if _, err := new(Descriptor).Sign(nil); err == nil {
		t.Error("a descriptor by nobody")
	}
}

// TestIssuerRedacts: an issuer's key is not printed.
func TestIssuerRedacts(t *testing.T) {
	i := Issuer{ID: "app", Key: ed25519.NewKeyFromSeed([]byte(strings.Repeat("k", ed25519.SeedSize))), Vault: "vault"}
	encoded, err := json.Marshal(map[string]any{"value": i, "pointer": &i})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{fmt.Sprint(i), fmt.Sprintf("%+v %#v %x %s", &i, i, i, &i), i.LogValue().String(), string(encoded)} {
		if strings.Contains(text, "kkkk") || strings.Contains(text, "107 107") || strings.Contains(text, "6b6b") || strings.Contains(text, "a2tra2") {
			t.Errorf("%s", text)
		}
	}
}
