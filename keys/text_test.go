package keys_test

import (
	"bytes"
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/coffer-backup/coffer/keys"
)

// The text form of one key, and its 64 digits and checksum in one piece.
const (
	testText   = "eda0 1743 b2c5 68f9 0c3d 7e61 a4b8 92f5 1d0e c736 5ab4 8f29 e07d 61c3 b59a 2f84 a914"
	testDigits = "eda01743b2c568f90c3d7e61a4b892f51d0ec7365ab48f29e07d61c3b59a2f84"
	testSum    = "a914"
)

func TestText(t *testing.T) {
	k := must(keys.AccountKeyFrom(unhex(testDigits)))
	if got := k.Text(); got != testText {
		t.Errorf("Text = %q", got)
	}
	rapid.Check(t, func(t *rapid.T) {
		k := must(keys.AccountKeyFrom(drawBytes(t, "AK", 32)))
		if !regexp.MustCompile(`^[0-9a-f]{4}( [0-9a-f]{4}){16}$`).MatchString(k.Text()) {
			t.Error("Text is not 17 groups of 4 digits")
		}
		for _, text := range []string{k.Text(), k.Text()[:79]} {
			if got, err := keys.ParseAccountKey(text); err != nil || !bytes.Equal(got.Bytes(), k.Bytes()) {
				t.Errorf("%d characters: %v", len(text), err)
			}
		}
		if got, err := keys.ParseKeyFile(keys.MarshalKeyFile(k)); err != nil || !bytes.Equal(got.Bytes(), k.Bytes()) {
			t.Errorf("key file: %v", err)
		}
	})
}

