package fuzz_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"io"
	"runtime"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/coffer-backup/coffer/engine"
)

const (
	// beforeKey is what a reader may allocate before it has authenticated anything,
	// besides two header blocks (§ 1.1.6) and what Argon2 takes.
	beforeKey = 64 << 10
	// perWorker is what a worker of a reader keeps besides its buffers: tables of
	// the decompressor, and what the AEAD holds.
	perWorker = 1 << 20
	// perByte bounds the time for a byte read or given out, on a machine that is
	// slow and busy. It is 5 MB/s.
	perByte = 200 * time.Nanosecond
	// atLeast is the time that anything may take.
	atLeast = 10 * time.Second
)

// checkBudgets opens file again with each reader, and holds it to its budget of
// memory and time. What was allocated is counted, freed or not: who stays within the
// budget so stays within it whenever the collector runs.
func (c *caller) checkBudgets(t *testing.T, file []byte, stream, random *reading) {
	t.Helper()
	leaks := goleak.IgnoreCurrent()
	read := func(workers int) {
		if r, err := engine.NewReader(context.Background(), bytes.NewReader(file), c.identities(), c.options(workers, nil)); err == nil {
			_, _ = r.WriteTo(io.Discard)
			r.Close()
		}
	}
	segment, authentic := 0, !stream.class.Early()
	if b, class := judgeBlock(file); class == "" {
		segment = b.segment()
	}
	for _, workers := range []int{1, 2} {
		limit := c.opening(file)
		if authentic {
			limit += uint64(readerBuffers(workers, segment)) + uint64(workers)*perWorker + uint64(len(stream.plain)+len(file))
		}
		budget(t, "stream", limit, len(file)+len(stream.plain), func() { read(workers) })
	}
	limit := c.opening(file)
	if !random.class.Early() {
		limit += perWorker + 2*packageSize + uint64(len(file))
	}
	budget(t, "random access", limit, len(file), func() {
		if f, err := engine.Open(context.Background(), bytes.NewReader(file), int64(len(file)), c.identities(), c.options(1, nil)); err == nil {
			f.Close()
		}
	})
	if err := goleak.Find(leaks); err != nil {
		t.Error(err)
	}
}

// opening is what opening a file may take: its two header blocks, if they say a legal
// length, and Argon2.
func (c *caller) opening(file []byte) uint64 {
	n := uint64(beforeKey)
	for _, at := range []int{72, len(file) - 4} {
		if at >= 0 && at+4 <= len(file) {
			if h := le.Uint32(file[at:]); h <= 65536 {
				n += uint64(h)
			}
		}
	}
	if len(c.passphrases) > 0 {
		d := engine.DefaultArgon2Policy()
		runs, kib := cmp.Or(c.argon2.MaxRuns, d.MaxRuns), cmp.Or(c.argon2.MaxMemoryKiB, d.MaxMemoryKiB)
		n += uint64(runs) * uint64(kib) << 10 // one after the other
	}
	return n
}

// budget calls f and demands that it allocates at most limit bytes, and takes no more
// time than n bytes need.
func budget(t *testing.T, what string, limit uint64, n int, f func()) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := time.Now()
	f()
	took := time.Since(start)
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > limit {
		t.Errorf("%s: %d KiB were allocated, %d are allowed", what, got>>10, limit>>10)
	}
	if most := atLeast + time.Duration(n)*perByte; took > most {
		t.Errorf("%s: took %v for %d bytes, %v are allowed", what, took, n, most)
	}
}

// secrets are pieces of what no error may tell: any 4 bytes of it in hex, any 8 as
// they are.
type secrets map[string]bool

const secretPiece = 8

func newSecrets(values ...[]byte) secrets {
	s := make(secrets)
	for _, v := range values {
		for _, text := range []string{string(v), hex.EncodeToString(v)} {
			for i := range len(text) - secretPiece + 1 {
				s[text[i:i+secretPiece]] = true
			}
		}
	}
	return s
}

func (s secrets) demandNoneIn(t *testing.T, text string) {
	t.Helper()
	for i := range len(text) - secretPiece + 1 {
		if s[text[i:i+secretPiece]] {
			t.Errorf("an error tells a secret: %s", text)
			return
		}
	}
}
