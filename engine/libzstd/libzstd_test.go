//go:build cgo && !purego

package libzstd_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/coffer-backup/coffer/engine"
	"github.com/coffer-backup/coffer/engine/compressortest"
	"github.com/coffer-backup/coffer/engine/libzstd"
	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/internal/need"
)

func TestCompressor(t *testing.T) { compressortest.Run(t, libzstd.New) }

func FuzzFrameLibzstd(f *testing.F) { compressortest.Fuzz(f, libzstd.New) }

func newCompressor(tb testing.TB, level engine.Level, segment int) engine.Compressor {
	tb.Helper()
	c, err := libzstd.New(level, segment)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

// text returns n bytes that compress like prose.
func text(n int) (b []byte) {
	rnd := rand.New(rand.NewPCG(1, 1))
	for len(b) < n {
		if at := rnd.IntN(16 + 8*len(b)); at+60 < len(b) { // a phrase comes again
			b = append(b, b[at:][:10+rnd.IntN(50)]...)
		}
		b = fmt.Appendf(b, "%x ", rnd.Uint64N(1<<rnd.Uint64N(16))*0x9E3779B97F4A7C15>>30)
	}
	return b[:n]
}

func TestWrongArguments(t *testing.T) {
	for _, level := range []engine.Level{engine.Store, -1, 4} {
		if c, err := libzstd.New(level, 1<<20); err == nil || c != nil {
			t.Errorf("New at %v: %v, %v", level, c, err)
		}
	}
	for _, segment := range []int{-1, 0, 1<<format.MaxSegmentLog2 + 1} {
		if c, err := libzstd.New(engine.Fast, segment); err == nil || c != nil {
			t.Errorf("New for %d bytes: %v, %v", segment, c, err)
		}
	}
	c := newCompressor(t, engine.Fast, 1000)
	for _, n := range []int{0, 1001} {
		if out, err := c.Append([]byte("here"), make([]byte, n)); err == nil || string(out) != "here" {
			t.Errorf("%d bytes: %q, %v", n, out, err)
		}
	}
	if _, err := c.Append(nil, make([]byte, 1000)); err != nil {
		t.Error(err)
	}
}

// TestLevels: each level compresses more than the one before it.
func TestLevels(t *testing.T) {
	plain, last := text(1<<20), 1<<20
	for _, level := range []engine.Level{engine.Fast, engine.Balanced, engine.Small} {
		out, err := newCompressor(t, level, len(plain)).Append(nil, plain)
		if err != nil || len(out) >= last {
			t.Errorf("%v: %d bytes, after %d at the level before it: %v", level, len(out), last, err)
		}
		last = len(out)
	}
}

// TestLongestSegment: the library's window is a part of such a segment, at every
// level.
func TestLongestSegment(t *testing.T) {
	const segment = 1 << format.MaxSegmentLog2
	plain := bytes.Repeat(text(1<<20), segment>>20)
	for _, level := range []engine.Level{engine.Fast, engine.Balanced, engine.Small} {
		if level != engine.Fast && !need.Long() {
			continue
		}
		frame, err := newCompressor(t, level, segment).Append(nil, plain)
		if err != nil {
			t.Fatal(err)
		}
		if size, _, err := format.WalkFrame(frame, segment); err != nil || size != segment {
			t.Errorf("%v: %d, %v", level, size, err)
		}
		cmd := exec.CommandContext(t.Context(), need.Command(t, "zstd", "apt-get install zstd"), "-dcq")
		cmd.Stdin = bytes.NewReader(frame)
		if got, err := cmd.Output(); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%v: zstd -d gives %d bytes: %v", level, len(got), err)
		}
	}
}

func TestVersion(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), need.Command(t, "go", "see go.dev/doc/install"), "list", "-m", "-f", "{{.Dir}}", "github.com/DataDog/zstd")
	dir, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	header, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "zstd.h"))
	if err != nil {
		t.Fatal(err)
	}
	var parts []string
	for _, m := range regexp.MustCompile(`(?m)^#define ZSTD_VERSION_(?:MAJOR|MINOR|RELEASE) +(\d+)`).FindAllSubmatch(header, -1) {
		parts = append(parts, string(m[1]))
	}
	if got := strings.Join(parts, "."); got != libzstd.Version {
		t.Errorf("the library is version %s, not %s", got, libzstd.Version)
	}
}
