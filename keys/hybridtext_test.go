package keys_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/mlkem"
	"crypto/sha3"
	"encoding/base32"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/keys"
)

// What follows writes § 4.7 from its text, with the standard library alone.

func specPublicKey(seed []byte) []byte {
	both := sha3.SumSHAKE256(seed, 96)
	pq := must(mlkem.NewDecapsulationKey768(both[:64]))
	classic := must(ecdh.X25519().NewPrivateKey(both[64:]))
	return slices.Concat(pq.EncapsulationKey().Bytes(), classic.PublicKey().Bytes())
}

func specRecipient(public []byte) string {
	both := append(bytes.Clone(public), sum([]byte("coffer v1 recipient text"), public)[:4]...)
	return "coffer1pq" + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(both))
}

func specIdentity(seed []byte) string {
	both := append(bytes.Clone(seed), sum([]byte("coffer v1 identity text"), seed)[:4]...)
	return "COFFER-SECRET-KEY-PQ-1" + base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(both)
}

// publicKey is the key in a recipient's text.
func publicKey(r *keys.HybridRecipient) []byte {
	return must(base32.StdEncoding.DecodeString(strings.ToUpper(r.String()[9:])))[:1216]
}

var (
	publicText = specRecipient(specPublicKey(hybridSeed))
	secretText = specIdentity(hybridSeed)
)

func TestHybridText(t *testing.T) {
	k := hybrid()
	if got := k.Text(); got != secretText || len(got) != 80 {
		t.Errorf("the secret key is %q, want %q", got, secretText)
	}
	if got := k.Recipient().String(); got != publicText || len(got) != 1961 {
		t.Errorf("the recipient is %q, want %q", got, publicText)
	}
	for _, around := range []string{"%s", "%s\n", " \t\r\n%s\r\n\r\n \t"} {
		if got, err := keys.ParseHybridRecipient(fmt.Sprintf(around, publicText)); err != nil || got.String() != publicText {
			t.Errorf("recipient in %q: %v", around, err)
		}
		if got, err := keys.ParseHybridIdentity(fmt.Sprintf(around, secretText)); err != nil || !bytes.Equal(got.Bytes(), hybridSeed) {
			t.Errorf("secret key in %q: %v", around, err)
		}
	}
}

// TestHybridChecksum: each wrong character and each swap of neighbours is found, by
// whichever check. A change has one chance in 2^32 to pass.
func TestHybridChecksum(t *testing.T) {
	refused := func(text []byte) {
		var at *keys.KeyTextError
		if _, err := keys.ParseHybridIdentity(string(text)); !errors.As(err, &at) {
			t.Errorf("%s: %v", text, err)
		}
	}
	for i := range secretText {
		for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567abcdefghijklmnopqrstuvwxyz0189-=") {
			if text := []byte(secretText); c != text[i] {
				text[i] = c
				refused(text)
			}
		}
		if text := []byte(secretText); i > 0 && text[i] != text[i-1] {
			text[i], text[i-1] = text[i-1], text[i]
			refused(text)
		}
	}
	for i := range publicText {
		if _, err := keys.ParseHybridRecipient(mistyped(publicText, i)); err == nil {
			t.Errorf("a wrong character at %d passes", i)
		}
	}
}

// badPublic returns a key of the right length that edit spoiled.
func badPublic(edit func(key []byte)) string {
	key := specPublicKey(hybridSeed)
	edit(key)
	return specRecipient(key)
}

