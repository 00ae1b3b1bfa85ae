package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/coffer-backup/coffer/backends/pkcs11"
	"github.com/coffer-backup/coffer/vault"
	"github.com/coffer-backup/coffer/vault/evaluator"
	"github.com/coffer-backup/coffer/vault/evaluator/hsm"
)

// makeTokenKeys makes the keys of a vault in the token of the flags, and notes in the
// configuration how they are found.
func (s *vaultSpec) makeTokenKeys(ctx context.Context, d *vaultDir) (evaluator.Info, error) {
	t, err := s.hsm.required(ctx)
	if err != nil {
		return evaluator.Info{}, err
	}
	defer t.close(ctx)
	if t.keyNamed {
		return evaluator.Info{}, usagef("--hsm: a vault has several keys in the token: leave out object and id, and name them by --label")
	}
	token, err := t.openToken(ctx)
	if err != nil {
		return evaluator.Info{}, err
	}
	info, err := token.Info(ctx)
	if err != nil {
		return evaluator.Info{}, err
	}
	c := &d.config
	c.Label = cmp.Or(s.label, "coffer-vault-"+c.ID[:8])
	whole := *t.uri
	whole.Token, whole.Serial, whole.Manufacturer, whole.Model, whole.Key = info.Label, info.Serial, "", "", pkcs11.KeyRef{}
	c.HSM = whole.String()
	ake, err := hsm.Generate(ctx, token, hsm.Config{Label: c.Label, Mode: c.Mode})
	if err != nil {
		return evaluator.Info{}, err
	}
	for id, k := range ake { // there is one
		c.AKE = append(c.AKE, tokenAKE{id, k.Public[:], k.Blob})
	}
	e, err := hsm.Open(ctx, token, hsm.Config{Label: c.Label, Mode: c.Mode, AKE: ake})
	if err != nil {
		return evaluator.Info{}, err
	}
	return e.Info(), nil
}

// leftInToken adds to the error of a failed init what became of the token.
func (d *vaultDir) leftInToken(err error) error {
	switch {
	case d.config.Label == "":
		return err
	case errors.Is(err, pkcs11.ErrKeyExists): // not wrapped, as its advice is that of coffer hsm
		return fmt.Errorf("%v; nothing was made: give another --label", err)
	}
	return fmt.Errorf("%w; keys whose labels begin with %s may be left in the token: remove them with its own tool, and give another --label to try again without that",
		err, quoteName(d.config.Label+"-"))
}

// openToken opens the token of the vault's keys, or that of the flags in its place. The
// caller closes what is not nil, which may be there although there is an error.
func (d *vaultDir) openToken(ctx context.Context, h hsmFlags) (*tokenKey, *pkcs11.Token, error) {
	if !h.given() {
		h.uri = d.config.HSM
	}
	t, err := h.required(ctx)
	if err != nil {
		return nil, nil, err
	}
	token, err := t.openToken(ctx)
	return t, token, err
}

// tokenKeys names the vault's keys in its token.
func (d *vaultDir) tokenKeys() (hsm.Config, error) {
	c := hsm.Config{Label: d.config.Label, Mode: d.config.Mode, AKE: make(map[uint16]evaluator.Key)}
	for _, k := range d.config.AKE {
		if len(k.Public) != evaluator.PointSize {
			return c, usagef("%s: AKE key %d is no point", quoteName(d.file(vaultConfigFile)), k.ID)
		}
		c.AKE[k.ID] = evaluator.Key{Blob: k.Blob, Public: evaluator.Point(k.Public)}
	}
	return c, nil
}

// tokenEvaluator opens the keys in the token. The caller closes the token, which may be
// there although there is an error.
func (d *vaultDir) tokenEvaluator(ctx context.Context, h hsmFlags) (evaluator.Evaluator, *tokenKey, error) {
	t, token, err := d.openToken(ctx, h)
	if err != nil {
		return nil, t, err
	}
	c, err := d.tokenKeys()
	if err != nil {
		return nil, t, err
	}
	e, err := hsm.Open(ctx, token, c)
	if err != nil {
		return nil, t, fmt.Errorf("mode %s: %w", d.config.Mode, err)
	}
	return e, t, nil
}

// newTokenAKE makes one more AKE key and notes it in the configuration.
func (d *vaultDir) newTokenAKE(ctx context.Context, h hsmFlags) (made vault.AKE, err error) {
	t, token, err := d.openToken(ctx, h)
	if t != nil {
		defer t.close(ctx)
	}
	if err != nil {
		return made, err
	}
	c, err := d.tokenKeys()
	if err != nil {
		return made, err
	}
	id, err := nextAKE(c.AKE)
	if err != nil {
		return made, err
	}
	key, err := hsm.GenerateAKE(ctx, token, c, id)
	// One may be left of a time when it could not be noted.
	for ; errors.Is(err, pkcs11.ErrKeyExists) && id < math.MaxUint16; key, err = hsm.GenerateAKE(ctx, token, c, id) {
		id++
	}
	if err != nil {
		return made, err
	}
	d.config.AKE = append(d.config.AKE, tokenAKE{id, key.Public[:], key.Blob})
	text, err := d.config.text()
	if err == nil {
		err = d.replace(vaultConfigFile, text)
	}
	return vault.AKE{ID: id, Key: key.Public[:]}, err
}
