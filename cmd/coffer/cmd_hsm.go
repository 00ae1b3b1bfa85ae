package main

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"

	"github.com/spf13/cobra"

	"github.com/coffer-backup/coffer/backends/pkcs11"
	"github.com/coffer-backup/coffer/format"
)

func newHSM(u *ui) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "hsm",
		Short: "Make a key in a PKCS#11 token, and ask after it",
		Long: `Keys in PKCS#11 tokens: hardware security modules, smart cards, software tokens. Such a
key wraps the key of each container, and never leaves the token.

` + hsmHelp,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newHSMInit(u), newHSMStatus(u), newHSMSelfTest(u))
	return cmd
}

// required returns the token that --hsm or the environment names.
func (h hsmFlags) required(ctx context.Context) (*tokenKey, error) {
	t, err := h.orEnvironment().key(ctx)
	if err == nil && t == nil {
		err = usagef("--hsm URI is missing, and $COFFER_HSM is not set: which token")
	}
	return t, err
}

func newHSMInit(u *ui) *cobra.Command {
	var h hsmFlags
	var mech format.Mech
	cmd := &cobra.Command{
		Use:   "init --hsm URI [--mech NAME]",
		Short: "Make the key in a token that containers are opened with",
		Long: `Make a key in the token: object= and id= of the URI are its names, or "coffer" and a
random id. It cannot be read out. An existing key is never replaced or used.

What is printed on stdout is the URI to use from then on. It has the key's check value,
which tells it from any other key of the same name, so keep it.

Without --mech it is the first of aes-gcm, aes-kw, aes-kwp and rsa-oaep that the token is
seen to do. With rsa-oaep, anyone who has the public half can make a container that the
key opens, so reading such containers needs --allow-anonymous.

` + hsmHelp,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return h.init(cmd.Context(), u, mech)
		},
	}
	h.register(cmd.Flags())
	parsedVar(cmd.Flags(), &mech, "mech", "NAME", "auto", "how it wraps: auto, aes-gcm, aes-kw, aes-kwp or rsa-oaep", parseMech)
	return cmd
}

func parseMech(name string) (format.Mech, error) {
	if name == "auto" {
		return 0, nil
	}
	return format.ParseMech(name)
}

// A hsmKeyObject is a key in a token with --json.
type hsmKeyObject struct {
	Type string `json:"type"`
	tokenRow
	Mech  string `json:"mech"`
	Label string `json:"label"`
	ID    string `json:"id"`
	Check string `json:"check"`
	URI   string `json:"uri"` // with which it is found again

	Health string `json:"health,omitempty"` // of status
}

func (h hsmFlags) init(ctx context.Context, u *ui, mech format.Mech) error {
	t, err := h.required(ctx)
	if err != nil {
		return err
	}
	defer t.close(ctx)
	switch {
	case !t.uri.Key.Check.IsZero():
		return usagef("--hsm: x-coffer-check is of a key that exists: leave it out to make one")
	case t.uri.Key.Type != "":
		return usagef("--hsm: --mech says what sort of key to make: leave out type")
	}
	token, err := t.openToken(ctx)
	if err != nil {
		return err
	}
	info, err := token.Info(ctx)
	if err != nil {
		return err
	}
	key, err := token.GenerateKey(ctx, pkcs11.KeySpec{Label: cmp.Or(t.uri.Key.Label, defaultObject), ID: t.uri.Key.ID, Mech: mech})
	if err != nil {
		return err
	}
	o := newHSMKeyObject(t.uri, info, key)
	u.note("made the %s key %s in token %s, serial %s", o.Mech, quoteName(o.Label), quoteName(o.Token), quoteName(o.Serial))
	u.warn("the key cannot be exported: give backups a second one, such as an account key or a key in another token, or they are lost with it")
	return u.print(o, o.URI)
}

// newHSMKeyObject describes a key that was found with uri.
func newHSMKeyObject(uri *pkcs11.URI, info pkcs11.TokenInfo, key *pkcs11.Key) hsmKeyObject {
	whole := *uri
	whole.Token, whole.Serial, whole.Manufacturer, whole.Model = info.Label, info.Serial, "", ""
	whole.Key = pkcs11.KeyRef{Label: key.Label(), ID: key.ID(), Check: key.CheckValue()}
	return hsmKeyObject{
		Type: "hsm-key", tokenRow: tokenRow{info.Label, info.Serial}, Mech: key.Mech().String(), Label: key.Label(),
		ID: hex.EncodeToString(key.ID()), Check: key.CheckValue().String(), URI: whole.String(),
	}
}

