//go:build cgo && !purego && !race

package libzstd_test

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/coffer-backup/coffer/engine"
	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/internal/need"
)

func TestNoAllocations(t *testing.T) {
	for _, level := range []engine.Level{engine.Fast, engine.Balanced, engine.Small} {
		for _, segment := range []int{64 << 10, 1 << 20} {
			plain, dst := text(segment), make([]byte, 0, format.MaxFrameSize(segment))
			c := newCompressor(t, level, segment)
			n := testing.AllocsPerRun(10, func() {
				for _, src := range [][]byte{plain, plain[:len(plain)-1], plain[:1]} {
					if _, err := c.Append(dst, src); err != nil {
						t.Fatal(err)
					}
				}
			})
			if n != 0 {
				t.Errorf("%v, segments of %d bytes: %v allocations", level, segment, n)
			}
		}
	}
}

// resident returns how much memory the process has, less what Go could do without.
func resident(t *testing.T) int64 {
	t.Helper()
	debug.FreeOSMemory()
	statm, err := os.ReadFile("/proc/self/statm")
	need.That(t, err == nil, "needs /proc/self/statm, which Linux has")
	var size, pages int64
	if _, err := fmt.Sscan(string(statm), &size, &pages); err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

// TestMemoryIsGivenBack makes compressors and drops them. The library's memory is
// none that Go's collector sees: about 5 MiB for each of these.
func TestMemoryIsGivenBack(t *testing.T) {
	const segment, count, limit = 1 << 20, 200, 256 << 20
	plain, dst := text(segment), make([]byte, 0, format.MaxFrameSize(segment))
	before := resident(t)
	for i := range count {
		if _, err := newCompressor(t, engine.Small, segment).Append(dst, plain); err != nil {
			t.Fatal(err)
		}
		if i%10 == 0 {
			runtime.GC()
		}
	}
	if grown := resident(t) - before; grown > limit {
		t.Errorf("%d compressors were used and dropped, and the process has grown by %d MiB", count, grown>>20)
	}
}
