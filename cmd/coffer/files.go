package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/internal/durable"
)

// stdio is the name that stands for stdin or stdout.
const stdio = "-"

// outputFlags say where a command writes.
type outputFlags struct {
	path  string
	force bool
}

func (o *outputFlags) register(flags *pflag.FlagSet, what string) {
	flags.StringVarP(&o.path, "output", "o", "", "write "+what+" to this `FILE`; - or nothing is stdout")
	flags.BoolVar(&o.force, "force", false, "replace an existing FILE")
}

// claim gives stdout to the data if that is where they go: a command calls it before
// it says anything. It fails if the output would take the place of one of these
// files: a key, or the only copy of the input.
func (o *outputFlags) claim(u *ui, names ...string) error {
	if o.toStdout() {
		u.stdoutIsData()
		return nil
	}
	for _, name := range names {
		if loses(o.path, name) {
			return usagef("-o %s: this is a key or the input of the command: write to another file", quoteName(o.path))
		}
	}
	return nil
}

// loses reports whether writing to one path would lose what is called name, there or
// not yet. A character device or a FIFO holds nothing to lose.
func loses(path, name string) bool {
	target, targetErr := stat(path)
	info, err := stat(name)
	if targetErr != nil && err != nil {
		absPath, err := filepath.Abs(path)
		absName, _ := filepath.Abs(name)
		return err == nil && absPath == absName
	}
	return os.SameFile(target, info) && info.Mode()&(fs.ModeCharDevice|fs.ModeNamedPipe) == 0
}

// stat is os.Stat that knows stdin.
func stat(name string) (fs.FileInfo, error) {
	if name == stdio {
		return os.Stdin.Stat()
	}
	return os.Stat(name)
}

func (o *outputFlags) toStdout() bool { return o.path == "" || o.path == stdio }

// An output is where a command writes its data: a file that appears when it is
// committed, or stdout.
type output struct {
	w    io.Writer
	path string
	file *durable.File // nil: stdout
	own  []fs.FileInfo // its files, which no archive may contain
	n    int64         // bytes written
}

// open begins the output that was claimed. sealed says that it is nothing for a terminal.
func (o *outputFlags) open(u *ui, sealed bool) (*output, error) {
	if o.toStdout() {
		if sealed && o.path != stdio && term.IsTerminal(int(u.stdout.Fd())) {
			return nil, usagef("a container is nothing for a terminal: use -o FILE, a pipe, or -o - to write it here all the same")
		}
		out := &output{w: u.stdout}
		if info, err := u.stdout.Stat(); err == nil && info.Mode().IsRegular() {
			out.own = []fs.FileInfo{info}
		}
		return out, nil
	}
	f, err := durable.Create(o.path, &durable.Options{Replace: o.force})
	if err != nil {
		return nil, err
	}
	if sealed && f.InPlace() && term.IsTerminal(int(f.Fd())) {
		f.Abort()
		return nil, usagef("%s is a terminal, and a container is nothing for one: use -o - to write it there all the same", quoteName(o.path))
	}
	return &output{w: f, path: o.path, file: f, own: f.Files()}, nil
}

func (o *output) Write(p []byte) (int, error) {
	n, err := o.w.Write(p)
	o.n += int64(n)
	return n, err
}

// name is for people.
func (o *output) name() string {
	if o.file == nil {
		return "stdout"
	}
	return o.path
}

func (o *output) abort() {
	if o.file != nil {
		o.file.Abort()
	}
}

func (o *output) commit() error {
	if o.file != nil {
		return o.file.Commit()
	}
	return nil
}

// An input is a file or stdin. A regular file is read at random, all else as a
// stream.
type input struct {
	io.Reader
	name string   // for people
	file *os.File // nil: stdin
	size int64    // bytes of a regular file, else 0
}

func openInput(ctx context.Context, name string) (*input, error) {
	if name == stdio {
		return &input{Reader: interruptible(ctx, os.Stdin), name: "stdin"}, nil
	}
	// Opening a FIFO waits for its writer.
	f, err := orDone(ctx, func() (*os.File, error) { return os.Open(name) })
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	in := &input{Reader: interruptible(ctx, f), name: name, file: f}
	switch {
	case info.IsDir():
		f.Close()
		return nil, usagef("%s is a directory", quoteName(name))
	case info.Mode().IsRegular():
		in.size = info.Size()
	}
	return in, nil
}

// random reports whether in can be read at random.
func (in *input) random() bool { return in.file != nil && in.size > 0 }

// fault names the input in an error of its content. Of what is no container there is
// no more to tell.
func (in *input) fault(err error) error {
	if errors.Is(err, format.ErrMagic) {
		err = format.ErrMagic
	}
	return fmt.Errorf("%s: %w", quoteName(in.name), err)
}

func (in *input) close() {
	if in.file != nil {
		in.file.Close()
	}
}

// slots returns the slots in the header, whose bytes are read again afterwards. Of a
// slot that is not known there is only the kind. Of a file whose first copy is bad they
// are those of the second one.
func (in *input) slots() ([]format.Slot, error) {
	var block bytes.Buffer
	header, _, err := format.ReadHeader(io.TeeReader(in.Reader, &block))
	if in.random() {
		if _, err := in.file.Seek(0, io.SeekStart); err != nil {
			return nil, err
		}
		if err != nil {
			if tail, _, tailErr := readTail(in.file, in.size); tailErr == nil {
				header, err = tail, nil
			}
		}
	} else {
		in.Reader = io.MultiReader(&block, in.Reader)
	}
	if err != nil {
		return nil, err
	}
	var slots []format.Slot
	for _, e := range header.Entries {
		if e.Kind.IsNote() {
			continue
		}
		s, known, _ := e.Slot() // it was parsed with the header
		if !known {
			s = format.Slot{Kind: e.Kind}
		}
		slots = append(slots, s)
	}
	return slots, nil
}

// readTail reads the copy of the header block at the end of a container.
func readTail(r io.ReaderAt, size int64) (h *format.Header, block []byte, err error) {
	var last [4]byte
	if size < format.MinHeaderSize {
		return nil, nil, io.ErrUnexpectedEOF
	}
	if _, err := r.ReadAt(last[:], size-int64(len(last))); err != nil {
		return nil, nil, err
	}
	n, ok := format.TailSize(last[:])
	if !ok || int64(n) > size {
		return nil, nil, fmt.Errorf("the file does not end with a header block: it is damaged or truncated")
	}
	block = make([]byte, n)
	if _, err := r.ReadAt(block, size-int64(n)); err != nil {
		return nil, nil, err
	}
	h, err = format.ParseHeader(block)
	return h, block, err
}

// interruptible returns a reader of f that fails when ctx ends. A read from a pipe
// or a terminal waits for ever otherwise, and what is being written would be left
// behind.
func interruptible(ctx context.Context, f *os.File) io.Reader {
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
		return f
	}
	r, w := io.Pipe()
	go func() {
		_, err := io.CopyBuffer(w, struct{ io.Reader }{f}, make([]byte, 256<<10))
		w.CloseWithError(err)
	}()
	context.AfterFunc(ctx, func() { w.CloseWithError(ctx.Err()) })
	return r
}

// orDone returns what call does, or ctx's error if that ends first: then call is
// left to itself.
func orDone[T any](ctx context.Context, call func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		v, err := call()
		done <- result{v, err}
	}()
	select {
	case <-ctx.Done():
		return *new(T), ctx.Err()
	case r := <-done:
		return r.value, r.err
	}
}
