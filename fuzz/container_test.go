package fuzz_test

import (
	"bytes"
	"slices"
	"sync"
	"testing"

	"github.com/coffer-backup/coffer/vectors"
)

// An original is a base as it was sealed.
type original struct {
	*base
	caller *caller
	file   []byte
	plain  []byte
}

// originals are the bases that a script can name, sealed.
var originals = sync.OnceValue(func() (all []original) {
	for _, b := range bases() {
		c := b.caller()
		file := b.container(nil).Bytes()
		v := c.stream(file)
		all = append(all, original{b, c, file, v.content.plain})
	}
	return all
})

func step(code, i byte, n uint16, x byte) []byte {
	return []byte{code, i, byte(n), byte(n >> 8), x}
}

// scripts returns, for each base, the empty script, and one for each op.
func scripts() (seeds [][]byte) {
	n := len(contentOps) + len(packageOps) + len(fileOps)
	for b := range originals() {
		seeds = append(seeds, []byte{byte(b)})
		for code := range n {
			seeds = append(seeds, append([]byte{byte(b)}, step(byte(code), byte(b), 1, 1)...))
		}
	}
	// Some that tell stories: a byte of plaintext edited with its checksum, a catalog
	// frame longer than what is in it, packages swapped and the file cut.
	return append(seeds,
		slices.Concat([]byte{0}, step(5, 0, 12, 1), step(7, 0, 0, 0)),
		slices.Concat([]byte{3}, step(6, 2, 1, 0), step(byte(len(contentOps)-1), 2, 0, 0)),
		slices.Concat([]byte{4}, step(2, 0, 0, 1), step(byte(len(contentOps)+2), 0, 0, 2), step(byte(n-1), 7, 3, 40)),
	)
}

// FuzzContainer works scripts off on containers: frames, packages and header blocks are
// dropped, doubled, swapped, cut and edited, and authenticated again or not.
func FuzzContainer(f *testing.F) {
	start(f, 1+16*opSize, scripts(), func(t *testing.T, data []byte) {
		in := input(data)
		o := originals()[int(in.u8())%len(originals())]
		d := &draft{base: o.base, frames: slices.Clone(o.frames)}
		file := d.apply(in)
		stream, random := o.caller.check(t, file)
		if d.forged {
			return
		}
		// Nobody without the keys can have anything accepted but the file itself, with
		// one header copy damaged if the reader tells.
		if !bytes.HasPrefix(o.plain, stream.plain) || !bytes.HasPrefix(o.plain, random.plain) {
			t.Errorf("without a key, %d and %d bytes were made of others", len(stream.plain), len(random.plain))
		}
		whole := func(c vectors.Class) bool { return c == vectors.OK || c == vectors.Skew }
		if (whole(stream.class) || whole(random.class)) && !bytes.Equal(file, o.file) {
			t.Errorf("without a key, another file is accepted: %v, %v", stream.class, random.class)
		}
		h := o.Header.Size
		if random.class == vectors.DamagedCopy && (len(file) != len(o.file) || !bytes.Equal(file[h:len(file)-h], o.file[h:len(file)-h])) {
			t.Error("without a key, another body is accepted")
		}
	})
}

// FuzzFile reads any bytes as a file. The first one chooses the keys and options that
// one of the vectors has.
func FuzzFile(f *testing.F) {
	var callers []*caller
	seeds := fromVectors(f, func(c *vectors.Case, file []byte) []byte {
		who := callerOf(c)
		at := slices.IndexFunc(callers, who.equal)
		if at < 0 {
			at = len(callers)
			callers = append(callers, who)
		}
		if len(file) > maxFile || at > 255 {
			return nil
		}
		return append([]byte{byte(at)}, file...)
	})
	start(f, 1+maxFile, seeds, func(t *testing.T, data []byte) {
		in := input(data)
		callers[int(in.u8())%len(callers)].check(t, in)
	})
}

// maxFile is the longest file that FuzzFile takes: two header blocks of the least
// size, and a few frames.
const maxFile = 10 << 10

// callerOf returns who the vector is for.
func callerOf(c *vectors.Case) *caller {
	in := &c.Inputs
	who := &caller{context: in.Context, minGeneration: in.MinGeneration, maxMemory: in.MaxMemory, allowAnonymous: in.AllowAnonymous}
	for _, k := range in.AccountKeys {
		who.accounts = append(who.accounts, k)
	}
	for _, k := range in.OtherKeys {
		if k.Kind == 5 {
			who.seeds = append(who.seeds, k.Key)
		}
	}
	for _, p := range in.Passphrases {
		who.passphrases = append(who.passphrases, p)
	}
	if a := in.Argon2; a != nil {
		who.argon2.MaxMemoryKiB, who.argon2.MaxRuns, who.argon2.MaxWorkKiB = a.MaxMemoryKiB, a.MaxRuns, a.MaxWorkKiB
	}
	who.secrets = newSecrets(slices.Concat(who.accounts, who.seeds)...) // the passphrases are words of English
	return who
}

func (c *caller) equal(o *caller) bool {
	return slices.EqualFunc(c.accounts, o.accounts, bytes.Equal) && slices.EqualFunc(c.seeds, o.seeds, bytes.Equal) &&
		slices.EqualFunc(c.passphrases, o.passphrases, bytes.Equal) && bytes.Equal(c.context, o.context) && c.minGeneration == o.minGeneration &&
		c.maxMemory == o.maxMemory && c.argon2 == o.argon2 && c.allowAnonymous == o.allowAnonymous
}
