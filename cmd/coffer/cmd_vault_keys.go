package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/coffer-backup/coffer/keys"
	"github.com/coffer-backup/coffer/vault"
)

// accountFlags name the account key that a command gives to a vault.
type accountFlags struct{ file, new string }

func (a *accountFlags) register(cmd *cobra.Command) {
	cmd.Flags().Var(single{&a.file, "KEYFILE"}, "key-file", "`KEYFILE` with the account key")
	cmd.Flags().Var(single{&a.new, "KEYFILE"}, "new-key", "make the account key in this `KEYFILE`, which must not exist")
}

// load returns the key. A new one is made by make, when the password is there.
func (a *accountFlags) load(ctx context.Context) (*keys.AccountKey, error) {
	switch {
	case (a.file == "") == (a.new == ""):
		return nil, usagef("give either --key-file with the account key, or --new-key to make one")
	case a.new != "":
		return keys.GenerateAccountKey(), nil
	}
	return readAccountKey(ctx, a.file)
}

// make writes the file of a new key.
func (a *accountFlags) make(u *ui, k *keys.AccountKey) error {
	if a.new == "" {
		return nil
	}
	if err := writeKeyFile(a.new, keys.MarshalKeyFile(k)); err != nil {
		return err
	}
	u.newKey(a.new, k, false)
	return nil
}

// kept tells where a new key is that the vault may not have. It returns err.
func (a *accountFlags) kept(u *ui, err error) error {
	if err != nil && a.new != "" {
		u.warn("the new key stays in %s: the vault may not have it", quoteName(a.new))
	}
	return err
}

func (a *accountFlags) path() string { return a.file + a.new }

// readAccountKey reads a file that has an account key and nothing else.
func readAccountKey(ctx context.Context, path string) (*keys.AccountKey, error) {
	found, err := orDone(ctx, func() ([]key, error) { return readKeyFile(path) })
	if err != nil {
		return nil, err
	}
	account, ok := found[0].(accountKey)
	if !ok {
		return nil, usagef("key file %s: a vault keeps account keys, and this is the secret key of a recipient", quoteName(path))
	}
	return account.AccountKey, nil
}

func keyID(k *keys.AccountKey) string { return fmt.Sprintf("%x", k.ID()) }

func newVaultRegister(u *ui) *cobra.Command {
	var v vaultFlags
	var a accountFlags
	var replace bool
	cmd := &cobra.Command{
		Use:   "register --vault URL --credential ID {--key-file | --new-key} KEYFILE",
		Short: "Have a vault keep an account key under a new password",
		Long: `Have a vault keep the account key in KEYFILE under a new password. When the command has
succeeded, the vault has the key and the password opens it: that was tried.

A record that is there already stays. With --replace it is replaced if KEYFILE is the newest
key that it has: that is how a password which was forgotten is set anew. Else use passwd, or
delete first. Takes a ticket for register, and with --replace one for status.

` + vaultHelp,
		Args: cobra.NoArgs,
	}
	cmd.RunE = v.run(func(ctx context.Context, c *vaultClient) error { return c.register(ctx, u, a, replace) })
	v.register(cmd.Flags())
	a.register(cmd)
	cmd.Flags().BoolVar(&replace, "replace", false, "replace the record that is there, of the same key")
	return cmd
}

func (c *vaultClient) register(ctx context.Context, u *ui, a accountFlags, replace bool) error {
	k, err := a.load(ctx)
	if err != nil {
		return err
	}
	if replace && a.new != "" {
		return usagef("--replace takes the key that the record has: a new one is added by coffer vault append")
	}
	ring, err := vault.NewKeyring(k)
	if err != nil {
		return err
	}
	password, err := c.password.read(ctx, "vault password", true)
	if err != nil {
		return err
	}
	defer clear(password)
	if err := a.make(u, k); err != nil { // before the vault has it: no key is only there
		return err
	}
	var replaces *keys.AccountKey
	if replace {
		replaces = k
	}
	receipt, err := c.Register(ctx, c.credential, password, ring, replaces)
	if err := a.kept(u, err); err != nil {
		return err
	}
	o := c.object("register")
	o.KeyIDs, o.Paths = []string{keyID(k)}, []string{a.path()}
	return c.changed(ctx, u, receipt, o, fmt.Sprintf("account key %s is registered: the password gives it back", keyID(k)))
}

func newVaultRecover(u *ui) *cobra.Command {
	var v vaultFlags
	var path string
	cmd := &cobra.Command{
		Use:   "recover --vault URL --credential ID -o KEYFILE",
		Short: "Get an account key back with the password",
		Long: `Get the account key of a record back with its password, into KEYFILE. Of a record with
several keys, KEYFILE has the newest, and KEYFILE.1, KEYFILE.2 and so on have the older
ones. Existing files are never replaced. Takes a ticket for recover.

To restore a backup this is not needed: coffer restore --vault asks the vault itself.

` + vaultHelp,
		Args: cobra.NoArgs,
	}
	cmd.RunE = v.run(func(ctx context.Context, c *vaultClient) error { return c.recoverTo(ctx, u, path) })
	v.register(cmd.Flags())
	cmd.Flags().VarP(single{&path, "KEYFILE"}, "output", "o", "write the key to this `KEYFILE`")
	return cmd
}

