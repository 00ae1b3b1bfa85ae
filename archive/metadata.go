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
)

// setMetadata gives what stands under name in d the metadata of h. f is the same
// thing opened, or nil for what is never opened. Faults are warnings. Owner comes
// first, as it clears setuid and capabilities; permissions last, as they may
// forbid the rest.
func (x *extractor) setMetadata(d *targetDir, name string, f *os.File, h *tar.Header) {
	if x.chown {
		err := errOwner
		if uint64(h.Uid) < math.MaxUint32 && uint64(h.Gid) < math.MaxUint32 { // -1 would change nothing
			err = d.root.Lchown(name, h.Uid, h.Gid)
		}
		x.warnMetadata(h, err)
	}
	if f != nil {
		x.setXattrs(f, h)
	}
	x.warnMetadata(h, d.setTime(name, h.ModTime))
	switch {
	case h.Typeflag == tar.TypeSymlink:
	case f != nil && h.Typeflag == tar.TypeReg:
		x.warnMetadata(h, f.Chmod(x.mode(f, h)))
	default:
		x.warnMetadata(h, d.root.Chmod(name, x.mode(f, h)))
	}
}

func (x *extractor) warnMetadata(h *tar.Header, err error) {
	if err != nil {
		x.warn(h.Name, err)
	}
}

func (x *extractor) setXattrs(f *os.File, h *tar.Header) {
	for key, value := range h.PAXRecords {
		name, ok := strings.CutPrefix(key, xattrPrefix)
		if !ok {
			continue
		}
		name = unescapeXattr.Replace(name)
		err := errXattrName
		if xattrStored(name) {
			err = setXattr(f, name, value)
		}
		if err != nil {
			x.warn(h.Name, fmt.Errorf("extended attribute %.256q: %w", name, err))
		}
	}
}

// mode is the permissions that h gives, less the bits that would lend the rights
// of somebody other than the archive says.
func (x *extractor) mode(f *os.File, h *tar.Header) fs.FileMode {
	all := h.FileInfo().Mode() & (fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky)
	if all&(fs.ModeSetuid|fs.ModeSetgid) == 0 {
		return all
	}
	mode := all &^ (fs.ModeSetuid | fs.ModeSetgid)
	if f != nil {
		st, err := statFile(f)
		if err == nil && st.uid == h.Uid {
			mode |= all & fs.ModeSetuid
		}
		if err == nil && st.gid == h.Gid {
			mode |= all & fs.ModeSetgid
		}
	}
	if mode != all {
		x.warn(h.Name, errSetID)
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
