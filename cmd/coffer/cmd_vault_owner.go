package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/coffer-backup/coffer/keys"
	"github.com/coffer-backup/coffer/vault"
)

const ownerHelp = `With --key-file, which is the newest account key of the record, this needs no password and
works at once, whatever delays there are; it takes a ticket for status and one for owner.
`

func newVaultDelete(u *ui) *cobra.Command {
	var v vaultFlags
	var keyFile string
	var force bool
	cmd := &cobra.Command{
		Use:   "delete --vault URL --credential ID [--key-file KEYFILE] [--force]",
		Short: "Destroy a record for good",
		Long: `Destroy what a vault keeps, for good: the password opens nothing any more. The terminal is
asked first, and where there is none, --force has to say so. A machine that makes backups
with --vault has the key still, and its next backup registers it again: leave --vault out
there first, if it should not. Takes a ticket for recover.

` + ownerHelp + `
` + vaultHelp,
		Args: cobra.NoArgs,
	}
	cmd.RunE = v.run(u, func(ctx context.Context, c *vaultClient) error {
		if !force {
			err := confirm(ctx, fmt.Sprintf("This destroys the record %s for good.", c.credential))
			if errors.Is(err, errNoTerminal) {
				err = usagef("this destroys the record for good, and %w: use --force to do it unasked", err)
			}
			if err != nil {
				return err
			}
		}
		receipt, err := c.asOwner(ctx, u, keyFile, ownerAct{
			password: func(p []byte) (*vault.Receipt, error) { return c.Delete(ctx, c.credential, p) },
			key:      func(k *keys.AccountKey) (*vault.Receipt, error) { return c.DeleteByKey(ctx, c.credential, k) },
		})
		if err != nil {
			return c.heard(u, err)
		}
		if err := c.changed(ctx, u, receipt, c.object("delete"), "the record is destroyed"); err != nil {
			return err
		}
		return c.state.gone(u)
	})
	v.register(cmd.Flags())
	ownerKeyVar(cmd, &keyFile)
	cmd.Flags().BoolVar(&force, "force", false, "do not ask whether it is meant")
	return cmd
}

func newVaultFreeze(u *ui) *cobra.Command {
	var v vaultFlags
	var keyFile string
	var length time.Duration
	cmd := &cobra.Command{
		Use:   "freeze --vault URL --credential ID [--for DURATION] [--key-file KEYFILE]",
		Short: "Have a vault refuse all attempts for some time",
		Long: `Have a vault refuse all attempts for some time: nobody can guess, nor recover. "coffer vault
unfreeze" ends it sooner. Takes a ticket for recover.

` + ownerHelp + `
` + vaultHelp,
		Args: cobra.NoArgs,
	}
	cmd.RunE = v.run(u, func(ctx context.Context, c *vaultClient) error {
		if length <= 0 {
			return usagef("--for: want more than 0")
		}
		until := time.Now().Add(length)
		receipt, err := c.asOwner(ctx, u, keyFile, ownerAct{
			password: func(p []byte) (*vault.Receipt, error) { return c.Freeze(ctx, c.credential, p, until) },
			key: func(k *keys.AccountKey) (*vault.Receipt, error) {
				return c.FreezeByKey(ctx, c.credential, k, until)
			},
		})
		if err != nil {
			return c.heard(u, err)
		}
		o := c.object("freeze")
		o.FrozenUntil = timeOrNil(until)
		return c.changed(ctx, u, receipt, o, fmt.Sprintf("the record is frozen until %s", localTime(until)))
	})
	v.register(cmd.Flags())
	ownerKeyVar(cmd, &keyFile)
	cmd.Flags().DurationVar(&length, "for", 7*24*time.Hour, "`DURATION` of the freeze")
	return cmd
}

func newVaultUnfreeze(u *ui) *cobra.Command {
	var v vaultFlags
	var keyFile string
	cmd := &cobra.Command{
		Use:   "unfreeze --vault URL --credential ID --key-file KEYFILE",
		Short: "End a freeze",
		Long: `End what "coffer vault freeze" began, with the newest account key of the record: a password
does nothing while it is frozen. Takes a ticket for status and one for owner.

` + vaultHelp,
		Args: cobra.NoArgs,
	}
	cmd.RunE = v.run(u, func(ctx context.Context, c *vaultClient) error {
		if keyFile == "" {
			return usagef("--key-file is missing: the account key of the record")
		}
		receipt, err := c.asOwner(ctx, u, keyFile, ownerAct{
			key: func(k *keys.AccountKey) (*vault.Receipt, error) {
				return c.UnfreezeByKey(ctx, c.credential, k)
			},
		})
		if err != nil {
			return c.heard(u, err)
		}
		return c.changed(ctx, u, receipt, c.object("unfreeze"), "the freeze is over")
	})
	v.registerKeyed(cmd.Flags())
	ownerKeyVar(cmd, &keyFile)
	return cmd
}

func ownerKeyVar(cmd *cobra.Command, path *string) {
	cmd.Flags().Var(single{path, "KEYFILE"}, "key-file", "`KEYFILE` with the newest account key of the record")
}

// An ownerAct is what the owner of a record does, in either way.
type ownerAct struct {
	password func([]byte) (*vault.Receipt, error)
	key      func(*keys.AccountKey) (*vault.Receipt, error)
}

// asOwner does it with the key in a file if there is one, else with the password.
func (c *vaultClient) asOwner(ctx context.Context, u *ui, keyFile string, do ownerAct) (*vault.Receipt, error) {
	if keyFile != "" {
		k, err := readAccountKey(ctx, keyFile)
		if err != nil {
			return nil, err
		}
		if err := c.meet(ctx, u); err != nil {
			return nil, err
		}
		return do.key(k)
	}
	password, err := c.readPassword(ctx, u, askKnown)
	if err != nil {
		return nil, err
	}
	defer clear(password)
	return do.password(password)
}
