package hsm

import (
	"context"
	"crypto/ecdh"
	"crypto/subtle"
	"errors"
	"fmt"
	"maps"
	"slices"

	"filippo.io/nistec"

	"github.com/coffer-backup/coffer/backends/pkcs11"
	"github.com/coffer-backup/coffer/vault/evaluator"
)

// inToken is mode hsm.
type inToken struct {
	evaluator.Token // MAC and Sign
	keys            *pkcs11.VaultKeys
	info            evaluator.Info
	label           func(ake uint16) string
}

func openInToken(ctx context.Context, keys *pkcs11.VaultKeys, c *Config, statement evaluator.Point) (*inToken, error) {
	if len(c.AKE) == 0 {
		return nil, errors.New("no AKE key")
	}
	t := &inToken{keys, keys, evaluator.Info{
		Mode:      evaluator.ModeHSM,
		AKE:       map[uint16]evaluator.Point{},
		Statement: statement,
	}, c.akeLabel}
	for id, key := range c.AKE {
		public, err := compressed(keys.AgreementKey(c.akeLabel(id)))
		if err != nil {
			return nil, err
		}
		if len(key.Blob) > 0 || public != key.Public {
			return nil, fmt.Errorf("AKE key %d of the token is not that of the configuration", id)
		}
		t.info.AKE[id] = public
	}
	if err := t.test(ctx); err != nil {
		return nil, err
	}
	exposures, err := keys.Exposures(ctx)
	if err != nil {
		return nil, err
	}
	t.info.Guarantees = guarantees(exposures)
	return t, nil
}

// test evaluates as for a login, with each AKE key, and knows the result.
func (t *inToken) test(ctx context.Context) error {
	s := evaluator.NewScalar()
	defer s.Wipe()
	agrees := func(public evaluator.Point, multiply func(evaluator.Point) (evaluator.Point, error)) error {
		got, err := multiply(s.Public())
		if err != nil {
			return err
		}
		if want, err := s.Mul(public); err != nil || got != want {
			return errFault
		}
		return nil
	}
	key, err := t.NewKey(ctx)
	if err != nil {
		return err
	}
	err = agrees(key.Public, func(p evaluator.Point) (evaluator.Point, error) { return t.Evaluate(ctx, key, p) })
	for id, public := range t.info.AKE {
		if err == nil {
			err = agrees(public, func(p evaluator.Point) (evaluator.Point, error) { return t.Agree(ctx, id, p) })
		}
	}
	return err
}

// guarantees says what mode hsm is worth with a token that has these exposures.
func guarantees(exposures []string) (all []string) {
	all = append(all,
		"OPRF and AKE keys are used in the token alone. Whoever copies the store, or all files of this machine, cannot try a single password without the token.")
	if len(exposures) == 0 {
		all = append(all,
			"Online guesses only: whoever controls this machine, or has the PIN and the token, can try passwords without a limit, but each try needs the token and a whole computation of the password's hash. At this start the token refused every way tried to get a key out of it.")
	} else {
		all = append(all,
			"As sealed: this token does not refuse to let keys out. Whoever controls this machine, or has the PIN and the token, can take the keys of all records out of it, and then try passwords offline for as long as they like. Only the strength of each password stands against that.")
		for _, e := range exposures {
			all = append(all, "Seen at this start: "+e+".")
		}
	}
	return append(all,
		"A key of a record may leave the token while it is being made: whoever controls this machine at that moment can copy it.",
		"Attempts are counted by this program and not by the token: everyone without the token has only as many as are allowed.",
		"What is destroyed is gone from the store, but an old copy of the store and the token give it back.")
}

// Info says what the evaluator is.
func (t *inToken) Info() evaluator.Info {
	info := t.info
	info.AKE = maps.Clone(info.AKE)
	info.Guarantees = slices.Clone(info.Guarantees)
	return info
}

// NewKey makes an OPRF key in the token.
func (t *inToken) NewKey(ctx context.Context) (evaluator.Key, error) {
	key, err := t.keys.NewKey(ctx)
	if err != nil {
		return evaluator.Key{}, err
	}
	public, err := compressed(key.Public)
	return evaluator.Key{Blob: key.Blob, Public: public}, err
}

// Evaluate returns k·blinded.
func (t *inToken) Evaluate(ctx context.Context, key evaluator.Key, blinded evaluator.Point) (evaluator.Point, error) {
	p, err := multiply(key.Public, blinded, func(public *ecdh.PublicKey, points ...*ecdh.PublicKey) ([][]byte, error) {
		return t.keys.ECDH(ctx, pkcs11.ECKey{Blob: key.Blob, Public: public}, points...)
	})
	if err != nil {
		return evaluator.Point{}, fmt.Errorf("hsm: evaluating: %w", err)
	}
	return p, nil
}

