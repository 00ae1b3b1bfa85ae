//go:build linux

package process_test

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"

	"github.com/coffer-backup/coffer/vault"
	"github.com/coffer-backup/coffer/vault/httpapi"
	"github.com/coffer-backup/coffer/vault/internal/opaque3dh"
	"github.com/coffer-backup/coffer/vault/wire"
)

// A client speaks the protocol call by call, so that it can stop anywhere.
type client struct {
	*process
	transport *httpapi.Transport
	stretch   opaque3dh.Stretch
}

// newClient returns a client that saves itself Argon2, which a vault does not see.
func (p *process) newClient() *client {
	return &client{p, p.dial(), func(secret []byte) ([]byte, error) { return slices.Clone(secret), nil }}
}

// errForged is for a reply that the vault did not sign.
var errForged = errors.New("the signature of a reply is wrong")

// call sends a request, the same bytes again and again, until the vault answers.
func (c *client) call(ctx context.Context, r wire.Request) (*wire.Reply, error) {
	request := wire.AppendRequest(nil, r)
	for {
		reply, err := c.once(ctx, r.Call(), request)
		switch {
		case err == nil && reply.Code != wire.Unavailable:
			return reply, nil
		case err != nil && !errors.Is(err, httpapi.ErrUnreachable) && !errors.Is(err, vault.ErrOverloaded):
			return nil, fmt.Errorf("%v: %w", r.Call(), err)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%v: %w", r.Call(), errors.Join(context.Cause(ctx), err))
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// once sends a request once.
func (c *client) once(ctx context.Context, call wire.Call, request []byte) (*wire.Reply, error) {
	frame, err := c.transport.Call(ctx, request)
	if err != nil {
		return nil, err
	}
	reply, err := wire.ParseReply(frame, call)
	if err != nil || reply.Code == wire.Unavailable {
		return reply, err
	}
	asked := sha256.Sum256(request)
	body, signature := frame[:len(frame)-wire.SignatureSize], frame[len(frame)-wire.SignatureSize:]
	digest := sha256.Sum256(slices.Concat([]byte("coffer vault v1 reply"), asked[:], body))
	r, s := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])
	if !ecdsa.Verify(c.statement, digest[:], r, s) {
		return nil, errForged
	}
	return reply, nil
}

// An attempt is one with a password.
type attempt struct {
	id         [wire.IDSize]byte
	credential string
	opaque     *opaque3dh.Client
	ke1        [wire.KE1Size]byte
}

func newAttempt(credential string, password []byte) *attempt {
	opaque, err := opaque3dh.NewClient(password)
	if err != nil {
		panic(err) // for longer passwords
	}
	a := &attempt{credential: credential, opaque: opaque}
	rand.Read(a.id[:])
	ke1 := opaque.KE1()
	ke1.Append(a.ke1[:0])
	return a
}

func (c *client) startOf(a *attempt) *wire.Start {
	return &wire.Start{Ticket: c.ticket(a.credential, vault.TicketRecover), Attempt: a.id, KE1: a.ke1}
}

// open returns the session of an attempt whose password is right.
func (c *client) open(a *attempt, l *wire.Login) (*opaque3dh.Session, error) {
	return a.opaque.Finish(&opaque3dh.Answer{
		ClientIdentity: []byte(a.credential), ServerIdentity: c.identity(), KE2: l.KE2, Stretch: c.stretch,
	})
}

func (c *client) identity() []byte { return []byte("coffer-vault:" + c.ID) }

// finish ends an attempt with a command. The release is nil if the vault gives none.
func (c *client) finish(ctx context.Context, a *attempt, l *wire.Login, s *opaque3dh.Session, m *wire.Command) (*wire.Reply, *wire.Release, error) {
	nonce := make([]byte, 12)
	rand.Read(nonce)
	reply, err := c.call(ctx, &wire.Finish{
		Token: l.Token, KE3: s.KE3, Command: sessionKey(s, "command", a).Seal(nonce, nonce, m.Append(nil), a.id[:]),
	})
	if err != nil || len(reply.Release) < len(nonce) {
		return reply, nil, err
	}
	plain, err := sessionKey(s, "release", a).Open(nil, reply.Release[:len(nonce)], reply.Release[len(nonce):], a.id[:])
	if err != nil {
		return nil, nil, err
	}
	release, err := wire.ParseRelease(plain)
	return reply, release, err
}

func sessionKey(s *opaque3dh.Session, label string, a *attempt) cipher.AEAD {
	key, err := hkdf.Expand(sha256.New, s.SessionKey[:], "coffer vault v1 "+label+string(a.id[:]), 32)
	if err != nil {
		panic(err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	return aead
}

// A registration is of one record.
type registration struct {
	credential string
	password   []byte
	keyring    []byte // wrapped, or anything
	kv         uint32
	owner      ed25519.PrivateKey // of the new record, and of the one that it replaces
	replaces   *uint64            // the gen of that, or nil

	id     [wire.IDSize]byte
	secret [32]byte
	opaque *opaque3dh.Client // of the record
	try    *attempt          // on it
}

// prepare draws what is random.
func (r *registration) prepare() {
	rand.Read(r.id[:])
	rand.Read(r.secret[:])
	r.opaque, r.try = newAttempt(r.credential, r.password).opaque, newAttempt(r.credential, r.password)
}

// errCode is the error for what the vault did not answer by OK.
type errCode struct {
	*wire.Reply
}

func (e errCode) Error() string { return fmt.Sprintf("%v: %v", e.Call, e.Code) }

func (c *client) ask(ctx context.Context, r wire.Request) (*wire.Reply, error) {
	reply, err := c.call(ctx, r)
	if err == nil && reply.Code != wire.OK {
		return nil, errCode{reply}
	}
	return reply, err
}

// register goes through a registration that was prepared.
func (c *client) register(ctx context.Context, r *registration) (*wire.Receipt, error) {
	reply, err := c.ask(ctx, &wire.RegBegin{
		Ticket: c.ticket(r.credential, vault.TicketRegister), Registration: r.id,
		Commitment: sha256.Sum256(r.secret[:]), Descriptor: c.hash, Blinded: r.opaque.Blinded(),
	})
	if err != nil {
		return nil, err
	}
	record, _, err := r.opaque.Register(&opaque3dh.Registration{
		ClientIdentity: []byte(r.credential), ServerIdentity: c.identity(),
		Evaluated: reply.Begun.Evaluated, ServerPublic: reply.Begun.ServerKey, Stretch: c.stretch,
	})
	if err != nil {
		return nil, err
	}
	put := &wire.RegPut{
		Index: reply.Begun.Index, Registration: r.id, Secret: r.secret, KV: r.kv, Keyring: r.keyring,
		OwnerKey: [32]byte(r.owner.Public().(ed25519.PublicKey)),
	}
	record.Append(put.Record[:0])
	if _, err := c.ask(ctx, put); err != nil {
		return nil, err
	}
	reply, err = c.ask(ctx, &wire.RegTry{Index: put.Index, Registration: r.id, Secret: r.secret, Attempt: r.try.id, KE1: r.try.ke1})
	if err != nil {
		return nil, err
	}
	session, err := c.open(r.try, reply.Login)
	if err != nil {
		return nil, err
	}
	done := &wire.RegDone{Token: reply.Login.Token, KE3: session.KE3}
	if r.replaces != nil {
		done.Signature = (*[wire.SignatureSize]byte)(ed25519.Sign(r.owner, c.ownerMessage(r, put)))
	}
	if reply, err = c.ask(ctx, done); err != nil {
		return nil, err
	}
	return reply.Receipt, nil
}

// ownerMessage is what an owner signs to have a record replaced by what was uploaded.
// SPEC.md § 5.3.2
func (c *client) ownerMessage(r *registration, put *wire.RegPut) []byte {
	lp := func(b []byte, x string) []byte { return append(binary.BigEndian.AppendUint16(b, uint16(len(x))), x...) }
	b := slices.Concat([]byte("coffer vault v1 upload"), put.Record[:], put.OwnerKey[:])
	upload := sha256.Sum256(lp(binary.BigEndian.AppendUint32(b, put.KV), string(put.Keyring)))
	b = lp(lp([]byte("coffer vault v1 owned"), c.ID), r.credential)
	b = append(binary.BigEndian.AppendUint64(b, *r.replaces), byte(wire.OpSwap))
	return append(lp(b, string(r.id[:])+string(upload[:])), make([]byte, 8)...)
}

// status returns what the vault tells of a credential id.
func (c *client) status(ctx context.Context, credential string) (*wire.Reply, error) {
	return c.call(ctx, &wire.Status{Ticket: c.ticket(credential, vault.TicketStatus)})
}
