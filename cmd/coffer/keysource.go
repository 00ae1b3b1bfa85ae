package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"slices"

	"github.com/spf13/pflag"

	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/internal/durable"
	"github.com/coffer-backup/coffer/keys"
)

const keysHelp = `Keys: --key-file, --passphrase-file, --passphrase-command and --passphrase (which
asks) can be given together and more than once. Writing makes a slot for each, of
which any one opens the container; reading tries them all. Without these flags
COFFER_KEY_FILE, COFFER_PASSPHRASE_FILE and COFFER_PASSPHRASE_COMMAND are used,
and without those the terminal is asked. Keys and passphrases are never arguments.`

// A key both wraps the file key of a new container and opens one.
type key interface {
	keys.Recipient
	keys.Identity
}

// An accountKey is one that was typed or read.
type accountKey struct {
	*keys.AccountKey
	checked bool // it came with its checksum
}

// keyFlags say where keys come from.
type keyFlags struct {
	keyFiles           []string
	passphraseFiles    []string
	passphraseCommands []string
	prompt             bool
}

func (k *keyFlags) register(fs *pflag.FlagSet) {
	fs.StringArrayVar(&k.keyFiles, "key-file", nil, "`FILE` with an account key ($COFFER_KEY_FILE)")
	fs.StringArrayVar(&k.passphraseFiles, "passphrase-file", nil, "`FILE` with a passphrase ($COFFER_PASSPHRASE_FILE)")
	fs.StringArrayVar(&k.passphraseCommands, "passphrase-command", nil, "shell `COMMAND` that prints a passphrase ($COFFER_PASSPHRASE_COMMAND)")
	fs.BoolVar(&k.prompt, "passphrase", false, "ask for a passphrase on the terminal")
}

func (k *keyFlags) none() bool {
	return len(k.keyFiles)+len(k.passphraseFiles)+len(k.passphraseCommands) == 0 && !k.prompt
}

// orEnvironment returns k, or what the environment says if no flag was given.
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
		passphraseFiles:    one("COFFER_PASSPHRASE_FILE"),
		passphraseCommands: one("COFFER_PASSPHRASE_COMMAND"),
	}
}

// files returns the names of the files with keys.
func (k *keyFlags) files() []string {
	k = k.orEnvironment()
	return slices.Concat(k.keyFiles, k.passphraseFiles)
}

// load reads the keys that need no terminal, until ctx ends: a FIFO or a command
// can keep it waiting.
func (k *keyFlags) load(ctx context.Context, cost format.PassphraseParams) ([]key, error) {
	return orDone(ctx, func() ([]key, error) { return k.read(ctx, cost) })
}

func (k *keyFlags) read(ctx context.Context, cost format.PassphraseParams) ([]key, error) {
	var found []key
	for _, path := range k.keyFiles {
		account, err := readKeyFile(path)
		if err != nil {
			return nil, err
		}
		found = append(found, account)
	}
	for _, path := range k.passphraseFiles {
		text, err := readLimited("passphrase file", path, keys.MaxPassphrase+2)
		if err != nil {
			return nil, err
		}
		p, err := newPassphrase(trimLineEnd(text), cost)
		if err != nil {
			return nil, usagef("passphrase file %s: %w", quoteName(path), err)
		}
		found = append(found, p)
	}
	for _, command := range k.passphraseCommands {
		text, err := runPassphraseCommand(ctx, command)
		if err != nil {
			return nil, err
		}
		p, err := newPassphrase(trimLineEnd(text), cost)
		if err != nil {
			return nil, usagef("passphrase command: %w", err)
		}
		found = append(found, p)
	}
	return found, nil
}

// forWriting returns the keys that a new container gets slots for. made tells that
// there is a new key already, so that nothing need be asked.
func (k *keyFlags) forWriting(ctx context.Context, cost format.PassphraseParams, made bool) ([]key, error) {
	if !made { // --new-key is a flag like the others: the environment adds nothing to it
		k = k.orEnvironment()
	}
	found, err := k.load(ctx, cost)
	if err != nil || !k.prompt && (made || len(found) > 0) {
		return found, err
	}
	text, err := askNewPassphrase(ctx)
	if err != nil {
		return nil, k.withoutTerminal(err)
	}
	p, err := newPassphrase(text, cost)
	if err != nil {
		return nil, usagef("%w", err)
	}
	return append(found, p), nil
}

