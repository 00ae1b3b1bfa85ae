package archive

import (
	"archive/tar"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"slices"
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