func (c *vaultClient) recoverTo(ctx context.Context, u *ui, path string) error {
	if path == "" {
		return usagef("-o KEYFILE is missing: the file that the key is written to")
	}
	if _, err := os.Lstat(path); err == nil { // before it costs a ticket
		return keyFileError(path, fs.ErrExist)
	}
	password, err := c.password.read(ctx, "vault password", false)
	if err != nil {
		return err
	}
	defer clear(password)
	r, err := c.recover(ctx, u, password)
	if err != nil {
		return err
	}
	o := c.object("recover")
	o.Failures = &r.Failures
	all := r.Keyring.Keys()
	for i := range all { // the newest, which is the last, first
		k, name := all[len(all)-1-i], path
		if i > 0 {
			name = fmt.Sprintf("%s.%d", path, i)
		}
		if err := writeKeyFile(name, keys.MarshalKeyFile(k)); err != nil {
			return err
		}
		o.KeyIDs, o.Paths = append(o.KeyIDs, keyID(k)), append(o.Paths, name)
	}
	line := fmt.Sprintf("%s: account key %s", quoteName(path), o.KeyIDs[0])
	if n := len(all) - 1; n > 0 {
		line += fmt.Sprintf(", and %s in %s.1 and so on", count(int64(n), "older one", "older ones"), quoteName(path))
	}
	return u.summary(o, line)
}

func newVaultPasswd(u *ui) *cobra.Command {
	var v vaultFlags
	var next secretFlags
	cmd := &cobra.Command{
		Use:   "passwd --vault URL --credential ID",
		Short: "Change the password of a record",
		Long: `Change the password of a record: its keys are registered anew under the new one, and what
the old one opened is destroyed. Takes a ticket for recover and one for register.

` + vaultHelp,
		Args: cobra.NoArgs,
	}
	cmd.RunE = v.run(func(ctx context.Context, c *vaultClient) error { return c.passwd(ctx, u, next) })
	v.register(cmd.Flags())
	next.register(cmd.Flags(), "new-password", "the new password", "")
	return cmd
}

func (c *vaultClient) passwd(ctx context.Context, u *ui, next secretFlags) error {
	if err := next.check("new-password"); err != nil {
		return err
	}
	old, err := c.password.read(ctx, "vault password", false)
	if err != nil {
		return err
	}
	defer clear(old)
	password, err := next.read(ctx, "vault password", true)
	if err != nil {
		return err
	}
	defer clear(password)
	receipt, err := c.ChangePassword(ctx, c.credential, old, password)
	if err != nil {
		return c.heard(u, err)
	}
	return c.changed(ctx, u, receipt, c.object("passwd"), "the password is changed")
}

func newVaultAppend(u *ui) *cobra.Command {
	var v vaultFlags
	var a accountFlags
	cmd := &cobra.Command{
		Use:   "append --vault URL --credential ID {--key-file | --new-key} KEYFILE",
		Short: "Add a newer account key to a record",
		Long: `Add an account key to those of a record, as the newest: backups made with the older ones
stay readable. Do not use a new key before the command has succeeded: the vault may not
have it until then. Takes two tickets for recover.

` + vaultHelp,
		Args: cobra.NoArgs,
	}
	cmd.RunE = v.run(func(ctx context.Context, c *vaultClient) error { return c.appendKey(ctx, u, a) })
	v.register(cmd.Flags())
	a.register(cmd)
	return cmd
}

func (c *vaultClient) appendKey(ctx context.Context, u *ui, a accountFlags) error {
	k, err := a.load(ctx)
	if err != nil {
		return err
	}
	password, err := c.password.read(ctx, "vault password", false)
	if err != nil {
		return err
	}
	defer clear(password)
	if err := a.make(u, k); err != nil {
		return err
	}
	receipt, err := c.Put(ctx, c.credential, password, func(ring *vault.Keyring) (*vault.Keyring, error) {
		for _, has := range ring.Keys() {
			if has.ID() == k.ID() {
				return nil, errors.New("the record has this key already")
			}
		}
		return ring.Append(k)
	})
	if err := a.kept(u, err); err != nil {
		return c.heard(u, err)
	}
	o := c.object("append")
	o.KeyIDs, o.Paths = []string{keyID(k)}, []string{a.path()}
	return c.changed(ctx, u, receipt, o, fmt.Sprintf("account key %s is added", keyID(k)))
}
