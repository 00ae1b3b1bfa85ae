package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/vault"
	"github.com/coffer-backup/coffer/vault/evaluator"
	"github.com/coffer-backup/coffer/vault/evaluator/hsm"
)

const (
	delaysUsage = "delays after wrong passwords in the order in which they happen, the last one before the last attempt; none: none"
	costUsage   = "what a guess at a password costs, and its owner too"
)

const vaultHSMHelp = `The URI (RFC 7512) of --hsm names the token's library and the token, and no key:

  'pkcs11:token=vault?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=/etc/coffer/pin'

init notes it in vault.json, with the token's serial number: serve takes --hsm for another
token, such as a clone. The PIN is read from --hsm-pin-file, from --hsm-pin-fd or from the
URI's pin-source, else the terminal is asked. "coffer hsm --help" has all of the URI.`

func newVaultInit(u *ui) *cobra.Command {
	s := newVaultSpec()
	cmd := &cobra.Command{
		Use:   "init DIR [--mode software|sealed|hsm] [--hsm URI] [--host NAME]...",
		Short: "Make a vault",
		Long: `Make a vault in DIR, which must not exist or be empty. The mode says where its secrets are,
and cannot be changed later:

  software  in a file in DIR: to try it out, or where only you use the machine
  sealed    the keys of records in the store, sealed by a key in a PKCS#11 token
  hsm       in a PKCS#11 token, which does all that takes them

DIR gets these files:

  vault.json  the configuration      descriptor       what clients know of the vault
  store.db    the records            tls.crt tls.key  a certificate that it made itself
  root.key    signs the descriptor: move it offline, the vault does not need it
  issuer.key  signs tickets: move it to the application that issues them
  secrets     all secrets of the mode software

` + vaultHSMHelp,
		Example: `  coffer vault init /srv/vault --host vault.example.org --listen :8443`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.init(cmd.Context(), u, args[0])
		},
	}
	fs := cmd.Flags()
	parsedVar(fs, &s.mode, "mode", "MODE", s.mode, "where the secrets are: software, sealed or hsm", parseVaultMode)
	s.hsm.register(fs)
	fs.StringVar(&s.label, "label", "", "`LABEL` of the keys in the token (default: coffer-vault- and the beginning of the vault's id)")
	parsedVar(fs, &s.attempts, "attempts", "N", strconv.Itoa(int(s.attempts)), fmt.Sprintf("wrong passwords, from %d to %d, that destroy a record", vault.MinAttempts, vault.MaxAttempts), parseAttempts)
	parsedVar(fs, &s.delays, "delays", "TIMES", "30s,5m,30m,2h,8h,24h,24h", delaysUsage, parseDelays)
	parsedVar(fs, &s.cost, "argon2", "COST", "t=3,m=64MiB,p=4", costUsage, func(text string) (format.PassphraseParams, error) {
		return changeKSF(vault.DefaultKSF(), text)
	})
	fs.StringArrayVar(&s.hosts, "host", []string{"localhost", "127.0.0.1"}, "`NAME` or IP address of the vault, for its address and certificate; may be given more than once")
	fs.StringVar(&s.listen, "listen", "127.0.0.1:8443", "`ADDRESS` to listen on")
	fs.StringVar(&s.notify, "notify-command", "", "shell `COMMAND` that tells owners: see coffer vault serve --help")
	return cmd
}

func parseVaultMode(s string) (string, error) {
	switch s {
	case evaluator.ModeSoftware, evaluator.ModeSealed, evaluator.ModeHSM:
		return s, nil
	}
	return "", errors.New("want software, sealed or hsm")
}

func parseAttempts(s string) (uint8, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < vault.MinAttempts || n > vault.MaxAttempts {
		return 0, fmt.Errorf("want a number from %d to %d", vault.MinAttempts, vault.MaxAttempts)
	}
	return uint8(n), nil
}

// A vaultInitObject is a new vault with --json.
type vaultInitObject struct {
	Type  string `json:"type"`
	ID    string `json:"vault_id"`
	URL   string `json:"url"`
	Mode  string `json:"mode"`
	Path  string `json:"path"`
	Label string `json:"label,omitempty"` // of the keys in the token
}

