package main

import (
	"bytes"

	"github.com/coffer-backup/coffer/vectors"
	"github.com/coffer-backup/coffer/vectors/build"
)

// A slotMaker returns a slot bound to core.
type slotMaker func(d *draft, core []byte) build.Entry

func accountOf(ak []byte, label string) slotMaker {
	return func(d *draft, core []byte) build.Entry {
		e, _ := build.AccountSlot(core, ak, chosen(d.name+": "+label), nil, d.recipe.FileKey)
		return e
	}
}

func phraseOf(passphrase []byte, label string, cost build.Argon2) slotMaker {
	return func(d *draft, core []byte) build.Entry {
		e, _ := build.PassphraseSlot(core, passphrase, chosen(d.name+": "+label), cost, d.recipe.FileKey)
		return e
	}
}

// costly is a passphrase slot that nobody computes: it wraps nothing.
func costly(label string, cost build.Argon2) slotMaker {
	return func(d *draft, core []byte) build.Entry {
		return build.Slot(2, chosen(d.name+": "+label), cost.Params(), make([]byte, 64))
	}
}

// keys adds a case with these slots.
func (s *set) keys(name, comment, spec string, class vectors.Class, edit func(d *draft), slots ...slotMaker) {
	d := s.draft("key_"+name, comment, spec)
	d.Class = class
	d.recipe.Slots = func(core []byte) (out []build.Entry) {
		for _, slot := range slots {
			out = append(out, slot(d, core))
		}
		return out
	}
	if edit != nil {
		edit(d)
	}
	s.add(d, d.build())
}

