package fuzz_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/mlkem"
	"crypto/mlkem/mlkemtest"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coffer-backup/coffer/keys"
	"github.com/coffer-backup/coffer/vectors"
	"github.com/coffer-backup/coffer/vectors/build"
)

// FuzzRecipientText reads any text as a recipient, as a secret key, and as a file of
// either. The first byte says whether checksums are made right before.
func FuzzRecipientText(f *testing.F) {
	table, err := vectors.LoadKeyTexts()
	if err != nil {
		f.Fatal(err)
	}
	var seeds [][]byte
	add := func(text []byte) { seeds = append(seeds, append([]byte{0}, text...), append([]byte{1}, text...)) }
	for _, v := range table.Recipients {
		add(table.RecipientsFile(&v))
	}
	for _, v := range table.Identities {
		add(table.IdentityFile(&v))
	}
	for _, v := range table.Texts {
		add(v.Bytes())
	}
	add(keys.MarshalIdentityFile(must(keys.HybridIdentityFrom(hybridSeed)), time.Unix(1e9, 0)))
	start(f, 10_000, seeds, func(t *testing.T, data []byte) {
		in := input(data)
		repair := in.u8()&1 != 0
		text := string(in)
		if repair {
			text = repairChecksums(text)
		}
		checkRecipientText(t, text)
		checkIdentityText(t, text)
		checkRecipientsFile(t, text)
		checkIdentityFile(t, text)
	})
}

// repairChecksums makes the checksum of each text in a line of its own right.
func repairChecksums(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		for _, h := range []hybridText{recipientTexts, identityTexts} {
			if key, ok := h.read(strings.Trim(line, " \t\r")); ok {
				lines[i] = h.write(key)
			}
		}
	}
	return strings.Join(lines, "\n")
}

// checkTextError demands that an error tells a place in text.
func checkTextError(t *testing.T, text string, err error) {
	t.Helper()
	var at *keys.KeyTextError
	if !errors.As(err, &at) || at.What == "" || at.Line < 1 || at.Column < 1 || at.Line > 1+strings.Count(text, "\n") || at.Column > 1+len(text) {
		t.Fatalf("error %#v", err)
	}
}

func checkRecipientText(t *testing.T, text string) {
	t.Helper()
	want, ok := recipientTexts.accepts(strings.Trim(text, " \t\r\n"))
	r, err := keys.ParseHybridRecipient(text)
	if (err == nil) != ok || ok && r.String() != recipientTexts.write(want) {
		t.Fatalf("recipient: %v, want accepted: %v, or another key", err, ok)
	}
	if err != nil {
		checkTextError(t, text, err)
	}
}

func checkIdentityText(t *testing.T, text string) {
	t.Helper()
	want, ok := identityTexts.accepts(strings.Trim(text, " \t\r\n"))
	k, err := keys.ParseHybridIdentity(text)
	if (err == nil) != ok || ok && (!bytes.Equal(k.Bytes(), want) || k.Text() != identityTexts.write(want)) {
		t.Fatalf("secret key: %v, want accepted: %v, or another one", err, ok)
	}
	if err != nil {
		checkTextError(t, text, err)
		// It does not quote what may be a key: with other letters there it is the same,
		// unless they make the checksum right.
		if _, other := keys.ParseHybridIdentity(rotateLetters(text)); other != nil && other.Error() != err.Error() {
			t.Errorf("with other letters %q becomes %q", err, other)
		}
		return
	}
	if got := k.Recipient().String(); got != recipientTexts.write(xwingPublic(want)) {
		t.Errorf("the recipient of %x is %s", want, got)
	}
	file := keys.MarshalIdentityFile(k, time.Unix(1e9, 0))
	if again, err := keys.ParseIdentityFile(file); err != nil || len(again) != 1 || !bytes.Equal(again[0].(*keys.HybridIdentity).Bytes(), want) {
		t.Errorf("accepted, and its own key file is not: %v", err)
	}
}

// rotateLetters gives a secret key other letters, each of the same sort.
func rotateLetters(text string) string {
	at := strings.Index(text, identityTexts.prefix)
	if at < 0 {
		return text
	}
	at += len(identityTexts.prefix)
	const from, to = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567abcdefghijklmnopqrstuvwxyz", "BCDEFGHIJKLMNOPQRSTUVWXYZA345672bcdefghijklmnopqrstuvwxyza"
	b := []byte(text)
	for i, c := range b[at:] {
		if k := strings.IndexByte(from, c); k >= 0 {
			b[at+i] = to[k]
		}
	}
	return string(b)
}

func checkRecipientsFile(t *testing.T, text string) {
	t.Helper()
	want, ok := recipientTexts.file(text)
	ok = ok && len(distinct(want)) == len(want)
	got, err := keys.ParseRecipientsFile([]byte(text))
	same := func(r *keys.HybridRecipient, key []byte) bool { return r.String() == recipientTexts.write(key) }
	if (err == nil) != ok || ok && !slices.EqualFunc(got, want, same) {
		t.Fatalf("recipients file: %v, want accepted: %v, or other keys", err, ok)
	}
	if err != nil {
		checkTextError(t, text, err)
	}
}

