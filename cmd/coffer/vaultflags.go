package main

import (
	"context"
	"errors"
	"os"
	"sync"
	"unicode/utf8"

	"github.com/spf13/pflag"

	"github.com/coffer-backup/coffer/vault"
	"github.com/coffer-backup/coffer/vault/httpapi"
)

const vaultHelp = `A vault is named by --vault, its address as its operator gives it, and the record in it by
--credential. The address ends in the vault's id, which is what tells it from any other:

  https://vault.example.org/#47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU

Whatever is asked of a vault takes a ticket, which lets nobody read anything: it keeps
strangers from using up attempts. The operator or an application gives it out, and it is for
one use within ten minutes. --ticket-file has one or more, a line each; --ticket-command is run
for each that is needed, with COFFER_TICKET_VAULT, COFFER_TICKET_CREDENTIAL and
COFFER_TICKET_OP (recover, register, owner or status) in its environment. The first backup
takes one for register, and one for recover too if a record is there; so does the one after
the record was destroyed. Each other backup that has a source of tickets takes one for status
and asks whether the record was destroyed: then it warns, and registers the keys again.
Without tickets nothing is asked. A restore takes one for recover, unless this machine has
the key.

The password is read from --vault-password-file or --vault-password-command, less one line
end, else the terminal is asked. A wrong one is an attempt, and is not tried again.

Without --vault, COFFER_VAULT is used, and then for what no flag says COFFER_VAULT_CREDENTIAL,
COFFER_VAULT_CA, COFFER_VAULT_PASSWORD_FILE, COFFER_VAULT_PASSWORD_COMMAND,
COFFER_VAULT_TICKET_FILE and COFFER_VAULT_TICKET_COMMAND.`

// vaultFlags say which record of which vault, and how to get at it.
type vaultFlags struct {
	url, credential, ca string
	password            secretFlags
	ticketFile          string
	ticketCommand       string
}

func (v *vaultFlags) register(fs *pflag.FlagSet) {
	v.registerKeyed(fs)
	v.password.register(fs, "vault-password", "the vault's password", "$COFFER_VAULT_PASSWORD")
}

// registerKeyed registers the flags of those who need no password.
func (v *vaultFlags) registerKeyed(fs *pflag.FlagSet) {
	fs.Var(single{&v.url, "URL"}, "vault", "`URL` of a vault that keeps the account key, with the vault's id after #: see coffer vault --help ($COFFER_VAULT)")
	fs.Var(single{&v.credential, "ID"}, "credential", "`ID` of the record in the vault ($COFFER_VAULT_CREDENTIAL)")
	fs.Var(single{&v.ca, "FILE"}, "vault-ca", "`FILE` with the certificates that vouch for the vault's address, in place of the system's ($COFFER_VAULT_CA)")
	fs.Var(single{&v.ticketFile, "FILE"}, "ticket-file", "`FILE` with tickets of the vault, a line each; - is stdin ($COFFER_VAULT_TICKET_FILE)")
	fs.Var(single{&v.ticketCommand, "COMMAND"}, "ticket-command", "shell `COMMAND` that prints a ticket of the vault ($COFFER_VAULT_TICKET_COMMAND)")
}

// given reports whether there is a vault.
func (v vaultFlags) given() bool { return v.url != "" }

// used reports whether any flag or variable is about a vault, given or not.
func (v vaultFlags) used() bool { return v != vaultFlags{} }

// orEnvironment returns v, or with the vault of the environment if v has none. A password
// of the environment is never spent on a vault of a flag.
func (v vaultFlags) orEnvironment() vaultFlags {
	if v.given() {
		return v
	}
	if v.url = os.Getenv("COFFER_VAULT"); v.url == "" {
		return v
	}
	for _, x := range []struct {
		value *string
		other string // excludes it
		name  string
	}{
		{&v.credential, "", "COFFER_VAULT_CREDENTIAL"},
		{&v.ca, "", "COFFER_VAULT_CA"},
		{&v.password.file, v.password.command, "COFFER_VAULT_PASSWORD_FILE"},
		{&v.password.command, v.password.file, "COFFER_VAULT_PASSWORD_COMMAND"},
		{&v.ticketFile, v.ticketCommand, "COFFER_VAULT_TICKET_FILE"},
		{&v.ticketCommand, v.ticketFile, "COFFER_VAULT_TICKET_COMMAND"},
	} {
		if *x.value == "" && x.other == "" {
			*x.value = os.Getenv(x.name)
		}
	}
	return v
}

// files returns the names of the files that are read.
func (v vaultFlags) files() (names []string) {
	for _, name := range []string{v.ca, v.password.file, v.ticketFile} {
		if name != "" && name != stdio {
			names = append(names, name)
		}
	}
	return names
}

// checkInput fails if the command reads its data from where the ticket is.
func (v vaultFlags) checkInput(name string) error {
	if v.ticketFile == stdio && name == stdio {
		return usagef("--ticket-file -: stdin has the data: use a file or --ticket-command")
	}
	return nil
}

