package fuzz_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"

	"github.com/coffer-backup/coffer/engine"
	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/keys"
	"github.com/coffer-backup/coffer/vectors"
	"github.com/coffer-backup/coffer/vectors/build"
)

// classOf is the class of § 8.3 that an error is of.
func classOf(err error) vectors.Class {
	for _, c := range []struct {
		err   error
		class vectors.Class
	}{
		{format.ErrMagic, vectors.Magic}, {format.ErrVersion, vectors.Version}, {keys.ErrNoMatch, vectors.NoKey},
		{engine.ErrLimit, vectors.Limit}, {engine.ErrAuth, vectors.Auth}, {engine.ErrContext, vectors.Context},
		{engine.ErrTruncated, vectors.Truncated}, {engine.ErrTrailingData, vectors.Trailing}, {engine.ErrDamagedCopy, vectors.DamagedCopy},
	} {
		if errors.Is(err, c.err) {
			return c.class
		}
	}
	if syntax := (*format.SyntaxError)(nil); errors.As(err, &syntax) {
		if syntax.Struct == "header" {
			return vectors.Header
		}
		return vectors.Content
	}
	if err == nil {
		return vectors.OK
	}
	return vectors.Class("none: " + err.Error())
}

// identities are the caller's keys.
func (c *caller) identities() (with []keys.Identity) {
	for _, ak := range c.accounts {
		with = append(with, must(keys.AccountKeyFrom(ak)))
	}
	for _, seed := range c.seeds {
		with = append(with, must(keys.HybridIdentityFrom(seed)))
	}
	for _, p := range c.passphrases {
		with = append(with, must(keys.NewPassphrase(p)))
	}
	return with
}

func (c *caller) options(workers int, record func(format.CatalogEntry) error) *engine.ReaderOptions {
	return &engine.ReaderOptions{
		Context: c.context, Workers: workers, MaxMemory: c.maxMemory, Argon2: c.argon2, MinGeneration: c.minGeneration, AllowAnonymous: c.allowAnonymous,
		OnCatalog: record,
	}
}

// A reading is what a reader made of a file.
type reading struct {
	plain   []byte
	records []format.CatalogEntry
	class   vectors.Class
	err     error // nil if the reader came to the end, skew or not
	info    *engine.Info

	// Of a random-access reader plain and these are what it gave at random, and
	// records what it gave in order.
	opened bool
	seen   []format.CatalogEntry
	seeing error
}

func (r *reading) record(e format.CatalogEntry) error {
	r.records = append(r.records, e)
	return nil
}

// finish sets the class, and demands of an error that it tells no secret.
func (r *reading) finish(t *testing.T, c *caller, err error, info func() engine.Info) {
	t.Helper()
	r.err, r.class = err, classOf(err)
	if err != nil {
		c.secrets.demandNoneIn(t, err.Error())
	}
	if info == nil {
		return
	}
	told := info()
	r.info = &told
	for _, w := range told.Warnings {
		c.secrets.demandNoneIn(t, w)
		if r.class == vectors.OK {
			r.class = vectors.Skew
		}
	}
}

// readStream reads a file as a stream.
func (c *caller) readStream(t *testing.T, file []byte, workers int) (got reading) {
	t.Helper()
	r, err := engine.NewReader(context.Background(), bytes.NewReader(file), c.identities(), c.options(workers, got.record))
	if err != nil {
		got.finish(t, c, err, nil)
		return got
	}
	defer r.Close()
	got.plain, err = drain(t, r, workers == 1)
	got.finish(t, c, err, r.Info)
	return got
}

// drain reads all of r, either by Read or by WriteTo, and demands that its end is one
// for good.
func drain(t *testing.T, r *engine.Reader, byRead bool) (plain []byte, err error) {
	t.Helper()
	var b bytes.Buffer
	if byRead {
		// In pieces that no boundary of the format is a multiple of.
		_, err = io.CopyBuffer(&b, struct{ io.Reader }{r}, make([]byte, 10_007))
	} else {
		_, err = r.WriteTo(&b)
	}
	end := err
	if err == nil {
		end = io.EOF
	}
	for range 2 {
		if n, again := r.Read(make([]byte, 1)); n != 0 || again != end {
			t.Errorf("after the end with %v, Read gives %d bytes, %v", end, n, again)
		}
	}
	if n, again := r.WriteTo(io.Discard); n != 0 || again != err {
		t.Errorf("after the end with %v, WriteTo gives %d bytes, %v", end, n, again)
	}
	return b.Bytes(), err
}

// readRandom reads all of a file at random: its plaintext in windows, the catalog,
// and then the whole once more in order, which alone proves that both views agree.
func (c *caller) readRandom(t *testing.T, file []byte) (got reading) {
	t.Helper()
	f, err := engine.Open(context.Background(), bytes.NewReader(file), int64(len(file)), c.identities(), c.options(2, got.record))
	if err != nil {
		got.finish(t, c, err, nil)
		return got
	}
	defer f.Close()
	got.opened = true
	got.plain, got.seen, got.seeing = readView(f)
	whole, err := got.readWhole(t, f)
	if got.seeing != nil {
		err = got.seeing
	} else if (err == nil || errors.Is(err, engine.ErrDamagedCopy)) && (!bytes.Equal(got.plain, whole) || !slices.Equal(got.seen, got.records)) {
		t.Errorf("at random %d bytes and %d records were read, in order %d and %d, and they differ", len(got.plain), len(got.seen), len(whole), len(got.records))
	}
	got.finish(t, c, err, f.Info)
	return got
}