func TestHybridTextRejects(t *testing.T) {
	recipient := func(text string) (any, error) { return nilOr(keys.ParseHybridRecipient(text)) }
	identity := func(text string) (any, error) { return nilOr(keys.ParseHybridIdentity(text)) }
	recipients := func(text string) (any, error) { return nilOrSome(keys.ParseRecipientsFile([]byte(text))) }
	identities := func(text string) (any, error) { return nilOrSome(keys.ParseIdentityFile([]byte(text))) }
	public, secret := publicText, secretText
	other := specRecipient(specPublicKey(count(1, 32)))
	many := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintln(&b, specIdentity(count(byte(i), 32)))
		}
		return b.String()
	}
	for _, c := range []struct {
		name         string
		parse        func(string) (any, error)
		text         string
		what         string
		line, column int
		reason       string
	}{
		{"nothing", recipient, "", "recipient", 1, 1, "a recipient begins with coffer1pq"},
		{"blanks", recipient, " \n\t", "recipient", 2, 2, "a recipient begins with coffer1pq"},
		{"prefix alone", recipient, "coffer1pq", "recipient", 1, 1, "9 characters; a recipient has 1961: it was cut"},
		{"no prefix", recipient, public[9:], "recipient", 1, 1, "begins with coffer1pq"},
		{"a byte order mark", recipient, "\ufeff" + public, "recipient", 1, 1, "begins with coffer1pq"},
		{"cut by a character", recipient, public[:1960], "recipient", 1, 1, "1960 characters; a recipient has 1961: it was cut"},
		{"longer by a character", recipient, public + "a", "recipient", 1, 1, "1962 characters; a recipient has 1961"},
		{"padded", recipient, public + "=", "recipient", 1, 1962, "no character of a recipient (a-z, 2-7)"},
		{"twice", recipient, public + public, "recipient", 1, 1961 + 7, "no character"},
		{"upper case", recipient, strings.ToUpper(public), "recipient", 1, 1, "letters are of this case"},
		{"upper case inside", recipient, public[:9] + strings.ToUpper(public[9:]), "recipient", 1, upperAt(public) + 1, "no character"},
		{"a zero", recipient, "\n " + public[:100] + "0" + public[101:], "recipient", 2, 102, "no character"},
		{"not ASCII", recipient, public[:100] + "\u00e4" + public[102:], "recipient", 1, 101, "no character"},
		{"not UTF-8", recipient, public[:100] + "\xff" + public[101:], "recipient", 1, 101, "no character"},
		{"a blank inside", recipient, public[:100] + " " + public[100:], "recipient", 1, 101, "no blanks and line ends"},
		{"wrapped", recipient, public[:76] + "\r\n" + public[76:], "recipient", 1, 77, "no blanks and line ends"},
		{"two", recipient, public + "\n" + other, "recipient", 1, 1962, "no blanks and line ends"},
		{"wrong checksum", recipient, mistyped(public, 1960), "recipient", 1, 1, "mistyped"},
		{"checksum of a secret key", recipient, relabelled(), "recipient", 1, 1, "mistyped"},
		{"a secret key", recipient, secret, "recipient", 1, 1, "this is a secret key, which nobody else should see; a recipient begins"},
		{"a secret key in lower case", recipient, strings.ToLower(secret), "recipient", 1, 1, "this is a secret key"},
		{"age's", recipient, "age1pq1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p", "recipient", 1, 1, "of age"},
		{"an account key", recipient, testText, "recipient", 1, 1, "begins with coffer1pq"},
		{"a coefficient of 3329", recipient, badPublic(func(k []byte) { k[0], k[1] = 0x01, 0x0d }), "recipient", 1, 1, "no key: a faulty program"},
		{"an X25519 key of zeros", recipient, badPublic(func(k []byte) { clear(k[1184:]) }), "recipient", 1, 1, "no key: a faulty program"},
		{"an X25519 key of low order", recipient, badPublic(func(k []byte) { copy(k[1184:], lowOrder) }), "recipient", 1, 1, "no key: a faulty program"},

		{"nothing", identity, "", "secret key", 1, 1, "a secret key begins with COFFER-SECRET-KEY-PQ-1"},
		{"a recipient", identity, public, "secret key", 1, 1, "this is a recipient, which only encrypts; a secret key begins"},
		{"age's secret key", identity, "AGE-SECRET-KEY-PQ-1GMT", "secret key", 1, 1, "of age"},
		{"age's in lower case", identity, "age-secret-key-1gmt", "secret key", 1, 1, "of age"},
		{"lower case", identity, strings.ToLower(secret), "secret key", 1, 1, "letters are of this case"},
		{"lower case inside", identity, secret[:22] + strings.ToLower(secret[22:]), "secret key", 1, upperAt(secret) + 1, "no character of a secret key (A-Z, 2-7)"},
		{"cut", identity, secret[:79], "secret key", 1, 1, "79 characters; a secret key has 80: it was cut"},
		{"longer", identity, secret + "A", "secret key", 1, 1, "81 characters; a secret key has 80"},
		{"a bit left over is set", identity, spareBit(secret), "secret key", 1, 1, "mistyped"},
		{"wrong checksum", identity, mistyped(secret, 78), "secret key", 1, 1, "mistyped"},
		{"a recipient's checksum", identity, "COFFER-SECRET-KEY-PQ-1" + encode(append(bytes.Clone(hybridSeed), sum([]byte("coffer v1 recipient text"), hybridSeed)[:4]...)), "secret key", 1, 1, "mistyped"},

		{"an empty file", recipients, "", "recipient", 1, 1, "there is no recipient in the file"},
		{"comments alone", recipients, "# " + public + "\n\n  # \n", "recipient", 1, 1, "there is no recipient in the file"},
		{"a comment that CR ends", recipients, "# a\r" + public, "recipient", 1, 1, "there is no recipient in the file"},
		{"a comment after a recipient", recipients, public + " # mine", "recipient", 1, 1962, "no blanks"},
		{"one of two is wrong", recipients, "# first\n" + public + "\n\n  " + mistyped(other, 500) + "\n", "recipient", 4, 3, "mistyped"},
		{"a character in line 3", recipients, "#\n\n" + public[:50] + "!" + public[51:], "recipient", 3, 51, "no character"},
		{"a secret key in a file", recipients, public + "\n" + secret, "recipient", 2, 1, "this is a secret key"},
		{"twice in a file", recipients, "#\n" + public + "\n" + other + "\n " + public + "\n", "recipient", 4, 2, "the recipient of line 2 again"},
		{"a comment that is not UTF-8", recipients, "#\n# M\xfcller\n" + public, "recipient", 2, 1, "not UTF-8"},
		{"UTF-16", recipients, "\xff\xfec\x00o\x00", "recipient", 1, 1, "not UTF-8"},
		{"too long", recipients, public + strings.Repeat("\n", keys.MaxHybridFile-1960), "recipient", 1, 1, "longer than 131072 bytes"},

		{"a recipient as a key file", identities, "# \n" + public, "secret key", 2, 1, "this is a recipient"},
		{"age's as a key file", identities, "age1", "secret key", 1, 1, "of age"},
		{"a recipient after a secret key", identities, secret + "\n" + public, "secret key", 2, 1, "this is a recipient"},
		{"an account key after a secret key", identities, secret + "\n" + testText, "secret key", 2, 1, "begins with COFFER"},
		{"33 secret keys", identities, many(33), "secret key", 33, 1, "more than 32"},
		{"a secret key after an account key", identities, testText + "\n" + secret, "account key", 2, 1, "more than 68 digits"},
		{"an empty key file", identities, "", "account key", 1, 1, "0 digits"},
		{"a key file of blanks", identities, " \n\n", "account key", 1, 1, "0 digits"},
		{"a wrong account key", identities, testText[:83] + "5", "account key", 1, 84, "mistyped"},
	} {
		got, err := c.parse(c.text)
		var at *keys.KeyTextError
		if got != nil || !errors.As(err, &at) || at.What != c.what || at.Line != c.line || at.Column != c.column || !strings.Contains(at.Reason, c.reason) {
			t.Errorf("%s: accepted %v, error %v; want %s: line %d, column %d: …%s…", c.name, got != nil, err, c.what, c.line, c.column, c.reason)
			continue
		}
		if quotesPart(err.Error(), c.text) {
			t.Errorf("%s: the error quotes the text: %v", c.name, err)
		}
	}
	if got, err := keys.ParseRecipientsFile([]byte(public + strings.Repeat("\n", keys.MaxHybridFile-1961))); err != nil || len(got) != 1 {
		t.Errorf("a file of %d bytes: %v", keys.MaxHybridFile, err)
	}
	if got, err := keys.ParseIdentityFile([]byte(many(32))); err != nil || len(got) != 32 {
		t.Errorf("32 secret keys: %v", err)
	}
}

