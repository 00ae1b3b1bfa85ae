package engine

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/coffer-backup/coffer/format"
)

func noiseOf(n int, seed byte) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

// over returns b with p in the place of what it has at off.
func over(b, p []byte, off int) []byte {
	b = slices.Clone(b)
	copy(b[off:], p)
	return b
}

func TestProbe(t *testing.T) {
	const size = 1 << 20
	noise := noiseOf(size, 1)
	words := bytes.Repeat([]byte("the quick brown fox jumps over the lazy dog. "), size/45+1)[:size]
	ramp := make([]byte, size)
	for i := range ramp {
		ramp[i] = byte(i)
	}
	// Every byte is as likely as another, but for one that is 8 times as likely.
	lean := slices.Clone(noise)
	for i := range lean {
		if lean[i] < 8 {
			lean[i] = 0
		}
	}
	// As in a JPEG file: 0xff is followed by 0.
	stuffed := slices.Clone(noise)
	for i := 1; i < size; i++ {
		if stuffed[i-1] == 0xff {
			stuffed[i] = 0
		}
	}
	// Small files that are encrypted, in an image of a file system.
	slack := slices.Clone(noise)
	for at := 0; at < size; at += 4 << 10 {
		clear(slack[at+1<<10 : at+4<<10])
	}
	header := words[:3000]
	for name, c := range map[string]struct {
		b    []byte
		want bool
	}{
		"noise":                            {noise, false},
		"noise, 64 KiB":                    {noise[:64<<10], false},
		"noise, 8 MiB":                     {noiseOf(8<<20, 2), false},
		"short noise":                      {noise[:64<<10-1], true}, // always tried
		"as in a JPEG file":                {stuffed, false},
		"photographs with headers":         {over(over(noise, header, 300_001), header, 700_001), false},
		"text":                             {words, true},
		"zeros":                            {make([]byte, size), true},
		"ramp":                             {ramp, true},
		"hex digits":                       {[]byte(hexOf(noise[:size/2])), true},
		"noise in blocks":                  {slack, true},
		"noise in blocks, 64 KiB":          {slack[:64<<10], true},
		"one byte too frequent":            {lean, true},
		"17 KiB of text in noise":          {over(noise, words[:17<<10], 555_555), true},
		"zeros at the end":                 {over(noise, make([]byte, 17<<10), size-17<<10), true},
		"40 KiB twice":                     {over(noise, noise[1001:1001+40<<10], 600_123), true},
		"a photograph twice":               {over(noise, noise[:200<<10], 700_007), true},
		"a photograph twice, 40 MiB apart": {over(noiseOf(64<<20, 3), noiseOf(1<<20, 3), 40<<20+77), true},
		"a photograph twice, 64 MiB":       {over(noiseOf(64<<20, 3), noiseOf(1<<20, 3), 1<<20+77), true},
	} {
		var p probe
		for range 2 { // what it remembers of the segment before does not count
			if got := p.compressible(c.b); got != c.want {
				t.Errorf("%s: %v", name, got)
			}
		}
	}
}

func hexOf(b []byte) []byte {
	var out []byte
	for _, c := range b {
		out = append(out, "0123456789abcdef"[c>>4], "0123456789abcdef"[c&15])
	}
	return out
}

func TestStoredChecksum(t *testing.T) {
	plain := noiseOf(300_000, 4)
	e, err := newEncoder(&WriterOptions{}, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	frame, err := e.appendStored(nil, plain)
	if err != nil {
		t.Fatal(err)
	}
	if err := checkStored(frame, len(plain), &e.sum); err != nil {
		t.Error(err)
	}
	if checkStored(frame, len(plain)-1, &e.sum) == nil {
		t.Error("another size is accepted")
	}
	for _, at := range []int{20, len(frame) / 2, len(frame) - 5, len(frame) - 1} {
		frame[at] ^= 1
		if _, stored, err := format.WalkFrame(frame, len(plain)); err != nil || !stored {
			t.Fatal(at, stored, err)
		}
		if checkStored(frame, len(plain), &e.sum) == nil {
			t.Errorf("byte %d changed, and the frame is accepted", at)
		}
		frame[at] ^= 1
	}
}