// readView reads what random access gives.
func readView(f *engine.File) (plain []byte, records []format.CatalogEntry, err error) {
	window := make([]byte, 100_003)
	for off := int64(0); off < f.Size(); off += int64(len(window)) {
		n, err := f.ReadAt(window, off)
		plain = append(plain, window[:n]...)
		if err != nil && err != io.EOF {
			return plain, nil, err
		}
	}
	if int64(len(plain)) != f.Size() {
		return plain, nil, fmt.Errorf("%d bytes of %d", len(plain), f.Size())
	}
	// A place read again, with another one before it.
	if n := min(len(plain), 50); n > 0 {
		again := make([]byte, n)
		if _, err := f.ReadAt(again, 0); err != nil && err != io.EOF || !bytes.Equal(again, plain[:n]) {
			return plain, nil, fmt.Errorf("read again, the beginning is another one (%v)", err)
		}
	}
	for e, err := range f.Catalog() {
		if err != nil {
			return plain, nil, err
		}
		records = append(records, e)
	}
	return plain, records, nil
}

// readWhole reads f in order.
func (r *reading) readWhole(t *testing.T, f *engine.File) (plain []byte, err error) {
	t.Helper()
	whole, err := f.NewReader(context.Background())
	if err != nil {
		return nil, err
	}
	defer whole.Close()
	return drain(t, whole, false)
}

// check reads file with all readers and compares them with the oracle and with one
// another.
func (c *caller) check(t *testing.T, file []byte) (stream, random reading) {
	t.Helper()
	stream, random = c.readStream(t, file, 1), c.readRandom(t, file)
	parallel := c.readStream(t, file, 4)
	if fmt.Sprint(stream.err) != fmt.Sprint(parallel.err) || stream.class != parallel.class ||
		!bytes.Equal(stream.plain, parallel.plain) || !slices.Equal(stream.records, parallel.records) {
		t.Errorf("with 1 worker %d bytes, %v: %v; with 4 %d bytes, %v: %v",
			len(stream.plain), stream.class, stream.err, len(parallel.plain), parallel.class, parallel.err)
	}
	want := c.stream(file)
	if !want.allows(stream.class) {
		t.Errorf("stream: %v (%v), want %v", stream.class, stream.err, want.classes)
	}
	if !bytes.Equal(stream.plain, want.content.plain) {
		t.Errorf("stream: %v (%v) after %d bytes, want %d, or they differ", stream.class, stream.err, len(stream.plain), len(want.content.plain))
	}
	if !slices.EqualFunc(stream.records, want.content.records, sameRecord) {
		t.Errorf("stream: %d records, want %d, or they differ", len(stream.records), len(want.content.records))
	}
	stream.compareInfo(t, want)
	random.compareRandom(t, c.random(file), &stream)
	if !fuzzing {
		c.checkBudgets(t, file, &stream, &random)
	}
	return stream, random
}

// compareInfo compares what a reader tells of the header that it used. That has a MAC, so
// its salt and generation will do.
func (r *reading) compareInfo(t *testing.T, want verdict) {
	t.Helper()
	if r.info == nil || want.used == nil {
		return
	}
	h, used := r.info.Header, want.used
	if h.Generation != used.generation() || !bytes.Equal(h.Salt[:], used.salt()) || uint16(r.info.SlotKind) != used.opened || r.info.SenderAuthenticated != (used.opened != 5) {
		t.Errorf("opened by a slot of kind %d of generation %d, want %d of %d", r.info.SlotKind, h.Generation, used.opened, used.generation())
	}
}

// compareRandom compares what random access gave with the oracle.
func (r *reading) compareRandom(t *testing.T, want verdict, stream *reading) {
	t.Helper()
	if !want.allows(r.class) {
		t.Errorf("random access: %v (%v), want %v; stream: %v (%v)", r.class, r.err, want.classes, stream.class, stream.err)
	}
	if r.class.Whole() && !bytes.Equal(r.plain, want.content.plain) {
		t.Errorf("random access: %v, and %d bytes, want %d, or they differ", r.class, len(r.plain), len(want.content.plain))
	}
	r.compareInfo(t, want)
	v := want.view
	if v == nil {
		return
	}
	if r.opened && !v.opens {
		t.Error("random access: it opens, and the seek table is bad")
	}
	sees := func(plain []byte, records []build.Record) bool {
		return bytes.Equal(r.plain, plain) && slices.EqualFunc(r.seen, records, sameRecord)
	}
	if plain, records := v.plain[:min(len(r.plain), len(v.plain))], v.records[:min(len(r.seen), len(v.records))]; !sees(plain, records) || r.opened && r.seeing == nil && !sees(v.plain, v.records) {
		t.Errorf("random access: %d bytes and %d records, want %d and %d, or they differ (%v)", len(r.plain), len(r.seen), len(v.plain), len(v.records), r.seeing)
	}
}

func sameRecord(got format.CatalogEntry, want build.Record) bool {
	return got == format.CatalogEntry{Offset: want.Offset, Size: want.Size, ModTime: want.ModTime, Mode: want.Mode, Type: want.Type, Path: want.Path, Link: want.Link}
}
