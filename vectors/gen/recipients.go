package main

import (
	"crypto/hpke"
	"crypto/sha256"
	"encoding/base32"
	"slices"
	"strings"

	"github.com/coffer-backup/coffer/vectors"
)

// What § 4.7.2 has.
const (
	recipientPrefix = "coffer1pq"
	identityPrefix  = "COFFER-SECRET-KEY-PQ-1"
	recipientLength = 1961
	identityLength  = 80
)

// recipientText is the text form of a public key.
func recipientText(public []byte) string {
	return recipientPrefix + strings.ToLower(checked("coffer v1 recipient text", public))
}

// checked is base32 of key and its checksum.
func checked(label string, key []byte) string {
	sum := sha256.Sum256(append([]byte(label), key...))
	return base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(append(slices.Clone(key), sum[:4]...))
}

func xwingPublic(seed []byte) []byte {
	return must(hpke.MLKEM768X25519().NewPrivateKey(seed)).PublicKey().Bytes()
}

// hybridTexts makes the tables of kind 5 in keytext.json.
func hybridTexts(t *vectors.KeyTexts) {
	for _, seed := range [][]byte{xwingSeed, seq(0, 32)} {
		public := xwingPublic(seed)
		sum := sha256.Sum256(public)
		t.HybridKeys = append(t.HybridKeys, vectors.HybridKey{
			Spec: []string{"4.7.1", "4.7.2"}, Seed: seed, PublicSHA256: sum[:],
			Recipient: recipientText(public), Identity: identityPrefix + checked("coffer v1 identity text", seed),
		})
	}
	t.Recipients = recipientFiles(&t.HybridKeys[0])
	t.Identities = identityFiles(&t.HybridKeys[0])
}

// An edit of a file.
type edit struct {
	at, cut int
	put     string
}

// files gathers files of some keys.
type files []vectors.HybridText

// add takes what is in the file if it is good, and else nothing.
func (f *files) add(comment, spec string, of []int, e edit, keys ...int) {
	*f = append(*f, vectors.HybridText{Comment: comment, Spec: strings.Fields(spec), Of: of, At: e.at, Cut: e.cut, Put: vectors.Hex(e.put), Keys: keys})
}

func recipientFiles(k *vectors.HybridKey) []vectors.HybridText {
	var f files
	const end = recipientLength
	one := []int{0}
	public := xwingPublic(k.Seed)
	// from is the recipient from a byte of its key on, as another text has it.
	from := func(at int, text string) edit {
		at = len(recipientPrefix) + at*8/5 // rounded down
		return edit{at, end - at, text[at:]}
	}
	spoiled := func(at int, put []byte) edit {
		return from(at, recipientText(slices.Replace(slices.Clone(public), at, at+len(put), put...)))
	}
	f.add("as written", "4.7.2 4.7.4", one, edit{}, 0)
	f.add("blanks before it", "4.7.4", one, edit{0, 0, " \t"}, 0)
	f.add("CR LF and blanks behind it", "4.7.4", one, edit{end, 0, " \t\r\n\r\n"}, 0)
	f.add("comments before it", "4.7.4", one, edit{0, 0, "# Gro\u00dfmutter\r\n \t# " + identityPrefix + "\n#\n"}, 0)
	f.add("two", "4.7.4", []int{0, 1}, edit{}, 0, 1)
	f.add("one twice", "4.7.4", []int{0, 1, 0}, edit{})
	f.add("nothing", "4.7.4", nil, edit{})
	f.add("a comment", "4.7.4", one, edit{0, 0, "# "})
	f.add("a comment that CR ends", "4.7.4", one, edit{0, 0, "#\r"})
	f.add("a comment behind it", "4.7.4", one, edit{end, 0, " # mine"})
	f.add("a comment that is not UTF-8", "4.7.4", one, edit{0, 0, "# \xff\n"})
	f.add("a byte order mark", "4.7.3", one, edit{0, 0, "\ufeff"})
	f.add("no prefix", "4.7.3", one, edit{0, 9, ""})
	f.add("the prefix in upper case", "4.7.3", one, edit{0, 9, "COFFER1PQ"})
	f.add("age's prefix", "4.7.3", one, edit{0, 9, "age1pq1"})
	f.add("a letter in upper case", "4.7.3", one, edit{9, 1, strings.ToUpper(k.Recipient[9:10])})
	f.add("a digit 1", "4.7.3", one, edit{500, 1, "1"})
	f.add("a blank inside", "4.7.3", one, edit{500, 0, " "})
	f.add("a line end inside", "4.7.3", one, edit{500, 0, "\n"})
	f.add("padding", "4.7.3", one, edit{end, 0, "="})
	f.add("a character less", "4.7.3", one, edit{end - 1, 1, ""})
	f.add("a character more", "4.7.3", one, edit{end, 0, "a"})
	f.add("a wrong character", "4.7.3", one, edit{500, 1, otherLetter(k.Recipient[500], 'a')})
	f.add("the last character is wrong", "4.7.3", one, edit{end - 1, 1, otherLetter(k.Recipient[end-1], 'a')})
	f.add("a secret key", "4.7.3", nil, edit{0, 0, k.Identity})
	f.add("the checksum of a secret key", "4.7.2", one, from(len(public), recipientPrefix+strings.ToLower(checked("coffer v1 identity text", public))))
	f.add("the last coefficient is 3329", "4.7.3", one, spoiled(1150, []byte{0x10, 0xd0}))
	f.add("an X25519 key of zeros", "4.7.3", one, spoiled(1184, make([]byte, 32)))
	return f
}

