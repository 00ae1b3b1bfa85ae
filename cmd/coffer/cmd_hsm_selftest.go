package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/coffer-backup/coffer/backends"
	"github.com/coffer-backup/coffer/backends/pkcs11"
	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/keys"
)

func newHSMSelfTest(u *ui) *cobra.Command {
	var h hsmFlags
	cmd := &cobra.Command{
		Use:   "selftest --hsm URI",
		Short: "Try what a token can do, and whether the key works",
		Long: `Try every way to wrap in the token, whether it can encrypt data (--backend pkcs11), and
whether the key opens again what it wrapped, and measure each. What a token lists as its
mechanisms is not believed. Exit status 1 if the key does not work.

` + hsmHelp,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return h.selfTest(cmd.Context(), u)
		},
	}
	h.register(cmd.Flags())
	return cmd
}

func (h hsmFlags) selfTest(ctx context.Context, u *ui) error {
	t, err := h.required(ctx)
	if err != nil {
		return err
	}
	defer t.close(ctx)
	token, err := t.openToken(ctx)
	if err != nil {
		return err
	}
	row, err := newTokenRow(ctx, token)
	if err != nil {
		return err
	}
	if err := row.listMechs(ctx, u, token); err != nil {
		return err
	}
	bulk, err := row.testBulk(ctx, token)
	if err != nil {
		return err
	}
	if err := u.print(bulk, bulk.text()); err != nil {
		return err
	}
	if err := t.prepare(ctx, u); err != nil {
		return err
	}
	key, err := t.open(ctx)
	if err != nil {
		return err
	}
	o, err := row.testKey(ctx, key)
	if err != nil {
		return err
	}
	return u.print(o, o.text())
}

// A tokenRow says in an object of --json which token it is about.
type tokenRow struct {
	Token  string `json:"token,omitempty"`
	Serial string `json:"serial,omitempty"`
}

func newTokenRow(ctx context.Context, token *pkcs11.Token) (tokenRow, error) {
	info, err := token.Info(ctx)
	return tokenRow{info.Label, info.Serial}, err
}

// A mechObject is a way to wrap with --json.
type mechObject struct {
	Type string `json:"type"`
	tokenRow
	Mech   string `json:"mech"`
	Proved bool   `json:"proved"`
	Reason string `json:"reason,omitempty"` // why not
}

func (o mechObject) text() string {
	var r rows
	if o.Proved {
		r.add(o.Mech, "proved")
	} else {
		r.add(o.Mech, "no: %s", o.Reason)
	}
	return r.text()
}

func (r tokenRow) listMechs(ctx context.Context, u *ui, token *pkcs11.Token) error {
	modes, err := token.Probe(ctx)
	if err != nil {
		return err
	}
	for _, m := range modes {
		o := mechObject{Type: "hsm-mech", tokenRow: r, Mech: m.Mech.String(), Proved: m.Err == nil}
		if m.Err != nil {
			o.Reason = m.Err.Error()
		}
		if err := u.print(o, o.text()); err != nil {
			return err
		}
	}
	return nil
}

// testBulk returns a row of "coffer backends". That the token refuses is no error, but
// that it fails is one.
func (r tokenRow) testBulk(ctx context.Context, token *pkcs11.Token) (backendObject, error) {
	o := backendObject{Type: "backend", tokenRow: r, Name: "pkcs11", Suite: format.AES256GCM.String(), SelfTest: "refused"}
	b, err := token.Bulk(ctx)
	if err == nil {
		o, err = testSuite(ctx, b, format.AES256GCM)
		o.tokenRow = r
		return o, err
	}
	if !errors.Is(err, backends.ErrUnavailable) {
		return o, err
	}
	o.Reason = err.Error()
	return o, nil
}

func (o backendObject) text() string {
	var r rows
	if o.Reason != "" {
		r.add("bulk", "no: %s", o.Reason)
	} else {
		r.add("bulk", "%s %s, seals %s, opens %s", o.Suite, o.SelfTest, perSecond(o.Seal), perSecond(o.Open))
	}
	return r.text()
}

// keyTestObject says that a key works, with --json.
type keyTestObject struct {
	Type string `json:"type"`
	tokenRow
	Label    string  `json:"label"`
	Mech     string  `json:"mech"`
	SelfTest string  `json:"self_test"`
	Wrap     float64 `json:"wraps_per_second"`
	Unwrap   float64 `json:"unwraps_per_second"`
}

func (o keyTestObject) text() string {
	var r rows
	r.add("key", "%s, %s: %s, %.0f wraps/s, %.0f unwraps/s", quoteName(o.Label), o.Mech, o.SelfTest, o.Wrap, o.Unwrap)
	return r.text()
}

// testKey wraps, opens again, and measures both.
func (r tokenRow) testKey(ctx context.Context, key *pkcs11.Key) (o keyTestObject, err error) {
	if err := key.SelfTest(ctx); err != nil {
		return o, err
	}
	var core format.Core
	fk := keys.NewFileKey()
	defer fk.Erase()
	slot, err := key.Wrap(ctx, core, fk)
	if err != nil {
		return o, err
	}
	again, err := key.Unwrap(ctx, core, slot)
	if err != nil {
		return o, fmt.Errorf("what the key wrapped it does not open: %w", err)
	}
	defer again.Erase()
	if string(again.Bytes()) != string(fk.Bytes()) {
		return o, errors.New("what the key wrapped opens to another key")
	}
	o = keyTestObject{Type: "hsm-selftest", tokenRow: r, Label: key.Label(), Mech: key.Mech().String(), SelfTest: "passed"}
	o.Wrap, err = perSecondOf(func() error {
		_, err := key.Wrap(ctx, core, fk)
		return err
	})
	if err != nil {
		return o, err
	}
	o.Unwrap, err = perSecondOf(func() error {
		_, err := key.Unwrap(ctx, core, slot)
		return err
	})
	return o, err
}

// perSecondOf calls do, at least once, for speedTime.
func perSecondOf(do func() error) (float64, error) {
	start := time.Now()
	for n := 1; ; n++ {
		if err := do(); err != nil {
			return 0, err
		}
		if d := time.Since(start); d >= speedTime {
			return float64(n) / d.Seconds(), nil
		}
	}
}
