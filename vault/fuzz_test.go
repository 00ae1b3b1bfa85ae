package vault

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"testing"
	"time"

	"github.com/coffer-backup/coffer/vault/evaluator"
)

// fuzzDescriptor returns a descriptor, and the key that signs it.
func fuzzDescriptor() (*Descriptor, ed25519.PrivateKey) {
	root := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	key := evaluator.Scalar{31: 1}
	point := key.Public()
	return &Descriptor{
		Version: 1, Root: Base64(root.Public().(ed25519.PublicKey)), Revision: 1, Statement: point[:],
		AKE: []AKE{{ID: 1, Key: point[:]}}, KSF: DefaultKSF(), Max: DefaultAttempts, Delays: DefaultDelays(),
	}, root
}

// FuzzParseDescriptor signs lines as a descriptor's: what is accepted is the one encoding
// of what was read.
func FuzzParseDescriptor(f *testing.F) {
	d, root := fuzzDescriptor()
	id := d.ID()
	for _, notice := range []string{"", "records before 2026-11-01 are lost"} {
		d.Notice = notice
		signed, err := d.Sign(root)
		if err != nil {
			f.Fatal(err)
		}
		line, _, _ := bytes.Cut(signed, []byte("\n"))
		f.Add(line)
	}
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, line []byte) {
		signature := ed25519.Sign(root, append([]byte(labelDescriptor), line...))
		signed := append(append(bytes.Clone(line), '\n'), base64.RawURLEncoding.EncodeToString(signature)+"\n"...)
		d, err := ParseDescriptor(signed, id)
		if err != nil {
			if !errors.Is(err, ErrDescriptor) {
				t.Fatal(err)
			}
			return
		}
		again, err := d.Sign(root)
		if err != nil || !bytes.Equal(again, signed) {
			t.Fatalf("%q is written as %q, %v", signed, again, err)
		}
		if d.Max < MinAttempts || d.Max > MaxAttempts || d.KSF.KiB < minKiB {
			t.Fatalf("accepted: %+v", d)
		}
		signed[0] ^= 1
		if _, err := ParseDescriptor(signed, id); err == nil {
			t.Fatal("accepted, although it is not what was signed")
		}
	})
}

// FuzzTicket signs headers and claims as a ticket's: what is accepted is for this vault,
// a credential id, now and once.
func FuzzTicket(f *testing.F) {
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	g := newGate("vault", map[string]ed25519.PublicKey{"app": key.Public().(ed25519.PublicKey)})
	now := time.Unix(1_800_000_000, 0)
	f.Add([]byte(`{"alg":"EdDSA","kid":"app","typ":"coffer-vault-ticket+jwt"}`),
		[]byte(`{"aud":["vault"],"sub":"anna","op":"recover","jti":"0123456789abcdef","iat":1800000000,"exp":1800000600}`))
	f.Add([]byte(`{"alg":"none","kid":"app","typ":"coffer-vault-ticket+jwt"}`), []byte(`{"aud":"vault","aud":"other"}`))
	f.Fuzz(func(t *testing.T, header, claims []byte) {
		text := base64.RawURLEncoding.EncodeToString(header) + "." + base64.RawURLEncoding.EncodeToString(claims)
		signed := text + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(key, []byte(text)))
		ticket, err := g.verify(signed, TicketRecover, now)
		if err != nil {
			return
		}
		if CheckCredential(ticket.credential) != nil || len(ticket.id) < 16 ||
			ticket.Expires <= now.Unix() || ticket.Expires > now.Add(MaxTicketTime+2*ticketSkew).Unix() {
			t.Fatalf("accepted: %+v", ticket)
		}
		for _, op := range []TicketOp{TicketRegister, TicketOwner, TicketStatus} {
			if _, err := g.verify(signed, op, now); err == nil {
				t.Fatalf("a ticket for %v is one for %v", TicketRecover, op)
			}
		}
		if _, err := g.verify(signed, TicketRecover, now.Add(MaxTicketTime+2*ticketSkew+time.Second)); err == nil {
			t.Fatal("accepted for ever")
		}
		if _, err := g.verify(text+"."+base64.RawURLEncoding.EncodeToString(make([]byte, ed25519.SignatureSize)), TicketRecover, now); err == nil {
			t.Fatal("accepted without a signature")
		}
	})
}
