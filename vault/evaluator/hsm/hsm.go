// Package hsm has the evaluators of a vault whose keys are in a PKCS#11 token.
//
// [Generate] makes the keys, once, and [Open] finds them whenever the vault starts:
//
//	ake, err := hsm.Generate(ctx, token, hsm.Config{Label: "vault", Mode: evaluator.ModeHSM})
//	e, err := hsm.Open(ctx, token, hsm.Config{Label: "vault", Mode: evaluator.ModeHSM, AKE: ake})
//
// In mode hsm no OPRF or AKE key is ever in this process: a key of a record leaves the
// token wrapped under one that stays, and comes back for as long as an evaluation takes.
// In mode sealed the token has only the MAC key and the statement key, and computations
// are those of [evaluator.Sealed]; it is for tokens that do not wrap, or do not give
// away what ECDH gives. Which modes a token has is found by doing: a mode that it does
// not have is an error, and never becomes another one.
//
// The keys have the labels
//
//	LABEL-kek        AES-256, wraps OPRF keys (mode hsm)
//	LABEL-mac        HMAC-SHA256
//	LABEL-statement  P-256, ECDSA
//	LABEL-ake-ID     P-256, ECDH (mode hsm)
//
// Records live as long as the first two: without a copy of the token, in another one of
// its kind, they are lost with it.
package hsm

import (
	"context"
	"crypto/ecdh"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/coffer-backup/coffer/backends"
	"github.com/coffer-backup/coffer/backends/pkcs11"
	"github.com/coffer-backup/coffer/vault/evaluator"
)

// OnlyFiles is among the guarantees of a token that keeps its keys in files.
const OnlyFiles = "THIS TOKEN IS FILES ON THIS MACHINE: it protects no more than mode " + evaluator.ModeSoftware + " does."

// FirstAKE is the id of the AKE key that Generate makes.
const FirstAKE uint16 = 1

// A Config says which keys of a token are those of the vault.
type Config struct {
	Label string // what the labels of the keys begin with
	Mode  string // evaluator.ModeHSM or evaluator.ModeSealed
	// AKE are the AKE keys by their ids, as Generate and GenerateAKE returned them. In
	// mode hsm they have no blob.
	AKE map[uint16]evaluator.Key
}

func (c *Config) check() error {
	if c.Label == "" {
		return errors.New("the keys need a label")
	}
	if c.Mode != evaluator.ModeHSM && c.Mode != evaluator.ModeSealed {
		return fmt.Errorf("mode %q is none of a token: use %q or %q", c.Mode, evaluator.ModeHSM, evaluator.ModeSealed)
	}
	return nil
}

func (c *Config) akeLabel(id uint16) string { return fmt.Sprintf("%s-ake-%d", c.Label, id) }

// ref names the keys of the token, those for the AKE with these ids.
func (c *Config) ref(ids ...uint16) pkcs11.VaultRef {
	ref := pkcs11.VaultRef{MAC: c.Label + "-mac", Signing: c.Label + "-statement"}
	if c.Mode == evaluator.ModeHSM {
		ref.Wrapping = c.Label + "-kek"
		for _, id := range ids {
			ref.Agreement = append(ref.Agreement, c.akeLabel(id))
		}
	}
	return ref
}

// Generate makes the keys of a new vault in the token and returns its AKE key by its id,
// which is to be kept for Open. c.AKE is not used. It refuses where a key with one of the
// labels is.
func Generate(ctx context.Context, t *pkcs11.Token, c Config) (map[uint16]evaluator.Key, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("hsm: making keys: %w", err)
	}
	keys, err := t.GenerateVaultKeys(ctx, c.ref(FirstAKE))
	if err != nil {
		return nil, fmt.Errorf("hsm: %w", unable(c.Mode, err))
	}
	key, err := c.newAKE(ctx, keys, FirstAKE)
	if err != nil {
		return nil, fmt.Errorf("hsm: making the AKE key: %w", err)
	}
	return map[uint16]evaluator.Key{FirstAKE: key}, nil
}

