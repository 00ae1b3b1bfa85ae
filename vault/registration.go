package vault

import (
	"context"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"

	"github.com/coffer-backup/coffer/vault/evaluator"
	"github.com/coffer-backup/coffer/vault/internal/machine"
	"github.com/coffer-backup/coffer/vault/internal/opaque3dh"
	"github.com/coffer-backup/coffer/vault/wire"
)

// regBegin makes a new OPRF key, whatever is there: the live key is never evaluated for
// a registration.
func (s *Server) regBegin(ctx context.Context, r *wire.RegBegin) (*wire.Reply, error) {
	t, err := s.admit(ctx, r.Ticket, TicketRegister)
	if err != nil {
		return nil, err
	}
	defer s.leave()
	if evaluator.CheckPoint(r.Blinded) != nil {
		return nil, ErrRefused
	}
	if r.Descriptor != s.hash {
		return &wire.Reply{Code: wire.OldDescriptor}, nil
	}
	if err := s.healthy(); err != nil {
		return nil, err
	}
	u, err := s.subject(ctx, t.credential)
	if err != nil {
		return nil, err
	}
	event := machine.RegBegin{
		Registration: r.Registration, Blinded: sha256.Sum256(r.Blinded[:]), Commitment: r.Commitment, Ticket: t.Ticket,
		Virtual: s.virtual(u, t.credential),
	}
	now := s.clock.unix()
	o, err := s.look(ctx, u, func(state *machine.State) machine.Outcome { return s.policy.RegBegin(state, now, event) })
	if err == nil && o.Changed { // else there is a key, or there will be none
		var key evaluator.Key
		if key, err = s.evaluator.NewKey(ctx); err != nil {
			return nil, s.failed(ctx, err)
		}
		event.Material = s.material(key, nil)
		o, err = s.transact(ctx, u, func(state *machine.State) machine.Outcome { return s.policy.RegBegin(state, now, event) })
	}
	if err != nil {
		return nil, err
	}
	reply, err := s.reply(ctx, o, t.credential)
	if err != nil || o.Code != wire.OK {
		return reply, err
	}
	evaluated, err := s.evaluator.Evaluate(ctx, o.Material.Key, r.Blinded)
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	reply.Begun = &wire.Begun{Index: u.index, Evaluated: evaluated, AKE: o.Material.AKE, ServerKey: s.points[o.Material.AKE]}
	return reply, nil
}

// regStep runs an event of a registration, whose secret the machine checks.
func (s *Server) regStep(ctx context.Context, index [wire.IndexSize]byte, event func(*machine.State, int64) machine.Outcome) (*subject, machine.Outcome, string, error) {
	var credential string
	u, err := s.subjectAt(ctx, index)
	if err != nil {
		return nil, machine.Outcome{}, "", err
	}
	now := s.clock.unix()
	o, err := s.transact(ctx, u, func(state *machine.State) machine.Outcome {
		credential = credentialOf(state)
		return event(state, now)
	})
	return u, o, credential, err
}

func (s *Server) regPut(ctx context.Context, r *wire.RegPut) (*wire.Reply, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	if _, err := opaque3dh.ParseRecord(r.Record[:]); err != nil {
		return nil, ErrRefused
	}
	_, o, credential, err := s.regStep(ctx, r.Index, func(state *machine.State, now int64) machine.Outcome {
		return s.policy.RegPut(state, now, machine.RegPut{
			Registration: r.Registration, Commitment: sha256.Sum256(r.Secret[:]),
			Record: r.Record, KV: r.KV, Keyring: r.Keyring, OwnerKey: r.OwnerKey, Upload: uploadDigest(r),
		})
	})
	if err != nil {
		return nil, err
	}
	return s.reply(ctx, o, credential)
}

func (s *Server) regTry(ctx context.Context, r *wire.RegTry) (*wire.Reply, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	ke1, err := opaque3dh.ParseKE1(r.KE1[:])
	if err != nil {
		return nil, ErrRefused
	}
	if own := s.index(r.Index[:]); own != r.Index { // before anything is told of health
		return nil, ErrRefused
	}
	if err := s.healthy(); err != nil {
		return nil, err
	}
	u, o, credential, err := s.regStep(ctx, r.Index, func(state *machine.State, now int64) machine.Outcome {
		return s.policy.RegTry(state, now, machine.RegTry{
			Registration: r.Registration, Commitment: sha256.Sum256(r.Secret[:]), Attempt: r.Attempt, Hash: sha256.Sum256(r.KE1[:]),
		})
	})
	if err != nil {
		return nil, err
	}
	reply, err := s.reply(ctx, o, credential)
	if err != nil || o.Code != wire.OK {
		return reply, err
	}
	reply.Login, err = s.login(ctx, u, credential, &ke1, o, tokenRegister)
	return reply, err
}

func (s *Server) regDone(ctx context.Context, r *wire.RegDone) (*wire.Reply, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	u, t, err := s.openToken(ctx, &r.Token, tokenRegister)
	if err != nil {
		return nil, err
	}
	if !hmac.Equal(r.KE3[:], t.clientMAC[:]) {
		return &wire.Reply{Code: wire.Failed}, nil // there is one login
	}
	event := machine.RegDone{Proof: t.proof, NewGen: newGen()}
	if r.Signature != nil {
		event.Signed = func(row *machine.Row, q *machine.Pending) bool {
			// An owner who knows the keyring's version has signed that none came after it.
			for _, kv := range []uint32{q.BaseKV, 0} {
				message := ownerMessage(s.id, row.ID, row.Gen, wire.OpSwap, swapNonce(q.Registration, q.Upload), int64(kv))
				if ed25519.Verify(row.OwnerKey[:], message, r.Signature[:]) {
					return true
				}
			}
			return false
		}
	}
	_, o, credential, err := s.regStep(ctx, u.index, func(state *machine.State, now int64) machine.Outcome {
		return s.policy.RegDone(state, now, event)
	})
	if err != nil {
		return nil, err
	}
	reply, err := s.reply(ctx, o, credential)
	if err == nil {
		reply.Receipt = o.Receipt
	}
	return reply, err
}
