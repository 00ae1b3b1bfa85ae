package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// memberName is the name that an archive gives to a root: without what is before it.
func memberName(root string) string {
	name := filepath.ToSlash(filepath.Clean(root))
	name = strings.TrimLeft(strings.TrimPrefix(name, filepath.ToSlash(filepath.VolumeName(name))), "/")
	for strings.HasPrefix(name, "../") {
		name = name[len("../"):]
	}
	if name == ".." {
		return "."
	}
	return filepath.FromSlash(name)
}

// A comparison compares two trees: names, types, contents, link targets and modes.
type comparison struct {
	ctx       context.Context
	differs   func(format string, args ...any)
	entries   int64
	different int64
	bufs      [2][256 << 10]byte
}

// sides are the same entry in two trees, each by its name in the directory that has it,
// so that no path is too long.
type sides struct{ a, b *os.Root }

func (c *comparison) compare(a, b string) error {
	ra, err := os.OpenRoot(a)
	if err != nil {
		return err
	}
	defer ra.Close()
	rb, err := os.OpenRoot(b)
	if err != nil {
		return err
	}
	defer rb.Close()
	return c.entry(sides{ra, rb}, ".", ".")
}

func (c *comparison) report(name, format string, args ...any) {
	c.different++
	c.differs(quoteName(name)+": "+format, args...)
}

// entry compares what is called base. An error ends the comparison; what cannot be read
// is a difference.
func (c *comparison) entry(in sides, base, name string) error {
	if err := c.ctx.Err(); err != nil {
		return err
	}
	c.entries++
	a, err := in.a.Lstat(base)
	b, errB := in.b.Lstat(base)
	if err = errors.Join(err, errB); err != nil {
		c.report(name, "%v", err)
		return nil
	}
	if mine, other := comparableMode(a), comparableMode(b); mine != other {
		c.report(name, "its mode is %v, not %v", other, mine)
		if mine.Type() != other.Type() {
			return nil
		}
	}
	switch {
	case a.IsDir():
		return c.directory(in, base, name)
	case a.Mode().IsRegular():
		return c.content(in, base, name)
	case a.Mode()&fs.ModeSymlink != 0:
		ta, err := in.a.Readlink(base)
		tb, errB := in.b.Readlink(base)
		if err = errors.Join(err, errB); err != nil || ta != tb {
			c.report(name, "it points to %s, not to %s", quoteName(tb), quoteName(ta))
		}
	}
	return nil
}

// comparableMode is what this user can restore of a mode. Links have none.
func comparableMode(info fs.FileInfo) fs.FileMode {
	m := info.Mode()
	switch {
	case m&fs.ModeSymlink != 0:
		return m.Type()
	case os.Geteuid() != 0:
		return m.Type() | m.Perm()
	}
	return m
}

func (c *comparison) directory(in sides, base, name string) error {
	a, err := in.a.OpenRoot(base)
	if err != nil {
		c.report(name, "%v", err)
		return nil
	}
	defer a.Close()
	b, err := in.b.OpenRoot(base)
	if err != nil {
		c.report(name, "%v", err)
		return nil
	}
	defer b.Close()
	inA, err := names(a)
	inB, errB := names(b)
	if err = errors.Join(err, errB); err != nil {
		c.report(name, "%v", err)
		return nil
	}
	for _, n := range inB {
		if _, there := slices.BinarySearch(inA, n); !there {
			c.report(path.Join(name, n), "it was not there before")
		}
	}
	for _, n := range inA {
		if _, there := slices.BinarySearch(inB, n); !there {
			c.report(path.Join(name, n), "it is missing")
			continue
		}
		if err := c.entry(sides{a, b}, n, path.Join(name, n)); err != nil {
			return err
		}
	}
	return nil
}

func names(r *os.Root) ([]string, error) {
	f, err := r.Open(".")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	list, err := f.Readdirnames(-1)
	slices.Sort(list)
	return list, err
}

func (c *comparison) content(in sides, base, name string) error {
	a, err := in.a.Open(base)
	if err != nil {
		c.report(name, "%v", err)
		return nil
	}
	defer a.Close()
	b, err := in.b.Open(base)
	if err != nil {
		c.report(name, "%v", err)
		return nil
	}
	defer b.Close()
	for {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		n, err := io.ReadFull(a, c.bufs[0][:])
		m, errB := io.ReadFull(b, c.bufs[1][:])
		switch {
		case !bytes.Equal(c.bufs[0][:n], c.bufs[1][:m]):
			c.report(name, "its content is another one")
			return nil
		case err == nil && errB == nil:
		case ended(err) && ended(errB):
			return nil
		default:
			c.report(name, "%v", errors.Join(err, errB))
			return nil
		}
	}
}

func ended(err error) bool { return err == io.EOF || err == io.ErrUnexpectedEOF }

// treeSize adds up the files below dir, as far as they can be seen.
func treeSize(ctx context.Context, dir string) (size int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if info, err := d.Info(); err == nil {
				size += info.Size()
			}
		}
		return ctx.Err()
	})
	return size, err
}

// removeTree removes dir with what is in it, directories that cannot be written to
// included.
func removeTree(dir string) error {
	if os.RemoveAll(dir) == nil {
		return nil
	}
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, _ error) error {
		if d != nil && d.IsDir() {
			_ = os.Chmod(path, 0o700)
		}
		return nil
	})
	return os.RemoveAll(dir)
}