func checkIdentityFile(t *testing.T, text string) {
	t.Helper()
	var want [][]byte
	var ok bool
	if lines := contentLines(text); len(lines) > 0 && strings.HasPrefix(lines[0], identityTexts.prefix) {
		want, ok = identityTexts.file(text)
		want = distinct(want)
	} else if key, good := readKeyText(text, true); good {
		want, ok = [][]byte{key}, true
	}
	got, err := keys.ParseIdentityFile([]byte(text))
	same := func(k keys.Key, key []byte) bool { return bytes.Equal(k.(interface{ Bytes() []byte }).Bytes(), key) }
	if (err == nil) != ok || ok && !slices.EqualFunc(got, want, same) {
		t.Fatalf("key file: %v, want accepted: %v, or other keys", err, ok)
	}
	if err != nil {
		checkTextError(t, text, err)
	}
}

var hybridSeed = chosen("X-Wing seed")

// FuzzHybridSlot opens containers by slots of kind 5 that are right but for what the
// input says: whose keys the reader has and what it allows, then for each of at most
// four slots a byte that says what it is, and where it is wrong.
func FuzzHybridSlot(f *testing.F) {
	const fields = 4
	var seeds [][]byte
	for who := range byte(8) {
		seeds = append(seeds, []byte{who, 0, 0, 0, 0})
	}
	for what := range byte(64) {
		seeds = append(seeds, []byte{0, what, 0, 0, 0}, []byte{5, what, 0, 0, 0, 0, 0, 0, 0})
	}
	// A bit of the salt, the KEM, both halves of enc, the ciphertext, and the tag.
	for _, at := range []uint16{0, 31, 32, 33, 34, 34 + 1087, 34 + 1088, 34 + 1119, 34 + 1120, 34 + 1167} {
		seeds = append(seeds, []byte{0, 0, byte(at), byte(at >> 8), 0x80}, []byte{4, 0, byte(at), byte(at >> 8), 1, 0, 0, 0, 0})
	}
	start(f, 1+4*fields, seeds, func(t *testing.T, data []byte) {
		in := input(data)
		flags := in.u8()
		b := newBase(build.Stored([]byte("behind a slot")))
		b.Header.Size = 8192
		who := b.caller()
		who.seeds, who.allowAnonymous = [][]byte{chosen("another X-Wing seed"), hybridSeed}, flags&1 != 0
		if flags&2 == 0 {
			who.accounts = nil
		}
		who.secrets = newSecrets(accountKey, fileKey, hybridSeed, chosen("another X-Wing seed"))
		b.Slots = func(core []byte) (slots []build.Entry) {
			for i := 0; i == 0 || i < 4 && len(in) > 0; i++ {
				slots = append(slots, hybridSlot(core, i, in.next(fields)))
			}
			if flags&4 != 0 {
				slots = append(slots, accountSlot(core))
			}
			return slots
		}
		who.check(t, b.container(nil).Bytes())
	})
}

// hybridSlot makes slot i as the four bytes in say.
func hybridSlot(core []byte, i int, in input) build.Entry {
	what, at, mask := in.u8(), in.u16(), in.u8()
	seed, fk, salt := hybridSeed, fileKey, chosen("slot "+string(rune('0'+i)))
	if what&1 != 0 {
		seed = chosen("an X-Wing seed that nobody has")
	}
	if what&2 != 0 {
		fk = chosen("another file key") // which fits, and then the MAC fails
	}
	if what&4 != 0 {
		core = chosen("another core")
	}
	label := "coffer v1 hpke"
	if what&8 != 0 {
		label = "coffer v1 slot"
	}
	params := build.KEMParams()
	enc, secret := xwingSeal(seed, what&16 != 0, string(salt))
	key, nonce := hpkeKey(secret, append([]byte(label), build.Bind(core, 5, salt, params)...))
	if what&32 != 0 {
		nonce[11] ^= 1 // that of the second message
	}
	e := build.Slot(5, salt, params, enc, build.AEAD(2, key).Seal(nil, nonce, fk, nil))
	if mask != 0 {
		e.Data = flip(e.Data, int(at), mask)
	}
	return e
}

// xwingSeal encapsulates for the public key of seed, alike for one label. With a share of
// low order it does as a library would that lets it pass.
func xwingSeal(seed []byte, lowOrder bool, label string) (enc, secret []byte) {
	public := xwingPublic(seed)
	ss, ct, err := mlkemtest.Encapsulate768(must(mlkem.NewEncapsulationKey768(public[:1184])), chosen("ML-KEM "+label))
	if err != nil {
		panic(err)
	}
	ephemeral := must(ecdh.X25519().NewPrivateKey(chosen("X25519 " + label)))
	share, dh := ephemeral.PublicKey().Bytes(), must(ephemeral.ECDH(must(ecdh.X25519().NewPublicKey(public[1184:]))))
	if lowOrder {
		share, dh = make([]byte, 32), make([]byte, 32)
	}
	return append(ct, share...), xwingSecret(ss, dh, share, public[1184:])
}
