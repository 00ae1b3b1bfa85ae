package main

import (
	"archive/tar"
	"bufio"
	"context"
	"fmt"
	"io"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/coffer-backup/coffer/archive"
	"github.com/coffer-backup/coffer/format"
)

func newLs(u *ui) *cobra.Command {
	var r readFlags
	cmd := &cobra.Command{
		Use:   "ls [KEYS] FILE|-",
		Short: "List the files in a backup",
		Long: `List the files in a backup: mode, size, modification time and name. Of a file only
the catalog is read; a stream has to be read to its end. A name that could confuse
a terminal is quoted as a Go string.

` + keysHelp + `

` + acceptHelp,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.list(cmd.Context(), u, args[0])
		},
	}
	r.register(cmd.Flags())
	return cmd
}

func (r *readFlags) list(ctx context.Context, u *ui, name string) error {
	u.keepOffStdout()
	out := bufio.NewWriter(u.result)
	entries := 0
	show := func(e format.CatalogEntry) error {
		entries++
		if u.json {
			return writeObject(out, newEntryObject(e))
		}
		_, err := fmt.Fprintln(out, entryLine(e))
		return err
	}
	c, err := r.open(ctx, u, name, openOptions{onCatalog: show})
	if err != nil {
		return err
	}
	defer c.close(ctx)
	if c.file != nil {
		err = listFile(c, show)
	} else {
		err = listStream(ctx, c)
	}
	if err == nil && entries == 0 {
		err = archive.ErrNotArchive
	}
	flushErr := out.Flush()
	if err != nil {
		return c.fault(err)
	}
	c.warnings(u)
	return flushErr
}

func listFile(c *container, show func(format.CatalogEntry) error) error {
	for e, err := range c.file.Catalog() {
		if err != nil {
			return err
		}
		if err := show(e); err != nil {
			return err
		}
	}
	return nil
}

// listStream reads all, for the catalog comes last; the engine shows it.
func listStream(ctx context.Context, c *container) error {
	plain, err := c.content(ctx)
	if err != nil {
		return err
	}
	defer plain.close()
	_, err = io.Copy(io.Discard, plain)
	return err
}

// entryLine is like a line of "tar -tv", without the owner, which the catalog has
// not.
func entryLine(e format.CatalogEntry) string {
	line := fmt.Sprintf("%s %12d %s %s", modeString(e), e.Size, time.Unix(0, e.ModTime).Format("2006-01-02 15:04:05"), quoteName(e.Path))
	switch e.Type {
	case tar.TypeSymlink:
		line += " -> " + quoteName(e.Link)
	case tar.TypeLink:
		line += " link to " + quoteName(e.Link)
	}
	return line
}

// modeString is as in "ls -l", with h for a hard link as tar has it.
func modeString(e format.CatalogEntry) string {
	s := []byte("?rwxrwxrwx")
	types := map[byte]byte{
		tar.TypeReg: '-', tar.TypeDir: 'd', tar.TypeSymlink: 'l', tar.TypeLink: 'h',
		tar.TypeFifo: 'p', tar.TypeChar: 'c', tar.TypeBlock: 'b',
	}
	if t, ok := types[e.Type]; ok {
		s[0] = t
	}
	for i := range 9 {
		if e.Mode&(1<<(8-i)) == 0 {
			s[1+i] = '-'
		}
	}
	for i, special := range []byte("sst") { // setuid, setgid, sticky
		if e.Mode&(0o4000>>i) == 0 {
			continue
		}
		if x := &s[3+3*i]; *x == 'x' {
			*x = special
		} else {
			*x = special - 'a' + 'A'
		}
	}
	return string(s)
}

// entryObject is one entry with --json. The bytes of names that are not UTF-8,
// which JSON cannot carry, are given in base64 too.
type entryObject struct {
	Type      string    `json:"type"`
	Kind      string    `json:"kind"` // the tar typeflag
	Path      string    `json:"path"`
	PathBytes []byte    `json:"path_bytes,omitempty"`
	Link      string    `json:"link,omitempty"`
	LinkBytes []byte    `json:"link_bytes,omitempty"`
	Size      uint64    `json:"size"`
	Mode      string    `json:"mode"` // octal
	ModTime   time.Time `json:"mtime"`
	Offset    uint64    `json:"offset"` // of its first tar block in the plaintext
}

func newEntryObject(e format.CatalogEntry) entryObject {
	o := entryObject{
		Type: "entry", Kind: string(rune(e.Type)), Path: e.Path, Link: e.Link, Size: e.Size,
		Mode: fmt.Sprintf("%04o", e.Mode), ModTime: time.Unix(0, e.ModTime).UTC(), Offset: e.Offset,
	}
	if !utf8.ValidString(e.Path) {
		o.PathBytes = []byte(e.Path)
	}
	if !utf8.ValidString(e.Link) {
		o.LinkBytes = []byte(e.Link)
	}
	return o
}
