package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"time"

	"github.com/coffer-backup/coffer/engine"
	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/keys"
)

// A compressor is who makes the zstd frames of a container, which does not record who
// that was.
type compressor struct {
	name    string
	library string // with its version
	make    func(level engine.Level, segmentSize int) (engine.Compressor, error)
}

// compressors returns those of this build, the preferred one first.
func compressors() []compressor {
	const module = "klauspost/compress"
	return append(linked(), compressor{"klauspost", module + moduleVersion("github.com/"+module), engine.NewCompressor})
}

// moduleVersion returns the version of a module in this build, after a space, or
// nothing if the build does not know.
func moduleVersion(path string) string {
	info, _ := debug.ReadBuildInfo()
	if info == nil {
		return ""
	}
	for _, m := range info.Deps {
		if m.Path == path {
			return " " + m.Version
		}
	}
	return ""
}

func parseCompressor(name string) (compressor, error) {
	all := compressors()
	i := slices.IndexFunc(all, func(c compressor) bool { return c.name == name })
	switch {
	case name == "auto":
		return all[0], nil
	case i >= 0:
		return all[i], nil
	case name == "libzstd":
		return compressor{}, errors.New("libzstd is not in this build, which was made without cgo or with the tag purego: use auto, or build coffer with a C compiler and CGO_ENABLED=1")
	}
	return compressor{}, fmt.Errorf("unknown compressor %q: want auto, libzstd or klauspost", name)
}

// forWriter returns the NewCompressor of a WriterOptions.
func (c compressor) forWriter(level engine.Level, segmentSize int) func() (engine.Compressor, error) {
	if segmentSize == 0 {
		segmentSize = 1 << format.DefaultSegmentLog2
	}
	return func() (engine.Compressor, error) { return c.make(level, segmentSize) }
}

type compressorObject struct {
	Type     string  `json:"type"`
	Name     string  `json:"name"`
	Library  string  `json:"library"`
	Level    string  `json:"level"`
	Default  bool    `json:"default"` // what --compressor=auto takes
	SelfTest string  `json:"self_test"`
	Speed    float64 `json:"bytes_per_second,omitempty"` // of plaintext
	Ratio    float64 `json:"ratio,omitempty"`
}

func listCompressors(ctx context.Context, u *ui) error {
	const columns = "%-27s %-9s %-9s %12s %6s"
	if !u.json {
		if err := u.print(nil, fmt.Sprintf("\n"+columns, "COMPRESSOR", "LEVEL", "SELF-TEST", "COMPRESS", "RATIO")); err != nil {
			return err
		}
	}
	var failed error
	sample := sampleText(1 << format.DefaultSegmentLog2)
	for i, c := range compressors() {
		for _, level := range []engine.Level{engine.Fast, engine.Balanced, engine.Small} {
			o, err := testCompressor(ctx, c, level, sample)
			failed = cmp.Or(failed, err)
			o.Default = i == 0
			line := fmt.Sprintf(columns, o.Library, o.Level, o.SelfTest, perSecond(o.Speed), ratio(o.Ratio))
			if err := u.print(o, line); err != nil {
				return err
			}
		}
	}
	if !u.json {
		line := fmt.Sprintf("\n%s is used unless --compressor names another one.", compressors()[0].name)
		if err := u.print(nil, line); err != nil {
			return err
		}
	}
	return failed
}

func ratio(v float64) string {
	if v == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", v)
}

// testCompressor returns the row of a compressor at a level.
func testCompressor(ctx context.Context, c compressor, level engine.Level, sample []byte) (compressorObject, error) {
	row := compressorObject{Type: "compressor", Name: c.name, Library: c.library, Level: level.String(), SelfTest: "FAILED"}
	opts := engine.WriterOptions{Level: level, Workers: 1, NewCompressor: c.forWriter(level, 0)}
	frames, err := selfTest(ctx, &opts, sample)
	if err == nil {
		row.SelfTest, row.Ratio = "passed", float64(len(sample))/float64(frames)
		row.Speed, err = writeSpeed(ctx, &opts, sample)
	}
	if err != nil {
		err = fmt.Errorf("compressor %s at level %v: %w", c.name, level, err)
	}
	return row, err
}

// selfTest makes a container of sample, which checks it, reads it back, and returns how
// many bytes it has between its headers.
func selfTest(ctx context.Context, opts *engine.WriterOptions, sample []byte) (frames int, err error) {
	key := keys.GenerateAccountKey()
	var file bytes.Buffer
	if err := writeSample(ctx, &file, key, opts, sample, 0); err != nil {
		return 0, err
	}
	frames = file.Len() - 2*format.DefaultHeaderSize
	r, err := engine.NewReader(ctx, &file, []keys.Identity{key}, nil)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	plain, err := io.ReadAll(r)
	if err == nil && !bytes.Equal(plain, sample) {
		err = errors.New("what was compressed came back as something else")
	}
	return frames, err
}

// writeSpeed returns how many bytes a second go into a container that is not checked.
func writeSpeed(ctx context.Context, opts *engine.WriterOptions, sample []byte) (float64, error) {
	opts.SkipCheck = true
	var written int64
	opts.Progress = func(p engine.Progress) { written = p.Plain }
	start := time.Now()
	if err := writeSample(ctx, io.Discard, keys.GenerateAccountKey(), opts, sample, speedTime); err != nil {
		return 0, err // and written may still be another goroutine's
	}
	return float64(written) / time.Since(start).Seconds(), nil
}

// writeSample writes a container of sample, over and over for a time.
func writeSample(ctx context.Context, dst io.Writer, key keys.Recipient, opts *engine.WriterOptions, sample []byte, d time.Duration) error {
	w, err := engine.NewWriter(ctx, dst, []keys.Recipient{key}, opts)
	if err != nil {
		return err
	}
	defer w.Abort()
	for start := time.Now(); ; {
		if _, err := w.Write(sample); err != nil {
			return err
		}
		if time.Since(start) >= d {
			return w.Close()
		}
	}
}

// sampleText returns n bytes that compress much like prose, the same in every build.
func sampleText(n int) []byte {
	rnd := rand.New(rand.NewPCG(1, 1))
	words := make([][]byte, 8000)
	for i := range words {
		for range 2 + rnd.IntN(4) { // syllables
			words[i] = append(words[i], "tnrslhdmcpfgbvkw"[rnd.IntN(16)], "eeeaaoiiuy"[rnd.IntN(10)])
		}
		words[i] = append(words[i], ' ')
	}
	text := make([]byte, 0, n+100)
	for len(text) < n {
		if at := rnd.IntN(16 + len(text)*8); at+90 < len(text) { // a phrase comes again
			text = append(text, text[at:][:10+rnd.IntN(80)]...)
		}
		// Few words are most of a text.
		text = append(text, words[rnd.IntN(1+rnd.IntN(1+rnd.IntN(len(words))))]...)
	}
	return text[:n]
}
