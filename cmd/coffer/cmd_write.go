package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/coffer-backup/coffer/archive"
	"github.com/coffer-backup/coffer/backends"
	"github.com/coffer-backup/coffer/engine"
	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/keys"
)

func newBackup(u *ui) *cobra.Command {
	var w writeFlags
	var opts archive.CreateOptions
	cmd := &cobra.Command{
		Use:   "backup [KEYS] [-o FILE|-] PATH...",
		Short: "Back up files and directories into one encrypted container",
		Long: `Back up files and directories, with all below them, into one encrypted container.

Names are kept as tar does it: /usr/local/go becomes usr/local/go. The container
appears under its name when it is whole. Files that cannot be read, or change
meanwhile, are warned of and make the exit status 3.

` + keysHelp,
		Example: `  coffer backup --new-key ~/coffer.key --verify -o ~/docs.coffer ~/Documents
  coffer backup --key-file ~/coffer.key -o - ~/Documents | ssh host 'cat > docs.coffer'`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return w.backup(cmd.Context(), u, args, &opts)
		},
	}
	w.register(cmd.Flags())
	cmd.Flags().StringArrayVar(&opts.Exclude, "exclude", nil, "leave out what fits this `PATTERN`: *.o anywhere, /home/*/tmp from the top, cache/ directories only")
	cmd.Flags().BoolVar(&opts.ExcludeCaches, "exclude-caches", false, "leave out the content of directories with a CACHEDIR.TAG file")
	cmd.Flags().BoolVar(&opts.OneFileSystem, "one-file-system", false, "stay on the file systems of the PATHs")
	return cmd
}

func newSeal(u *ui) *cobra.Command {
	var w writeFlags
	cmd := &cobra.Command{
		Use:   "seal [KEYS] [-o FILE|-] [FILE|-]",
		Short: "Encrypt one stream: stdin to stdout unless told otherwise",
		Long: `Compress and encrypt one file or stream. "coffer open" gives it back.

` + keysHelp,
		Example: `  pg_dump shop | coffer seal --key-file ~/coffer.key > shop.coffer`,
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return w.seal(cmd.Context(), u, nameOrStdio(args))
		},
	}
	w.register(cmd.Flags())
	return cmd
}

// nameOrStdio is for commands with one optional file argument.
func nameOrStdio(args []string) string {
	if len(args) == 0 {
		return stdio
	}
	return args[0]
}

type writeSummary struct {
	Type        string `json:"type"`
	Command     string `json:"command"`
	Output      string `json:"output"`
	Entries     *int64 `json:"entries,omitempty"`       // of an archive
	PlainBytes  int64  `json:"plain_bytes"`             // as in readSummary
	Content     *int64 `json:"content_bytes,omitempty"` // as in readSummary
	SealedBytes int64  `json:"sealed_bytes"`
	Warnings    int64  `json:"warnings"`
	Verified    bool   `json:"verified"`
}

func (w *writeFlags) backup(ctx context.Context, u *ui, roots []string, opts *archive.CreateOptions) error {
	if err := w.out.claim(u, append(w.keys.files(), w.newKey)...); err != nil {
		return err
	}
	if err := archive.CheckExclude(opts.Exclude); err != nil {
		return usagef("%w", err)
	}
	if err := anyExists(roots); err != nil {
		return err
	}
	var report *archive.Report
	opts.OnWarning = func(e *archive.EntryError) { u.warn("%v", e) }
	s, err := w.write(ctx, u, true, func(ew *engine.Writer, own []fs.FileInfo) (m measure, err error) {
		opts.Omit = own
		sink := &countingSink{w: ew}
		report, err = archive.Create(ctx, sink, roots, opts)
		return measure{sink.n, report.Entries, report.Bytes, report.Catalog}, err
	})
	if err != nil {
		return err
	}
	s.Command, s.Entries, s.Content, s.Warnings = "backup", &report.Entries, &report.Bytes, report.Warnings
	if err := u.summary(s, s.line(count(report.Entries, "entry", "entries")+", ")); err != nil {
		return err
	}
	if report.Warnings > 0 {
		return &incompleteError{"the backup is written, but it is not all of the source: see " + count(report.Warnings, "warning", "warnings")}
	}
	return nil
}

// anyExists fails if no root exists: before a key is made or a passphrase asked
// for, a typing error costs nothing.
func anyExists(roots []string) error {
	var first error
	for _, root := range roots {
		_, err := os.Lstat(root)
		if err == nil {
			return nil
		}
		if first == nil {
			first = err
		}
	}
	return first
}

// countingSink counts the plaintext of an archive.
type countingSink struct {
	w *engine.Writer
	n int64
}

func (s *countingSink) Write(p []byte) (int, error) {
	n, err := s.w.Write(p)
	s.n += int64(n)
	return n, err
}

func (s *countingSink) AddCatalogEntry(e format.CatalogEntry) error { return s.w.AddCatalogEntry(e) }

func (w *writeFlags) seal(ctx context.Context, u *ui, name string) error {
	if err := w.out.claim(u, append(w.keys.files(), w.newKey, name)...); err != nil {
		return err
	}
	if err := w.keys.checkInput(name); err != nil {
		return err
	}
	in, err := openInput(ctx, name)
	if err != nil {
		return err
	}
	defer in.close()
	s, err := w.write(ctx, u, false, func(ew *engine.Writer, _ []fs.FileInfo) (m measure, err error) {
		m.plain, err = ew.ReadFrom(in)
		return m, err
	})
	if err != nil {
		return err
	}
	s.Command = "seal"
	return u.summary(s, s.line(""))
}

