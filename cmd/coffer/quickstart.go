package main

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/coffer-backup/coffer/archive"
	"github.com/coffer-backup/coffer/engine"
	"github.com/coffer-backup/coffer/keys"
	"github.com/coffer-backup/coffer/vault"
)

func newQuickstart(u *ui) *cobra.Command {
	var keep, ask bool
	cmd := &cobra.Command{
		Use:   "quickstart DIR",
		Short: "See a backup and a forgotten key come back, on this machine alone",
		Long: `Play the whole story with DIR, which is only read: make a vault and an account key, have the
vault keep the key under a password, back DIR up, forget the key, try a wrong password, get
the key back with the right one, restore, and compare. It ends with status 0 if every name,
content and mode is the same.

It all happens in a temporary directory (of $TMPDIR), which is removed at the end, and in
this process: the vault listens nowhere. With --keep the vault, the backup and the restored
files stay.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return quickstart(cmd.Context(), u, args[0], keep, ask)
		},
	}
	cmd.Flags().BoolVar(&keep, "keep", false, "keep the vault, the backup and the restored files")
	cmd.Flags().BoolVar(&ask, "ask", false, "ask for the password, in place of making one up")
	return cmd
}

// A stepObject is a step that succeeded, with --json.
type stepObject struct {
	Type    string  `json:"type"`
	Step    string  `json:"step"`
	Seconds float64 `json:"seconds"`
	Message string  `json:"message"`
}

// A story is a quickstart on its way.
type story struct {
	*ui
	source   string
	dir      string // of all that is made
	began    time.Time
	client   *vault.Client
	password []byte
	under    string // the password as it is shown
	id       string // of the key
	key      *keys.AccountKey
	warnings int64
}

// tell prints what a step did.
func (s *story) tell(step, format string, args ...any) error {
	took := time.Since(s.began)
	s.began = time.Now()
	text := fmt.Sprintf(format, args...)
	return s.summary(stepObject{"step", step, took.Seconds(), text}, fmt.Sprintf("%7.2f s  %s", took.Seconds(), visible(text)))
}

const credential = "quickstart"

func quickstart(ctx context.Context, u *ui, source string, keep, ask bool) (err error) {
	if source == "" { // a variable that is not set
		return usagef("DIR is empty")
	}
	if source, err = filepath.EvalSymlinks(source); err != nil { // of a link, the link would be backed up
		return err
	}
	if info, err := os.Stat(source); err != nil {
		return err
	} else if !info.IsDir() {
		return usagef("%s is no directory", quoteName(source))
	}
	s := &story{ui: u, source: source, began: time.Now()}
	if s.dir, err = os.MkdirTemp("", "coffer-quickstart-"); err != nil {
		return err
	}
	defer func() {
		if !keep {
			err = errors.Join(err, removeTree(s.dir))
		}
	}()
	if s.dir, err = filepath.Abs(s.dir); err != nil {
		return err
	}
	if inside(source, s.dir) {
		return usagef("the temporary directory %s is in %s: set TMPDIR to one elsewhere", quoteName(s.dir), quoteName(source))
	}
	if err := s.getPassword(ctx, ask); err != nil {
		return err
	}
	running, err := s.makeVault(ctx)
	if err != nil {
		return err
	}
	background, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() { running.Run(background); close(ended) }()
	defer func() { stop(); <-ended; running.close(ctx) }()
	for _, step := range []func(context.Context) error{s.register, s.backup, s.guess, s.recover, s.restore, s.compare} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	if keep {
		u.note("kept: vault, backup and restored files are in %s", quoteName(s.dir))
	}
	return nil
}

// inside reports whether path is below dir.
func inside(dir, path string) bool {
	root, err := os.Stat(dir)
	for err == nil {
		var info fs.FileInfo
		if info, err = os.Stat(path); err == nil && os.SameFile(root, info) {
			return true
		}
		up := filepath.Dir(path)
		if up == path {
			break
		}
		path = up
	}
	return false
}

// getPassword makes one up that is worth 100 bits, unless it should ask.
func (s *story) getPassword(ctx context.Context, ask bool) (err error) {
	if ask {
		s.password, err = secretFlags{}.read(ctx, "vault password", askNew)
		s.under = "your password"
		return err
	}
	var b [13]byte
	rand.Read(b[:]) // never fails
	text := strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))[:20]
	s.password = []byte(strings.Join([]string{text[:5], text[5:10], text[10:15], text[15:]}, "-"))
	s.under = fmt.Sprintf("the password %q", s.password)
	return nil
}

func (s *story) path(name string) string { return filepath.Join(s.dir, name) }

// makeVault makes a vault of the mode software that is in this process, and issues its
// own tickets.
func (s *story) makeVault(ctx context.Context) (*runningVault, error) {
	d, err := newVaultDir(s.path("vault"))
	if err != nil {
		return nil, err
	}
	spec := newVaultSpec()
	if err := spec.make(ctx, d); err != nil {
		return nil, err
	}
	r, err := d.start(ctx, hsmFlags{}, vault.Config{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	issuer, err := d.issuer()
	if err == nil {
		s.client, err = vault.NewClient(r.Server, d.config.ID, &vault.ClientOptions{
			Tickets: func(_ context.Context, credential string, op vault.TicketOp) (string, error) {
				return issuer.Ticket(credential, op, time.Now())
			},
		})
	}
	if err == nil {
		err = s.tell("vault", "made a vault in %s: it allows %d wrong passwords, then destroys what it keeps", quoteName(d.path), spec.attempts)
	}
	if err != nil {
		r.close(ctx)
		return nil, err
	}
	return r, nil
}

func (s *story) register(ctx context.Context) error {
	s.key = keys.GenerateAccountKey()
	s.id = keyID(s.key)
	ring, err := vault.NewKeyring(s.key)
	if err != nil {
		return err
	}
	if _, err := s.client.Register(ctx, credential, s.password, ring, nil); err != nil {
		return err
	}
	return s.tell("register", "made account key %s, which the vault keeps under %s", s.id, s.under)
}

// storySize is more than the vault takes and the backup of nothing: 68 KB, measured.
const storySize = 128 << 10

func (s *story) backup(ctx context.Context) error {
	size, err := treeSize(ctx, s.source)
	if err != nil {
		return err
	}
	s.note("           this takes about %s in %s, for a while", byteCount(2*size+storySize), quoteName(s.dir))
	to := outputFlags{path: s.path("backup.coffer")}
	out, err := to.open(s.ui, true)
	if err != nil {
		return err
	}
	defer out.abort()
	var report *archive.Report
	w := writeFlags{comp: compressors()[0]}
	opts := w.writerOptions(true, nil)
	opts.Progress = s.onProgress(0)
	_, err = encrypt(ctx, out, []keys.Recipient{s.key}, opts, func(ew *engine.Writer, own []fs.FileInfo) (m measure, err error) {
		report, err = archive.Create(ctx, ew, []string{s.source}, &archive.CreateOptions{
			Omit: own, OnWarning: func(e *archive.EntryError) { s.warn("%v", e) },
		})
		return m, err
	})
	if err != nil {
		return err
	}
	if err := out.commit(); err != nil {
		return err
	}
	s.warnings = report.Warnings
	s.key.Erase()
	s.key = nil
	return s.tell("backup", "backed up %s, %s, as %s encrypted, and forgot the key",
		count(report.Entries, "entry", "entries"), byteCount(report.Bytes), byteCount(out.n))
}

// guess tries a password that is wrong.
func (s *story) guess(ctx context.Context) error {
	tried := "123456"
	if string(s.password) == tried {
		tried = "654321"
	}
	_, err := s.client.Recover(ctx, credential, []byte(tried))
	var wrong *vault.WrongPasswordError
	if !errors.As(err, &wrong) {
		return errors.Join(errors.New("the vault did not refuse a wrong password"), err)
	}
	return s.tell("wrong-password", "tried the password %q: it is wrong, %d of %d attempts are left", tried, wrong.Left, wrong.Max)
}

func (s *story) recover(ctx context.Context) error {
	r, err := s.client.Recover(ctx, credential, s.password)
	if err != nil {
		return err
	}
	s.key = r.Keyring.Newest()
	if keyID(s.key) != s.id {
		return errors.New("the vault gave back another key")
	}
	return s.tell("recover", "got key %s back with the password: all attempts are there again", s.id)
}

func (s *story) restore(ctx context.Context) error {
	f, err := os.Open(s.path("backup.coffer"))
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	r, err := engine.NewReader(ctx, f, []keys.Identity{s.key}, &engine.ReaderOptions{Progress: s.onProgress(info.Size())})
	if err != nil {
		return err
	}
	defer r.Close()
	report, err := archive.Extract(ctx, r, s.path("restored"), &archive.ExtractOptions{
		OnWarning: func(e *archive.EntryError) { s.warn("%v", e) },
	})
	if err != nil {
		return err
	}
	s.warnings += report.Warnings
	return s.tell("restore", "restored %s, %s", count(report.Entries, "entry", "entries"), byteCount(report.Bytes))
}

func (s *story) compare(ctx context.Context) error {
	c := comparison{ctx: ctx, differs: func(format string, args ...any) { s.warn("it differs: "+format, args...) }}
	restored := filepath.Join(s.path("restored"), memberName(s.source))
	if err := c.compare(s.source, restored); err != nil {
		return err
	}
	if c.different > 0 || s.warnings > 0 {
		return &incompleteError{fmt.Sprintf("the restored files are not all as those of %s: %s, %s", quoteName(s.source),
			count(c.different, "difference", "differences"), count(s.warnings, "warning", "warnings"))}
	}
	return s.tell("compare", "compared %s: names, contents and modes are the same", count(c.entries, "entry", "entries"))
}