func TestParseAccountKeyAccepts(t *testing.T) {
	for _, text := range []string{
		testText, testDigits, testDigits + testSum, strings.ToUpper(testText),
		strings.ReplaceAll(testText, " ", "-"), strings.ReplaceAll(testText, " ", "\r\n"),
		"  --\n" + strings.Join(strings.Split(testText, ""), " ") + "\n\n- ",
	} {
		if k, err := keys.ParseAccountKey(text); err != nil || !bytes.Equal(k.Bytes(), unhex(testDigits)) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestChecksum: each wrong digit and each swap of neighbours is found. A change
// has one chance in 65536 to pass; for this key none does.
func TestChecksum(t *testing.T) {
	refused := func(digits []byte) {
		var text *keys.KeyTextError
		if _, err := keys.ParseAccountKey(string(digits)); !errors.As(err, &text) || !strings.Contains(text.Reason, "mistyped") {
			t.Errorf("%s: %v", digits, err)
		}
	}
	good := []byte(testDigits + testSum)
	for i := range good {
		for _, c := range []byte("0123456789abcdef") {
			if c != good[i] {
				refused(slices.Concat(good[:i], []byte{c}, good[i+1:]))
			}
		}
		if i > 0 && good[i] != good[i-1] {
			refused(slices.Concat(good[:i-1], []byte{good[i], good[i-1]}, good[i+1:]))
		}
	}
}

func TestHasChecksum(t *testing.T) {
	for text, want := range map[string]bool{
		testText:                             true,
		testDigits + testSum:                 true,
		"# 1234\n" + testText + "\r\n# 1234": true,
		testDigits:                           false,
		testText[:79]:                        false,
		testText[5:]:                         false, // one group is missing
		"# " + testText + "\n" + testDigits + "\n# " + testText: false,
	} {
		_, err := keys.ParseKeyFile([]byte(text))
		if got := keys.HasChecksum([]byte(text)); got != want || err != nil {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
}

func TestKeyTextRejects(t *testing.T) {
	account := keys.ParseAccountKey
	file := func(text string) (*keys.AccountKey, error) { return keys.ParseKeyFile([]byte(text)) }
	long := "# " + strings.Repeat("x", keys.MaxKeyFile-4-len(testText)) + "\n" // with testText and a line end MaxKeyFile bytes
	for _, c := range []struct {
		name         string
		parse        func(string) (*keys.AccountKey, error)
		text         string
		line, column int
		reason       string
	}{
		{"empty", account, "", 1, 1, "0 digits"},
		{"blank", account, "\n \n", 1, 1, "0 digits"},
		{"63 digits", account, testDigits[:63], 1, 63, "63 digits"},
		{"65 digits", account, testDigits + "9", 1, 65, "65 digits"},
		{"67 digits", account, testText[:83], 1, 83, "67 digits"},
		{"67 digits in lines", account, strings.ReplaceAll(testText[:83], " ", "\n"), 17, 3, "67 digits"},
		{"69 digits", account, testText + " 0", 1, 86, "more than 68 digits"},
		{"two keys", account, testText + "\n" + testText, 2, 1, "more than 68 digits"},
		{"letter", account, testText[:10] + "g" + testText[11:], 1, 11, "no hex digit"},
		{"O for 0", account, "eda0\neda0 1O43", 2, 7, "no hex digit"},
		{"tab", account, "eda0\t1743", 1, 5, "no hex digit"},
		{"0x", account, "0x" + testDigits, 1, 2, "no hex digit"},
		{"NUL", account, testText + "\x00", 1, 85, "no hex digit"},
		{"dash that is not ASCII", account, "eda0\u20131743", 1, 5, "no hex digit"},
		{"full-width digit", account, "\uff11", 1, 1, "no hex digit"},
		{"comment", account, "# a key\n" + testText, 1, 1, "no hex digit"},
		{"wrong checksum", account, testText[:83] + "0", 1, 84, "checksum"},
		{"wrong checksum on a line of its own", account, testText[:79] + "\n\na915\n", 3, 4, "checksum"},

		{"empty file", file, "", 1, 1, "0 digits"},
		{"comments alone", file, "# a key\n# is not here\n", 1, 1, "0 digits"},
		{"comment after space", file, testText + "\n # here", 2, 2, "no hex digit"},
		{"comment after the key", file, testText + " # here", 1, 86, "no hex digit"},
		{"63 digits after a comment", file, "# a key\n" + testText[:78] + "\n", 2, 78, "63 digits"},
		{"not UTF-8", file, "# a key\n" + testText + "\n\xff", 3, 1, "not UTF-8"},
		{"comment that is not UTF-8", file, "# M\xfcller\n" + testText, 1, 1, "not UTF-8"},
		{"UTF-16", file, "\xff\xfee\x00d\x00", 1, 1, "not UTF-8"},
		{"too long", file, long + testText + "\n\n", 1, 1, "longer than 4096 bytes"},
		{"two keys in a file", file, testText + "\n" + testText + "\n", 2, 1, "more than 68 digits"},
	} {
		k, err := c.parse(c.text)
		var at *keys.KeyTextError
		if k != nil || !errors.As(err, &at) || at.Line != c.line || at.Column != c.column || !strings.Contains(at.Reason, c.reason) {
			t.Errorf("%s: key %v, error %v; want line %d, column %d: …%s…", c.name, k != nil, err, c.line, c.column, c.reason)
			continue
		}
		if quotes(err.Error(), c.text) {
			t.Errorf("%s: the error quotes the text: %v", c.name, err)
		}
	}
	if _, err := file(long + testText + "\n"); err != nil {
		t.Errorf("a file of %d bytes: %v", keys.MaxKeyFile, err)
	}
}

// quotes reports whether message has four digits of text in a row.
func quotes(message, text string) bool {
	digits := strings.Map(func(r rune) rune {
		if strings.ContainsRune("0123456789abcdefABCDEF", r) {
			return r
		}
		return -1
	}, text)
	for i := range max(0, len(digits)-3) {
		if strings.Contains(message, digits[i:i+4]) {
			return true
		}
	}
	return false
}

func TestParseKeyFileAccepts(t *testing.T) {
	for name, file := range map[string]string{
		"one line":         testText,
		"digits alone":     testDigits + "\n",
		"comments":         "# first\n#second\n\n" + testText + "\n# last",
		"CRLF":             "# first\r\n\r\n" + testText + "\r\n",
		"several lines":    testText[:40] + "\n# between\n" + testText[40:] + "\n",
		"UTF-8":            "# Schlüssel für Großmutter\n" + testText + "\n",
		"digits commented": "# " + testText + "\n" + testText,
	} {
		if k, err := keys.ParseKeyFile([]byte(file)); err != nil || !bytes.Equal(k.Bytes(), unhex(testDigits)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestMarshalKeyFile(t *testing.T) {
	k := must(keys.AccountKeyFrom(unhex(testDigits)))
	file := keys.MarshalKeyFile(k)
	id := k.ID()
	lines := bytes.Split(bytes.TrimSuffix(file, []byte("\n")), []byte("\n"))
	if len(file) > keys.MaxKeyFile || !utf8.Valid(file) || string(lines[len(lines)-1]) != testText {
		t.Errorf("the key file is\n%s", file)
	}
	for _, l := range lines[:len(lines)-1] {
		if l[0] != '#' || quotes(string(l), testText) {
			t.Errorf("a comment is %q", l)
		}
	}
	if want := "# coffer account key " + hexOf(id[:]); string(lines[0]) != want {
		t.Errorf("the first line is %q, want %q", lines[0], want)
	}
}
