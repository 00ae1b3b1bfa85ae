package main

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/coffer-backup/coffer/vectors"
	"github.com/coffer-backup/coffer/vectors/build"
)

// keySchedules makes kdf.json.
func keySchedules(f *fixtures) vectors.KDF {
	var t vectors.KDF
	for _, in := range []struct {
		comment     string
		suite, log2 byte
		context     vectors.Plaintext
	}{
		{"suite 1, no context", 1, 20, vectors.Plaintext{}},
		{"suite 2, no context", 2, 20, vectors.Plaintext{}},
		{"suite 2, 64 MiB segments, a context", 2, 26, vectors.Plaintext{Repeat: vectors.Hex("snapshot 7"), Length: 10}},
		{"the longest context", 1, 16, vectors.Plaintext{Repeat: vectors.Hex{0xee}, Length: 65535}},
	} {
		fk, salt := chosen(in.comment+": file key"), chosen(in.comment+": salt")
		h := build.Header{Suite: in.suite, SegmentLog2: in.log2, Salt: [32]byte(salt), Generation: 1, Size: 4096}
		if in.context.Length > 0 {
			h.Flags = 1
			h.ContextTag = [16]byte(build.Derive(fk, salt, nil, in.context.Bytes()).ContextTag)
		}
		core := h.Core()
		k := build.Derive(fk, salt, core, in.context.Bytes())
		t.Schedules = append(t.Schedules, vectors.Schedule{
			Comment: in.comment, Spec: strings.Fields("3.1.1 4.1 4.1.1 4.2.1 4.4.1 4.4.2"),
			FileKey: fk, Salt: salt, Context: in.context, Core: core,
			PRK: k.PRK, ContextHash: k.ContextHash, CoreHash: k.CoreHash, MACKey: k.MACKey, ContextTag: k.ContextTag, BodyKey: k.BodyKey, Nonce: k.Nonce,
		})
	}

	h := build.Header{Suite: 1, SegmentLog2: 20, Salt: [32]byte(chosen("kdf: salt")), Generation: 1, Size: 4096}
	core, fk := h.Core(), chosen("kdf: file key")
	add := func(comment, spec string, e build.Entry, w build.Wrapping, s vectors.SlotVector) {
		s.Comment, s.Spec, s.Core, s.FileKey = comment, strings.Fields(spec), core, fk
		s.Kind, s.Salt, s.Slot = int(e.Kind), e.Data[:32], e.Bytes()
		s.KEK, s.Bind, s.Pad, s.C, s.WrapKey, s.Tag = w.KEK, w.Bind, w.Pad, w.C, w.WrapKey, w.Tag
		t.Slots = append(t.Slots, s)
	}
	e, w := build.AccountSlot(core, accountKey, chosen("kdf: 1"), nil, fk)
	add("kind 1, no hint", "4.5.1 4.5.2 4.5.3", e, w, vectors.SlotVector{Key: accountKey})
	e, w = build.AccountSlot(core, accountKey, chosen("kdf: 2"), build.KeyID(accountKey), fk)
	add("kind 1, with key_id", "3.3.3 4.6.3", e, w, vectors.SlotVector{Key: accountKey})
	for _, cost := range []build.Argon2{build.Cheapest, {Passes: 3, MemoryKiB: 256, Parallelism: 4}} {
		e, w = build.PassphraseSlot(core, passphrase, chosen("kdf: 3"), cost, fk)
		add("kind 2, t "+itoa(int(cost.Passes))+", m "+itoa(int(cost.MemoryKiB))+" KiB, p "+itoa(int(cost.Parallelism)), "3.3.1 4.5.2 4.5.3 4.5.4", e, w, vectors.SlotVector{Key: passphrase})
	}
	for _, o := range []struct {
		comment string
		kind    uint16
		mech    byte
		key     []byte
	}{
		{"kind 3, mech 1, AES-GCM", 3, 1, tokenKey}, {"kind 3, mech 2, AES-KW", 3, 2, tokenKey}, {"kind 3, mech 3, AES-KWP", 3, 3, tokenKey},
		{"kind 3, mech 4, RSA-OAEP", 3, 4, rsaKey(f)}, {"kind 4, Tink AES-GCM", 4, 0, tokenKey}, {"kind 5, HPKE with X-Wing", 5, 0, xwingSeed},
	} {
		e := otherSlot(f, core, chosen("kdf: "+o.comment), fk, o.kind, o.mech)
		add(o.comment, "4.5.6", e, build.Wrapping{Bind: build.Bind(core, o.kind, e.Data[:32], otherParams(o.kind, o.mech))}, vectors.SlotVector{Key: o.key})
	}
	return t
}

