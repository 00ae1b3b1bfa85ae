// Package engine writes and reads coffer containers: a plaintext stream is cut
// into segments, which are compressed, sealed and written, all in parallel and in
// order; the reader does the reverse. The bytes are described in format/SPEC.md.
//
//	w, err := engine.NewWriter(ctx, dst, []keys.Recipient{key}, nil)
//	defer w.Abort()            // discards, unless Close came first
//	_, err = io.Copy(w, src)
//	err = w.Close()            // only now is the container whole
//
//	r, err := engine.NewReader(ctx, src, []keys.Identity{key}, nil)
//	defer r.Close()
//	_, err = io.Copy(dst, r)   // nil means: whole and authentic to the last byte
//
// What a Reader releases is authentic, but before io.EOF it is not known to be
// complete: nobody may treat output as a backup until then. Open gives random
// access to a container in a file or an object store.
//
// A Writer or Reader is for one goroutine, a File for any number. Their callbacks,
// and dst and src, may be called by other goroutines, never two calls of one at a
// time; they must not call the Writer or Reader back, and a panic in them may end
// the process. Memory is a small multiple of workers × segment size, whatever the
// length of the data.
package engine

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/coffer-backup/coffer/backends"
	"github.com/coffer-backup/coffer/format"
)

// The errors that callers branch on. keys.ErrNoMatch, format.ErrMagic,
// format.ErrVersion and *format.SyntaxError come from here too.
var (
	// ErrAuth: a MAC or tag does not match, or a package is not where it
	// belongs. The file was damaged or forged.
	ErrAuth = errors.New("damaged or forged: authentication failed")
	// ErrTruncated: the file ends before its end.
	ErrTruncated = errors.New("truncated: the file ends too early")
	// ErrTrailingData: there are bytes after the end.
	ErrTrailingData = errors.New("bytes follow the end of the container")
	// ErrLimit: a limit of the format or of the caller's options stops this.
	ErrLimit = errors.New("limit exceeded")
	// ErrContext: the container is bound to another context, or a context was
	// given for one that has none, or none for one that has.
	ErrContext = errors.New("context does not match")
	// ErrDamagedCopy: all data are good, but one of the two copies of the header
	// is damaged. It is reported instead of io.EOF, after the data.
	ErrDamagedCopy = errors.New("one of the two header copies is damaged; the data are whole")
)

// An Error says where in the container a fault lies.
type Error struct {
	Part   string // "header", "package 17", "tail", …
	Offset int64  // bytes from the beginning of the container, or -1
	Err    error
}

func (e *Error) Error() string {
	if e.Offset < 0 {
		return fmt.Sprintf("reading %s: %v", e.Part, e.Err)
	}
	return fmt.Sprintf("reading %s at offset %d: %v", e.Part, e.Offset, e.Err)
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// Level is how hard the writer compresses. The zero value is Fast.
type Level int

// The levels, and what they cost in klauspost/compress terms.
const (
	Fast     Level = iota // zstd "fastest"
	Store                 // no compression: raw blocks
	Balanced              // zstd "default"
	Small                 // zstd "better"
)

var levelNames = [...]string{Fast: "fast", Store: "store", Balanced: "balanced", Small: "small"}

// String returns the level's name on the command line.
func (l Level) String() string {
	if l >= 0 && int(l) < len(levelNames) {
		return levelNames[l]
	}
	return fmt.Sprintf("level %d", int(l))
}

// ParseLevel is the inverse of String.
func ParseLevel(name string) (Level, error) {
	for l, n := range levelNames {
		if n == name {
			return Level(l), nil
		}
	}
	return 0, fmt.Errorf("unknown level %q: want store, fast, balanced or small", name)
}

// A Compressor makes data frames (§ 6.1): one zstd frame for all of src, with
// content size, checksum and single-segment flag. It is for one goroutine, and is not
// given segments that look like noise, which are stored.
type Compressor interface {
	// Append appends the frame to dst.
	Append(dst, src []byte) ([]byte, error)
}

// Progress counts bytes so far. It is for display only.
type Progress struct {
	Plain  int64 // plaintext bytes taken in or given out
	Sealed int64 // container bytes written or read
}

// WriterOptions may be nil; every zero value is the default.
type WriterOptions struct {
	Backend       backends.Backend // who computes the AEAD; nil: the best for Suite on this machine
	Suite         format.Suite     // 0: the first suite of Backend, or of this machine's best
	Level         Level
	SegmentSize   int                        // plaintext bytes a frame, a power of two from 64 KiB to 64 MiB; 0: 1 MiB
	HeaderSize    int                        // bytes of a header block; 0: 8192, or what the slots need
	Context       []byte                     // what the container is bound to, at most 65535 bytes; empty: nothing
	Pad           bool                       // hide the length, § 6.4
	SkipCheck     bool                       // do not decompress what was compressed before sealing it
	Workers       int                        // at most 1024; 0: GOMAXPROCS
	NewCompressor func() (Compressor, error) // one for each goroutine that compresses, but at level Store; nil: NewCompressor at Level
	Progress      func(Progress)             // called about once a segment, by one goroutine at a time
	TempDir       string                     // for very long seek tables and catalogs, which are spooled encrypted; "": os.TempDir
}

// ReaderOptions may be nil; every zero value is the default.
type ReaderOptions struct {
	Backend        backends.Backend                // nil: the best for the container's suite on this machine
	Context        []byte                          // what the container must be bound to; empty: nothing
	Workers        int                             // at most 1024; 0: GOMAXPROCS
	MaxMemory      int64                           // bytes for buffers; workers are lowered to keep it; 0: 1 GiB
	Argon2         Argon2Policy                    // what a passphrase slot may cost
	MinGeneration  uint64                          // an older container is refused with ErrLimit
	Accept         []format.Kind                   // kinds of slots that may open the container, others are not tried; nil: all
	AllowAnonymous bool                            // try slots that anyone can make (HPKE, RSA) even if there are other identities
	OnCatalog      func(format.CatalogEntry) error // called for each record, after all data
	Progress       func(Progress)                  // as in WriterOptions
}

// Argon2Policy bounds the work that a file can ask of a passphrase (§ 4.5.8). A
// field of 0 is that of DefaultArgon2Policy.
type Argon2Policy struct {
	MaxMemoryKiB uint32 // for one slot
	MaxRuns      int    // slots tried for one open
	MaxWorkKiB   uint64 // sum of passes × KiB over the slots to be tried
}

// DefaultArgon2Policy allows 1 GiB for a slot, 4 runs, and 4 GiB in all.
func DefaultArgon2Policy() Argon2Policy {
	return Argon2Policy{MaxMemoryKiB: 1 << 20, MaxRuns: 4, MaxWorkKiB: 4 << 20}
}

func (p Argon2Policy) orDefault() Argon2Policy {
	d := DefaultArgon2Policy()
	return Argon2Policy{cmp.Or(p.MaxMemoryKiB, d.MaxMemoryKiB), cmp.Or(p.MaxRuns, d.MaxRuns), cmp.Or(p.MaxWorkKiB, d.MaxWorkKiB)}
}

// Info is what opening a container told.
type Info struct {
	Header   *format.Header // the copy in use
	SlotKind format.Kind    // of the slot that opened
	// SenderAuthenticated says that only somebody who held the key of the slot
	// can have made it. It is false for public-key slots, which anyone can make.
	SenderAuthenticated bool
	Warnings            []string // what is odd but harms no data, for people
}
