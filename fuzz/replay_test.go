package fuzz_test

import (
	"bytes"
	"context"
	"io"
	"testing"
	"time"

	"github.com/coffer-backup/coffer/archive"
	"github.com/coffer-backup/coffer/engine"
	"github.com/coffer-backup/coffer/vectors"
	"github.com/coffer-backup/coffer/vectors/build"
)

// TestVectors reads all conformance vectors as the targets do, the long ones too: so the
// oracle is held to what they say, and each to its budgets.
func TestVectors(t *testing.T) {
	fromVectors(t, func(c *vectors.Case, file []byte) []byte {
		t.Run(c.File, func(t *testing.T) {
			stream, random := callerOf(c).check(t, file)
			for _, r := range []struct {
				random bool
				got    reading
			}{{false, stream}, {true, random}} {
				class := r.got.class
				if c.Inputs.Archive && class.Whole() && !isArchive(t, r.got) {
					class = vectors.Content
				}
				if want := c.ClassFor(r.random, func(need string) bool { return need != "kind-5" }); class != want {
					t.Errorf("random access %v: %v (%v), want %v", r.random, class, r.got.err, want)
				}
				if !bytes.HasPrefix(c.Plaintext.Bytes(), r.got.plain) || len(r.got.plain) > c.ReleasedFor(r.random) {
					t.Errorf("random access %v: %d bytes were released, %d may be, or they are others", r.random, len(r.got.plain), c.ReleasedFor(r.random))
				}
			}
		})
		return file
	})
}

// isArchive compares an archive with its catalog, for the oracle and for package
// archive, which must agree.
func isArchive(t *testing.T, r reading) bool {
	t.Helper()
	var catalog archive.CatalogDigest
	for _, e := range r.records {
		if err := catalog.Add(e); err != nil {
			t.Fatal(err)
		}
	}
	report, err := archive.Check(t.Context(), bytes.NewReader(r.plain))
	records, ok := judgeTar(r.plain)
	if (err == nil) != ok || ok && report.Entries != int64(len(records)) {
		t.Errorf("Check says %v, %+v, the oracle %v, %d entries", err, report, ok, len(records))
	}
	return ok && report.Catalog == catalog.Sum()
}

// TestTimeIsLinear: what is four times as long takes no more than about four times as
// long, for content of the smallest pieces that there are.
func TestTimeIsLinear(t *testing.T) {
	const n = 10_000
	record := func(i int) []byte { return build.Record{Offset: uint64(i) * 512}.Bytes() }
	for name, content := range map[string]func(n int) []byte{
		"frames": func(n int) []byte {
			return build.Content(repeat(build.Repeated('r', segment), n/50)...)
		},
		"skippable frames": func(n int) []byte {
			return build.Content(repeat(build.Skippable(build.MagicInfo, nil), n)...)
		},
		"blocks": func(n int) []byte {
			// As many empty blocks as the frame has room for.
			var frames [][]byte
			for range n / 100 {
				frame := build.NewFrame(make([]byte, segment), 4, append(make([]build.Block, 90), build.Block{Type: build.RLE, Size: segment, Data: []byte{0}})...)
				frames = append(frames, frame.Bytes())
			}
			return build.Content(frames...)
		},
		"records": func(n int) []byte {
			frames := [][]byte{build.Stored([]byte("x"))}
			var records [][]byte
			for i := range n {
				if records = append(records, record(i)); len(records) == 1000 {
					frames, records = append(frames, build.Catalog(records...)), nil
				}
			}
			return build.Content(frames...)
		},
	} {
		t.Run(name, func(t *testing.T) {
			who := newBase().caller()
			short, long := newBase().container(content(n)).Bytes(), newBase().container(content(4*n)).Bytes()
			for _, r := range []struct {
				name string
				read func([]byte) error
			}{{"stream", who.discardStream}, {"random access", who.discardRandom}} {
				once, fourTimes := fastest(t, short, r.read), fastest(t, long, r.read)
				// Squared it would be 16 times, and the least is for what is so fast that
				// only its setting up is seen.
				if fourTimes > 10*once+20*time.Millisecond {
					t.Errorf("%s: %v for %d bytes, %v for %d", r.name, once, len(short), fourTimes, len(long))
				}
			}
		})
	}
}

func repeat(frame []byte, n int) (frames [][]byte) {
	for range n {
		frames = append(frames, frame)
	}
	return frames
}

// fastest is the shortest of a few readings of file, which must be sound.
func fastest(t *testing.T, file []byte, read func([]byte) error) time.Duration {
	t.Helper()
	best := time.Hour
	for range 5 {
		start := time.Now()
		if err := read(file); err != nil {
			t.Fatal(err)
		}
		best = min(best, time.Since(start))
	}
	return best
}

func (c *caller) discardStream(file []byte) error {
	r, err := engine.NewReader(context.Background(), bytes.NewReader(file), c.identities(), c.options(1, nil))
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = r.WriteTo(io.Discard)
	return err
}

func (c *caller) discardRandom(file []byte) error {
	f, err := engine.Open(context.Background(), bytes.NewReader(file), int64(len(file)), c.identities(), c.options(1, nil))
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := io.Copy(io.Discard, io.NewSectionReader(f, 0, f.Size())); err != nil {
		return err
	}
	for _, err := range f.Catalog() {
		if err != nil {
			return err
		}
	}
	return nil
}
