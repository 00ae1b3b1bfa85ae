package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/spf13/pflag"

	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/keys"
)

const keysHelp = `Keys: --key-file, --vault, --hsm, --tink-keyset, --passphrase-file, --passphrase-command
and --passphrase (which asks) can be given together, the files and commands more than once.
Writing makes a slot for each, and for each --recipient, of which any one opens the
container; reading tries them all. Without these flags COFFER_KEY_FILE, COFFER_VAULT,
COFFER_HSM, COFFER_TINK_KEYSET, COFFER_PASSPHRASE_FILE, COFFER_PASSPHRASE_COMMAND and, for
writing, COFFER_RECIPIENTS_FILE are used, and without those the terminal is asked.
Keys, passphrases and PINs are never arguments. Tokens (--hsm) need a build with cgo.

With --vault a vault keeps the account key, and a password gives it back. The first backup
asks for a new password, and registers a new key; from then on this machine has that key,
in ~/.local/state/coffer or $XDG_STATE_HOME/coffer, and backs up without vault or password.
Reading uses it too, or else asks the password. See coffer vault --help.`

// A key both wraps the file key of a new container and opens one.
type key interface {
	keys.Recipient
	keys.Identity
}

// A keyring is what keys a command was given.
type keyring struct {
	to    []keys.Recipient
	with  []keys.Identity
	token *tokenKey // one of them, or nil
}

func (r *keyring) add(all ...key) {
	for _, k := range all {
		r.to = append(r.to, k)
		r.with = append(r.with, k)
		if t, ok := k.(*tokenKey); ok {
			r.token = t
		}
	}
}

func (r *keyring) close(ctx context.Context) {
	if r != nil && r.token != nil {
		r.token.close(ctx)
	}
}

// keyFlags say where keys come from.
type keyFlags struct {
	keyFiles           []string
	recipients         []string // for writing, as their files
	recipientsFiles    []string
	hsm                hsmFlags
	vault              vaultFlags
	tink               tinkFlags
	passphraseFiles    []string
	passphraseCommands []string
	prompt             bool
}

func (k *keyFlags) register(fs *pflag.FlagSet) {
	fs.StringArrayVar(&k.keyFiles, "key-file", nil, "`FILE` with an account key, or with the secret key of a recipient ($COFFER_KEY_FILE)")
	k.hsm.register(fs)
	k.vault.register(fs)
	k.tink.register(fs)
	fs.StringArrayVar(&k.passphraseFiles, "passphrase-file", nil, "`FILE` with a passphrase ($COFFER_PASSPHRASE_FILE)")
	fs.StringArrayVar(&k.passphraseCommands, "passphrase-command", nil, "shell `COMMAND` that prints a passphrase ($COFFER_PASSPHRASE_COMMAND)")
	fs.BoolVar(&k.prompt, "passphrase", false, "ask for a passphrase on the terminal")
}

// registerRecipients registers the flags of those who can only write.
func (k *keyFlags) registerRecipients(fs *pflag.FlagSet) {
	fs.StringArrayVar(&k.recipients, "recipient", nil, "public `RECIPIENT` whose secret key opens the container: see coffer key new --recipient")
	fs.StringArrayVar(&k.recipientsFiles, "recipients-file", nil, "`FILE` with a recipient a line ($COFFER_RECIPIENTS_FILE)")
}

func (k *keyFlags) none() bool {
	return len(k.keyFiles)+len(k.recipients)+len(k.recipientsFiles)+len(k.passphraseFiles)+len(k.passphraseCommands) == 0 &&
		!k.hsm.given() && !k.vault.given() && k.tink.keyset == "" && !k.prompt
}

// orEnvironment returns k, or what the environment says if no flag was given. Flags
// that say how to open a token or a keyset are for that of the environment, too; the
// other way round, a PIN of the environment could be spent on a token of a flag.
func (k *keyFlags) orEnvironment() *keyFlags {
	if !k.none() {
		return k
	}
	one := func(name string) []string {
		if v := os.Getenv(name); v != "" {
			return []string{v}
		}
		return nil
	}
	return &keyFlags{
		keyFiles:           one("COFFER_KEY_FILE"),
		recipientsFiles:    one("COFFER_RECIPIENTS_FILE"),
		hsm:                k.hsm.orEnvironment(),
		vault:              k.vault.orEnvironment(),
		tink:               k.tink.orEnvironment(),
		passphraseFiles:    one("COFFER_PASSPHRASE_FILE"),
		passphraseCommands: one("COFFER_PASSPHRASE_COMMAND"),
	}
}

// files returns the names of the files with keys.
func (k *keyFlags) files() []string {
	k = k.orEnvironment()
	return slices.Concat(k.keyFiles, k.recipientsFiles, k.hsm.files(), k.vault.files(), k.tink.files(), k.passphraseFiles)
}