// forReading returns the keys to try on the container in, whose slots say what to
// ask for.
func (k *keyFlags) forReading(ctx context.Context, in *input) ([]keys.Identity, error) {
	k = k.orEnvironment()
	found, err := k.load(ctx, keys.DefaultCost())
	if err != nil {
		return nil, err
	}
	var slots []format.Kind
	switch {
	case k.prompt:
		slots = []format.Kind{format.KindPassphrase}
	case len(found) == 0:
		if slots, err = in.slotKinds(); err != nil {
			return nil, in.fault(err)
		}
	default:
		return identities(found), nil
	}
	asked, err := askForSlots(ctx, slots)
	if err != nil {
		return nil, k.withoutTerminal(err)
	}
	return identities(append(found, asked...)), nil
}

// withoutTerminal says what to do if err is errNoTerminal.
func (k *keyFlags) withoutTerminal(err error) error {
	switch {
	case !errors.Is(err, errNoTerminal):
		return err
	case k.prompt:
		return usagef("--passphrase: %w: use --passphrase-file or --passphrase-command", err)
	}
	return usagef("no key was given and %w: use --key-file, --passphrase-file or --passphrase-command", err)
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

func recipients(all []key) []keys.Recipient {
	to := make([]keys.Recipient, len(all))
	for i, k := range all {
		to[i] = k
	}
	return to
}

func identities(all []key) []keys.Identity {
	with := make([]keys.Identity, len(all))
	for i, k := range all {
		with[i] = k
	}
	return with
}

func newPassphrase(text []byte, cost format.PassphraseParams) (*keys.Passphrase, error) {
	p, err := keys.NewPassphrase(text)
	if err != nil {
		return nil, err
	}
	return p.WithCost(cost)
}

func readKeyFile(path string) (accountKey, error) {
	b, err := readLimited("key file", path, keys.MaxKeyFile)
	if err != nil {
		return accountKey{}, err
	}
	defer clear(b)
	k, err := keys.ParseKeyFile(b)
	if err != nil {
		return accountKey{}, usagef("key file %s: %w", quoteName(path), err)
	}
	return accountKey{k, keys.HasChecksum(b)}, nil
}

// writeNewKey makes a key file that did not exist.
func writeNewKey(path string) (*keys.AccountKey, error) {
	f, err := durable.Create(path, nil)
	if err != nil {
		return nil, keyFileError(path, err)
	}
	defer f.Abort()
	if f.InPlace() {
		return nil, usagef("%s is no regular file: a key would be lost there", quoteName(path))
	}
	k := keys.GenerateAccountKey()
	if _, err := f.Write(keys.MarshalKeyFile(k)); err != nil {
		return nil, err
	}
	if err := f.Commit(); err != nil {
		return nil, keyFileError(path, err)
	}
	return k, nil
}

// errKeyFileExists replaces fs.ErrExist, whose advice is --force: a key file is
// never replaced.
var errKeyFileExists = errors.New("there is a file already, and a key file is never replaced: use it with --key-file, or choose another name")

func keyFileError(path string, err error) error {
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("%s: %w", quoteName(path), errKeyFileExists)
	}
	return fileError("key file", path, err)
}

// fileError says what the file is that could not be opened or read.
func fileError(what, path string, err error) error {
	if pe, ok := err.(*fs.PathError); ok {
		return fmt.Errorf("%s %s: %w", what, quoteName(path), pe.Err)
	}
	return err
}

// readLimited reads a file of at most limit bytes, and one byte more of a longer
// one, for whoever parses it to refuse.
func readLimited(what, path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fileError(what, path, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fileError(what, path, err)
	}
	return b, nil
}

// runPassphraseCommand returns what the command prints, or of more than a passphrase
// its beginning, for the caller to refuse. It may talk to the user on the terminal,
// but not on stdin, which may be the data.
func runPassphraseCommand(ctx context.Context, command string) ([]byte, error) {
	shell := []string{"/bin/sh", "-c"}
	if runtime.GOOS == "windows" {
		shell = []string{"cmd", "/c"}
	}
	cmd := exec.CommandContext(ctx, shell[0], shell[1], command)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("passphrase command: %w", err)
	}
	const limit = keys.MaxPassphrase + 2 // with a line end
	text, readErr := io.ReadAll(io.LimitReader(out, limit+1))
	out.Close() // or it may print for ever
	if err := errors.Join(readErr, cmd.Wait()); err != nil && len(text) <= limit {
		return nil, fmt.Errorf("passphrase command: %w", err)
	}
	return text, nil
}

// trimLineEnd removes one line end, LF or CRLF: the rest is the passphrase.
func trimLineEnd(b []byte) []byte {
	if t, ok := bytes.CutSuffix(b, []byte("\n")); ok {
		return bytes.TrimSuffix(t, []byte("\r"))
	}
	return b
}