func identityFiles(k *vectors.HybridKey) []vectors.HybridText {
	var f files
	const end = identityLength
	one := []int{0}
	f.add("as written", "4.7.2 4.7.5", one, edit{}, 0)
	f.add("CR LF and blanks around it", "4.7.5", one, edit{end, 0, " \t\r\n\r\n"}, 0)
	f.add("comments before it", "4.7.5", one, edit{0, 0, "# " + recipientPrefix + "\n\t#\n\n "}, 0)
	f.add("two", "4.7.5", []int{1, 0}, edit{}, 1, 0)
	f.add("one twice", "4.7.5", []int{0, 1, 0}, edit{}, 0, 1)
	f.add("32", "4.7.5", make([]int, 32), edit{}, 0)
	f.add("33", "4.7.5", make([]int, 33), edit{})
	f.add("a comment behind it", "4.7.5", one, edit{end, 0, " #"})
	f.add("not UTF-8", "4.7.5", one, edit{end, 0, "\n#\xff"})
	f.add("an account key behind it", "4.7.5", one, edit{end, 0, "\n" + strings.Repeat("00", 32)})
	f.add("a recipient", "4.7.5", nil, edit{0, 0, recipientPrefix + "aa"})
	f.add("age's", "4.7.5", nil, edit{0, 0, "AGE-SECRET-KEY-PQ-1AA"})
	f.add("in lower case", "4.7.3", nil, edit{0, 0, strings.ToLower(k.Identity)})
	f.add("a letter in lower case", "4.7.3", one, edit{22, 1, strings.ToLower(k.Identity[22:23])})
	f.add("a digit 8", "4.7.3", one, edit{50, 1, "8"})
	f.add("a blank inside", "4.7.3", one, edit{50, 0, " "})
	f.add("padding", "4.7.3", one, edit{end, 0, "======"})
	f.add("a character less", "4.7.3", one, edit{end - 1, 1, ""})
	f.add("a character more", "4.7.3", one, edit{end, 0, "A"})
	f.add("a wrong character", "4.7.3", one, edit{50, 1, otherLetter(k.Identity[50], 'A')})
	f.add("a bit left over is 1", "4.7.3", one, edit{end - 1, 1, spareBit(k.Identity[end-1])})
	f.add("the checksum of a recipient", "4.7.2", nil, edit{0, 0, identityPrefix + checked("coffer v1 recipient text", k.Seed)})
	return f
}

// otherLetter is first, or the one after it if c is that.
func otherLetter(c, first byte) string {
	if c == first {
		return string(first + 1)
	}
	return string(first)
}

// spareBit is the last character of a secret key with a bit set that is none of its.
func spareBit(c byte) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
	return string(alphabet[strings.IndexByte(alphabet, c)|1])
}
