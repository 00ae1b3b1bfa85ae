package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/coffer-backup/coffer/archive"
	"github.com/coffer-backup/coffer/engine"
	"github.com/coffer-backup/coffer/format"
)

func newVerify(u *ui) *cobra.Command {
	var r readFlags
	cmd := &cobra.Command{
		Use:   "verify [KEYS] FILE|-",
		Short: "Read a whole container and check everything in it",
		Long: `Read a whole container, without writing anything, and check all that can be
checked: every byte is authentic and decompresses, nothing is missing, both copies
of the header are good, and of an archive the catalog says the same as the files.

` + keysHelp + `

` + acceptHelp,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.verify(cmd.Context(), u, args[0])
		},
	}
	r.register(cmd.Flags())
	return cmd
}

func (r *readFlags) verify(ctx context.Context, u *ui, name string) error {
	var records catalogDigest
	c, err := r.open(ctx, u, name, openOptions{onCatalog: records.add})
	if err != nil {
		return err
	}
	defer c.close(ctx)
	plain, err := c.content(ctx)
	if err != nil {
		return err
	}
	defer plain.close()
	found, err := verify(ctx, plain, &records)
	if err != nil {
		return c.fault(err)
	}
	c.warnings(u)
	s := c.summary("verify")
	s.PlainBytes = found.plain
	line := fmt.Sprintf("%s: good, %s", quoteName(c.in.name), byteCount(found.plain))
	if records.n > 0 {
		s.Entries, s.Content = &found.entries, &found.content
		line += ", " + count(found.entries, "entry", "entries")
	}
	return u.summary(s, line)
}

// errOtherContent says that two views of one container differ.
var errOtherContent = errors.New("the catalog and the content differ")

// catalogDigest takes the records of a catalog.
type catalogDigest struct {
	archive.CatalogDigest
	n int64
}

func (d *catalogDigest) add(e format.CatalogEntry) error {
	d.n++
	return d.Add(e)
}

// measure is what one can compare of two contents without keeping them.
type measure struct {
	plain   int64              // bytes
	entries int64              // of an archive, else 0
	content int64              // bytes in the files of an archive, else 0
	catalog archive.CatalogSum // of an archive, else zero
}

// verify reads all of c and compares the archive in it, if it is one, with the
// catalog, whose records arrive in the meantime.
func verify(ctx context.Context, c *content, records *catalogDigest) (m measure, err error) {
	// Whether it is an archive is known at its end, when the catalog is there.
	report, archiveErr := archive.Check(ctx, c)
	if _, err := io.Copy(io.Discard, c); err != nil {
		return m, err
	}
	if c.damagedCopy {
		return m, engine.ErrDamagedCopy
	}
	m.plain = c.n
	if records.n == 0 {
		return m, nil
	}
	if archiveErr != nil {
		return m, fmt.Errorf("%w: %w", errOtherContent, archiveErr)
	}
	m.entries, m.content, m.catalog = report.Entries, report.Bytes, report.Catalog
	if m.catalog != records.Sum() {
		return m, errOtherContent
	}
	return m, nil
}