// GenerateAKE makes one more AKE key for the vault of c, which has no key of that id.
func GenerateAKE(ctx context.Context, t *pkcs11.Token, c Config, id uint16) (evaluator.Key, error) {
	err := c.check()
	if _, used := c.AKE[id]; used && err == nil {
		err = fmt.Errorf("there is an AKE key with the id %d", id)
	}
	if err != nil {
		return evaluator.Key{}, fmt.Errorf("hsm: making an AKE key: %w", err)
	}
	var keys *pkcs11.VaultKeys
	if c.Mode == evaluator.ModeHSM {
		keys, err = t.GenerateVaultKeys(ctx, pkcs11.VaultRef{Agreement: []string{c.akeLabel(id)}})
	} else {
		keys, err = t.VaultKeys(ctx, c.ref())
	}
	if err != nil {
		return evaluator.Key{}, fmt.Errorf("hsm: %w", unable(c.Mode, err))
	}
	key, err := c.newAKE(ctx, keys, id)
	if err != nil {
		return evaluator.Key{}, fmt.Errorf("hsm: making an AKE key: %w", err)
	}
	return key, nil
}

// newAKE returns what the token has of the key, or seals a new one.
func (c *Config) newAKE(ctx context.Context, keys *pkcs11.VaultKeys, id uint16) (evaluator.Key, error) {
	if c.Mode == evaluator.ModeHSM {
		public, err := compressed(keys.AgreementKey(c.akeLabel(id)))
		return evaluator.Key{Public: public}, err
	}
	scalar := evaluator.NewScalar()
	defer scalar.Wipe()
	return evaluator.SealAKE(ctx, keys, id, &scalar)
}

// Open finds the keys and tries all that a vault does with them, so that it waits for
// the token. The error wraps backends.ErrUnavailable if the token does not have the mode.
// The evaluator lasts as long as the token is open.
func Open(ctx context.Context, t *pkcs11.Token, c Config) (evaluator.Evaluator, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("hsm: %w", err)
	}
	keys, err := t.VaultKeys(ctx, c.ref(slices.Sorted(maps.Keys(c.AKE))...))
	if err != nil {
		return nil, fmt.Errorf("hsm: %w", unable(c.Mode, err))
	}
	public, err := keys.SigningKey().ECDH()
	if err != nil {
		return nil, fmt.Errorf("hsm: statement key: %w", err)
	}
	statement, err := compressed(public)
	if err != nil {
		return nil, fmt.Errorf("hsm: statement key: %w", err)
	}
	var e evaluator.Evaluator
	if c.Mode == evaluator.ModeHSM {
		e, err = openInToken(ctx, keys, &c, statement)
	} else {
		e, err = evaluator.NewSealed(ctx, keys, statement, c.AKE)
	}
	if err != nil {
		return nil, fmt.Errorf("hsm: starting in mode %s: %w", c.Mode, err)
	}
	token, err := t.Info(ctx)
	if err != nil {
		return nil, fmt.Errorf("hsm: %w", err)
	}
	if inFiles(token.Manufacturer) || inFiles(token.Model) {
		e = onlyFiles{e}
	}
	return e, nil
}

// inFiles reports whether a manufacturer or a model is of a token without a device.
func inFiles(name string) bool {
	return strings.Contains(name, "SoftHSM") || name == "NSS" || strings.HasPrefix(name, "NSS ")
}

// onlyFiles is the evaluator of such a token, which does all that a device does.
type onlyFiles struct{ evaluator.Evaluator }

// Info says first what the rest is worth.
func (e onlyFiles) Info() evaluator.Info {
	info := e.Evaluator.Info()
	info.Guarantees = append([]string{OnlyFiles}, info.Guarantees...)
	return info
}

// unable adds to an error about what the token cannot do which mode is for it.
func unable(mode string, err error) error {
	if mode == evaluator.ModeHSM && errors.Is(err, backends.ErrUnavailable) {
		return fmt.Errorf("mode %s: %w; a new vault can have mode %s with it", mode, err, evaluator.ModeSealed)
	}
	return err
}

func compressed(public *ecdh.PublicKey) (evaluator.Point, error) {
	p, err := point(public.Bytes())
	if err != nil {
		return evaluator.Point{}, err
	}
	return evaluator.Point(p.BytesCompressed()), nil
}
