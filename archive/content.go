package archive

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
)

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
				fault = fmt.Errorf("%w: zeros stand for what follows byte %d", plain(err), off)
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

// xattrPrefix marks the PAX records of extended attributes (§ 7).
const xattrPrefix = "SCHILY.xattr."

// Key bytes that PAX or GNU tar give a meaning are written as GNU tar does.
var (
	escapeXattr   = strings.NewReplacer("%", "%25", "=", "%3D")
	unescapeXattr = strings.NewReplacer("%25", "%", "%3D", "=")
)

// maxXattrTotal is how much of attributes fits in one header beside all else:
// readers, archive/tar among them, stop at 1 MiB.
const maxXattrTotal = 1<<20 - 64<<10

// paxXattrs makes PAX records of extended attributes. What does not fit is a
// warning: one attribute more must not cost the file.
func (c *creator) paxXattrs(path string, attrs map[string]string) map[string]string {
	if len(attrs) == 0 {
		return nil
	}
	records := make(map[string]string)
	total := 0
	for _, name := range slices.Sorted(maps.Keys(attrs)) {
		key := xattrPrefix + escapeXattr.Replace(name)
		size := len(key) + len(attrs[name]) + len("1048576 =\n")
		if total+size > maxXattrTotal {
			c.warn(path, fmt.Errorf("extended attribute %q is left out: %w: more than %d bytes of them", name, ErrLimit, maxXattrTotal))
			continue
		}
		total += size
		records[key] = attrs[name]
	}
	return records
}
