package corpus

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"runtime"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/zstd"
)

// pinned is what the corpora with seed 1 are, at 10 MB. Published figures rest on
// these bytes: whoever changes them measures everything again.
var pinned = map[string]struct {
	first, whole string // SHA-256 of the first MiB, and of all
	ratio        int    // in hundredths, of klauspost's fastest level
}{
	"chat": {
		"60023730785c737040e60650522e2fb0cb16f1896aa152e0a5f30f1161923b52",
		"122fd5d9e375839c0467592bbde880637ec895be9f23331a3d1f2e907313f6aa",
		162,
	},
	"media": {
		"1a8c64ab40ad77e0240b25fc33f0a111e205f442ad1f3cbbeab40babc94eb194",
		"c62d63573e09636f5f424829723d980025c2fab08b3d3b8841e1e088a031a3f7",
		99,
	},
	"source": {
		"e20d1946ca67c0e69e6070d07763d957b02d5ec668b4332de8177737ba855684",
		"4d2e230663332558a718214eec39331649b710b11aea50a538d2fd0717fe4c59",
		435,
	},
	"logs": {
		"a462077debde850dd9dde8ac64cd5f47c58eb57c298ead53fe9d9a332a2ace72",
		"fec68399892ddd39ee327c875af9939c71e344f498cbe65cf721ede326187561",
		567,
	},
	"mix": {
		"087f56778eacfd1030bfdeae06685861f56b53aebb1e53a75ed1e7cedfc9b27b",
		"76a1364b532aee5a88dea8a7f457f76b5216b9aba0e442a7797d242dcaee8104",
		161,
	},
}

const pinnedSize = 10_000_000

func TestPinned(t *testing.T) {
	for _, name := range Names() {
		b := corpusBytes(t, name, pinnedSize)
		p := pinned[name]
		for _, c := range []struct {
			what string
			data []byte
			want string
		}{{"first MiB", b[:1<<20], p.first}, {"whole", b, p.whole}} {
			sum := sha256.Sum256(c.data)
			if got := hex.EncodeToString(sum[:]); got != c.want {
				t.Errorf("%s, %s: SHA-256 %s, want %s", name, c.what, got, c.want)
			}
		}
	}
}

// TestRatio keeps the corpora from drifting to what flatters somebody.
func TestRatio(t *testing.T) {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	for _, name := range Names() {
		b := corpusBytes(t, name, pinnedSize)
		got := 100 * len(b) / len(e.EncodeAll(b, nil))
		t.Logf("%s: %d", name, got)
		if want := pinned[name].ratio; got*10 < want*9 || got*10 > want*11 {
			t.Errorf("%s: ratio %d/100, want %d ± 10 %%", name, got, want)
		}
	}
}

func corpusBytes(t *testing.T, name string, size int64) []byte {
	t.Helper()
	b, err := Bytes(name, size, 1)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestSizes(t *testing.T) {
	for _, k := range kinds {
		for _, size := range []int64{k.least, k.least + 1, k.least + 5000, 1 << 20, 1<<20 + 4095, 3_333_333} {
			b := corpusBytes(t, k.name, size)
			if want := size / k.unit * k.unit; int64(len(b)) != want {
				t.Errorf("%s of %d bytes has %d, want %d", k.name, size, len(b), want)
			}
		}
		if _, err := New(k.name, k.least-1, 1); err == nil {
			t.Errorf("%s of %d bytes: no error", k.name, k.least-1)
		}
		if DefaultSize(k.name) != k.defaultSize {
			t.Errorf("DefaultSize(%q) = %d", k.name, DefaultSize(k.name))
		}
	}
	if _, err := Bytes("no such", 1<<20, 1); err == nil || DefaultSize("no such") != 0 {
		t.Error("there is a corpus that is not there")
	}
}

// filler is a producer without end.
type filler []byte

func (f filler) next() []byte { return f }

// TestMixShares demands that no part rules a long prefix of a mix, with any seed: a
// run of 8 MB more or less is what may tip it.
func TestMixShares(t *testing.T) {
	for seed := range uint64(300) {
		const size = 100e6
		m := &mix{random: newRandom(seed, 8)}
		for range 3 {
			m.parts = append(m.parts, &part{producer: make(filler, 64<<10), left: size})
		}
		var made int64
		for piece := m.next(); len(piece) > 0; piece = m.next() {
			made += int64(len(piece))
			for i, p := range m.parts {
				if share := 100 * (size - p.left) / made; made >= 32e6 && (share < 20 || share > 49) {
					t.Fatalf("seed %d: %d %% of the first %d bytes are of part %d", seed, share, made, i)
				}
			}
		}
		if made != 3*size {
			t.Errorf("seed %d: %d bytes, want %d", seed, made, int64(3*size))
		}
	}
}

// TestReader reads in another way, and with another seed.
func TestReader(t *testing.T) {
	for _, name := range Names() {
		want := corpusBytes(t, name, 1<<20)
		r, err := New(name, 1<<20, 1)
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 1000)
		if _, err := io.ReadFull(r, got); err != nil {
			t.Fatal(err)
		}
		rest, err := io.ReadAll(iotest.HalfReader(r))
		if got = append(got, rest...); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: reading in pieces gives other bytes, or error %v", name, err)
		}
		other, err := Bytes(name, 1<<20, 2)
		if err != nil || bytes.Equal(other, want) {
			t.Errorf("%s: another seed gives the same bytes, or error %v", name, err)
		}
	}
}

// TestFlat makes more of each corpus than it may take memory for.
func TestFlat(t *testing.T) {
	const size, most = 96 << 20, 12 << 20
	for _, name := range Names() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		r, err := New(name, size, 1)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyN(io.Discard, r, size*9/10); err != nil {
			t.Fatal(err)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		runtime.KeepAlive(r)
		if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > most {
			t.Errorf("%s holds %d bytes after %d, want at most %d", name, grown, size*9/10, most)
		}
	}
}

func BenchmarkNew(b *testing.B) {
	for _, name := range Names() {
		b.Run("corpus="+name, func(b *testing.B) {
			const size = 32 << 20
			b.SetBytes(size)
			for b.Loop() {
				r, err := New(name, size, 1)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := io.Copy(io.Discard, r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