func keyCases(s *set) {
	otherKey, otherPhrase := chosen("another account key"), []byte("another passphrase")
	mine, theirs := accountOf(accountKey, "mine"), accountOf(otherKey, "theirs")
	phrase := phraseOf(passphrase, "phrase", build.Cheapest)
	with := func(passphrases ...[]byte) func(d *draft) {
		return func(d *draft) {
			d.Inputs.AccountKeys = nil
			for _, p := range passphrases {
				d.Inputs.Passphrases = append(d.Inputs.Passphrases, p)
			}
		}
	}

	s.keys("passphrase", "one passphrase slot", "3.3 4.5.2 4.5.3", vectors.OK, with(passphrase), phrase)
	s.keys("passphrase-parallel", "a passphrase slot with p = 4, t = 3, m = 64 KiB", "3.3 4.5.2", vectors.OK, with(passphrase),
		phraseOf(passphrase, "phrase", build.Argon2{Passes: 3, MemoryKiB: 64, Parallelism: 4}))
	s.keys("passphrase-uneven", "a passphrase slot with m_KiB no multiple of 4p", "3.3.1 4.5.2", vectors.OK, with(passphrase),
		phraseOf(passphrase, "phrase", build.Argon2{Passes: 2, MemoryKiB: 37, Parallelism: 3}))
	bytesOnly := []byte{0xff, 0x00, 0xfe, '\n'}
	s.keys("passphrase-bytes", "a passphrase that is no UTF-8, has a zero and ends with a line feed: its bytes count", "4.5.4", vectors.OK, with(bytesOnly),
		phraseOf(bytesOnly, "phrase", build.Cheapest))
	s.keys("passphrase-1024", "a passphrase of 1024 bytes", "4.5.4 9.1", vectors.OK, with(bytes.Repeat([]byte("x"), 1024)),
		phraseOf(bytes.Repeat([]byte("x"), 1024), "phrase", build.Cheapest))
	s.keys("either-account", "an account and a passphrase slot: the account key opens", "3.2.5 4.5.7", vectors.OK, nil, phrase, mine)
	s.keys("either-passphrase", "an account and a passphrase slot: the passphrase opens", "3.2.5 4.5.7", vectors.OK, with(passphrase), mine, phrase)
	s.keys("second-slot", "the second slot of the kind fits", "3.3.3 8.1.3", vectors.OK, nil, theirs, mine)
	s.keys("second-key", "the second key given fits", "8.1.3", vectors.OK, func(d *draft) {
		d.Inputs.AccountKeys = []vectors.Hex{otherKey, accountKey}
	}, mine)
	s.keys("hint-right", "a key_id, of the key that opens", "3.3.3 4.6.3", vectors.OK, nil, func(d *draft, core []byte) build.Entry {
		e, _ := build.AccountSlot(core, accountKey, chosen(d.name), build.KeyID(accountKey), d.recipe.FileKey)
		return e
	})
	s.keys("hint-wrong", "a key_id of another key: a hint decides nothing", "3.3.3", vectors.OK, nil, func(d *draft, core []byte) build.Entry {
		e, _ := build.AccountSlot(core, accountKey, chosen(d.name), build.KeyID(otherKey), d.recipe.FileKey)
		return e
	})
	s.keys("hint-of-other-slot", "another key's slot has the key_id of the key given", "3.3.3", vectors.NoKey, nil, func(d *draft, core []byte) build.Entry {
		e, _ := build.AccountSlot(core, otherKey, chosen(d.name), build.KeyID(accountKey), d.recipe.FileKey)
		return e
	})

	s.keys("none-of-kind", "an account key, and only a passphrase slot", "8.4.18", vectors.NoKey, nil, phrase)
	s.keys("other-account", "a slot of another account key", "8.4.18 2.3", vectors.NoKey, nil, theirs)
	s.keys("other-passphrase", "a slot of another passphrase", "8.4.18", vectors.NoKey, with(otherPhrase), phrase)
	s.keys("as-passphrase", "the account key's bytes given as a passphrase", "4.5.2 8.4.18", vectors.NoKey, with(accountKey), mine)
	flip := func(slot slotMaker, at int) slotMaker {
		return func(d *draft, core []byte) build.Entry {
			e := slot(d, core)
			e.Data[(at+len(e.Data))%len(e.Data)] ^= 1
			return e
		}
	}
	s.keys("tag", "the slot's tag is wrong", "4.5.3 8.4.18", vectors.NoKey, nil, flip(mine, -1))
	s.keys("tag-first", "the first byte of the slot's tag is wrong", "4.5.3 8.4.18", vectors.NoKey, nil, flip(mine, -32))
	s.keys("wrapped", "a bit of the wrapped key is wrong", "4.5.3 8.4.18", vectors.NoKey, nil, flip(mine, -64))
	s.keys("salt", "a bit of slot_salt is wrong", "4.5.1 4.5.2 8.4.18", vectors.NoKey, nil, flip(mine, 0))
	s.keys("key-id", "a bit of key_id is wrong: params are bound", "4.5.1 8.4.18", vectors.NoKey, nil, flip(mine, 32))
	s.keys("cost", "a bit of m_KiB is wrong", "4.5.1 8.4.18", vectors.NoKey, with(passphrase), flip(phrase, 32+8))
	s.keys("tag-passphrase", "a passphrase slot's tag is wrong", "4.5.3 8.4.18", vectors.NoKey, with(passphrase), flip(phrase, -1))
	s.keys("moved", "a slot that was moved here from a file with another CORE: bind differs", "4.5.1 8.4.18", vectors.NoKey, nil,
		func(d *draft, core []byte) build.Entry {
			core = bytes.Clone(core)
			core[8] ^= 1 // salt
			return mine(d, core)
		})
	s.keys("moved-kind", "a slot bound to another kind", "4.5.1 8.4.18", vectors.NoKey, nil, func(d *draft, core []byte) build.Entry {
		salt, params := chosen(d.name), make([]byte, 16)
		w := build.Wrap(build.AccountKEK(accountKey, salt), build.Bind(core, 2, salt, params), d.recipe.FileKey)
		return build.Slot(1, salt, params, w.C, w.Tag)
	})

	wrong := func(label string) slotMaker {
		return func(d *draft, core []byte) build.Entry {
			e, _ := build.AccountSlot(core, accountKey, chosen(d.name+": "+label), nil, chosen("the file key of no file"))
			return e
		}
	}
	s.keys("wrong-file-key", "the slot fits and gives another file key: the MAC fails", "4.3.2 4.5.5 8.4.20", vectors.Auth, nil, wrong("wrong"))
	s.keys("first-decides", "the first slot that fits gives another file key; the second one is not tried", "4.5.5 3.4.3 8.4.20", vectors.Auth, nil, wrong("wrong"), mine)
	s.keys("order-of-kinds", "an account slot with another file key behind a good passphrase slot: account keys come first", "4.5.7 4.5.5", vectors.Auth,
		func(d *draft) { d.Inputs.Passphrases = []vectors.Hex{passphrase} }, phrase, wrong("wrong"))
	s.keys("not-first", "a slot that does not fit, then one that does", "4.5.5 8.1.3", vectors.OK, nil, flip(accountOf(accountKey, "first"), -1), mine)

	// Policies.
	heavy := build.Argon2{Passes: 1, MemoryKiB: 1<<20 + 1, Parallelism: 1}
	s.keys("argon2-memory", "a passphrase slot over 1 GiB", "4.5.8 8.4.19 9.1", vectors.Limit, with(passphrase), costly("heavy", heavy))
	s.keys("argon2-memory-account", "a passphrase slot over 1 GiB, and an account slot that opens", "4.5.8", vectors.OK,
		func(d *draft) { d.Inputs.Passphrases = []vectors.Hex{passphrase} }, costly("heavy", heavy), mine)
	s.keys("argon2-memory-other", "a passphrase slot over 1 GiB, which is skipped, and one that opens", "4.5.8", vectors.OK, with(passphrase), costly("heavy", heavy), phrase)
	s.keys("argon2-not-asked", "a passphrase slot over 1 GiB, an account key that does not fit: the slot was not to be tried", "4.5.8 8.4.18", vectors.NoKey,
		nil, costly("heavy", heavy), theirs)
	s.keys("argon2-work", "a passphrase slot of 16 passes over 512 MiB: more than 4 GiB in all", "4.5.8 8.4.19 9.1", vectors.Limit, with(passphrase),
		costly("work", build.Argon2{Passes: 16, MemoryKiB: 1 << 19, Parallelism: 1}))
	policy := func(p vectors.Argon2) func(d *draft) {
		return func(d *draft) {
			with(passphrase)(d)
			d.Inputs.Argon2 = &p
		}
	}
	twice := build.Argon2{Passes: 2, MemoryKiB: 16, Parallelism: 1}
	s.keys("policy-memory", "the caller allows 15 KiB, the slot takes 16", "4.5.8 8.4.19", vectors.Limit, policy(vectors.Argon2{MaxMemoryKiB: 15}), phraseOf(passphrase, "p", twice))
	s.keys("policy-memory-enough", "the caller allows 16 KiB, the slot takes 16", "4.5.8", vectors.OK, policy(vectors.Argon2{MaxMemoryKiB: 16}), phraseOf(passphrase, "p", twice))
	s.keys("policy-work", "the caller allows 31 KiB x passes, the slot takes 32", "4.5.8 8.4.19", vectors.Limit, policy(vectors.Argon2{MaxWorkKiB: 31}), phraseOf(passphrase, "p", twice))
	s.keys("policy-work-enough", "the caller allows 32 KiB x passes, the slot takes 32", "4.5.8", vectors.OK, policy(vectors.Argon2{MaxWorkKiB: 32}), phraseOf(passphrase, "p", twice))
	no := func(label string) slotMaker { return phraseOf(otherPhrase, label, build.Cheapest) }
	s.keys("runs-4", "the fourth passphrase slot fits", "4.5.8", vectors.OK, with(passphrase), no("1"), no("2"), no("3"), phrase)
	s.keys("runs-5", "the fifth passphrase slot fits, and four may be tried", "4.5.8 8.4.19 9.1", vectors.Limit, with(passphrase), no("1"), no("2"), no("3"), no("4"), phrase)
	s.keys("runs-4-wrong", "four passphrase slots, none fits, none was held back", "4.5.8 8.4.18", vectors.NoKey, with(passphrase), no("1"), no("2"), no("3"), no("4"))
	s.keys("runs-by-slot", "two runs are allowed, of two passphrases with two slots: both go to the first slot, and the second one fits", "4.5.7 4.5.8 8.4.19", vectors.Limit,
		func(d *draft) {
			policy(vectors.Argon2{MaxRuns: 2})(d)
			d.Inputs.Passphrases = []vectors.Hex{passphrase, []byte("a third passphrase")}
		}, no("1"), phrase)
	s.keys("policy-runs", "the caller allows one run, and the second slot fits", "4.5.8 8.4.19", vectors.Limit, policy(vectors.Argon2{MaxRuns: 1}), no("1"), phrase)

	twoPhrases := func(p vectors.Argon2) func(d *draft) {
		return func(d *draft) {
			policy(p)(d)
			d.Inputs.Passphrases = []vectors.Hex{otherPhrase, passphrase}
		}
	}
	s.keys("policy-runs-twice", "the caller allows one run; the second passphrase fits the only slot", "4.5.8 8.4.19", vectors.Limit, twoPhrases(vectors.Argon2{MaxRuns: 1}), phrase)
	s.keys("policy-work-twice", "the caller allows 63 KiB x passes; the second passphrase fits the only slot, which takes 32 a run", "4.5.8 8.4.19", vectors.Limit,
		twoPhrases(vectors.Argon2{MaxWorkKiB: 63}), phraseOf(passphrase, "p", twice))

	s.keys("generation-least", "the caller wants generation 3, the file has it", "3.4.5", vectors.OK, func(d *draft) {
		d.recipe.Header.Generation, d.Inputs.MinGeneration = 3, 3
	}, mine)
	s.keys("generation-old", "the caller wants generation 4, the file has 3", "3.4.5 8.4.22", vectors.Limit, func(d *draft) {
		d.recipe.Header.Generation, d.Inputs.MinGeneration = 3, 4
	}, mine)
	s.keys("generation-most", "generation 2^63 - 1", "3.1 8.4.10", vectors.OK, func(d *draft) { d.recipe.Header.Generation = 1<<63 - 1 }, mine)
	s.keys("memory", "segments of 64 MiB, and the caller allows 1 MiB", "8.1.4 8.4.23", vectors.Limit, func(d *draft) {
		d.recipe.Header.SegmentLog2, d.Inputs.MaxMemory = 26, 1<<20
	}, mine)
	s.keys("memory-enough", "segments of 64 KiB, and the caller allows 16 MiB", "8.1.4", vectors.OK, func(d *draft) { d.Inputs.MaxMemory = 16 << 20 }, mine)

	contextCases(s, mine)
}

