package vault

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"

	"github.com/coffer-backup/coffer/vault/evaluator"
	"github.com/coffer-backup/coffer/vault/internal/codec"
	"github.com/coffer-backup/coffer/vault/internal/machine"
	"github.com/coffer-backup/coffer/vault/internal/opaque3dh"
	"github.com/coffer-backup/coffer/vault/store"
	"github.com/coffer-backup/coffer/vault/wire"
)

func (s *Server) start(ctx context.Context, r *wire.Start) (*wire.Reply, error) {
	t, err := s.admit(ctx, r.Ticket, TicketRecover)
	if err != nil {
		return nil, err
	}
	defer s.leave()
	ke1, err := opaque3dh.ParseKE1(r.KE1[:])
	if err != nil {
		return nil, ErrRefused
	}
	if err := s.healthy(); err != nil {
		return nil, err
	}
	u, err := s.subject(ctx, t.credential)
	if err != nil {
		return nil, err
	}
	now := s.clock.unix()
	virtual := s.virtual(u, t.credential)
	o, err := s.transact(ctx, u, func(state *machine.State) machine.Outcome {
		if _, ok := s.points[akeOf(state, virtual)]; !ok {
			// The descriptor has lost a key that records need: no client would accept what
			// it gives, and each attempt would be lost.
			return machine.Outcome{Code: wire.Unavailable}
		}
		return s.policy.Start(state, now, machine.Start{
			Attempt: r.Attempt, Hash: sha256.Sum256(r.KE1[:]), Ticket: t.Ticket, Virtual: virtual,
		})
	})
	if err != nil {
		return nil, err
	}
	reply, err := s.reply(ctx, o, t.credential)
	if err != nil || o.Code != wire.OK {
		return reply, err
	}
	reply.Login, err = s.login(ctx, u, t.credential, &ke1, o, tokenLogin)
	return reply, err
}

// akeOf returns the id of the AKE key that an attempt takes.
func akeOf(s *machine.State, virtual machine.Row) uint16 {
	if s.Row == nil || s.Row.Status == machine.Dead {
		return virtual.AKE
	}
	return s.Row.AKE
}

// login evaluates an attempt that was counted and composes KE2. A credential id without
// a record takes the same steps.
func (s *Server) login(ctx context.Context, u *subject, credential string, ke1 *opaque3dh.KE1, o machine.Outcome, kind tokenKind) (*wire.Login, error) {
	real := 1
	if o.Virtual {
		real = 0
	}
	key, err := s.evaluator.Evaluate(ctx, o.Material.Key, ke1.Blinded)
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	static, err := s.evaluator.Agree(ctx, o.Material.AKE, ke1.KeyShare)
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	fake := scalarFrom(u.root[:], labelFakeOPRF)
	evaluated, err := fake.Mul(ke1.Blinded)
	if err != nil {
		return nil, err
	}
	subtle.ConstantTimeCopy(real, evaluated[:], key[:])
	record, err := opaque3dh.ParseRecord(s.record(u, o.Material, real))
	if err != nil {
		return nil, err
	}
	in := &opaque3dh.Login{
		ClientIdentity: []byte(credential), ServerIdentity: []byte(serverIdentity + s.id),
		Record: record, ServerPublic: s.points[o.Material.AKE],
		KE1: *ke1, Evaluated: evaluated, Static: static, Ephemeral: evaluator.NewScalar(),
	}
	rand.Read(in.MaskingNonce[:]) // never fails, nor does the next
	rand.Read(in.ServerNonce[:])
	out, err := opaque3dh.Respond(in)
	if err != nil {
		return nil, err
	}
	login := &wire.Login{KE2: out.KE2, KSF: o.Material.KSF, AKE: o.Material.AKE}
	login.Token = u.sealToken(&token{
		kind: kind, proof: machine.Proof{Attempt: o.Attempt.ID, Ver: o.Attempt.Ver, Gen: o.Gen},
		clientMAC: out.ClientMAC, sessionKey: out.SessionKey,
	})
	return login, nil
}

// record returns the record of m if real is 1, else one that is made up: RFC 9807
// § 6.3.2.2.
func (s *Server) record(u *subject, m *machine.Material, real int) []byte {
	mask := u.key(labelFakeMask)
	record := make([]byte, 0, wire.RecordSize)
	record = append(append(record, s.fakeKey[:]...), mask[:]...)
	record = record[:wire.RecordSize] // the envelope is zeros
	subtle.ConstantTimeCopy(real, record, m.Record[:])
	return record
}

// A tokenKind says what a token ends.
type tokenKind uint8

const (
	tokenLogin    tokenKind = 1 // an attempt on a record
	tokenRegister tokenKind = 2 // a login on a registration
)

// A token is what a server needs to end an attempt. The client keeps it, so that any
// server of the vault can. SPEC.md § 5.6
type token struct {
	kind       tokenKind
	proof      machine.Proof
	clientMAC  [wire.KE3Size]byte
	sessionKey [32]byte
}

func (t *token) fields(c *codec.Codec) {
	c.Uint8((*uint8)(&t.kind))
	c.Uint64(&t.proof.Gen)
	c.Uint64(&t.proof.Ver)
	c.Fixed(t.clientMAC[:])
	c.Fixed(t.sessionKey[:])
}

