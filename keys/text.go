package keys

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Sizes of the text form of an account key (§ 4.6).
const (
	keyDigits      = 64
	checksumDigits = 4
	groupDigits    = 4

	// MaxKeyFile is the longest key file in bytes.
	MaxKeyFile = 4096
)

// KeyTextError says where the text of a key is wrong. It never quotes the text.
type KeyTextError struct {
	What         string // was to be read: "account key", "recipient" or "secret key"
	Line, Column int    // from 1; Column counts bytes
	Reason       string
}

func (e *KeyTextError) Error() string {
	return fmt.Sprintf("%s: line %d, column %d: %s", e.What, e.Line, e.Column, e.Reason)
}

// Text returns the key as 17 groups of 4 hex digits with spaces between them: 16
// for the key, and a checksum that finds typing errors (§ 4.6).
func (k *AccountKey) Text() string {
	digits := hex.EncodeToString(k.raw()) + hex.EncodeToString(k.checksum())
	groups := make([]string, 0, len(digits)/groupDigits)
	for ; digits != ""; digits = digits[groupDigits:] {
		groups = append(groups, digits[:groupDigits])
	}
	return strings.Join(groups, " ")
}

func (k *AccountKey) checksum() []byte {
	sum := sha256.Sum256(append([]byte(labelKeyText), k.raw()...))
	return sum[:checksumDigits/2]
}

// ParseAccountKey reads the text form: 64 hex digits, or 68 with the checksum, in
// either case; spaces, dashes and line ends between them do not matter. The error
// is a *KeyTextError.
func ParseAccountKey(text string) (*AccountKey, error) {
	p := newKeyTextParser()
	for _, line := range strings.SplitAfter(text, "\n") {
		if err := p.add(line); err != nil {
			return nil, err
		}
		p.line++
	}
	return p.key()
}

// ParseKeyFile reads a key file: UTF-8, at most MaxKeyFile bytes, in which lines
// that begin with # are comments and the rest is the text of one key (§ 4.6). The
// error is a *KeyTextError.
func ParseKeyFile(file []byte) (*AccountKey, error) {
	p := newKeyTextParser()
	if len(file) > MaxKeyFile {
		return nil, p.fail(1, fmt.Sprintf("the file is longer than %d bytes: it is no key file", MaxKeyFile))
	}
	for _, line := range strings.SplitAfter(string(file), "\n") {
		if !utf8.ValidString(line) {
			return nil, p.fail(1, "the line is not UTF-8")
		}
		if !strings.HasPrefix(line, "#") {
			if err := p.add(line); err != nil {
				return nil, err
			}
		}
		p.line++
	}
	return p.key()
}

// HasChecksum reports whether text, which ParseAccountKey or ParseKeyFile took for a
// key, has the 17th group. In a key without it nobody notices a digit that is
// mistyped, nor that one whole group is missing: then the checksum passes for a
// part of the key.
func HasChecksum(text []byte) bool {
	p := newKeyTextParser()
	defer func() { clear(p.digits) }()
	for line := range bytes.Lines(text) {
		if line[0] != '#' {
			_ = p.add(string(line))
		}
	}
	return len(p.digits) > keyDigits
}

// MarshalKeyFile returns a key file for k, with comments that say what it is.
func MarshalKeyFile(k *AccountKey) []byte {
	id := k.ID()
	return fmt.Appendf(nil, `# coffer account key %x
# Whoever has these digits can read every backup made with them, and without them
# nobody can. The last group is a checksum.
%s
`, id, k.Text())
}

// keyTextParser gathers the digits of a key.
type keyTextParser struct {
	digits []byte
	line   int
	at     [2]int // where the last digit stood
}

func newKeyTextParser() *keyTextParser {
	return &keyTextParser{digits: make([]byte, 0, keyDigits+checksumDigits), line: 1}
}

func (p *keyTextParser) fail(column int, reason string) error {
	return &KeyTextError{"account key", p.line, column, reason}
}

func (p *keyTextParser) add(line string) error {
	for i := range len(line) {
		switch c := line[i]; {
		case c == ' ' || c == '-' || c == '\r' || c == '\n':
		case c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F':
			if len(p.digits) == keyDigits+checksumDigits {
				return p.fail(i+1, fmt.Sprintf("more than %d digits", keyDigits+checksumDigits))
			}
			p.digits = append(p.digits, c)
			p.at = [2]int{p.line, i + 1}
		default:
			return p.fail(i+1, "this is no hex digit (0-9, a-f)")
		}
	}
	return nil
}

func (p *keyTextParser) key() (*AccountKey, error) {
	defer clear(p.digits)
	p.line = max(p.at[0], 1)
	column := max(p.at[1], 1)
	n := len(p.digits)
	if n != keyDigits && n != keyDigits+checksumDigits {
		return nil, p.fail(column, fmt.Sprintf("%d digits; a key has %d, or %d with its checksum", n, keyDigits, keyDigits+checksumDigits))
	}
	raw, err := hex.DecodeString(string(p.digits))
	if err != nil {
		panic("keys: internal error: " + err.Error())
	}
	k, err := AccountKeyFrom(raw[:keyDigits/2])
	if err != nil {
		panic("keys: internal error: " + err.Error())
	}
	if n > keyDigits && string(k.checksum()) != string(raw[keyDigits/2:]) {
		k.Erase()
		return nil, p.fail(column, "the checksum does not match: a digit is mistyped")
	}
	return k, nil
}
