// Package archive turns directory trees into a PAX tar stream with a catalog, and
// back again.
//
//	report, err := archive.Create(ctx, w, []string{"/home/ann/docs"}, nil) // w: an *engine.Writer
//	report, err := archive.Extract(ctx, r, "restored", nil)                // r: an *engine.Reader
//
// The stream is format/SPEC.md § 7: a tar that every tar reads, without GNU
// extensions and global headers. Files, directories, symbolic and hard links,
// FIFOs and devices are kept with their permissions, owners, modification times in
// nanoseconds and extended attributes (user.*, security.capability and POSIX ACLs
// on Linux, all on macOS). Sockets are left out. Names are bytes. Holes are stored
// as zeros, and zeros are restored as holes. Only Linux restores FIFOs and devices;
// systems other than Linux and macOS keep names, links, content, permissions
// and times alone.
//
// A source file that changes, vanishes or cannot be read never stops Create and
// never damages the stream: it is a warning. What Extract reads may come from an
// enemy: nothing is written outside the target directory or through a symbolic
// link, and a file has its name only when it is whole.
//
// Memory is constant, save the names of the directories being walked, a table of
// the files with several links in Create, and in Check and Extract about 16 bytes for
// each name that a hard link may have, twice that with AllowNonEmpty. Calls are independent of each other.
package archive

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"time"

	"github.com/coffer-backup/coffer/format"
)

// Limits of an archive (§ 9). Create warns of what is over them and leaves it
// out, Extract and Check refuse it.
const (
	MaxEntries  = 10_000_000
	MaxPath     = 4096 // bytes of a member name or link target
	MaxPathPart = 255  // bytes between two slashes
	MaxDepth    = 1024 // parts of a member name
)

// chunkSize is how much content is moved at once, and so how often a context is
// asked.
const chunkSize = 128 << 10

// The errors that callers branch on.
var (
	// ErrNotArchive: the stream does not begin as an archive does.
	ErrNotArchive = errors.New("the stream is no archive")
	// ErrLimit: a limit of § 9 stops this.
	ErrLimit = errors.New("limit exceeded")
	// ErrUnsafe: what Create does not write: a name that leaves the target, a type
	// that is not restored, an extension of tar, or a tar without its end.
	ErrUnsafe = errors.New("entry is refused")
	// ErrIncomplete: the archive is whole, but some entries were not restored.
	ErrIncomplete = errors.New("not all entries were restored")
	// ErrNotEmpty: the target of Extract holds something already.
	ErrNotEmpty = errors.New("target directory is not empty")
)

// Sink is where Create writes, in pieces from 512 bytes to 1 MiB. An
// *engine.Writer is one.
type Sink interface {
	io.Writer
	// AddCatalogEntry takes the record of the entry whose header was just
	// written. Offsets begin at 0 and ascend.
	AddCatalogEntry(format.CatalogEntry) error
}

// An EntryError is what is wrong with one entry: the reason why a call failed, or
// a warning.
type EntryError struct {
	Path string // source path in Create, member name in Extract and Check
	Err  error
}

// maxQuoted is how much of a name from an archive is shown.
const maxQuoted = 256

func (e *EntryError) Error() string {
	path := e.Path
	if len(path) > maxQuoted {
		path = path[:maxQuoted]
	}
	quoted := fmt.Sprintf("%q", path)
	for len(quoted) > maxQuoted { // escapes are up to four times as long
		path = path[:len(path)-(len(quoted)-maxQuoted+3)/4]
		quoted = fmt.Sprintf("%q", path)
	}
	if len(path) < len(e.Path) {
		quoted += "…"
	}
	return fmt.Sprintf("%s: %v", quoted, e.Err)
}

// Unwrap returns Err.
func (e *EntryError) Unwrap() error { return e.Err }

// withoutPath takes the path from err: EntryError tells it better.
func withoutPath(err error) error {
	var pe *fs.PathError
	var le *os.LinkError
	switch {
	case errors.As(err, &pe):
		return pe.Err
	case errors.As(err, &le):
		return le.Err
	}
	return err
}

// A Report says what was done. It is returned with an error too, and then says
// how far the call came.
type Report struct {
	Entries  int64 // archived, restored or checked
	Bytes    int64 // of content in them, holes included
	Warnings int64 // Create: the archive is not all of the source, sockets aside. Extract: metadata that could not be set
	// Failed counts the entries that Extract met and did not restore.
	Failed int64
	// Next is the offset in the stream, in bytes, of the first entry that was not
	// finished: records of the catalog from there on were not reached.
	Next int64
	// Ended says that the end of the archive was written, or met: no entry is missing
	// from Entries and Failed, and an error of reading is about what follows them.
	Ended bool
	// Catalog is the sum of the records of all entries, to be compared with the
	// one of the catalog that came with the archive.
	Catalog CatalogSum
}

// record is the catalog's view of h. Both directions use it, so h has to be as a
// reader of the tar sees it.
func record(h *tar.Header, offset int64) format.CatalogEntry {
	return format.CatalogEntry{
		Offset:  uint64(offset),
		Size:    uint64(h.Size),
		ModTime: saturatedNano(h.ModTime),
		Mode:    uint32(h.Mode),
		Type:    h.Typeflag,
		Path:    h.Name,
		Link:    h.Linkname,
	}
}

// saturatedNano is t in nanoseconds since 1970, or the nearest that an int64 holds.
func saturatedNano(t time.Time) int64 {
	const limit = math.MaxInt64 / int64(time.Second)
	switch sec := t.Unix(); {
	case sec >= limit:
		return math.MaxInt64
	case sec <= -limit:
		return math.MinInt64
	}
	return t.UnixNano()
}

// roundUp is the end of the tar block that n lies in.
func roundUp(n int64) int64 {
	return (n + format.TarBlock - 1) &^ (format.TarBlock - 1)
}
