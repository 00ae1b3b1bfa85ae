package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/coffer-backup/coffer/vault"
	"github.com/coffer-backup/coffer/vault/httpapi"
	"github.com/coffer-backup/coffer/vault/store"
	"github.com/coffer-backup/coffer/vault/store/bolt"
)

// serveFlags are those of coffer vault serve.
type serveFlags struct {
	hsm           hsmFlags
	listen        string
	cert, key     string
	notify        string
	clockWasWrong bool
}

func newVaultServe(u *ui) *cobra.Command {
	var s serveFlags
	cmd := &cobra.Command{
		Use:   "serve DIR",
		Short: "Run a vault",
		Long: `Run the vault in DIR until a signal ends it. First it says on stdout, in plain words, what
this configuration guarantees and what not, and then its address; what happens is logged on
stderr, without secrets and without credential ids.

The notify command is run for what the owner of a record should hear of, such as failed
attempts, with a line of JSON on its stdin: credential, what, attempts_left and time. What
it did is tried again until it succeeds. It has ten seconds.

If the store cannot be written it ends with exit status 1, as nobody knows what is on the
disk then: have it restarted. The newest signed head of the audit log is logged at the start
and once a day: kept elsewhere, it shows later whether the log was changed.

` + vaultHSMHelp,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.serve(cmd.Context(), u, args[0])
		},
	}
	fs := cmd.Flags()
	s.hsm.register(fs)
	fs.Var(single{&s.listen, "ADDRESS"}, "listen", "`ADDRESS` to listen on, in place of that of vault.json")
	fs.Var(single{&s.cert, "FILE"}, "tls-cert", "`FILE` with the certificate, in place of DIR/tls.crt; a newer one is used within a minute")
	fs.Var(single{&s.key, "FILE"}, "tls-key", "`FILE` with its key, in place of DIR/tls.key")
	fs.Var(single{&s.notify, "COMMAND"}, "notify-command", "shell `COMMAND` that tells owners, in place of that of vault.json")
	fs.BoolVar(&s.clockWasWrong, "clock-was-wrong", false, "start although the store's last entry is of the future: the clock was ahead then, and is right now")
	return cmd
}

func (s *serveFlags) serve(ctx context.Context, u *ui, path string) error {
	if (s.cert == "") != (s.key == "") {
		return usagef("--tls-cert and --tls-key belong together")
	}
	d, err := openVaultDir(path)
	if err != nil {
		return err
	}
	listen := cmp.Or(s.listen, d.config.Listen)
	if err := checkListen(listen, 0); err != nil {
		return usagef("--listen, or %s: %w", quoteName(d.file(vaultConfigFile)), err)
	}
	pair := &certificate{cert: cmp.Or(s.cert, d.file(vaultCertFile)), key: cmp.Or(s.key, d.file(vaultCertKeyFile))}
	if err := pair.load(); err != nil {
		return err
	}
	log := slog.New(newLogHandler(u))
	pair.log = log
	c := vault.Config{Log: log, ClockWasWrong: s.clockWasWrong}
	if command := cmp.Or(s.notify, d.config.Notify); command != "" {
		c.Notify = notifier{command}.tell
	}
	r, err := d.start(ctx, s.hsm, c)
	if err != nil {
		return err
	}
	defer r.close(ctx)
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	if err := u.serving(d, r.Server, l.Addr().String(), pair.key); err != nil {
		l.Close()
		return err
	}
	return r.serve(ctx, l, pair, log)
}

// newLogHandler logs to stderr, for programs or for people.
func newLogHandler(u *ui) slog.Handler {
	if u.json {
		return slog.NewJSONHandler(u.stderr, nil)
	}
	return slog.NewTextHandler(u.stderr, nil)
}

// A servingObject is a vault that answers, with --json.
type servingObject struct {
	Type       string   `json:"type"`
	ID         string   `json:"vault_id"`
	URL        string   `json:"url"`
	Listen     string   `json:"listen"`
	Mode       string   `json:"mode"`
	Guarantees []string `json:"guarantees"`
}

// serving says what the vault is worth, and its address last.
func (u *ui) serving(d *vaultDir, s *vault.Server, listen, certificateKey string) error {
	c := d.config
	o := servingObject{"vault", c.ID, c.url(listen), listen, c.Mode, s.Guarantees()}
	o.Guarantees = append(o.Guarantees,
		"Records are in one file on this machine, without a replica: with it they are lost, and an older copy of it in its place brings back attempts that were used up.",
		"Clients know this vault by its id, whatever the certificate. TLS 1.3 keeps others from listening, with a key exchange that is safe from quantum computers where the client has it.")
	o.Guarantees = append(o.Guarantees, d.misplaced(certificateKey)...)
	return u.print(o, strings.Join(o.Guarantees, "\n")+"\n"+o.URL)
}

