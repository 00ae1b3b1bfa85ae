package engine_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/coffer-backup/coffer/archive"
	"github.com/coffer-backup/coffer/backends"
	"github.com/coffer-backup/coffer/backends/auto"
	"github.com/coffer-backup/coffer/engine"
	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/keys"
	"github.com/coffer-backup/coffer/vectors"
	"github.com/coffer-backup/coffer/vectors/conformance"
)

// errArchive: the plaintext breaks § 7, or is not what the catalog says.
var errArchive = errors.New("the archive is not sound")

// A question is a conformance case as a caller of the engine puts it.
type question struct {
	*vectors.Case
	container []byte
	with      []keys.Identity
	opts      engine.ReaderOptions
	fileKey   []byte // that an identity found
	argon2    uint64 // bytes that passphrases may have taken, in all runs
}

func newQuestion(t *testing.T, c *vectors.Case) *question {
	t.Helper()
	q := &question{Case: c}
	var err error
	if q.container, err = vectors.Files.ReadFile(c.File); err != nil {
		t.Fatal(err)
	}
	add := func(id keys.Identity, err error) {
		if err != nil {
			t.Fatal(err)
		}
		q.with = append(q.with, witness{id, q})
	}
	for _, k := range c.Inputs.AccountKeys {
		add(keys.AccountKeyFrom(k))
	}
	for _, p := range c.Inputs.Passphrases {
		add(keys.NewPassphrase(p))
	}
	for _, k := range c.Inputs.OtherKeys {
		add(newOtherKey(k))
	}
	q.opts = engine.ReaderOptions{Context: c.Inputs.Context, MaxMemory: c.Inputs.MaxMemory, MinGeneration: c.Inputs.MinGeneration, AllowAnonymous: c.Inputs.AllowAnonymous}
	if p := c.Inputs.Argon2; p != nil {
		q.opts.Argon2 = engine.Argon2Policy{MaxMemoryKiB: p.MaxMemoryKiB, MaxRuns: p.MaxRuns, MaxWorkKiB: p.MaxWorkKiB}
	}
	return q
}

// A witness tells a question what an identity did.
type witness struct {
	keys.Identity
	q *question
}

func (w witness) Unwrap(ctx context.Context, core format.Core, slot format.Slot) (*keys.FileKey, error) {
	if p, err := slot.PassphraseParams(); slot.Kind == format.KindPassphrase && err == nil {
		w.q.argon2 += uint64(p.MemoryKiB)<<10 + allocForRun
	}
	fk, err := w.Identity.Unwrap(ctx, core, slot)
	if err == nil {
		w.q.fileKey = fk.Bytes()
	}
	return fk, err
}

// An answer is what a way to read gave.
type answer struct {
	plain   []byte
	records archive.CatalogDigest
	info    engine.Info
	err     error
}

// class judges the archive, too.
func (a *answer) class(q *question) vectors.Class {
	if q.Inputs.Archive && class(a.err).Whole() {
		report, err := archive.Check(context.Background(), bytes.NewReader(a.plain))
		if err != nil {
			a.err = fmt.Errorf("%w: %w", errArchive, err)
		} else if report.Catalog != a.records.Sum() {
			a.err = fmt.Errorf("%w: the catalog differs", errArchive)
		}
	}
	if a.err == nil && len(a.info.Warnings) > 0 {
		return vectors.Skew
	}
	return class(a.err)
}