// dareStreams makes dare.json.
func dareStreams() vectors.DARE {
	var t vectors.DARE
	for _, suite := range []byte{1, 2} {
		for _, n := range []int{1, 2, 15, 16, 17, 255, 256, 65_535, 65_536, 65_537, 131_071, 131_072, 131_073, 200_000} {
			label := "dare " + itoa(int(suite)) + " " + itoa(n)
			key, nonce := chosen(label+": key"), chosen(label + ": nonce")[:12]
			nonce[0] &= 0x7f
			clear(nonce[8:])
			plain := vectors.Plaintext{Repeat: seq(0, 251), Length: n}
			var sealed []byte
			for _, p := range build.Seal(suite, key, nonce, plain.Bytes()) {
				sealed = append(sealed, p...)
			}
			sum := sha256.Sum256(sealed)
			v := vectors.Stream{Spec: strings.Fields("5.1 5.1.1 5.1.2 5.1.3"), Suite: int(suite), Key: key, Nonce: nonce, Plaintext: plain, SealedLength: len(sealed), SealedSHA256: sum[:]}
			if len(sealed) < 400 {
				v.Sealed = sealed
			}
			t.Streams = append(t.Streams, v)
		}
	}
	return t
}

// keyTexts makes keytext.json.
func keyTexts() vectors.KeyTexts {
	var t vectors.KeyTexts
	ak := []byte(chosen("account key of the texts"))
	digits := hex.EncodeToString(ak)
	check := hex.EncodeToString(build.KeyTextChecksum(ak))
	group := func(s, between string) string {
		var groups []string
		for ; s != ""; s = s[4:] {
			groups = append(groups, s[:4])
		}
		return strings.Join(groups, between)
	}
	add := func(comment, text string, key []byte) {
		t.Texts = append(t.Texts, vectors.KeyText{Comment: comment, Spec: []string{"4.6.1", "4.6.2"}, Text: vectors.Hex(text), Key: key})
	}
	full := digits + check
	add("17 groups, as written", group(full, " "), ak)
	add("64 digits, no checksum", digits, ak)
	add("68 digits in one", full, ak)
	add("upper case", strings.ToUpper(full), ak)
	add("dashes", group(full, "-"), ak)
	add("a file with a comment, blank lines, CR LF", "# a key\r\n\r\n"+group(digits, " ")+"\r\n"+check+"\r\n\r\n# end", ak)
	add("digits spread over lines", group(full, "\n"), ak)
	add("a digit wrong, seen by the checksum", "f"+flipDigit(full)[1:], nil)
	add("two digits swapped", swapDigits(full), nil)
	add("a wrong checksum", digits+flipDigit(check), nil)
	add("63 digits", digits[1:], nil)
	add("65 digits", digits+"0", nil)
	add("66 digits", digits+check[:2], nil)
	add("67 digits", digits+check[:3], nil)
	add("69 digits", full+"0", nil)
	add("a letter that is no digit", "g"+full[1:], nil)
	add("the letter O for a zero", "O"+full[1:], nil)
	add("nothing", "", nil)
	add("a comment that a CR does not end", "# a key\r"+full, nil)
	add("a byte order mark", "\xef\xbb\xbf"+full, nil)
	add("comments only", "# "+full+"\n", nil)
	add("a comment that does not begin its line", full+" # my key\n", nil)
	add("no UTF-8", full+"\n\xff", nil)
	add("an underscore", group(full, "_"), nil)
	add("a tab", group(full, "\t"), nil)
	longer := func(n int) *vectors.Plaintext {
		return &vectors.Plaintext{Repeat: vectors.Hex("\n"), Length: n - len(full)}
	}
	add("4096 bytes", full, ak)
	t.Texts[len(t.Texts)-1].Then = longer(4096)
	add("4097 bytes", full, nil)
	t.Texts[len(t.Texts)-1].Then = longer(4097)
	hybridTexts(&t)
	t.KeyIDs = append(t.KeyIDs, vectors.KeyID{Spec: []string{"4.6.3"}, Key: ak, KeyID: build.KeyID(ak)}, vectors.KeyID{Spec: []string{"4.6.3"}, Key: accountKey, KeyID: build.KeyID(accountKey)})
	return t
}

// flipDigit returns s with another first digit.
func flipDigit(s string) string {
	if s[0] == '0' {
		return "1" + s[1:]
	}
	return "0" + s[1:]
}

// swapDigits swaps the first two digits of s that differ.
func swapDigits(s string) string {
	b := []byte(s)
	for i := range b {
		if b[i] != b[i+1] {
			b[i], b[i+1] = b[i+1], b[i]
			return string(b)
		}
	}
	return s
}

// paddings makes padding.json.
func paddings() vectors.Paddings {
	t := vectors.Paddings{Spec: []string{"6.4.2", "6.4.3"}}
	for _, x := range []int64{1, 2, 3, 8, 9, 10, 15, 16, 17, 31, 33, 63, 64, 65, 100, 127, 129, 255, 256, 257, 1000, 4095, 4097, 65535, 65536, 65537, 100_000,
		1<<20 - 1, 1 << 20, 1<<20 + 1, 123_456_789, 1<<32 - 1, 1 << 32, 1<<32 + 1, 1<<36 + 1, 1<<37 + 1, 1<<38 - 1, 1<<38 + 1, 1<<39 + 1, 1<<40 + 1, 3<<41 + 12345, 1<<47 + 1} {
		t.Lengths = append(t.Lengths, vectors.Padding{Length: x, Padded: build.Padded(x)})
	}
	return t
}
