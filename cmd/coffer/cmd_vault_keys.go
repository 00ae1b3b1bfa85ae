package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/coffer-backup/coffer/internal/durable"
	"github.com/coffer-backup/coffer/keys"
	"github.com/coffer-backup/coffer/vault"
)

// accountFlags name the account keys that a command gives to a vault.
type accountFlags struct {
	files []string // the newest last
	new   string
}

func (a *accountFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&a.files, "key-file", nil, "`KEYFILE` with an account key; of several the newest comes last")
	cmd.Flags().Var(single{&a.new, "KEYFILE"}, "new-key", "make the account key in this `KEYFILE`, which must not exist")
}

// load returns the keys. A new one is made by make, when the password is there.
func (a *accountFlags) load(ctx context.Context) (*vault.Keyring, error) {
	switch {
	case (len(a.files) == 0) == (a.new == ""):
		return nil, usagef("give either --key-file with the account key, or --new-key to make one")
	case a.new != "":
		return vault.NewKeyring(keys.GenerateAccountKey())
	}
	var all []*keys.AccountKey
	for _, path := range a.files {
		if path == "" { // a variable that is not set
			return nil, usagef("--key-file: it is empty")
		}
		k, err := readAccountKey(ctx, path)
		if err != nil {
			return nil, err
		}
		if contains(all, k) {
			return nil, usagef("--key-file %s: this key is given twice", quoteName(path))
		}
		all = append(all, k)
	}
	if len(all) > vault.MaxKeys {
		return nil, usagef("%d keys are too many: a record has at most %d", len(all), vault.MaxKeys)
	}
	return vault.NewKeyring(all...)
}

// make writes the file of a new key.
func (a *accountFlags) make(u *ui, ring *vault.Keyring) error {
	if a.new == "" {
		return nil
	}
	k := ring.Newest()
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

// tell adds the keys to o and returns them for people.
func (a *accountFlags) tell(o *vaultObject, ring *vault.Keyring) string {
	for _, k := range slices.Backward(ring.Keys()) {
		o.KeyIDs = append(o.KeyIDs, keyID(k))
	}
	o.Paths = slices.Clone(a.files)
	slices.Reverse(o.Paths)
	if a.new != "" {
		o.Paths = []string{a.new}
	}
	if len(o.KeyIDs) == 1 {
		return "account key " + o.KeyIDs[0] + " is"
	}
	return "account keys " + strings.Join(o.KeyIDs, ", ") + " are"
}

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
		Use:   "register --vault URL --credential ID {--key-file KEYFILE... | --new-key KEYFILE}",
		Short: "Have a vault keep account keys under a new password",
		Long: `Have a vault keep the account key in KEYFILE under a new password. When the command has
succeeded, the vault has the key and the password opens it: that was tried. Of several
--key-file the newest comes last; backups are made with that, and the others open old ones.

A record that is there already stays. With --replace it is replaced if the last KEYFILE is
the newest key that it has: that is how a password which was forgotten is set anew. The
record has the keys that are given then AND NO OTHERS: give older ones too, as far as you have
them. If you know the password use passwd, which keeps them all. Takes a ticket for register,
and with --replace one for status.

` + vaultHelp,
		Args: cobra.NoArgs,
	}
	cmd.RunE = v.run(u, func(ctx context.Context, c *vaultClient) error { return c.register(ctx, u, a, replace) })
	v.register(cmd.Flags())
	a.register(cmd)
	cmd.Flags().BoolVar(&replace, "replace", false, "replace the record that is there, of the same newest key")
	return cmd
}

func (c *vaultClient) register(ctx context.Context, u *ui, a accountFlags, replace bool) error {
	ring, err := a.load(ctx)
	if err != nil {
		return err
	}
	if replace && a.new != "" {
		return usagef("--replace takes the key that the record has: a new one is added by coffer vault append")
	}
	c.warnOfOthers(u, ring, replace)
	password, err := c.readPassword(ctx, u, askNew)
	if err != nil {
		return err
	}
	defer clear(password)
	if err := a.make(u, ring); err != nil { // before the vault has it: no key is only there
		return err
	}
	var replaces *keys.AccountKey
	if replace {
		replaces = ring.Newest()
	}
	receipt, err := c.Register(ctx, c.credential, password, ring, replaces)
	if err := a.kept(u, err); err != nil {
		return err
	}
	warnShort(u, password)
	if err := c.state.has(ring); err != nil {
		return err
	}
	o := c.object("register")
	line := a.tell(&o, ring) + " registered, and the password opens the record"
	return c.changed(ctx, u, receipt, o, line)
}