// tokenKey returns the key of the tokens of an attempt.
func (u *subject) tokenKey(attempt []byte) [32]byte { return u.key(labelToken + string(attempt)) }

func (u *subject) sealToken(t *token) (out [wire.TokenSize]byte) {
	b := append(out[:0], u.index[:]...)
	b = append(b, t.proof.Attempt[:]...)
	head := len(b)
	b = b[:head+nonceSize]
	rand.Read(b[head:]) // never fails
	plain := codec.Append(nil, t.fields)
	defer clear(plain)
	newGCM(u.tokenKey(t.proof.Attempt[:])).Seal(b, b[head:], plain, lp(nil, u.vault))
	return out
}

// openToken returns the place and the content of a token.
func (s *Server) openToken(ctx context.Context, b *[wire.TokenSize]byte, kind tokenKind) (*subject, *token, error) {
	u, err := s.subjectAt(ctx, store.Index(b[:wire.IndexSize]))
	if err != nil {
		return nil, nil, err
	}
	rest := b[wire.IndexSize:]
	t := new(token)
	copy(t.proof.Attempt[:], rest)
	nonce, sealed := rest[wire.IDSize:wire.IDSize+nonceSize], rest[wire.IDSize+nonceSize:]
	plain, err := newGCM(u.tokenKey(t.proof.Attempt[:])).Open(nil, nonce, sealed, lp(nil, u.vault))
	if err != nil {
		return nil, nil, ErrRefused
	}
	defer clear(plain)
	if err := codec.ParseAll(plain, t.fields); err != nil || t.kind != kind {
		return nil, nil, ErrRefused
	}
	return u, t, nil
}

func (s *Server) finish(ctx context.Context, r *wire.Finish) (*wire.Reply, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	u, t, err := s.openToken(ctx, &r.Token, tokenLogin)
	if err != nil {
		return nil, err
	}
	if !hmac.Equal(r.KE3[:], t.clientMAC[:]) {
		return s.fail(ctx, u, t)
	}
	plain, err := unseal(t.sessionKey, labelCommand, t.proof.Attempt, r.Command)
	if err != nil {
		return nil, ErrRefused
	}
	command, err := wire.ParseCommand(plain)
	if err != nil {
		return nil, ErrRefused
	}
	now, gen, hash := s.clock.unix(), newGen(), sha256.Sum256(plain)
	var credential string
	o, err := s.transact(ctx, u, func(state *machine.State) machine.Outcome {
		credential = credentialOf(state)
		return s.policy.Finish(state, now, machine.Finish{Proof: t.proof, Hash: hash, Command: command, NewGen: gen})
	})
	if err != nil {
		return nil, err
	}
	reply, err := s.reply(ctx, o, credential)
	if err != nil || o.Receipt == nil {
		return reply, err
	}
	release := wire.Release{Receipt: *o.Receipt, Failures: o.Failures}
	if o.Material != nil && command.Op == wire.OpRelease {
		release.Keyring, release.Descriptor = o.Material.Keyring, o.Material.Descriptor
	}
	plain = release.Append(nil)
	defer clear(plain)
	reply.Release = seal(t.sessionKey, labelRelease, t.proof.Attempt, plain)
	return reply, nil
}

func (s *Server) abort(ctx context.Context, r *wire.Abort) (*wire.Reply, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	u, t, err := s.openToken(ctx, &r.Token, tokenLogin)
	if err != nil {
		return nil, err
	}
	return s.fail(ctx, u, t)
}

// fail ends an attempt as failed.
func (s *Server) fail(ctx context.Context, u *subject, t *token) (*wire.Reply, error) {
	now := s.clock.unix()
	var credential string
	o, err := s.transact(ctx, u, func(state *machine.State) machine.Outcome {
		credential = credentialOf(state)
		return s.policy.Fail(state, now, t.proof)
	})
	if err != nil {
		return nil, err
	}
	return s.reply(ctx, o, credential)
}

// credentialOf returns the credential id of a state, before anything becomes of it.
func credentialOf(s *machine.State) string {
	if s.Row == nil {
		return ""
	}
	return s.Row.ID
}

// seal seals what travels under a session key.
func seal(session [32]byte, label string, attempt [wire.IDSize]byte, plain []byte) []byte {
	key := expand(session[:], label+string(attempt[:]))
	b := make([]byte, nonceSize, nonceSize+len(plain)+tagSize)
	rand.Read(b) // never fails
	return newGCM(key).Seal(b, b, plain, attempt[:])
}

// unseal is the inverse of seal.
func unseal(session [32]byte, label string, attempt [wire.IDSize]byte, sealed []byte) ([]byte, error) {
	if len(sealed) < nonceSize+tagSize {
		return nil, fmt.Errorf("%w: %d bytes are sealed", wire.ErrSyntax, len(sealed))
	}
	key := expand(session[:], label+string(attempt[:]))
	return newGCM(key).Open(nil, sealed[:nonceSize], sealed[nonceSize:], attempt[:])
}
