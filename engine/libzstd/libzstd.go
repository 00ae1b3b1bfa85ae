//go:build cgo && !purego

package libzstd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"slices"

	"github.com/DataDog/zstd"
	"github.com/cespare/xxhash/v2"

	"github.com/coffer-backup/coffer/engine"
	"github.com/coffer-backup/coffer/format"
)

// Version is that of the C library. (The tag external_libzstd of the binding links
// another one, and then this is not true.)
const Version = "1.5.7"

// levels are the library's, by ours. From 7 on little is won: on the first 64 MiB of
// Go's source tree as tar, in segments of 1 MiB on one core, 7 reaches a ratio of 4.12 at 99 MB/s, 9 of 4.16 at 75
// and 12 of 4.19 at 44; 3 reaches 3.82 at 320 and 1 reaches 3.49 at 461. (The engine's own
// compressor reaches 3.89 at 128, 3.73 at 209 and 3.50 at 292.)
var levels = map[engine.Level]int{engine.Fast: 1, engine.Balanced: 3, engine.Small: 7}

// Sizes in bytes of the parts of a frame that are written here. The content size
// takes 8 bytes whatever it is: no header of the library's is longer than such a one,
// so its blocks can be put in their places before its header is known.
const (
	headerSize   = 4 + 1 + 8 // magic, descriptor, content size
	checksumSize = 4

	magic      = 0xFD2FB528
	descriptor = 3<<6 | 1<<5 | 1<<2 // content size of 8 bytes, single segment, checksum
)

// compressor is an engine.Compressor.
type compressor struct {
	ctx        zstd.Ctx
	level      int
	maxContent int
	header     int // length of the library's last frame header
}

// New returns a Compressor for segments of 1 to segmentSize bytes. It fails for
// engine.Store, at which nothing is compressed, and for what is no level or no
// possible size.
func New(level engine.Level, segmentSize int) (engine.Compressor, error) {
	l, ok := levels[level]
	if !ok {
		return nil, fmt.Errorf("libzstd: nothing is compressed at level %v", level)
	}
	if segmentSize < 1 || segmentSize > 1<<format.MaxSegmentLog2 {
		return nil, fmt.Errorf("libzstd: segments of %d bytes", segmentSize)
	}
	return &compressor{ctx: zstd.NewCtx(), level: l, maxContent: segmentSize}, nil
}

// Append implements engine.Compressor. The library's binding has no option for a
// checksum, and segments longer than the library's window are no single segment to
// it, so only the blocks of its frame are used. They are valid in any frame with a
// window at least as long, and the window of a single segment is all of the content.
func (c *compressor) Append(dst, src []byte) ([]byte, error) {
	if len(src) == 0 || len(src) > c.maxContent {
		return dst, fmt.Errorf("libzstd: a segment of %d bytes, not of 1 … %d", len(src), c.maxContent)
	}
	start := len(dst)
	dst = slices.Grow(dst, headerSize+zstd.CompressBound(len(src))+checksumSize)
	// Where the blocks are in their places if its header is as long as the last one,
	// and it is for all segments of one size.
	at := start + headerSize - c.header
	theirs, err := c.ctx.CompressLevel(dst[at:at], src, c.level)
	// The binding does not keep the context from its finalizer during the call.
	runtime.KeepAlive(c)
	if err != nil {
		return dst[:start], fmt.Errorf("libzstd: %w", err)
	}
	n, err := frameHeaderSize(theirs)
	if err != nil {
		return dst[:start], err
	}
	end := start + headerSize + len(theirs) - n
	if n != c.header {
		copy(dst[start+headerSize:end], theirs[n:])
		c.header = n
	}
	head := append(binary.LittleEndian.AppendUint32(dst[:start], magic), descriptor)
	binary.LittleEndian.AppendUint64(head, uint64(len(src)))
	return binary.LittleEndian.AppendUint32(dst[:end], uint32(xxhash.Sum64(src))), nil
}

var errFrame = errors.New("libzstd: internal error: the library made a frame of another kind")

// frameHeaderSize returns how long the header of frame is, which has neither a
// checksum nor a dictionary.
func frameHeaderSize(frame []byte) (int, error) {
	if len(frame) < 5 || binary.LittleEndian.Uint32(frame) != magic || frame[4]&^(3<<6|1<<5) != 0 {
		return 0, errFrame
	}
	n := 5 + 1<<(frame[4]>>6)
	switch {
	case frame[4] == 0: // no content size
		return 0, errFrame
	case frame[4]>>5&1 == 0: // a window that is not the content
		n++
	}
	if n > min(headerSize, len(frame)) {
		return 0, errFrame
	}
	return n, nil
}