func (s *vaultSpec) init(ctx context.Context, u *ui, path string) error {
	if s.mode == evaluator.ModeSoftware && s.hsm.given() {
		return usagef("--hsm is for --mode sealed and --mode hsm: the mode software uses no token")
	}
	if err := checkListen(s.listen, 1); err != nil {
		return usagef("--listen: %w", err)
	}
	for _, host := range s.hosts {
		if err := checkHost(host); err != nil {
			return usagef("--host: %w", err)
		}
	}
	d, err := newVaultDir(path)
	if err != nil {
		return err
	}
	if err := s.make(ctx, d); err != nil {
		return errors.Join(d.leftInToken(err), d.empty())
	}
	c := d.config
	o := vaultInitObject{"vault", c.ID, c.url(c.Listen), c.Mode, path, c.Label}
	u.note("made vault %s in %s, mode %s", o.ID, quoteName(path), o.Mode)
	u.note("%s", policyText(s.attempts, s.delays))
	u.note("move %s offline: it signs the descriptor, and the vault runs without it", quoteName(d.file(vaultRootFile)))
	if s.mode == evaluator.ModeSoftware {
		u.warn("back up %s and %s, apart from each other: without either all records are lost", quoteName(d.file(vaultSecretsFile)), quoteName(d.file(vaultStoreFile)))
	} else {
		u.warn("clone the token, and back up %s and %s: without the token's keys, labelled %s, all records are lost",
			quoteName(d.file(vaultStoreFile)), quoteName(d.file(vaultConfigFile)), quoteName(c.Label))
		if slices.Contains(d.made.Guarantees, hsm.OnlyFiles) {
			u.warn("%s", hsm.OnlyFiles)
		}
	}
	return u.print(o, o.URL)
}

// empty removes what a failed init made in a directory that was empty.
func (d *vaultDir) empty() error {
	entries, err := os.ReadDir(d.path)
	for _, e := range entries {
		err = errors.Join(err, os.Remove(d.file(e.Name())))
	}
	return err
}

// url is the vault's address for clients, if it listens there.
func (c *vaultConfig) url(listen string) string {
	host := c.Host
	if _, port, err := net.SplitHostPort(listen); err == nil && port != "443" {
		host = net.JoinHostPort(host, port)
	} else if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return "https://" + host + "/#" + c.ID
}

func newVaultTicket(u *ui) *cobra.Command {
	var credential string
	var ops []vault.TicketOp
	cmd := &cobra.Command{
		Use:   "ticket DIR --credential ID --op OP[,OP]...",
		Short: "Issue tickets of a vault",
		Long: `Issue tickets for a record of the vault in DIR, one a line, each for one use within ten
minutes: recover (an attempt with the password), register, owner (what the owner of the
account key may do) or status. It takes DIR/issuer.key. Nobody reads anything with a ticket
alone, but ten of recover are all the attempts of a record: give them to its owner alone.`,
		Example: `  coffer vault ticket /srv/vault --credential alice --op recover,register > tickets`,
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			return issue(u, args[0], credential, ops)
		},
	}
	cmd.Flags().Var(single{&credential, "ID"}, "credential", "`ID` of the record")
	parsedVar(cmd.Flags(), &ops, "op", "OP[,OP]", "", "what for: recover, register, owner, status", parseTicketOps)
	return cmd
}

func parseTicketOps(list string) (ops []vault.TicketOp, err error) {
	for name := range strings.SplitSeq(list, ",") {
		switch op := vault.TicketOp(name); op {
		case vault.TicketRecover, vault.TicketRegister, vault.TicketOwner, vault.TicketStatus:
			ops = append(ops, op)
		default:
			return nil, fmt.Errorf("unknown purpose %q: want recover, register, owner or status", name)
		}
	}
	return ops, nil
}

// A ticketObject is a ticket with --json.
type ticketObject struct {
	Type       string         `json:"type"`
	Credential string         `json:"credential"`
	Op         vault.TicketOp `json:"op"`
	Expires    time.Time      `json:"expires"`
	Ticket     string         `json:"ticket"`
}

func issue(u *ui, path, credential string, ops []vault.TicketOp) error {
	switch {
	case credential == "":
		return usagef("--credential ID is missing: the record that the ticket is for")
	case len(ops) == 0:
		return usagef("--op is missing: recover, register, owner or status")
	}
	d, err := openVaultDir(path)
	if err != nil {
		return err
	}
	issuer, err := d.issuer()
	if err != nil {
		return err
	}
	now := time.Now()
	for _, op := range ops {
		ticket, err := issuer.Ticket(credential, op, now)
		if err != nil {
			return err
		}
		if err := u.print(ticketObject{"ticket", credential, op, now.Add(vault.MaxTicketTime).UTC().Truncate(time.Second), ticket}, ticket); err != nil {
			return err
		}
	}
	return nil
}