// Agree returns a·share.
func (t *inToken) Agree(ctx context.Context, ake uint16, share evaluator.Point) (evaluator.Point, error) {
	public, ok := t.info.AKE[ake]
	if !ok {
		return evaluator.Point{}, fmt.Errorf("hsm: no AKE key has the id %d", ake)
	}
	p, err := multiply(public, share, func(_ *ecdh.PublicKey, points ...*ecdh.PublicKey) ([][]byte, error) {
		return t.keys.Agree(ctx, t.label(ake), points...)
	})
	if err != nil {
		return evaluator.Point{}, fmt.Errorf("hsm: using AKE key %d: %w", ake, err)
	}
	return p, nil
}

var errFault = errors.New("the token gave a wrong result, or the public half of the key is another's")

// multiply returns kB for a token that has k and gives x-coordinates only. With K = kG
// known, x1 = x(kB) leaves kB and −kB, and x2 = x(k(B+G)) = x(kB + K) is true of one of
// them: were it of both, 2kB or 2K would be the identity, and the order is a prime. That
// neither fits is a fault of the token's, or another K.
//
// The token computes with B' = B + rG in place of B, for a random r: nobody chooses what
// it multiplies, and no B is special. Then kB = kB' − rK.
func multiply(public, b evaluator.Point, derive func(public *ecdh.PublicKey, points ...*ecdh.PublicKey) ([][]byte, error)) (evaluator.Point, error) {
	B, err := nistec.NewP256Point().SetBytes(b[:])
	if err != nil {
		return evaluator.Point{}, evaluator.ErrPoint
	}
	K, err := point(public[:])
	if err != nil {
		return evaluator.Point{}, err
	}
	k, err := ecdh.P256().NewPublicKey(K.Bytes())
	if err != nil {
		return evaluator.Point{}, err
	}
	r, points, err := blind(B)
	if err != nil {
		return evaluator.Point{}, err
	}
	defer r.Wipe()
	x, err := derive(k, points...)
	if err != nil {
		return evaluator.Point{}, err
	}
	defer clear(x[0])
	defer clear(x[1])
	Z, err := choose(K, x[0], x[1])
	if err != nil {
		return evaluator.Point{}, err
	}
	return unblind(Z, public, &r)
}

// blind returns a random r and B + rG, B + rG + G.
func blind(B *nistec.P256Point) (r evaluator.Scalar, points []*ecdh.PublicKey, err error) {
	for {
		r = evaluator.NewScalar()
		rG := r.Public()
		b, err := point(rG[:])
		if err != nil {
			return r, nil, err
		}
		b.Add(b, B)
		next := nistec.NewP256Point().SetGenerator()
		next.Add(next, b)
		// The identity, once in 2^255 times, has another encoding, which is refused.
		first, err1 := ecdh.P256().NewPublicKey(b.Bytes())
		second, err2 := ecdh.P256().NewPublicKey(next.Bytes())
		if err1 == nil && err2 == nil {
			return r, []*ecdh.PublicKey{first, second}, nil
		}
	}
}

// unblind returns Z − rK.
func unblind(Z *nistec.P256Point, public evaluator.Point, r *evaluator.Scalar) (evaluator.Point, error) {
	rK, err := r.Mul(public)
	if err != nil {
		return evaluator.Point{}, err
	}
	rK[0] ^= 1 // the other point of that x is −rK
	minus, err := point(rK[:])
	if err != nil {
		return evaluator.Point{}, err
	}
	z := minus.Add(Z, minus).BytesCompressed()
	if len(z) != evaluator.PointSize { // the identity, which no multiple of B is
		return evaluator.Point{}, errFault
	}
	return evaluator.Point(z), nil
}

// choose returns the point with the x-coordinate x1 whose sum with K has x2. Which of two
// it is, and so the time, depends on r.
func choose(K *nistec.P256Point, x1, x2 []byte) (*nistec.P256Point, error) {
	for _, sign := range []byte{2, 3} {
		Z, err := nistec.NewP256Point().SetBytes(append([]byte{sign}, x1...))
		if err != nil {
			return nil, errFault
		}
		x, err := nistec.NewP256Point().Add(Z, K).BytesX()
		if err == nil && subtle.ConstantTimeCompare(x, x2) == 1 {
			return Z, nil
		}
	}
	return nil, errFault
}

// point decodes what the vault itself chose: if it is none that is no evaluator.ErrPoint,
// which is about what others sent.
func point(b []byte) (*nistec.P256Point, error) {
	p, err := nistec.NewP256Point().SetBytes(b)
	if err != nil || len(b) == 1 {
		return nil, errors.New("the public half of the key is no point of P-256")
	}
	return p, nil
}