func contextCases(s *set, mine slotMaker) {
	bound := func(to string, given string) func(d *draft) {
		return func(d *draft) { d.recipe.Context, d.Inputs.Context = []byte(to), []byte(given) }
	}
	s.keys("context", "a context, and it was given", "4.2.1 4.2.2 3.1", vectors.OK, bound("snapshot 7", "snapshot 7"), mine)
	s.keys("context-1", "a context of 1 byte, 0", "4.2.1 9.1", vectors.OK, bound("\x00", "\x00"), mine)
	long := string(bytes.Repeat([]byte{0xee}, 300))
	s.keys("context-300", "a context of 300 bytes", "4.2.1", vectors.OK, bound(long, long), mine)
	s.keys("context-other", "another context was given", "4.2.2 8.4.21", vectors.Context, bound("snapshot 7", "snapshot 8"), mine)
	s.keys("context-prefix", "the beginning of the context was given", "4.2.2 8.4.21", vectors.Context, bound("snapshot 7", "snapshot"), mine)
	s.keys("context-missing", "a context, and none was given", "4.2.2 8.4.21", vectors.Context, bound("snapshot 7", ""), mine)
	s.keys("context-not-wanted", "no context, and one was given", "4.2.2 8.4.21", vectors.Context, bound("", "snapshot 7"), mine)
	s.keys("context-before-generation", "another context and an old generation: the context is judged first", "8.1.4", vectors.Context, func(d *draft) {
		bound("snapshot 7", "snapshot 8")(d)
		d.Inputs.MinGeneration = 9
	}, mine)

	d := s.draft("key_context-tag", "the context that was given has another context_tag; BK and N are as if it were right", "4.2.2 8.4.21")
	d.Class = vectors.Context
	d.recipe.Header.Flags, d.Inputs.Context = 1, vectors.Hex("snapshot 7")
	d.recipe.Header.ContextTag = [16]byte(chosen("another tag"))
	d.recipe.Slots = nil
	core := d.recipe.Header.Core()
	d.recipe.Header.Entries = []build.Entry{mine(d, core)}
	c := d.build() // without the recipe's context, so that the tag stays
	k := build.Derive(d.recipe.FileKey, d.recipe.Header.Salt[:], core, d.Inputs.Context)
	c.Packages = build.Seal(d.recipe.Header.Suite, k.BodyKey, k.Nonce, d.recipe.Content)
	s.add(d, c)
}