// serve answers until ctx ends, or the store has failed.
func (r *runningVault) serve(ctx context.Context, l net.Listener, pair *certificate, log *slog.Logger) error {
	running, stop := context.WithCancelCause(ctx)
	var work sync.WaitGroup
	defer work.Wait()
	defer stop(nil)
	work.Go(func() { r.Run(running) })
	work.Go(func() { compact(running, r.store, log) })
	work.Go(func() { tellHeads(running, r.Server, headTime, log) })
	work.Go(func() { stop(watch(running, r)) })
	log.Info("serving", "address", l.Addr().String())
	handler := httpapi.Handler(r.Server, &httpapi.HandlerOptions{Health: r.Server.Health, Log: log})
	err := httpapi.Serve(running, l, handler, &tls.Config{GetCertificate: pair.get}, &httpapi.ServeOptions{Log: log})
	log.Info("stopped")
	if ctx.Err() == nil && running.Err() != nil {
		err = errors.Join(context.Cause(running), err)
	}
	return err
}

// watch returns why the store is used no more, or the clock is wrong, or nil when ctx ends.
// A process that lived on would refuse everybody until somebody looks.
func watch(ctx context.Context, r *runningVault) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if _, err := r.store.View(ctx, store.Index{}); err != nil && ctx.Err() == nil {
			return err
		}
		if err := r.Server.Health(ctx); errors.Is(err, vault.ErrClock) {
			return err
		}
	}
}

// headTime is how often the head of the audit log is logged.
const headTime = 24 * time.Hour

// tellHeads logs the head of the audit log at once and then each time.
func tellHeads(ctx context.Context, s *vault.Server, each time.Duration, log *slog.Logger) {
	tick := time.NewTicker(each)
	defer tick.Stop()
	for ctx.Err() == nil {
		h, err := s.Head(ctx)
		switch {
		case err != nil:
			log.Error("the head of the audit log cannot be read", "error", err)
		case h != nil:
			text := base64.RawURLEncoding.EncodeToString
			log.Info("audit log", "seq", h.Seq, "hash", text(h.Hash[:]), "at", h.Time, "signature", text(h.Signature[:]))
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// compactTime is how often what was destroyed is removed from the store's file.
const compactTime = 7 * 24 * time.Hour

func compact(ctx context.Context, s *bolt.Store, log *slog.Logger) {
	tick := time.NewTicker(compactTime)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := s.Compact(ctx); err != nil {
			log.Error("the store could not be compacted", "error", err)
		}
	}
}

// A certificate is read again when its file may have changed.
type certificate struct {
	cert, key string // files
	log       *slog.Logger

	mu     sync.Mutex
	now    *tls.Certificate
	loaded time.Time
}

const certificateAge = time.Minute

func (c *certificate) load() error {
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		return fmt.Errorf("certificate %s and its key %s: %w", quoteName(c.cert), quoteName(c.key), err)
	}
	c.now, c.loaded = &pair, time.Now()
	return nil
}

// get returns the certificate of the file, or the last good one.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.loaded) > certificateAge {
		if err := c.load(); err != nil {
			c.loaded = time.Now()
			c.log.Error("the certificate could not be read again: the old one stays", "error", err)
		}
	}
	return c.now, nil
}

// A notifier tells owners by a command.
type notifier struct{ command string }

// tell gives the command the notice on stdin, and nothing of it as an argument.
func (n notifier) tell(ctx context.Context, about vault.Notice) error {
	var text strings.Builder
	err := writeObject(&text, struct {
		Credential string           `json:"credential"`
		What       vault.NoticeKind `json:"what"`
		Left       uint8            `json:"attempts_left"`
		Time       time.Time        `json:"time"`
	}{about.Credential, about.What, about.Left, time.Unix(about.Time, 0).UTC()})
	if err != nil {
		return err
	}
	cmd := shell(ctx, n.command)
	cmd.Stdin = strings.NewReader(text.String())
	cmd.Stdout = io.Discard
	cmd.WaitDelay = time.Second // what it has started may live on
	if err := cmd.Run(); err != nil {
		return errors.Join(errors.New("the notify command failed"), err)
	}
	return nil
}
