package fuzz_test

import (
	"bytes"

	"github.com/coffer-backup/coffer/engine"
	"github.com/coffer-backup/coffer/vectors/build"
)

// The keys of the containers that targets seal.
var (
	accountKey = chosen("account key")
	fileKey    = chosen("file key")
	passphrase = chosen("passphrase")
	context7   = []byte("snapshot 7")
)

// A base is a container that targets start from.
type base struct {
	build.Recipe
	frames [][]byte // of the content, without the seek table
}

// newBase returns a container of suite 1, segments of 64 KiB and H = 4096, with a slot
// for accountKey.
func newBase(frames ...[]byte) *base {
	b := &base{frames: frames, Recipe: build.Recipe{
		Header:  build.Header{Suite: 1, SegmentLog2: 16, Salt: [32]byte(chosen("salt")), Generation: 1, Size: 4096},
		FileKey: fileKey,
	}}
	b.Slots = func(core []byte) []build.Entry { return []build.Entry{accountSlot(core)} }
	return b
}

func accountSlot(core []byte) build.Entry {
	e, _ := build.AccountSlot(core, accountKey, chosen("account slot"), nil, fileKey)
	return e
}

// caller is who can open b, with the least memory that will do.
func (b *base) caller() *caller {
	k := b.container(nil).Keys
	c := &caller{accounts: [][]byte{accountKey}, context: b.Context, maxMemory: 16 << 20}
	secret := [][]byte{accountKey, fileKey, passphrase, k.PRK, k.MACKey, k.BodyKey}
	for _, f := range b.frames {
		// What repeats a byte could stand in an error by chance.
		if plain, _, state := walk(f, segment); state == done && bytes.Count(plain, plain[:1]) < len(plain) {
			secret = append(secret, plain[:min(len(plain), 64)])
		}
	}
	c.secrets = newSecrets(secret...)
	return c
}

// container seals content, or what there is in b's frames if it is nil.
func (b *base) container(content []byte) *build.Container {
	r := b.Recipe
	if r.Content = content; content == nil {
		r.Content = build.Content(b.frames...)
	}
	return r.Build()
}

const segment = 1 << 16

// Bases, from the plainest to one that has everything.
func bases() []*base {
	full := func(label string) []byte { return build.Stored(noise(segment, label)) }
	rle := build.Repeated('r', segment)
	short := build.Stored([]byte("a backup is as good as its restore"))
	catalog := build.Catalog(build.Record{Path: "dir/", Type: '5'}.Bytes(), build.Record{Offset: 512, Size: 3, Path: "dir/file", Type: '0'}.Bytes())
	info := build.Skippable(build.MagicInfo+3, []byte("for a later version"))
	padded := func(frames ...[]byte) [][]byte { return append(frames, build.Padding(0, frames...)) }

	// A container whose last package is full, as an info frame fills it.
	fill := [][]byte{full("fill"), short}
	room := 2*build.MaxPayload - len(build.Content(append(fill, build.Skippable(build.MagicInfo, nil))...))
	fill = append(fill, build.Skippable(build.MagicInfo, make([]byte, room)))

	all := []*base{
		newBase(short),
		newBase(),
		newBase(rle, rle, short),
		newBase(padded(rle, short, catalog, info)...),
		newBase(full("1"), full("2"), short),
		newBase(fill...),
	}
	all[2].Header.Suite = 2
	all[3].Context = context7
	all[4].Header.Suite, all[4].Header.Size = 2, 8192
	all[3].Slots = func(core []byte) []build.Entry {
		return []build.Entry{
			{Kind: 0x8001, Data: []byte("a note")},
			build.Slot(6, chosen("unknown slot"), nil, chosen("of a later version")),
			accountSlot(core),
		}
	}
	return all
}

// cheap is a policy under which any slot may be tried, and none costs much.
var cheap = engine.Argon2Policy{MaxMemoryKiB: 64, MaxRuns: 3, MaxWorkKiB: 128}

// flip xors a byte of b, at a place that wraps around.
func flip(b []byte, at int, mask byte) []byte {
	b = bytes.Clone(b)
	if len(b) > 0 {
		b[at%len(b)] ^= max(mask, 1)
	}
	return b
}
