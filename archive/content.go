package archive

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
)

// openFile opens a regular file, and returns its state now.
func (d sourceDir) openFile(name string) (*os.File, fileStat, error) {
	f, err := d.open(name, 0)
	if err != nil {
		return nil, fileStat{}, err
	}
	st, err := statFile(f)
	if err == nil && st.typ != tar.TypeReg {
		err = errReplaced
	}
	if err != nil {
		f.Close()
		return nil, st, err
	}
	return f, st, nil
}

// file archives a regular file.
func (c *creator) file(n *node) error {
	f, st, err := n.parent.openFile(n.base)
	if err != nil {
		c.warn(n.path, err)
		return nil
	}
	defer f.Close()
	n.st = st
	attrs, err := readXattrs(f)
	if err != nil {
		c.warn(n.path, err)
	}
	if ok, err := c.writeHeader(n, c.header(n, attrs)); !ok {
		return err
	}
	if st.size == 0 {
		return nil
	}
	fault, err := c.content(f, n)
	if err != nil {
		return fmt.Errorf("writing the archive: %w", err)
	}
	if now, err := statFile(f); fault == nil && err == nil {
		switch {
		case now.size < st.size:
			fault = errShrank
		case now.size > st.size:
			fault = errGrew
		case !now.mtime.Equal(st.mtime):
			fault = errChanged
		}
	}
	if fault != nil {
		c.warn(n.path, fault)
	}
	return nil
}

// content writes exactly the bytes that the header of n promised: the header
// stands already, so whatever cannot be read becomes zeros, with the fault that
// did it. err is an error of writing.
func (c *creator) content(f *os.File, n *node) (fault, err error) {
	size := n.st.size
	for off := int64(0); off < size; {
		start, end := off, size
		if n.st.sparse {
			start, end = nextData(f, off, size)
		}
		if err := c.zeros(start - off); err != nil {
			return nil, err
		}
		for off = start; off < end; {
			got, err := f.ReadAt(c.buf[:min(end-off, chunkSize)], off)
			if _, werr := c.tar.Write(c.buf[:got]); werr != nil {
				return nil, werr
			}
			off += int64(got)
			if err == nil || off == end {
				continue
			}
			fault = errShrank
			if !errors.Is(err, io.EOF) {
				fault = fmt.Errorf("%w: zeros stand for what follows byte %d", withoutPath(err), off)
			}
			return fault, c.zeros(size - off)
		}
	}
	return nil, nil
}

var zeroChunk [64 << 10]byte

func (c *creator) zeros(n int64) error {
	for n > 0 {
		m, err := c.tar.Write(zeroChunk[:min(n, int64(len(zeroChunk)))])
		if err != nil {
			return err
		}
		n -= int64(m)
	}
	return nil
}

// holeSize is the least run of zeros that becomes a hole: a block of most file
// systems.
const holeSize = 4096

var zeroBlock [holeSize]byte

// writeSparse writes size bytes of r to f, a new file, and leaves holes where
// there are zeros only. buf is a multiple of holeSize long.
func writeSparse(f *os.File, r io.Reader, size int64, buf []byte) error {
	hole := false // the file so far ends in one
	for off := int64(0); off < size; {
		b := buf[:min(size-off, int64(len(buf)))]
		if _, err := io.ReadFull(r, b); err != nil {
			return err
		}
		for len(b) > 0 {
			var n int
			if n, hole = run(b); !hole {
				if _, err := f.WriteAt(b[:n], off); err != nil {
					return err
				}
			}
			off += int64(n)
			b = b[n:]
		}
	}
	if hole {
		return f.Truncate(size)
	}
	return nil
}

// run is the length of what b begins with: blocks of zeros, or anything else. An
// incomplete block is never a hole.
func run(b []byte) (n int, hole bool) {
	for n < len(b) {
		zero := len(b)-n >= holeSize && allZero(b[n:n+holeSize])
		if n > 0 && zero != hole {
			return n, hole
		}
		hole = zero
		n += min(holeSize, len(b)-n)
	}
	return n, hole
}

func allZero(b []byte) bool {
	for len(b) > holeSize {
		if !bytes.Equal(b[:holeSize], zeroBlock[:]) {
			return false
		}
		b = b[holeSize:]
	}
	return bytes.Equal(b, zeroBlock[:len(b)])
}
