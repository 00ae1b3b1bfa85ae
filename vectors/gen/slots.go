package main

import (
	"strconv"

	"github.com/coffer-backup/coffer/vectors"
	"github.com/coffer-backup/coffer/vectors/build"
)

func itoa(n int) string { return strconv.Itoa(n) }

// entries adds a case with the entries that more returns, behind an account slot.
func (s *set) entries(name, comment, spec string, class vectors.Class, more func(d *draft, core []byte) []build.Entry) {
	d := s.draft("slot_"+name, comment, spec)
	d.Class = class
	d.recipe.Slots = func(core []byte) []build.Entry {
		return append([]build.Entry{d.account(core, "slot")}, more(d, core)...)
	}
	s.add(d, d.build())
}

// one is entries for a slot of which salt is chosen, and nothing opens it.
func (s *set) one(name, comment, spec string, class vectors.Class, kind uint16, params, wrapped []byte) {
	s.entries(name, comment, spec, class, func(d *draft, core []byte) []build.Entry {
		return []build.Entry{build.Slot(kind, chosen(d.name+": second"), params, wrapped)}
	})
}

func slotCases(s *set) {
	zeros := func(n int) []byte { return make([]byte, n) }
	s.entries("unknown-kinds", "slots of kinds 0, 6 and 0x7FFF, which are skipped", "1.2.2 3.2.2 3.2.3", vectors.OK, func(d *draft, core []byte) []build.Entry {
		return []build.Entry{
			build.Slot(0, chosen(d.name+": 0"), nil), build.Slot(6, chosen(d.name+": 6"), zeros(40)), build.Slot(0x7FFF, chosen(d.name+": 7"), zeros(1)),
		}
	})
	s.entries("unknown-short", "a slot of an unknown kind with 31 bytes", "3.2.2 8.4.14", vectors.Header, func(d *draft, core []byte) []build.Entry {
		return []build.Entry{{Kind: 6, Data: chosen(d.name)[:31]}}
	})
	s.entries("known-short", "a slot of kind 1 with 31 bytes", "3.2.2 8.4.14", vectors.Header, func(d *draft, core []byte) []build.Entry {
		return []build.Entry{{Kind: 1, Data: chosen(d.name)[:31]}}
	})
	s.entries("no-bytes", "a slot of no bytes", "3.2.2 8.4.14", vectors.Header, func(*draft, []byte) []build.Entry {
		return []build.Entry{{Kind: 4}}
	})
	s.entries("salt-twice", "two slots with one salt", "3.2.2 8.4.14", vectors.Header, func(d *draft, core []byte) []build.Entry {
		e, _ := build.PassphraseSlot(core, passphrase, chosen(d.name+": slot"), build.Cheapest, d.recipe.FileKey)
		return []build.Entry{e}
	})
	s.entries("salt-twice-unknown", "a slot of an unknown kind with the salt of another one", "3.2.2 8.4.14", vectors.Header, func(d *draft, core []byte) []build.Entry {
		return []build.Entry{build.Slot(9, chosen(d.name+": slot"), nil)}
	})
	for _, over := range []int{1, 65535 - 32} {
		d := s.draft("slot_len-over-"+itoa(over), "the second entry's len passes 96+S by "+itoa(over)+" bytes", "3.2.1 8.4.12")
		d.Class = vectors.Header
		d.recipe.Slots = func(core []byte) []build.Entry {
			return []build.Entry{d.account(core, "slot"), build.Slot(77, chosen(d.name), nil)}
		}
		c := d.build()
		c.EditHeader(func(b []byte) { le.PutUint16(b[96+116+2:], uint16(32+over)) })
		s.add(d, c)
	}

	many := func(n int) func(d *draft, core []byte) (out []build.Entry) {
		return func(d *draft, core []byte) (out []build.Entry) {
			for i := range n {
				out = append(out, build.Slot(100, chosen(d.name+itoa(i)), nil))
			}
			return out
		}
	}
	s.entries("32-entries", "32 entries", "3.1 9.1", vectors.OK, many(31))
	s.entries("33-entries", "33 entries", "3.1 8.4.11 9.1", vectors.Header, many(32))

	note := func(n int) build.Entry { return build.Entry{Kind: 0x8001, Data: zeros(n)} }
	d := s.draft("slot_notes-4096", "notes of 4096 bytes together, one of them empty", "1.2.2 3.2.4 9.1")
	d.recipe.Header.Size = 8192
	d.recipe.Slots = func(core []byte) []build.Entry {
		return []build.Entry{note(4000), note(0), d.account(core, "slot"), note(96)}
	}
	s.add(d, d.build())
	d = s.draft("slot_notes-4097", "notes of 4097 bytes together", "3.2.4 8.4.13 9.1")
	d.recipe.Header.Size, d.Class = 8192, vectors.Header
	d.recipe.Slots = func(core []byte) []build.Entry {
		return []build.Entry{note(4000), d.account(core, "slot"), note(97)}
	}
	s.add(d, d.build())
	d = s.draft("slot_notes-only", "a note, and no slot", "3.1 3.2.4 8.4.11")
	d.Class = vectors.Header
	d.recipe.Slots = func(core []byte) []build.Entry { return []build.Entry{note(40)} }
	s.add(d, d.build())
	d = s.draft("slot_note-like-slot", "a note that has the bytes of a slot is no key", "3.2.4 8.4.18")
	d.Class = vectors.NoKey
	d.recipe.Slots = func(core []byte) []build.Entry {
		e := d.account(core, "slot")
		e.Kind |= 0x8000
		return []build.Entry{e, build.Slot(9, chosen(d.name+": second"), nil)}
	}
	s.add(d, d.build())

	d = s.draft("slot_for-others", "slots of every kind and mechanism, with the shortest and longest hints and costs, none for the key given", "3.3 3.3.1 3.3.2 3.3.3")
	d.recipe.Header.Size = 12288
	d.recipe.Slots = func(core []byte) []build.Entry {
		long := string(zeros(255))
		var out []build.Entry
		add := func(kind uint16, params, wrapped []byte) {
			out = append(out, build.Slot(kind, chosen(d.name+itoa(len(out))), params, wrapped))
		}
		add(3, build.PKCS11Params(1, "an id", "a label", []byte("serial 012345678")), build.Sized(zeros(92)))
		add(3, build.PKCS11Params(2, long[:64], long[:64], nil), build.Sized(zeros(72)))
		add(3, build.PKCS11Params(3, "", "", nil), build.Sized(zeros(72)))
		add(3, build.PKCS11Params(4, "", "", nil), build.Sized(zeros(1)))
		add(3, build.PKCS11Params(4, "", "", nil), build.Sized(zeros(1024)))
		add(4, build.TinkParams(""), build.Sized(zeros(1)))
		add(4, build.TinkParams(long), build.Sized(zeros(4096)))
		add(5, build.KEMParams(), zeros(1168))
		add(2, build.Argon2{Passes: 16, MemoryKiB: 1 << 22, Parallelism: 16}.Params(), zeros(64))
		add(2, build.Argon2{Passes: 1, MemoryKiB: 128, Parallelism: 16}.Params(), zeros(64))
		add(1, zeros(16), zeros(64))
		return append(out, d.account(core, "slot"))
	}
	s.add(d, d.build())
	s.entries("unknown-mechanisms", "slots of known kinds with a mech, KEM or Argon2 version that version 1 does not have, and nothing else in its place", "1.2.2 3.2.3 3.3.2", vectors.OK, func(d *draft, core []byte) []build.Entry {
		return []build.Entry{
			build.Slot(3, chosen(d.name+"0"), []byte{0}), build.Slot(3, chosen(d.name+"1"), []byte{5, 200}, zeros(7)), build.Slot(3, chosen(d.name+"2"), []byte{255}),
			build.Slot(5, chosen(d.name+"3"), []byte{0x20, 0}, zeros(7)), build.Slot(5, chosen(d.name+"4"), []byte{0x7A, 0x65}),
			build.Slot(2, chosen(d.name+"5"), []byte{0x10}), build.Slot(2, chosen(d.name+"6"), []byte{0x14, 0, 9, 9}, zeros(80)),
		}
	})

	// Kind 1.
	s.one("account-short", "kind 1: wrapped has 63 bytes", "3.3 8.4.15", vectors.Header, 1, zeros(16), zeros(63))
	s.one("account-long", "kind 1: wrapped has 65 bytes", "3.3 8.4.15", vectors.Header, 1, zeros(16), zeros(65))

	// Kind 2.
	phrase := func(edit func(p []byte)) []byte {
		p := build.Cheapest.Params()
		edit(p)
		return p
	}
	argon2 := func(name, comment, spec string, class vectors.Class, edit func(p []byte)) {
		s.one("argon2-"+name, "kind 2: "+comment, spec, class, 2, phrase(edit), zeros(64))
	}
	hard := "3.3.1 8.4.16 9.1"
	argon2("p-0", "p = 0", hard, vectors.Header, func(p []byte) { p[1] = 0 })
	argon2("p-17", "p = 17", hard, vectors.Header, func(p []byte) { p[1] = 17; le.PutUint32(p[8:], 136) })
	argon2("t-0", "t = 0", hard, vectors.Header, func(p []byte) { p[4] = 0 })
	argon2("t-17", "t = 17", hard, vectors.Header, func(p []byte) { p[4] = 17 })
	argon2("m-7", "m_KiB = 7 with p = 1", hard, vectors.Header, func(p []byte) { p[8] = 7 })
	argon2("m-under-8p", "m_KiB = 31 with p = 4", hard, vectors.Header, func(p []byte) { p[1], p[8] = 4, 31 })
	argon2("m-over", "m_KiB = 2^22 + 1", hard, vectors.Header, func(p []byte) { le.PutUint32(p[8:], 1<<22+1) })
	argon2("reserved-15", "the last reserved byte is set", "2.1 3.3 8.4.15", vectors.Header, func(p []byte) { p[15] = 0x80 })
	s.one("passphrase-short", "kind 2: wrapped has 63 bytes", "3.3 8.4.15", vectors.Header, 2, build.Cheapest.Params(), zeros(63))
	s.one("passphrase-long", "kind 2: wrapped has 65 bytes", "3.3 8.4.15", vectors.Header, 2, build.Cheapest.Params(), zeros(65))
	s.one("passphrase-params-cut", "kind 2: the slot ends inside params", "3.3 8.4.15", vectors.Header, 2, build.Cheapest.Params()[:15], nil)

	// Kind 3.
	long := string(zeros(65))
	pkcs11 := func(name, comment string, class vectors.Class, params, wrapped []byte) {
		s.one("pkcs11-"+name, "kind 3: "+comment, "3.3 8.4.15", class, 3, params, wrapped)
	}
	pkcs11("no-mech", "the slot ends after the salt", vectors.Header, nil, nil)
	pkcs11("id-65", "CKA_ID of 65 bytes", vectors.Header, build.PKCS11Params(1, long, "", nil), build.Sized(zeros(92)))
	pkcs11("label-65", "label of 65 bytes", vectors.Header, build.PKCS11Params(1, "", long, nil), build.Sized(zeros(92)))
	pkcs11("id-passes", "CKA_ID passes the slot", vectors.Header, []byte{1, 64, 1, 2}, nil)
	pkcs11("gcm-91", "mech 1, 91 bytes", vectors.Header, build.PKCS11Params(1, "", "", nil), build.Sized(zeros(91)))
	pkcs11("kw-80", "mech 2, 80 bytes", vectors.Header, build.PKCS11Params(2, "", "", nil), build.Sized(zeros(80)))
	pkcs11("rsa-0", "mech 4, no bytes", vectors.Header, build.PKCS11Params(4, "", "", nil), build.Sized(nil))
	pkcs11("rsa-1025", "mech 4, 1025 bytes", vectors.Header, build.PKCS11Params(4, "", "", nil), build.Sized(zeros(1025)))
	pkcs11("wrapped-under", "a byte follows wrapped", vectors.Header, build.PKCS11Params(1, "", "", nil), append(build.Sized(zeros(92)), 0))
	pkcs11("no-wrapped", "the slot ends before the length of wrapped", vectors.Header, build.PKCS11Params(1, "", "", nil), nil)

	// Kind 4.
	tink := func(name, comment string, class vectors.Class, params, wrapped []byte) {
		s.one("tink-"+name, "kind 4: "+comment, "3.3 8.4.15", class, 4, params, wrapped)
	}
	d = s.draft("slot_tink-over", "kind 4: 4097 bytes", "3.3 8.4.15")
	d.recipe.Header.Size, d.Class = 8192, vectors.Header
	d.recipe.Slots = func(core []byte) []build.Entry {
		return []build.Entry{build.Slot(4, chosen(d.name+": first"), build.TinkParams(""), build.Sized(zeros(4097))), d.account(core, "slot")}
	}
	s.add(d, d.build())
	tink("none", "no bytes", vectors.Header, build.TinkParams(""), build.Sized(nil))
	tink("alias-passes", "the alias passes the slot", vectors.Header, []byte{4, 'a', 'b'}, nil)
	tink("no-alias", "the slot ends after the salt", vectors.Header, nil, nil)

	// Kind 5.
	s.one("hpke-short", "kind 5: 1167 bytes", "3.3 8.4.15", vectors.Header, 5, build.KEMParams(), zeros(1167))
	s.one("hpke-kem-cut", "kind 5: the slot ends inside kem", "3.3 8.4.15", vectors.Header, 5, []byte{0x7A}, nil)
}