// drain reads r to its end, and once more.
func (a *answer) drain(t *testing.T, r *engine.Reader) {
	a.plain, a.err = io.ReadAll(r)
	a.info = r.Info()
	again := a.err
	if again == nil {
		again = io.EOF
	}
	for range 2 {
		if n, err := r.Read(make([]byte, 9)); n != 0 || err != again {
			t.Errorf("after %v Read gives %d bytes, %v", again, n, err)
		}
	}
	if n, err := r.WriteTo(io.Discard); n != 0 || err != a.err {
		t.Errorf("after %v WriteTo gives %d bytes, %v", again, n, err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

// stream reads with a Reader of so many workers.
func stream(t *testing.T, q *question, workers int, src io.Reader) (a answer) {
	opts := q.opts
	opts.Workers, opts.OnCatalog = workers, a.records.Add
	r, err := engine.NewReader(t.Context(), src, q.with, &opts)
	if err != nil {
		a.err = err
		return a
	}
	a.drain(t, r)
	return a
}

// whole opens a File and reads all of it in order.
func whole(t *testing.T, q *question) (a answer) {
	opts := q.opts
	opts.OnCatalog = a.records.Add
	f, err := engine.Open(t.Context(), bytes.NewReader(q.container), int64(len(q.container)), q.with, &opts)
	if err != nil {
		a.err = err
		return a
	}
	defer f.Close()
	r, err := f.NewReader(t.Context())
	if err != nil {
		a.err = err
		return a
	}
	a.drain(t, r)
	return a
}

// pieces opens a File and reads all of it at random, data and catalog.
func pieces(t *testing.T, q *question) (a answer) {
	const piece = 4093 // divides nothing
	f, err := engine.Open(t.Context(), bytes.NewReader(q.container), int64(len(q.container)), q.with, &q.opts)
	if err != nil {
		a.err = err
		return a
	}
	defer f.Close()
	a.info = f.Info()
	for b := make([]byte, piece); a.err == nil; {
		var n int
		n, a.err = f.ReadAt(b, int64(len(a.plain)))
		a.plain = append(a.plain, b[:n]...)
	}
	if a.err != io.EOF {
		return a
	}
	a.err = nil
	if int64(len(a.plain)) != f.Size() {
		t.Errorf("Size is %d, and %d bytes were read", f.Size(), len(a.plain))
	}
	for e, err := range f.Catalog() {
		if err == nil {
			err = a.records.Add(e)
		}
		if err != nil {
			a.err = err
			return a
		}
	}
	return a
}

// smallContainer is the longest container that is read byte by byte.
const smallContainer = 100 << 10

// wholeOnly are the cases, by name, with a fault that reads at random do not meet, and
// why: only a whole read proves that frames and seek table agree (§ 6.5.4).
var wholeOnly = map[string]string{
	"padding_first-byte":        "§ 6.4.4",
	"padding_last-byte":         "§ 6.4.4",
	"padding_twice":             "nobody asks for the frames between data, catalog and the last one",
	"padding_before-info":       "likewise",
	"frames_catalog-after-info": "likewise",
}

// judgedByOpen are the cases, by name, of which a random-access reader may give the
// data, but Open fails: it looks at the first frame after the data, to know whether
// there is a catalog, and at the last one before the table.
var judgedByOpen = map[string]bool{
	"frames_magic-58":     true,
	"frames_magic-5b":     true,
	"frames_magic-5f":     true,
	"frames_magic-0":      true,
	"frames_legacy-zstd":  true,
	"frames_info-over":    true,
	"frames_info-cut":     true,
	"frames_padding-over": true,
	"table_dsize-0":       true,
}

// TestVectors reads every case in every way that there is, by every backend. That the
// goroutines of all of them end is seen to by TestMain.
func TestVectors(t *testing.T) {
	manifest, err := vectors.Load()
	if err != nil {
		t.Fatal(err)
	}
	exceptions := len(wholeOnly) + len(judgedByOpen)
	for i := range manifest.Cases {
		c := &manifest.Cases[i]
		if wholeOnly[caseName(c)] != "" || judgedByOpen[caseName(c)] {
			exceptions--
		}
		t.Run(caseName(c), func(t *testing.T) {
			t.Parallel()
			for _, b := range backendsFor(newQuestion(t, c)) {
				testCase(t, c, b)
			}
		})
	}
	if exceptions != 0 {
		t.Errorf("%d exceptions are of cases that there are not", exceptions)
	}
}

func caseName(c *vectors.Case) string { return strings.TrimSuffix(path.Base(c.File), ".coffer") }

// backendsFor returns the backends that compute the suite of the case on this
// machine; of a header that tells no suite, the one that the engine would take.
func backendsFor(q *question) (found []backends.Backend) {
	const offSuite = 10
	if len(q.container) <= offSuite {
		return []backends.Backend{nil}
	}
	for _, b := range auto.Backends() {
		if slices.Contains(b.Suites(), format.Suite(q.container[offSuite])) {
			found = append(found, b)
		}
	}
	if found == nil {
		return []backends.Backend{nil}
	}
	return found
}

func testCase(t *testing.T, c *vectors.Case, b backends.Backend) {
	inOrder := conformance.Rules{Mode: conformance.Stream, Exact: true}
	atRandom := conformance.Rules{Mode: conformance.Random, Exact: true}
	judge := func(way string, rules conformance.Rules, c *vectors.Case, read func(q *question) answer) {
		t.Helper()
		q := newQuestion(t, c)
		q.opts.Backend = b
		a := read(q)
		if err := rules.Judge(c, a.class(q), a.plain); err != nil {
			t.Errorf("%s, %s: %v (%v)", way, backendName(b), err, a.err)
		}
		q.demandSilence(t, a.err)
	}
	judge("1 worker", inOrder, c, func(q *question) answer { return stream(t, q, 1, bytes.NewReader(q.container)) })
	judge("4 workers", inOrder, c, func(q *question) answer { return stream(t, q, 4, bytes.NewReader(q.container)) })
	if q := newQuestion(t, c); len(q.container) <= smallContainer {
		judge("byte by byte", inOrder, c, func(q *question) answer {
			return stream(t, q, 2, iotest.OneByteReader(bytes.NewReader(q.container)))
		})
	}
	judge("file", atRandom, inFile(c), func(q *question) answer { return whole(t, q) })
	judge("pieces", conformance.Rules{Mode: conformance.Random}, inPieces(c), func(q *question) answer { return pieces(t, q) })
}

// inFile is what a File says of c.
func inFile(c *vectors.Case) *vectors.Case {
	d := *c
	if judgedByOpen[caseName(c)] {
		d.RandomReleased = new(int)
	}
	return &d
}

// inPieces is what random reads say of c.
func inPieces(c *vectors.Case) *vectors.Case {
	d := *c
	if wholeOnly[caseName(c)] != "" {
		d.RandomClass = vectors.OK
	} else if c.ClassFor(true, nil) == vectors.DamagedCopy {
		d.RandomClass = vectors.Skew // there is a warning, and no end to report it at
	}
	return &d
}

func backendName(b backends.Backend) string {
	if b == nil {
		return "no backend"
	}
	return b.Name()
}

// leastSecret is how long a secret is, in bytes, that cannot be in a text by chance.
const leastSecret = 8

// demandSilence demands that err tells no secret. That an archive's errors name its
// members is meant.
func (q *question) demandSilence(t *testing.T, err error) {
	t.Helper()
	if err == nil || errors.Is(err, errArchive) {
		return
	}
	text := fmt.Sprintf("%v %+v %#v", err, err, err)
	var secrets [][]byte
	for _, k := range slices.Concat(q.Inputs.AccountKeys, q.Inputs.Passphrases) {
		secrets = append(secrets, k)
	}
	for _, k := range q.Inputs.OtherKeys {
		secrets = append(secrets, k.Key)
	}
	for _, s := range append(secrets, q.fileKey, q.Inputs.Context) {
		if len(s) < leastSecret {
			continue
		}
		for _, form := range []string{string(s), hex.EncodeToString(s), strings.ToUpper(hex.EncodeToString(s)), fmt.Sprint(s)} {
			if strings.Contains(text, form) {
				t.Errorf("a secret is in %s", text)
			}
		}
	}
	const mostPlain = 16
	plain := q.Plaintext.Bytes()
	for i := 0; i+mostPlain < len(text); i++ {
		if bytes.Contains(plain, []byte(text[i:i+mostPlain+1])) {
			t.Errorf("plaintext is in %s", text)
			return
		}
	}
}

// What may be allocated before a container is authentic, in bytes (§ 1.1.6): the
// header blocks that are read, the Argon2 runs, and what parsing and deriving take,
// for which a public-key slot needs the most.
const (
	allocForCopy = format.MaxHeaderSize
	allocForKeys = 48 << 10
	allocForRun  = 16 << 10 // beside its memory
)

// TestMemoryBeforeAuthentication: whatever a file says, little is allocated for one
// that does not open. It runs alone, since it counts all that the process allocates.
func TestMemoryBeforeAuthentication(t *testing.T) {
	manifest, err := vectors.Load()
	if err != nil {
		t.Fatal(err)
	}
	measured := 0
	for i := range manifest.Cases {
		q := newQuestion(t, &manifest.Cases[i])
		allocated := func(open func() (io.Closer, error)) (n uint64, err error) {
			var before, after runtime.MemStats
			q.argon2 = 0
			runtime.ReadMemStats(&before)
			c, err := open()
			runtime.ReadMemStats(&after)
			if err == nil {
				c.Close()
			}
			return after.TotalAlloc - before.TotalAlloc, err
		}
		demand := func(way string, copies, n uint64) {
			measured++
			if limit := copies*allocForCopy + allocForKeys + q.argon2; n > limit {
				t.Errorf("%s: %s: %d KiB were allocated, and %d are allowed", caseName(q.Case), way, n>>10, limit>>10)
			}
		}
		n, streamErr := allocated(func() (io.Closer, error) {
			return engine.NewReader(t.Context(), bytes.NewReader(q.container), q.with, &q.opts)
		})
		if streamErr == nil {
			continue
		}
		demand("stream", 1, n)
		n, fileErr := allocated(func() (io.Closer, error) {
			return engine.Open(t.Context(), bytes.NewReader(q.container), int64(len(q.container)), q.with, &q.opts)
		})
		if class(fileErr) == class(streamErr) { // so it was not the other copy that opened
			demand("file", 2, n)
		}
	}
	if measured < 100 {
		t.Errorf("only %d failures to open were measured", measured)
	}
}
