package archive

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"strings"
	"time"
)

// attributes are what an archive says of an entry beside its kind and content.
// Their strings are copies, as those of a header may keep 1 MiB of it alive.
type attributes struct {
	name     string // of the member
	uid, gid int
	mtime    time.Time
	mode     fs.FileMode
	xattrs   map[string]string
}

func newAttributes(h *tar.Header) *attributes {
	a := &attributes{name: strings.Clone(h.Name), uid: h.Uid, gid: h.Gid, mtime: h.ModTime, mode: h.FileInfo().Mode()}
	for key, value := range h.PAXRecords {
		name, ok := strings.CutPrefix(key, xattrPrefix)
		if !ok {
			continue
		}
		if a.xattrs == nil {
			a.xattrs = make(map[string]string)
		}
		a.xattrs[strings.Clone(unescapeXattr.Replace(name))] = strings.Clone(value)
	}
	return a
}

// held is about how much memory the extended attributes take.
func (a *attributes) held() int {
	const overhead = 64 // of a small one, in a map
	n := 0
	for name, value := range a.xattrs {
		n += len(name) + len(value) + overhead
	}
	return n
}

// setMetadata gives what stands under name in d the attributes a. f is the same
// thing opened, which no other can take the place of, or nil for what is never
// opened. Faults are warnings. Owner comes first, as it clears setuid and
// capabilities; permissions last, as they may forbid the rest.
func (x *extractor) setMetadata(d *targetDir, name string, f *os.File, a *attributes) {
	if x.chown {
		x.warnMetadata(a, d.chown(name, f, a))
	}
	if f != nil {
		if d.defaultACL || a.mode.IsDir() {
			x.warnMetadata(a, removeACLs(f))
		}
		x.setXattrs(f, a)
	}
	x.warnMetadata(a, d.setTime(name, f, a.mtime))
	switch {
	case a.mode.Type() == fs.ModeSymlink:
	case a.mode.IsRegular():
		x.warnMetadata(a, f.Chmod(x.mode(f, a)))
	default:
		x.warnMetadata(a, d.root.Chmod(name, x.mode(f, a)))
	}
}

func (x *extractor) warnMetadata(a *attributes, err error) {
	if err != nil {
		x.warn(a.name, err)
	}
}

func (d *targetDir) chown(name string, f *os.File, a *attributes) error {
	switch {
	case uint64(a.uid) >= math.MaxUint32 || uint64(a.gid) >= math.MaxUint32: // -1 would change nothing
		return errOwner
	case f != nil:
		return f.Chown(a.uid, a.gid)
	}
	return d.root.Lchown(name, a.uid, a.gid)
}

func (x *extractor) setXattrs(f *os.File, a *attributes) {
	for name, value := range a.xattrs {
		err := errXattrName
		if xattrStored(name) {
			err = setXattr(f, name, value)
		}
		if err != nil {
			x.warn(a.name, fmt.Errorf("extended attribute %.256q: %w", name, err))
		}
	}
}

// mode is the permissions that a gives, less the bits that would lend the rights
// of somebody other than the archive says.
func (x *extractor) mode(f *os.File, a *attributes) fs.FileMode {
	all := a.mode & (fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky)
	if all&(fs.ModeSetuid|fs.ModeSetgid) == 0 {
		return all
	}
	mode := all &^ (fs.ModeSetuid | fs.ModeSetgid)
	if f != nil {
		st, err := statFile(f)
		if err == nil && st.uid == a.uid {
			mode |= all & fs.ModeSetuid
		}
		if err == nil && st.gid == a.gid {
			mode |= all & fs.ModeSetgid
		}
	}
	if mode != all {
		x.warn(a.name, errSetID)
	}
	return mode
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
