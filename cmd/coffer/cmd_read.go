package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/coffer-backup/coffer/archive"
	"github.com/coffer-backup/coffer/format"
)

func newOpen(u *ui) *cobra.Command {
	var r readFlags
	var out outputFlags
	cmd := &cobra.Command{
		Use:   "open [KEYS] [-o FILE|-] [FILE|-]",
		Short: "Decrypt one stream: stdin to stdout unless told otherwise",
		Long: `Decrypt what "coffer seal" made. Of an archive it gives the tar.

What goes to stdout is authentic, but only the exit status 0 says that it was all.

` + keysHelp + `

` + acceptHelp,
		Example: `  coffer open --key-file ~/coffer.key docs.coffer | tar x`,
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.openStream(cmd.Context(), u, nameOrStdio(args), &out)
		},
	}
	r.register(cmd.Flags())
	out.register(cmd.Flags(), "the plaintext")
	return cmd
}

func (r *readFlags) openStream(ctx context.Context, u *ui, name string, to *outputFlags) error {
	if err := to.claim(u, append(r.keys.files(), name)...); err != nil {
		return err
	}
	c, err := r.open(ctx, u, name, openOptions{partial: true})
	if err != nil {
		return err
	}
	defer c.close(ctx)
	out, err := to.open(u, false)
	if err != nil {
		return err
	}
	defer out.abort()
	plain, err := c.content(ctx)
	if err != nil {
		return err
	}
	defer plain.close()
	if _, err := io.Copy(out, plain); err != nil {
		return c.fault(err)
	}
	if err := out.commit(); err != nil {
		return err
	}
	c.warnings(u)
	if out.file == nil && !u.json {
		return nil // nothing to say in a pipe
	}
	s := c.summary("open")
	s.Output, s.PlainBytes = out.name(), plain.n
	return u.summary(s, fmt.Sprintf("%s: %s", quoteName(out.name()), byteCount(plain.n)))
}

func newRestore(u *ui) *cobra.Command {
	var r readFlags
	var dir string
	opts := archive.ExtractOptions{Fsync: true}
	cmd := &cobra.Command{
		Use:   "restore [KEYS] [-C DIR] FILE|-",
		Short: "Restore the files of a backup",
		Long: `Restore the files of a backup into DIR, which is made if it is absent and must be
empty unless --force is given, which removes what a killed restore left there, too.
Each file appears under its name when it is whole. Where the container is damaged,
what is whole stays and the rest is listed. Run as root it restores owners, setuid
bits and devices, too: restore what comes from people you do not trust as another
user.

` + keysHelp + `

` + acceptHelp,
		Example: `  coffer restore --key-file ~/coffer.key -C ~/restored docs.coffer`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.restore(cmd.Context(), u, args[0], dir, &opts)
		},
	}
	r.register(cmd.Flags())
	cmd.Flags().StringVarP(&dir, "directory", "C", ".", "restore into this `DIR`")
	cmd.Flags().BoolVar(&opts.NoOwners, "no-owner", false, "let the files belong to who restores them (the default unless run as root)")
	cmd.Flags().BoolVar(&opts.AllowNonEmpty, "force", false, "restore into a DIR that is not empty, and replace files there")
	return cmd
}

func (r *readFlags) restore(ctx context.Context, u *ui, name, dir string, opts *archive.ExtractOptions) error {
	records := 0
	countRecord := func(format.CatalogEntry) error { records++; return nil }
	c, err := r.open(ctx, u, name, openOptions{onCatalog: countRecord, partial: true})
	if err != nil {
		return err
	}
	defer c.close(ctx)
	if c.file != nil && !c.file.IsArchive() {
		return c.fault(archive.ErrNotArchive)
	}
	plain, err := c.content(ctx)
	if err != nil {
		return err
	}
	defer plain.close()
	opts.OnWarning = func(e *archive.EntryError) { u.warn("%v", e) }
	report, err := archive.Extract(ctx, plain, dir, opts)
	switch {
	case errors.Is(err, archive.ErrNotArchive):
		if c.file != nil { // which has a catalog
			err = fmt.Errorf("%w: %w", errOtherContent, err)
		}
		return c.fault(err)
	case ctx.Err() != nil, report.Next == 0 && classify(err) == statusFailed: // nothing could be restored
		return err
	case err != nil && !errors.Is(err, archive.ErrIncomplete):
		if !report.Ended {
			u.notRestored(c, report)
		}
		return c.fault(fmt.Errorf("%s, then: %w", restored(report), err))
	case records == 0: // of a stream it is known only now
		return c.fault(fmt.Errorf("%w; of its tar %s restored all the same, %d failed", archive.ErrNotArchive,
			count(report.Entries, "entry is", "entries are"), report.Failed))
	}
	c.warnings(u)
	s := c.summary("restore")
	s.Output, s.PlainBytes, s.Failed, s.Warnings = dir, plain.n, report.Failed, report.Warnings
	s.Entries, s.Content = &report.Entries, &report.Bytes
	line := fmt.Sprintf("%s: %s, %s", quoteName(dir), count(report.Entries, "entry", "entries"), byteCount(report.Bytes))
	if err := u.summary(s, line); err != nil {
		return err
	}
	switch {
	case err != nil:
		return &incompleteError{err.Error()}
	case report.Warnings > 0:
		return &incompleteError{"all files are restored, but not all of their attributes: see " + count(report.Warnings, "warning", "warnings")}
	}
	return nil
}

// restored says how far a restore came.
func restored(report *archive.Report) string {
	entries := count(report.Entries, "entry", "entries")
	switch {
	case !report.Ended:
		return entries + " restored"
	case report.Failed > 0:
		return fmt.Sprintf("%s restored, %d failed", entries, report.Failed)
	}
	return "the whole archive is restored, " + entries
}

// notRestored lists what the catalog has from the place on where restoring
// stopped. Without a catalog the names are lost.
func (u *ui) notRestored(c *container, report *archive.Report) {
	if c.file == nil {
		u.warn("what follows byte %d of the archive is not restored, and its names are not known", report.Next)
		return
	}
	for e, err := range c.file.Catalog() {
		if err != nil {
			u.warn("the rest of the list cannot be read: %v", err)
			return
		}
		if e.Offset >= uint64(report.Next) {
			u.warn("not restored: %s", quoteName(e.Path))
		}
	}
}