func (s *writeSummary) line(entries string) string {
	line := fmt.Sprintf("%s: %s%s in, %s sealed", quoteName(s.Output), entries, byteCount(s.PlainBytes), byteCount(s.SealedBytes))
	if s.Verified {
		line += ", read back and verified"
	}
	return line
}

// A filler writes the content of a container. It is given the output's own files,
// which no archive may contain.
type filler func(*engine.Writer, []fs.FileInfo) (measure, error)

// write makes a container in the claimed output.
func (w *writeFlags) write(ctx context.Context, u *ui, isArchive bool, fill filler) (s *writeSummary, err error) {
	if w.pad && w.noPad {
		return nil, usagef("--pad and --no-pad exclude each other")
	}
	if w.backend.inToken && w.suite != 0 && w.suite != format.AES256GCM {
		return nil, usagef("--backend pkcs11 computes aes-256-gcm, not %v", w.suite)
	}
	out, err := w.out.open(u, true)
	if err != nil {
		return nil, err
	}
	defer out.abort()
	if w.verify && (out.file == nil || out.file.InPlace()) {
		return nil, usagef("--verify reads the container back, so it needs -o with a regular file")
	}
	ring, backend, err := w.loadKeys(ctx, u)
	defer func() {
		out.abort() // before what may wait for a token
		ring.close(ctx)
	}()
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil && w.newKey != "" { // its digits are shown, and may be written down
			u.warn("the new key stays in %s: use it with --key-file", quoteName(w.newKey))
		}
	}()
	opts := w.writerOptions(isArchive, backend)
	opts.Progress = u.onProgress(0)
	written, err := encrypt(ctx, out, ring.to, opts, fill)
	if err != nil {
		return nil, err
	}
	if w.verify {
		if err := w.readBack(ctx, u, out, ring.with, backend, written); err != nil {
			return nil, fmt.Errorf("reading back what was written: %w", err)
		}
	}
	s = &writeSummary{Type: "summary", Output: out.name(), PlainBytes: written.plain, SealedBytes: out.n, Verified: w.verify}
	return s, out.commit()
}

// encrypt writes a whole container to out.
func encrypt(ctx context.Context, out *output, to []keys.Recipient, opts *engine.WriterOptions, fill filler) (m measure, err error) {
	w, err := engine.NewWriter(ctx, out, to, opts)
	if err != nil {
		return m, err
	}
	defer w.Abort()
	if m, err = fill(w, out.own); err != nil {
		return m, err
	}
	return m, w.Close()
}

// loadKeys gathers the keys and who computes, and makes the new key when all else is
// there.
func (w *writeFlags) loadKeys(ctx context.Context, u *ui) (ring *keyring, b backends.Backend, err error) {
	made := w.newKey != ""
	if ring, err = w.keys.forWriting(ctx, u, w.cost, made); err != nil {
		return ring, nil, err
	}
	if err := w.checkKeys(ring, made); err != nil {
		return ring, nil, err
	}
	if b, err = w.chosen(ctx, ring); err != nil || !made {
		return ring, b, err
	}
	k, err := writeNewKey(w.newKey)
	if err != nil {
		return ring, nil, err
	}
	u.newKey(w.newKey, k.AccountKey, true)
	ring.add(k)
	return ring, b, nil
}

// checkKeys fails if the keys are too many, or no reader would open the container by
// the last of its passphrase slots, or it could not be read back.
func (w *writeFlags) checkKeys(ring *keyring, made bool) error {
	places := format.MaxEntries
	if made {
		places--
	}
	if len(ring.to) > places {
		return usagef("%d keys are too many: at most %d fit", len(ring.to), places)
	}
	n := 0
	for _, k := range ring.with {
		if k.Kind() == format.KindPassphrase {
			n++
		}
	}
	policy := engine.DefaultArgon2Policy()
	work := uint64(n) * uint64(w.cost.Time) * uint64(w.cost.MemoryKiB)
	if n > 0 && (n > policy.MaxRuns || w.cost.MemoryKiB > policy.MaxMemoryKiB || work > policy.MaxWorkKiB) {
		return usagef("no reader would try %s at that cost: give fewer, or a lower --argon2", count(int64(n), "passphrase", "passphrases"))
	}
	if w.verify && !made && len(ring.with) == 0 {
		return usagef("--verify reads the container back, and recipients alone do not open it: leave --verify out and use coffer verify where the secret key is, or give a key beside them")
	}
	return nil
}

// readBack verifies the container in the temporary file of out.
func (w *writeFlags) readBack(ctx context.Context, u *ui, out *output, with []keys.Identity, b backends.Backend, written measure) error {
	var records catalogDigest
	opts := w.readerOptions(b)
	opts.AllowAnonymous = true // nobody else can have written it
	opts.OnCatalog = records.add
	opts.Progress = u.onProgress(out.n)
	f, err := engine.Open(ctx, out.file, out.n, with, opts)
	if err != nil {
		return err
	}
	defer f.Close()
	r, err := f.NewReader(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	read, err := verify(ctx, &content{r: r}, &records)
	if err != nil {
		return err
	}
	if read != written {
		return errOtherContent
	}
	return nil
}
