package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/coffer-backup/coffer/vault"
)

func newVault(u *ui) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "vault",
		Short: "Keep an account key behind a password, or run the vault that does",
		Long: `A backup key vault keeps an account key, and gives it back to whoever knows a password: it
learns neither, counts attempts, and destroys what it keeps when too many have failed.

register, recover, passwd, append, delete, freeze, unfreeze and status are for owners of
keys; coffer backup and coffer restore with --vault do what most people need. init, serve,
ticket and sign are for who runs a vault.

` + vaultHelp,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		newVaultInit(u), newVaultServe(u), newVaultTicket(u), newVaultSign(u),
		newVaultRegister(u), newVaultRecover(u), newVaultPasswd(u), newVaultAppend(u),
		newVaultDelete(u), newVaultFreeze(u), newVaultUnfreeze(u), newVaultStatus(u),
	)
	return cmd
}

// A refusal is what an error tells of a record, for programs.
type refusal struct {
	AttemptsLeft *uint8     `json:"attempts_left,omitempty"`
	RetryAt      *time.Time `json:"retry_at,omitempty"`
}

func newRefusal(err error) (r refusal) {
	var wrong *vault.WrongPasswordError
	var state *vault.StateError
	switch {
	case errors.As(err, &wrong):
		r.AttemptsLeft, r.RetryAt = &wrong.Left, timeOrNil(wrong.Ready)
	case errors.As(err, &state):
		if state.Max != 0 {
			r.AttemptsLeft = &state.Left
		}
		r.RetryAt = timeOrNil(state.Until)
	case isAs[*vault.TombstoneError](err):
		r.AttemptsLeft = new(uint8)
	}
	return r
}

func timeOrNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// A vaultObject is the result of a command with --json.
type vaultObject struct {
	Type        string     `json:"type"`
	Command     string     `json:"command"`
	Credential  string     `json:"credential"`
	KeyIDs      []string   `json:"key_ids,omitempty"` // the newest first
	Paths       []string   `json:"paths,omitempty"`   // of the keys
	Failures    *int       `json:"failed_attempts,omitempty"`
	FrozenUntil *time.Time `json:"frozen_until,omitempty"`
}

// A recordObject is how a record is, with --json.
type recordObject struct {
	Type       string `json:"type"`
	Credential string `json:"credential"`
	State      string `json:"state"` // active, waiting or frozen
	refusal
	AttemptsMax uint8      `json:"attempts_max"`
	FrozenUntil *time.Time `json:"frozen_until,omitempty"`
}

func (c *vaultClient) object(command string) vaultObject {
	return vaultObject{Type: "summary", Command: command, Credential: c.credential}
}

// changed ends a command that changed the record.
func (c *vaultClient) changed(ctx context.Context, u *ui, r *vault.Receipt, o vaultObject, line string) error {
	if err := c.saw(ctx, u, r); err != nil {
		return err
	}
	return u.summary(o, line)
}

// run returns the RunE of a command with the flags v.
func (v *vaultFlags) run(u *ui, do func(context.Context, *vaultClient) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, _ []string) error {
		c, err := v.orEnvironment().dial(cmd.Context(), u)
		if err == nil {
			err = c.tickets.check()
		}
		if err != nil {
			return err
		}
		return do(cmd.Context(), c)
	}
}

func newVaultStatus(u *ui) *cobra.Command {
	var v vaultFlags
	cmd := &cobra.Command{
		Use:   "status --vault URL --credential ID",
		Short: "Show how many attempts a record has left",
		Long: `Show how many attempts a record has left, and whether it is frozen. A vault does not tell a
record that nobody has guessed at from none, nor from one that got lost: on the machine that
makes backups, a backup with --vault says if the record was destroyed. Nor is it told that a
record has had 12 attempts within 12 minutes, and waits. Takes a ticket for status.

` + vaultHelp,
		Args: cobra.NoArgs,
	}
	cmd.RunE = v.run(u, func(ctx context.Context, c *vaultClient) error { return c.status(ctx, u) })
	v.registerKeyed(cmd.Flags())
	return cmd
}

func (c *vaultClient) status(ctx context.Context, u *ui) error {
	if err := c.meet(ctx, u); err != nil {
		return err
	}
	s, err := c.Status(ctx, c.credential)
	if err != nil {
		return c.heard(u, err)
	}
	o := recordObject{"vault-record", c.credential, "active", refusal{&s.Left, timeOrNil(s.Ready)}, s.Max, timeOrNil(s.FrozenUntil)}
	var r rows
	r.add("record", "%s", c.credential)
	r.add("attempts", "%d of %d left", s.Left, s.Max)
	switch {
	case s.Frozen && s.FrozenUntil.IsZero():
		o.State = "frozen"
		r.add("state", "frozen by the vault's operator")
	case s.Frozen:
		o.State = "frozen"
		r.add("state", "frozen until %s", localTime(s.FrozenUntil))
	case !s.Ready.IsZero() && time.Until(s.Ready) > 0:
		o.State = "waiting"
		r.add("state", "no attempt before %s", localTime(s.Ready))
	default:
		r.add("state", "no delay: an attempt can be made, unless there were too many lately")
	}
	return u.print(o, r.text())
}

func localTime(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05 MST") }