func nilOr[T any](v *T, err error) (any, error) {
	if v == nil {
		return nil, err
	}
	return v, err
}

func nilOrSome[T any](v []T, err error) (any, error) {
	if v == nil {
		return nil, err
	}
	return v, err
}

// lowOrder is a point of order 8 of Curve25519.
var lowOrder = unhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800")

// upperAt is the place of the first letter after the prefix.
func upperAt(text string) int {
	from := strings.IndexByte(text, '1') + 1
	if strings.HasPrefix(text, "coffer1pq") {
		from = 9
	}
	return from + strings.IndexFunc(text[from:], func(r rune) bool { return r > '9' })
}

// mistyped returns text with another letter at a place.
func mistyped(text string, at int) string {
	letter := "a"
	if text[0] == 'C' {
		letter = "A"
	}
	if text[at:at+1] == letter {
		letter = string(letter[0] + 1)
	}
	return text[:at] + letter + text[at+1:]
}

func encode(b []byte) string {
	return base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b)
}

// relabelled is a recipient under the other checksum.
func relabelled() string {
	key := specPublicKey(hybridSeed)
	return "coffer1pq" + strings.ToLower(encode(append(key, sum([]byte("coffer v1 identity text"), key)[:4]...)))
}

// spareBit sets a bit of the last character of a secret key that is left over.
func spareBit(text string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
	return text[:len(text)-1] + string(alphabet[strings.IndexByte(alphabet, text[len(text)-1])|1])
}

