// Package archivetest helps tests that restore directory trees: Populate makes a
// tree with every kind of entry, Diff compares two trees.
package archivetest

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"time"
)

// Diff compares the trees below the directories a and b: names, types,
// permissions, modification times, sizes, contents, link targets, which names are
// links of one file, device numbers, extended attributes, that b takes no more
// room than a, and, for root, owners. It returns a line for each difference, at
// most 100, and nil if there is none. Paths may be longer than the system allows
// for one path.
func Diff(a, b string) []string {
	c := &comparison{aToB: map[any]any{}, bToA: map[any]any{}}
	ra, err := os.OpenRoot(a)
	if err != nil {
		return []string{err.Error()}
	}
	defer ra.Close()
	rb, err := os.OpenRoot(b)
	if err != nil {
		return []string{err.Error()}
	}
	defer rb.Close()
	c.entry(ra, rb, ".", ".")
	return c.lines
}

const maxLines = 100

type comparison struct {
	lines      []string
	aToB, bToA map[any]any // inodes with several links
}

func (c *comparison) report(name, format string, args ...any) {
	if len(c.lines) < maxLines {
		c.lines = append(c.lines, fmt.Sprintf("%.200q: ", name)+fmt.Sprintf(format, args...))
	}
}

// entry compares what stands under base in two directories.
func (c *comparison) entry(a, b *os.Root, base, name string) {
	fa, err := a.Lstat(base)
	if err != nil {
		c.report(name, "%v", err)
		return
	}
	fb, err := b.Lstat(base)
	if err != nil {
		c.report(name, "%v", err)
		return
	}
	if fa.Mode() != fb.Mode() {
		c.report(name, "mode %v, then %v", fa.Mode(), fb.Mode())
	}
	if !fa.ModTime().Equal(fb.ModTime()) {
		c.report(name, "time %s, then %s", fa.ModTime().Format(time.RFC3339Nano), fb.ModTime().Format(time.RFC3339Nano))
	}
	if fa.Mode().Type() != fb.Mode().Type() {
		return
	}
	c.system(name, fa, fb)
	switch fa.Mode().Type() {
	case fs.ModeDir:
		c.directory(a, b, base, name)
	case fs.ModeSymlink:
		ta, aerr := a.Readlink(base)
		tb, berr := b.Readlink(base)
		if aerr != nil || berr != nil || ta != tb {
			c.report(name, "link to %.200q, then %.200q (%v, %v)", ta, tb, aerr, berr)
		}
	case 0:
		if fa.Size() != fb.Size() {
			c.report(name, "%d bytes, then %d", fa.Size(), fb.Size())
			return
		}
		c.opened(a, b, base, name, c.content)
	}
}

func (c *comparison) directory(a, b *os.Root, base, name string) {
	da, aerr := a.OpenRoot(base)
	db, berr := b.OpenRoot(base)
	if aerr != nil || berr != nil {
		c.report(name, "%v, then %v", aerr, berr)
		return
	}
	defer da.Close()
	defer db.Close()
	var names [2][]string
	c.opened(da, db, ".", name, func(name string, fa, fb *os.File) {
		names[0], aerr = fa.Readdirnames(-1)
		names[1], berr = fb.Readdirnames(-1)
		if aerr != nil || berr != nil {
			c.report(name, "%v, then %v", aerr, berr)
		}
	})
	for _, n := range names[0] {
		if _, err := db.Lstat(n); err == nil {
			c.entry(da, db, n, path.Join(name, n))
		} else {
			c.report(path.Join(name, n), "is missing")
		}
	}
	if len(names[0]) == len(names[1]) {
		return
	}
	for _, n := range names[1] {
		if _, err := da.Lstat(n); err != nil {
			c.report(path.Join(name, n), "is new")
		}
	}
}

// opened compares two files by what can be asked of them when open.
func (c *comparison) opened(a, b *os.Root, base, name string, compare func(name string, fa, fb *os.File)) {
	fa, err := a.Open(base)
	if err != nil {
		c.report(name, "%v", err)
		return
	}
	defer fa.Close()
	fb, err := b.Open(base)
	if err != nil {
		c.report(name, "%v", err)
		return
	}
	defer fb.Close()
	compare(name, fa, fb)
	if xa, xb := xattrs(fa), xattrs(fb); !slices.Equal(xa, xb) {
		c.report(name, "attributes %.300q, then %.300q", xa, xb)
	}
}

func (c *comparison) content(name string, fa, fb *os.File) {
	ba, bb := make([]byte, 256<<10), make([]byte, 256<<10)
	for off := 0; ; {
		na, aerr := io.ReadFull(fa, ba)
		nb, berr := io.ReadFull(fb, bb)
		if !bytes.Equal(ba[:na], bb[:nb]) {
			c.report(name, "content differs after byte %d", off)
			return
		}
		off += na
		if aerr == io.EOF || aerr == io.ErrUnexpectedEOF {
			return
		}
		if aerr != nil || berr != nil {
			c.report(name, "%v, then %v", aerr, berr)
			return
		}
	}
}

// linked demands that inodes of a and b belong to each other one to one.
func (c *comparison) linked(name string, a, b any) {
	if old, ok := c.aToB[a]; ok && old != b {
		c.report(name, "is no longer a link of the same file")
	}
	if old, ok := c.bToA[b]; ok && old != a {
		c.report(name, "became a link of another file")
	}
	c.aToB[a], c.bToA[b] = b, a
}