// check fails if there is no vault, or the flags do not fit together.
func (v vaultFlags) check() error {
	switch {
	case !v.given() && v.used():
		return usagef("--credential, --vault-ca, --ticket-... and --vault-password-... are about a vault, and none is given by --vault or $COFFER_VAULT")
	case !v.given():
		return usagef("--vault URL is missing, and $COFFER_VAULT is not set: which vault")
	case v.credential == "":
		return usagef("--credential ID is missing, and $COFFER_VAULT_CREDENTIAL is not set: which record of the vault")
	case v.ticketFile != "" && v.ticketCommand != "":
		return usagef("--ticket-file and --ticket-command exclude each other")
	}
	if err := v.password.check("vault-password"); err != nil {
		return err
	}
	return vault.CheckCredential(v.credential)
}

// A vaultClient speaks with the vault of the flags about their record.
type vaultClient struct {
	*vault.Client
	credential string
	password   secretFlags
	tickets    *ticketSource
	state      *vaultState
	met        bool
}

// meet gets the vault's descriptor, and shows its notice, once.
func (c *vaultClient) meet(ctx context.Context, u *ui) error {
	d, err := c.Descriptor(ctx)
	if err == nil && !c.met && d.Notice != "" {
		u.warn("the vault's operator says: %s", d.Notice)
	}
	c.met = c.met || err == nil
	return err
}

// readPassword gets the password of the record, when it is known that the vault answers.
func (c *vaultClient) readPassword(ctx context.Context, u *ui, ask asker) ([]byte, error) {
	if err := c.meet(ctx, u); err != nil {
		return nil, err
	}
	return c.password.read(ctx, "vault password", ask)
}

// dial returns a client, which has not connected yet.
func (v vaultFlags) dial(ctx context.Context, u *ui) (*vaultClient, error) {
	if err := v.check(); err != nil {
		return nil, err
	}
	o := new(httpapi.Options)
	if v.ca != "" {
		ca, err := orDone(ctx, func() ([]byte, error) { return readLimited("vault's certificate", v.ca, maxCertificates) })
		if err != nil {
			return nil, err
		}
		if len(ca) > maxCertificates {
			return nil, usagef("--vault-ca %s: longer than %s", quoteName(v.ca), byteCount(maxCertificates))
		}
		o.CA = append([]byte{}, ca...) // of an empty file it is not nil
	}
	transport, id, err := httpapi.Dial(v.url, o)
	if err != nil {
		return nil, usagef("--vault: %w", err)
	}
	c := &vaultClient{credential: v.credential, password: v.password}
	if c.state, err = openState(id, v.credential); err != nil {
		return nil, err
	}
	c.tickets = &ticketSource{file: v.ticketFile, command: v.ticketCommand, vault: id}
	var first sync.Once
	c.Client, err = vault.NewClient(transport, id, &vault.ClientOptions{
		Tickets:  c.tickets.get,
		Revision: c.state.marks.Revision,
		Retrying: func(error) { first.Do(func() { u.note("the vault does not answer, trying again") }) },
	})
	return c, err
}

// maxCertificates is the size of a file of certificates: those of all authorities take a
// quarter of it.
const maxCertificates = 1 << 20

// secretFlags say where a password comes from.
type secretFlags struct{ file, command string }

func (s *secretFlags) register(fs *pflag.FlagSet, name, what, variable string) {
	suffix := func(end string) string {
		if variable == "" {
			return ""
		}
		return " (" + variable + end + ")"
	}
	fs.Var(single{&s.file, "FILE"}, name+"-file", "`FILE` with "+what+suffix("_FILE"))
	fs.Var(single{&s.command, "COMMAND"}, name+"-command", "shell `COMMAND` that prints "+what+suffix("_COMMAND"))
}

func (s secretFlags) check(name string) error {
	if s.file != "" && s.command != "" {
		return usagef("--%s-file and --%s-command exclude each other", name, name)
	}
	return nil
}

// An asker asks for a password on the terminal.
type asker func(ctx context.Context, what string) ([]byte, error)

// read returns the password.
func (s secretFlags) read(ctx context.Context, what string, ask asker) ([]byte, error) {
	text, err := s.text(ctx, what, ask)
	switch {
	case errors.Is(err, errNoTerminal):
		return nil, usagef("the %s is not given, and %w: use the flags that name a file or a command", what, err)
	case err != nil:
		return nil, err
	case len(text) == 0:
		return nil, usagef("the %s is empty", what)
	case len(text) > vault.MaxPassword:
		return nil, usagef("the %s is longer than %d bytes", what, vault.MaxPassword)
	case !utf8.Valid(text):
		return nil, usagef("the %s is not UTF-8", what)
	}
	return text, nil
}

func (s secretFlags) text(ctx context.Context, what string, ask asker) ([]byte, error) {
	const limit = vault.MaxPassword + 2 // with a line end
	switch {
	case s.file != "":
		text, err := orDone(ctx, func() ([]byte, error) { return readLimited(what+" file", s.file, limit) })
		return trimLineEnd(text), err
	case s.command != "":
		text, err := orDone(ctx, func() ([]byte, error) { return outputOf(what+" command", shell(ctx, s.command), limit) })
		return trimLineEnd(text), err
	}
	return ask(ctx, what)
}

// shortPassword is how many characters make a password that is no use being warned of.
// Fewer are often among what somebody who knows the owner tries first.
const shortPassword = 8

// warnShort warns of a new password that is short.
func warnShort(u *ui, password []byte) {
	if n := utf8.RuneCount(password); n < shortPassword {
		u.warn("the password has %s: a vault allows few guesses, and a short one may be among them. coffer vault passwd changes it", count(int64(n), "character", "characters"))
	}
}
