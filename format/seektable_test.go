package format_test

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/big"
	"testing"

	"pgregory.net/rapid"

	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/vectors"
)

func TestSeekTable(t *testing.T) {
	entries := []format.SeekEntry{{Compressed: 7, Decompressed: 1 << 20}, {Compressed: math.MaxUint32, Decompressed: 0}}
	table := format.AppendSkippable(nil, format.MagicSeekTable, uint32(format.SeekTableSize(2)-8))
	for _, e := range entries {
		table = format.AppendSeekEntry(table, e)
	}
	table = format.AppendSeekFooter(table, 2)
	want := "\x5e\x2a\x4d\x18\x19\x00\x00\x00" + "\x07\x00\x00\x00\x00\x00\x10\x00" + "\xff\xff\xff\xff\x00\x00\x00\x00" + "\x02\x00\x00\x00\x00\xb1\xea\x92\x8f"
	if string(table) != want || int64(len(table)) != format.SeekTableSize(2) {
		t.Errorf("table is %x, want %x", table, want)
	}
	for i, e := range entries {
		if got := format.ParseSeekEntry(table[8+8*i:]); got != e {
			t.Errorf("entry %d is %+v, want %+v", i, got, e)
		}
	}
	if n, err := format.ParseSeekFooter(table[len(table)-format.SeekFooterSize:]); n != 2 || err != nil {
		t.Errorf("ParseSeekFooter = %d, %v", n, err)
	}
}

func TestParseSeekFooter(t *testing.T) {
	for _, frames := range []int64{0, 1, format.MaxFrames} {
		if n, err := format.ParseSeekFooter(format.AppendSeekFooter(nil, frames)); n != frames || err != nil {
			t.Errorf("footer of %d frames: %d, %v", frames, n, err)
		}
	}
	_, err := format.ParseSeekFooter(format.AppendSeekFooter(nil, format.MaxFrames+1))
	wantSyntax(t, err, "seek table footer", "number of frames", 0)
	good := format.AppendSeekFooter(nil, 1)
	for bit := 4 * 8; bit < 9*8; bit++ {
		b := bytes.Clone(good)
		b[bit/8] ^= 1 << (bit % 8)
		_, err := format.ParseSeekFooter(b)
		if bit/8 == 4 {
			wantSyntax(t, err, "seek table footer", "descriptor", 4)
		} else {
			wantSyntax(t, err, "seek table footer", "magic", 5)
		}
	}
	if binary.LittleEndian.Uint32(good[5:]) != 0x8F92EAB1 {
		t.Errorf("footer is %x", good)
	}
}

// padmé is T of § 6.4 as it is written there.
func padmé(x int64) int64 {
	e := 0
	for p := int64(2); p <= x; p *= 2 {
		e++
	}
	s := 1
	for p := 2; p <= e; p *= 2 {
		s++
	}
	granule := new(big.Int).Lsh(big.NewInt(1), uint(min(e-s, 31)))
	up := new(big.Int).Add(big.NewInt(x), granule)
	up.Sub(up, big.NewInt(1)).Div(up, granule)
	return up.Mul(up, granule).Int64()
}

func TestPadded(t *testing.T) {
	check := func(t interface{ Fatalf(string, ...any) }, x int64) {
		got := format.Padded(x)
		if x > 1 && got != padmé(x) {
			t.Fatalf("Padded(%d) = %d, want %d", x, got, padmé(x))
		}
		cost := float64(got-x) / float64(x)
		if got < x || cost > 0.12 || x > 65536 && cost > 0.032 || got-x >= 1<<31 {
			t.Fatalf("Padded(%d) = %d costs %.2f %%", x, got, 100*cost)
		}
		if format.Padded(got) != got {
			t.Fatalf("Padded(%d) = %d, which is padded to %d", x, got, format.Padded(got))
		}
		if next := format.Padded(x + 1); next < got {
			t.Fatalf("Padded(%d) = %d is under Padded(%d) = %d", x+1, next, x, got)
		}
	}
	for x := int64(1); x < 200_000; x++ {
		check(t, x)
	}
	for e := 17; e < 49; e++ { // MaxBodySize is under 2^48.1
		for d := int64(-2); d <= 2; d++ {
			check(t, 1<<e+d)
		}
	}
	rapid.Check(t, func(t *rapid.T) { check(t, rapid.Int64Range(1, format.MaxBodySize).Draw(t, "x")) })

	for x, want := range map[int64]int64{ // by hand
		1: 1, 8: 8, 9: 10, 17: 18, 100: 104, 1000: 1024, 65537: 67584, 1 << 20: 1 << 20,
		// The granule is capped: without the cap these would be 8 GiB ones.
		1<<39 + 1: 1<<39 + 1<<31, 1<<40 + 1: 1<<40 + 1<<31,
	} {
		if got := format.Padded(x); got != want {
			t.Errorf("Padded(%d) = %d, want %d", x, got, want)
		}
	}
}

func TestVectorsOfPadding(t *testing.T) {
	table, err := vectors.LoadPaddings()
	if err != nil || len(table.Lengths) == 0 {
		t.Fatal(table, err)
	}
	for _, v := range table.Lengths {
		if got := format.Padded(v.Length); got != v.Padded {
			t.Errorf("T(%d) is %d, want %d", v.Length, got, v.Padded)
		}
	}
}