// checkInput fails if the command reads its data from where a secret is.
func (k *keyFlags) checkInput(name string) error {
	if err := k.hsm.checkInput(name); err != nil {
		return err
	}
	return k.orEnvironment().vault.checkInput(name)
}

// load reads the keys that need no terminal, until ctx ends: a FIFO or a command
// can keep it waiting.
func (k *keyFlags) load(ctx context.Context, u *ui, cost format.PassphraseParams) (*keyring, error) {
	return orDone(ctx, func() (*keyring, error) { return k.read(ctx, u, cost) })
}

func (k *keyFlags) read(ctx context.Context, u *ui, cost format.PassphraseParams) (*keyring, error) {
	ring := new(keyring)
	for _, path := range k.keyFiles {
		found, err := readKeyFile(path)
		if err != nil {
			return nil, err
		}
		ring.add(found...)
	}
	public, err := k.readRecipients()
	if err != nil {
		return nil, err
	}
	ring.to = append(ring.to, public...)
	token, err := k.hsm.key(ctx)
	if err != nil {
		return nil, err
	} else if token != nil {
		ring.add(token)
	}
	found, err := k.tink.read(u)
	if err != nil {
		return nil, err
	} else if found != nil {
		ring.add(found)
	}
	passphrases, err := k.readPassphrases(ctx, cost)
	if err != nil {
		return nil, err
	}
	ring.add(passphrases...)
	return ring, nil
}

// forWriting returns the keys that a new container gets slots for. made tells that
// there is a new key already, so that nothing need be asked. A token is opened: what
// it refuses is known before anything is written. The caller closes the keyring, which
// may be there although there is an error.
func (k *keyFlags) forWriting(ctx context.Context, u *ui, cost format.PassphraseParams, made bool) (*keyring, error) {
	if !made { // --new-key is a flag like the others: the environment adds nothing to it
		k = k.orEnvironment()
	}
	ring, err := k.load(ctx, u, cost)
	if err != nil {
		return nil, err
	}
	if k.vault.used() {
		kept, err := k.vault.keyForWriting(ctx, u)
		if err != nil {
			return nil, err
		}
		ring.add(kept)
	}
	if k.prompt || !made && len(ring.to) == 0 {
		text, err := askNew(ctx, "passphrase")
		if err != nil {
			return nil, k.withoutTerminal(err)
		}
		p, err := newPassphrase(text, cost)
		if err != nil {
			return nil, usagef("%w", err)
		}
		ring.add(p)
	}
	if ring.token != nil {
		err = ring.token.prepare(ctx, u)
	}
	return ring, err
}

// forReading returns the keys to try on the container in, whose slots say what to
// ask for, if accepted says that they may open it.
func (k *keyFlags) forReading(ctx context.Context, u *ui, in *input, accepted func(format.Kind) bool) (*keyring, error) {
	k = k.orEnvironment()
	k.recipientsFiles = nil // they open nothing
	ring, err := k.load(ctx, u, keys.DefaultCost())
	if err != nil {
		return nil, err
	}
	if k.vault.used() { // the last, as it may cost an attempt
		kept, err := k.vault.keyForReading(ctx, u)
		if err != nil {
			return nil, err
		}
		ring.with = append(ring.with, kept)
	}
	var kinds []format.Kind
	switch {
	case k.prompt:
		kinds = []format.Kind{format.KindPassphrase}
	case len(ring.with) == 0:
		slots, err := in.slots()
		if err != nil {
			return nil, in.fault(err)
		}
		for _, s := range slots {
			if accepted(s.Kind) {
				kinds = append(kinds, s.Kind)
			}
		}
		if len(kinds) == 0 {
			return nil, in.fault(refusedAll(slots))
		}
	default:
		return ring, nil
	}
	asked, err := askForSlots(ctx, kinds)
	switch {
	case errors.Is(err, errNoTerminal) && !k.prompt:
		return nil, cannotAsk(kinds, " and "+errNoTerminal.Error())
	case err != nil:
		return nil, k.withoutTerminal(err)
	}
	ring.add(asked...)
	return ring, nil
}

// withoutTerminal says what to do if err is errNoTerminal.
func (k *keyFlags) withoutTerminal(err error) error {
	switch {
	case !errors.Is(err, errNoTerminal):
		return err
	case k.prompt:
		return usagef("--passphrase: %w: use --passphrase-file or --passphrase-command", err)
	}
	return usagef("no key was given and %w: use --key-file, --vault, --recipients-file, --hsm, --tink-keyset, --passphrase-file or --passphrase-command", err)
}

// noMatch adds to keys.ErrNoMatch why the keys may be other ones than they should be.
func noMatch(err error, with []keys.Identity) error {
	unchecked := func(id keys.Identity) bool {
		k, ok := id.(accountKey)
		return ok && !k.checked
	}
	if errors.Is(err, keys.ErrNoMatch) && slices.ContainsFunc(with, unchecked) {
		return fmt.Errorf("%w; a key was given without its last group, the checksum, so a missing or mistyped group was not noticed", err)
	}
	return err
}
