package main

import (
	"context"
	"errors"
	"io"

	"github.com/spf13/pflag"

	"github.com/coffer-backup/coffer/engine"
	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/keys"
)

// readFlags are those of the commands that open a container.
type readFlags struct {
	commonFlags
	keys keyFlags
}

func (r *readFlags) register(fs *pflag.FlagSet) {
	r.commonFlags.register(fs)
	r.keys.register(fs)
}

// A container is one that a key fitted: of a file with random access, else as a
// stream.
type container struct {
	in     *input
	cancel context.CancelFunc // ends all waiting for in
	file   *engine.File       // or nil
	stream *engine.Reader     // or nil
	damage error              // why a file is read as a stream, or nil
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
	ctx, cancel := context.WithCancel(ctx)
	in, err := openInput(ctx, name)
	if err != nil {
		cancel()
		return nil, err
	}
	c := &container{in: in, cancel: cancel}
	with, err := r.keys.forReading(ctx, in)
	if err != nil {
		c.close()
		return nil, err
	}
	if err := c.unlock(ctx, u, r, with, how); err != nil {
		c.close()
		return nil, c.fault(noMatch(err, with))
	}
	return c, nil
}

func (c *container) unlock(ctx context.Context, u *ui, r *readFlags, with []keys.Identity, how openOptions) (err error) {
	opts := r.readerOptions()
	opts.OnCatalog = how.onCatalog
	opts.Progress = u.onProgress(c.in.size)
	if c.in.random() {
		c.file, err = engine.Open(ctx, c.in.file, c.in.size, with, opts)
		if err == nil || !how.partial || classify(err) != statusDamaged {
			return err
		}
		c.damage = err
	}
	c.stream, err = engine.NewReader(ctx, c.in, with, opts)
	return err
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
// of the header. Of a stream all is known at its end.
func (c *container) warnings(u *ui) {
	var info engine.Info
	if c.stream != nil {
		info = c.stream.Info()
	} else {
		info = c.file.Info()
	}
	for _, w := range info.Warnings {
		u.warn("%s", w)
	}
}

func (c *container) close() {
	c.cancel()
	if c.file != nil {
		_ = c.file.Close()
	}
	c.in.close()
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
}