// warnOfOthers warns of keys that the record may have, and will not have any more.
func (c *vaultClient) warnOfOthers(u *ui, ring *vault.Keyring, replace bool) {
	if replace {
		u.warn("the record will have %s and no others: if it has older ones, give those too, by --key-file before the newest, or the password opens no backup of theirs",
			count(int64(len(ring.Keys())), "key", "keys"))
	}
	for _, k := range c.state.own {
		if !contains(ring.Keys(), k) {
			u.warn("this machine has another key of the record, which is not given: %s", quoteName(c.state.fileOf(k)))
		}
	}
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
	cmd.RunE = v.run(u, func(ctx context.Context, c *vaultClient) error { return c.recoverTo(ctx, u, path) })
	v.register(cmd.Flags())
	cmd.Flags().VarP(single{&path, "KEYFILE"}, "output", "o", "write the key to this `KEYFILE`")
	return cmd
}

func (c *vaultClient) recoverTo(ctx context.Context, u *ui, path string) error {
	if path == "" {
		return usagef("-o KEYFILE is missing: the file that the key is written to")
	}
	if err := checkKeyFiles(path); err != nil { // before it costs a ticket
		return err
	}
	password, err := c.readPassword(ctx, u, askKnown)
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
		k, name := all[len(all)-1-i], nthKeyFile(path, i)
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

// nthKeyFile is where the key goes that has n newer ones.
func nthKeyFile(path string, n int) string {
	if n == 0 {
		return path
	}
	return fmt.Sprintf("%s.%d", path, n)
}

// checkKeyFiles fails if as many keys as a record may have cannot be written.
func checkKeyFiles(path string) error {
	for n := range vault.MaxKeys {
		if _, err := os.Lstat(nthKeyFile(path, n)); err == nil {
			return keyFileError(nthKeyFile(path, n), fs.ErrExist)
		}
	}
	f, err := durable.Create(path, nil)
	if err != nil {
		return keyFileError(path, err)
	}
	f.Abort()
	return nil
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
	cmd.RunE = v.run(u, func(ctx context.Context, c *vaultClient) error { return c.passwd(ctx, u, next) })
	v.register(cmd.Flags())
	next.register(cmd.Flags(), "new-password", "the new password", "")
	return cmd
}

func (c *vaultClient) passwd(ctx context.Context, u *ui, next secretFlags) error {
	if err := next.check("new-password"); err != nil {
		return err
	}
	old, err := c.readPassword(ctx, u, askKnown)
	if err != nil {
		return err
	}
	defer clear(old)
	password, err := next.read(ctx, "vault password", askNew)
	if err != nil {
		return err
	}
	defer clear(password)
	receipt, err := c.ChangePassword(ctx, c.credential, old, password)
	if err != nil {
		return c.heard(u, err)
	}
	warnShort(u, password)
	return c.changed(ctx, u, receipt, c.object("passwd"), "the password is changed")
}

func newVaultAppend(u *ui) *cobra.Command {
	var v vaultFlags
	var a accountFlags
	cmd := &cobra.Command{
		Use:   "append --vault URL --credential ID {--key-file KEYFILE... | --new-key KEYFILE}",
		Short: "Add a newer account key to a record",
		Long: `Add an account key to those of a record, as the newest: backups made with the older ones
stay readable. Do not use a new key before the command has succeeded: the vault may not
have it until then. A machine that makes backups with --vault, and runs this, uses the new
key from then on; others go on with theirs. Takes two tickets for recover.

` + vaultHelp,
		Args: cobra.NoArgs,
	}
	cmd.RunE = v.run(u, func(ctx context.Context, c *vaultClient) error { return c.appendKeys(ctx, u, a) })
	v.register(cmd.Flags())
	a.register(cmd)
	return cmd
}

func (c *vaultClient) appendKeys(ctx context.Context, u *ui, a accountFlags) error {
	more, err := a.load(ctx)
	if err != nil {
		return err
	}
	password, err := c.readPassword(ctx, u, askKnown)
	if err != nil {
		return err
	}
	defer clear(password)
	if err := a.make(u, more); err != nil {
		return err
	}
	var whole *vault.Keyring
	receipt, err := c.Put(ctx, c.credential, password, func(ring *vault.Keyring) (_ *vault.Keyring, err error) {
		for _, k := range more.Keys() {
			if contains(ring.Keys(), k) {
				return nil, fmt.Errorf("the record has key %s already", keyID(k))
			}
		}
		whole, err = vault.NewKeyring(append(ring.Keys(), more.Keys()...)...)
		return whole, err
	})
	if err := a.kept(u, err); err != nil {
		return c.heard(u, err)
	}
	if err := c.state.has(whole); err != nil {
		return err
	}
	o := c.object("append")
	line := a.tell(&o, more) + " added"
	return c.changed(ctx, u, receipt, o, line)
}