func newHSMStatus(u *ui) *cobra.Command {
	var h hsmFlags
	cmd := &cobra.Command{
		Use:   "status --hsm URI",
		Short: "Show the tokens of a library, or one token and its key",
		Long: `Show every token of the library, without logging in, if the URI names no token and no
key; else the token that it names, the state of its PIN, and the key, whose whole URI is
shown. Without object and id that is the key which coffer would use, if there is one.

` + hsmHelp,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return h.status(cmd.Context(), u)
		},
	}
	h.register(cmd.Flags())
	return cmd
}

func (h hsmFlags) status(ctx context.Context, u *ui) error {
	t, err := h.required(ctx)
	if err != nil {
		return err
	}
	defer t.close(ctx)
	// As openToken does.
	tokens, err := orDone(ctx, func() ([]pkcs11.TokenInfo, error) { return pkcs11.List(ctx, t.uri.Config) })
	if err != nil {
		return err
	}
	for _, info := range tokens {
		if !t.uri.Fits(info) {
			continue
		}
		o := newTokenObject(info)
		if err := u.print(o, o.text()); err != nil {
			return err
		}
	}
	if !t.named {
		return nil
	}
	err = t.prepare(ctx, u) // it finds none or too many tokens, too
	switch {
	case errors.Is(err, pkcs11.ErrKeyNotFound) && !t.keyNamed:
		u.warn("the URI has neither object nor id, and so names the key %s: %v", defaultObject, err)
		return nil
	case err != nil:
		return err
	}
	key, err := t.open(ctx)
	if err != nil {
		return err
	}
	token, _ := t.openToken(ctx)
	info, err := token.Info(ctx)
	if err != nil {
		return err
	}
	if err := token.Health(); err != nil {
		return err
	}
	o := newHSMKeyObject(t.uri, info, key)
	o.Health = "good" // it has wrapped and opened what it wrapped
	return u.print(o, o.text())
}

// A tokenObject is a token with --json.
type tokenObject struct {
	Type         string `json:"type"`
	Label        string `json:"token"`
	Serial       string `json:"serial"`
	Manufacturer string `json:"manufacturer"`
	Model        string `json:"model"`
	Hardware     string `json:"hardware"`
	Firmware     string `json:"firmware"`
	Library      string `json:"library"`
	Module       string `json:"module"`
	Initialized  bool   `json:"initialized"`
	PIN          string `json:"pin"`
	Sessions     int    `json:"sessions"` // -1: the token does not say
}

func newTokenObject(i pkcs11.TokenInfo) tokenObject {
	o := tokenObject{"token", i.Label, i.Serial, i.Manufacturer, i.Model, i.Hardware, i.Firmware, i.Library, i.Module, i.Initialized, "", i.Sessions}
	switch {
	case !i.Initialized:
		o.PIN = "uninitialized"
	case i.PINLocked:
		o.PIN = "locked"
	case i.PINFinalTry:
		o.PIN = "final-try"
	case i.PINCountLow:
		o.PIN = "count-low"
	case i.LoginRequired:
		o.PIN = "required"
	default:
		o.PIN = "none"
	}
	return o
}

// pinTexts are what the states of a PIN mean.
var pinTexts = map[string]string{
	"uninitialized": "the token is not initialized, and cannot be used",
	"locked":        "locked",
	"final-try":     "one try is left",
	"count-low":     "required; wrong ones were given",
	"required":      "required; no wrong one was given",
	"none":          "not required",
}

func (o tokenObject) text() string {
	var r rows
	r.add("token", "%s, serial %s", quoteName(o.Label), quoteName(o.Serial))
	r.add("model", "%s by %s, hardware %s, firmware %s", quoteName(o.Model), quoteName(o.Manufacturer), o.Hardware, o.Firmware)
	r.add("library", "%s, %s", quoteName(o.Module), o.Library)
	r.add("PIN", "%s", pinTexts[o.PIN])
	if o.Sessions >= 0 {
		r.add("sessions", "%d", o.Sessions)
	}
	return r.text()
}

func (o hsmKeyObject) text() string {
	var r rows
	r.add("key", "%s, id %s", quoteName(o.Label), o.ID)
	r.add("mech", "%s", o.Mech)
	r.add("check value", "%s", o.Check)
	r.add("URI", "%s", o.URI)
	r.add("health", "%s", o.Health)
	return r.text()
}