// quotesPart reports whether message has eight characters of text in a row that are
// none of a prefix.
func quotesPart(message, text string) bool {
	for i := range max(0, len(text)-7) {
		piece := text[i : i+8]
		if strings.Contains(message, piece) && !strings.Contains("coffer1pq COFFER-SECRET-KEY-PQ-1", piece) {
			return true
		}
	}
	return false
}

func TestParseRecipientsFileAccepts(t *testing.T) {
	other := specRecipient(specPublicKey(count(1, 32)))
	for name, file := range map[string]string{
		"two lines":       publicText + "\n" + other + "\n",
		"no line end":     publicText + "\n" + other,
		"CR LF, comments": "# Gro\u00dfmutter\r\n\r\n" + publicText + "\r\n  # her sister\r\n\t" + other + " \t\r\n",
		"a comment at the end": publicText + "\n" + other + "\n#" +
			strings.Repeat("x", keys.MaxHybridFile-len(publicText)-len(other)-3),
	} {
		got, err := keys.ParseRecipientsFile([]byte(file))
		if err != nil || len(got) != 2 || got[0].String() != publicText || got[1].String() != other {
			t.Errorf("%s: %d recipients, %v", name, len(got), err)
		}
	}
	var file strings.Builder
	for i := range format.MaxEntries {
		fmt.Fprintln(&file, specRecipient(specPublicKey(count(byte(i), 32))))
	}
	if got, err := keys.ParseRecipientsFile([]byte(file.String())); err != nil || len(got) != format.MaxEntries {
		t.Errorf("%d recipients of %d: %v", len(got), format.MaxEntries, err)
	}
	var at *keys.KeyTextError
	if _, err := keys.ParseRecipientsFile([]byte(file.String() + specRecipient(specPublicKey(count(99, 32))))); !errors.As(err, &at) || at.Line != 33 || !strings.Contains(at.Reason, "more than 32") {
		t.Errorf("33 recipients: %v", err)
	}
}

func TestParseIdentityFileAccepts(t *testing.T) {
	second := specIdentity(count(1, 32))
	for name, c := range map[string]struct {
		file string
		want [][]byte
	}{
		"a secret key":              {secretText, [][]byte{hybridSeed}},
		"two, one twice":            {"#\n" + secretText + "\n \n" + second + "\r\n" + secretText, [][]byte{hybridSeed, count(1, 32)}},
		"as written":                {string(keys.MarshalIdentityFile(hybrid(), time.Now())), [][]byte{hybridSeed}},
		"an account key":            {testText + "\n", [][]byte{unhex(testDigits)}},
		"an account key as written": {string(keys.MarshalKeyFile(must(keys.AccountKeyFrom(hybridSeed)))), [][]byte{hybridSeed}},
		"an account key in groups":  {"# coffer1pq\n\n - \n" + testText, [][]byte{unhex(testDigits)}},
	} {
		got, err := keys.ParseIdentityFile([]byte(c.file))
		if err != nil || len(got) != len(c.want) {
			t.Errorf("%s: %d keys, %v", name, len(got), err)
			continue
		}
		for i, k := range got {
			if !bytes.Equal(k.(interface{ Bytes() []byte }).Bytes(), c.want[i]) {
				t.Errorf("%s: key %d is another one", name, i)
			}
			if opened, err := k.Unwrap(t.Context(), testCore, wrap(t, k, keys.NewFileKey())); err != nil || opened == nil {
				t.Errorf("%s: key %d does not open its own slot: %v", name, i, err)
			}
		}
	}
}

func TestMarshalIdentityFile(t *testing.T) {
	made := time.Date(2026, 1, 2, 4, 4, 5, 6, time.FixedZone("", 3600))
	file := string(keys.MarshalIdentityFile(hybrid(), made))
	lines := strings.Split(strings.TrimSuffix(file, "\n"), "\n")
	if lines[0] != "# coffer secret key, made 2026-01-02T03:04:05Z" || lines[len(lines)-1] != secretText || !slices.Contains(lines, "# "+publicText) {
		t.Errorf("the file is\n%s", file)
	}
	for _, line := range lines[:len(lines)-1] {
		if line[0] != '#' || quotesPart(line, secretText) {
			t.Errorf("a comment is %q", line)
		}
	}
}
