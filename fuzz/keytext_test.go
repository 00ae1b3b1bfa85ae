package fuzz_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/coffer-backup/coffer/keys"
	"github.com/coffer-backup/coffer/vectors"
	"github.com/coffer-backup/coffer/vectors/build"
)

// readKeyText is § 4.6, for the text of a key or a key file.
func readKeyText(text string, file bool) (key []byte, ok bool) {
	if file {
		if len(text) > 4096 || !utf8.ValidString(text) {
			return nil, false
		}
		lines := strings.Split(text, "\n")
		for i, line := range lines {
			if strings.HasPrefix(line, "#") {
				lines[i] = ""
			}
		}
		text = strings.Join(lines, "\n")
	}
	digits := strings.NewReplacer(" ", "", "-", "", "\r", "", "\n", "").Replace(text)
	raw, err := hex.DecodeString(digits)
	switch {
	case err != nil, len(raw) != 32 && len(raw) != 34:
		return nil, false
	case len(raw) == 34 && !bytes.Equal(raw[32:], build.KeyTextChecksum(raw[:32])):
		return nil, false
	}
	return raw[:32], true
}

// rotateDigits gives text other digits in the same places.
func rotateDigits(text string) string {
	const from, to = "0123456789abcdefABCDEF", "123456789abcdef0BCDEFA"
	b := []byte(text)
	for i, c := range b {
		if at := strings.IndexByte(from, c); at >= 0 {
			b[i] = to[at]
		}
	}
	return string(b)
}

// FuzzKeyText reads any text as an account key, and as a key file.
func FuzzKeyText(f *testing.F) {
	texts, err := vectors.LoadKeyTexts()
	if err != nil {
		f.Fatal(err)
	}
	var seeds [][]byte
	for _, v := range texts.Texts {
		seeds = append(seeds, v.Bytes())
	}
	seeds = append(seeds, keys.MarshalKeyFile(must(keys.AccountKeyFrom(accountKey))))
	start(f, 5000, seeds, func(t *testing.T, data []byte) {
		text := string(data)
		checkKeyText(t, text, false, keys.ParseAccountKey)
		checkKeyText(t, text, true, func(text string) (*keys.AccountKey, error) { return keys.ParseKeyFile([]byte(text)) })
	})
}

// checkKeyText compares a parser with the oracle.
func checkKeyText(t *testing.T, text string, file bool, parse func(string) (*keys.AccountKey, error)) {
	t.Helper()
	want, ok := readKeyText(text, file)
	k, err := parse(text)
	if (err == nil) != ok || ok && !bytes.Equal(k.Bytes(), want) {
		t.Fatalf("key file %v: %v, want accepted: %v, or other bytes", file, err, ok)
	}
	if err == nil {
		canonical := k.Text()
		again, err := keys.ParseAccountKey(canonical)
		if err != nil || !bytes.Equal(again.Bytes(), want) || again.Text() != canonical || len(canonical) != 17*4+16 {
			t.Errorf("accepted, and its own text is %q: %v", canonical, err)
		}
		if again, err := keys.ParseKeyFile(keys.MarshalKeyFile(k)); err != nil || !bytes.Equal(again.Bytes(), want) {
			t.Errorf("accepted, and its own key file is not: %v", err)
		}
		return
	}
	var at *keys.KeyTextError
	if !errors.As(err, &at) || at.Line < 1 || at.Column < 1 || at.Line > 1+strings.Count(text, "\n") || at.Column > max(1, len(text)) {
		t.Fatalf("error %#v", err)
	}
	// It does not quote the text: with other digits there it is the same, unless
	// they make a checksum right.
	if _, other := parse(rotateDigits(text)); other != nil && other.Error() != err.Error() {
		t.Errorf("with other digits %q becomes %q", err, other)
	}
	// Nor does it quote what is no digit.
	place := at.Column - 1
	for _, line := range strings.SplitAfter(text, "\n")[:at.Line-1] {
		place += len(line)
	}
	if strings.Contains(at.Reason, "no hex digit") && text[place] < utf8.RuneSelf {
		if _, other := parse(text[:place] + "~" + text[place+1:]); other == nil || other.Error() != err.Error() {
			t.Errorf("with another character %q becomes %q", err, other)
		}
	}
}
