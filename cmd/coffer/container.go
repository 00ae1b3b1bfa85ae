package main

import (
	"context"
	"errors"
	"io"

	"github.com/spf13/pflag"

	"github.com/coffer-backup/coffer/engine"
	"github.com/coffer-backup/coffer/format"
)

// readFlags are those of the commands that open a container.
type readFlags struct {
	commonFlags
	keys   keyFlags
	policy readPolicy
}

func (r *readFlags) register(fs *pflag.FlagSet) {
	r.commonFlags.register(fs)
	r.keys.register(fs)
	r.policy.register(fs)
}

// A container is one that a key fitted: of a file with random access, else as a
// stream.
type container struct {
	in     *input
	cancel context.CancelFunc // ends all waiting for in
	ring   *keyring
	file   *engine.File   // or nil
	stream *engine.Reader // or nil
	damage error          // why a file is read as a stream, or nil
}

// openOptions say how a container is opened.
type openOptions struct {
	onCatalog func(format.CatalogEntry) error // as in engine.ReaderOptions
	// partial opens a container whose end is damaged or missing too: its content
	// gives what comes before the damage, and then an error.
	partial bool
}

// open opens the container called name.
func (r *readFlags) open(ctx context.Context, u *ui, name string, how openOptions) (*container, error) {
	if err := r.keys.checkInput(name); err != nil {
		return nil, err
	}
	waiting, cancel := context.WithCancel(ctx)
	in, err := openInput(waiting, name)
	if err != nil {
		cancel()
		return nil, err
	}
	c := &container{in: in, cancel: cancel}
	if err := c.unlock(waiting, u, r, how); err != nil {
		c.close(ctx)
		return nil, err
	}
	c.tellWriter(u)
	return c, nil
}

func (c *container) unlock(ctx context.Context, u *ui, r *readFlags, how openOptions) (err error) {
	if c.ring, err = r.keys.forReading(ctx, u, c.in, r.policy.accepts); err != nil {
		return err
	}
	backend, err := r.chosen(ctx, c.ring)
	if err != nil {
		return err
	}
	opts := r.policy.options(&r.commonFlags, backend)
	opts.OnCatalog = how.onCatalog
	opts.Progress = u.onProgress(c.in.size)
	if err := c.try(ctx, opts, how); err != nil {
		return c.fault(refused(noMatch(r.backend.orWithout(err), c.ring.with)))
	}
	return nil
}

func (c *container) try(ctx context.Context, opts *engine.ReaderOptions, how openOptions) (err error) {
	if c.in.random() {
		c.file, err = engine.Open(ctx, c.in.file, c.in.size, c.ring.with, opts)
		if err == nil || !how.partial || classify(err) != statusDamaged {
			return err
		}
		c.damage = err
	}
	c.stream, err = engine.NewReader(ctx, c.in, c.ring.with, opts)
	return err
}

// tellWriter warns if nothing proves who wrote the container, and if the token could
// not be asked.
func (c *container) tellWriter(u *ui) {
	if info := c.info(); !info.SenderAuthenticated {
		u.warn("%s: anyone who has the public key can have written this: it was opened by a slot of kind %s", quoteName(c.in.name), kindName(info.SlotKind))
	}
	if t := c.ring.token; t != nil && t.failure() != nil {
		u.warn("%s: another key opened it, as the token could not: %v", quoteName(c.in.name), t.failure())
	}
}

// info is what opening the container told. Of a stream all is known at its end.
func (c *container) info() engine.Info {
	if c.stream != nil {
		return c.stream.Info()
	}
	return c.file.Info()
}

// summary begins the summary of a command that read c.
func (c *container) summary(command string) readSummary {
	info := c.info()
	return readSummary{Type: "summary", Command: command, Input: c.in.name, SlotKind: kindName(info.SlotKind), SenderAuthenticated: info.SenderAuthenticated}
}

// content begins to read the plaintext.
func (c *container) content(ctx context.Context) (*content, error) {
	if c.stream != nil {
		return &content{r: c.stream, cancel: c.cancel, damage: c.damage}, nil
	}
	r, err := c.file.NewReader(ctx)
	if err != nil {
		return nil, err
	}
	return &content{r: r, cancel: c.cancel}, nil
}

// fault names the container in an error of its content.
func (c *container) fault(err error) error { return c.in.fault(err) }

// warnings tells what harms no data but should be known: a damaged or an old copy
// of the header.
func (c *container) warnings(u *ui) {
	for _, w := range c.info().Warnings {
		u.warn("%s", w)
	}
}

// close waits for the token until ctx ends.
func (c *container) close(ctx context.Context) {
	c.cancel()
	if c.file != nil {
		_ = c.file.Close()
	}
	c.in.close()
	c.ring.close(ctx)
}

// content is the plaintext of a container. That one copy of the header is damaged
// does not harm it: then it ends as if whole, and damagedCopy is set.
type content struct {
	r           *engine.Reader
	cancel      context.CancelFunc
	damage      error // what was wrong with the file's end: it cannot end well
	n           int64 // bytes read
	damagedCopy bool
}

func (c *content) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, c.judge(err)
}

// WriteTo saves io.Copy a copy.
func (c *content) WriteTo(w io.Writer) (int64, error) {
	n, err := c.r.WriteTo(w)
	c.n += n
	if err == nil {
		err = io.EOF
	}
	if err = c.judge(err); err == io.EOF {
		err = nil
	}
	return n, err
}

func (c *content) judge(err error) error {
	if errors.Is(err, engine.ErrDamagedCopy) {
		c.damagedCopy = true
		err = io.EOF
	}
	if err == io.EOF && c.damage != nil {
		err = c.damage
	}
	return err
}

// close does not wait for an input that is silent.
func (c *content) close() {
	c.cancel()
	_ = c.r.Close()
}

type readSummary struct {
	Type       string `json:"type"`
	Command    string `json:"command"`
	Input      string `json:"input"`
	Output     string `json:"output,omitempty"`
	Entries    *int64 `json:"entries,omitempty"`       // of an archive
	PlainBytes int64  `json:"plain_bytes"`             // the plaintext; of an archive, its tar
	Content    *int64 `json:"content_bytes,omitempty"` // of an archive: what is in its files
	Failed     int64  `json:"failed,omitempty"`
	Warnings   int64  `json:"warnings,omitempty"`
	SlotKind   string `json:"slot_kind"` // of the slot that opened it, as in --accept
	// SenderAuthenticated is false if anyone can have made that slot.
	SenderAuthenticated bool `json:"sender_authenticated"`
}
