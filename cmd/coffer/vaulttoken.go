package main

import (
	"cmp"
	"context"
	"fmt"

	"github.com/coffer-backup/coffer/backends/pkcs11"
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

// tokenEvaluator opens the keys in the token. The caller closes the token, which may be
// there although there is an error.
func (d *vaultDir) tokenEvaluator(ctx context.Context, h hsmFlags) (evaluator.Evaluator, *tokenKey, error) {
	if !h.given() {
		h.uri = d.config.HSM
	}
	t, err := h.required(ctx)
	if err != nil {
		return nil, nil, err
	}
	token, err := t.openToken(ctx)
	if err != nil {
		return nil, t, err
	}
	ake := make(map[uint16]evaluator.Key)
	for _, k := range d.config.AKE {
		if len(k.Public) != evaluator.PointSize {
			return nil, t, usagef("%s: AKE key %d is no point", quoteName(d.file(vaultConfigFile)), k.ID)
		}
		ake[k.ID] = evaluator.Key{Blob: k.Blob, Public: evaluator.Point(k.Public)}
	}
	e, err := hsm.Open(ctx, token, hsm.Config{Label: d.config.Label, Mode: d.config.Mode, AKE: ake})
	if err != nil {
		return nil, t, fmt.Errorf("mode %s: %w", d.config.Mode, err)
	}
	return e, t, nil
}
