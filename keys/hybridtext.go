package keys

import (
	"crypto/hpke"
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"strings"
)

// A textForm is how recipients, or their secret keys, are written (§ 4.7): a prefix,
// then a payload and its checksum in base32, in one case and without padding. There is
// one text for each payload.
type textForm struct {
	what     string
	prefix   string
	label    string // of the checksum
	alphabet string
	size     int // of the payload
}

const (
	textChecksumSize = 4
	textBlanks       = " \t\r\n" // which may stand around a text
)

var (
	recipientText = textForm{"recipient", "coffer1pq", labelRecipientText, "abcdefghijklmnopqrstuvwxyz234567", 1216}
	identityText  = textForm{"secret key", "COFFER-SECRET-KEY-PQ-1", labelIdentityText, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 32}
)

// The texts that people take for one another, by how they begin.
var textPrefixes = []struct{ prefix, is string }{
	{recipientText.prefix, "this is a recipient, which only encrypts"},
	{identityText.prefix, "this is a secret key, which nobody else should see"},
	{"age1", "this is a recipient of age, which is another program"},
	{"AGE-", "this is a secret key of age, which is another program"},
}

// String returns the recipient's text form: coffer1pq and 1952 characters.
func (r *HybridRecipient) String() string { return recipientText.marshal(r.public.Bytes()) }

// ParseHybridRecipient reads the text form, with white space around it or not. The
// error is a *KeyTextError.
func ParseHybridRecipient(text string) (*HybridRecipient, error) {
	return parseRecipient(trimmed(text))
}

// Text returns the secret key's text form: COFFER-SECRET-KEY-PQ-1 and 58 characters.
func (k *HybridIdentity) Text() string { return identityText.marshal(k.raw()) }

// ParseHybridIdentity reads the text form, with white space around it or not. The error
// is a *KeyTextError.
func ParseHybridIdentity(text string) (*HybridIdentity, error) {
	return parseIdentity(trimmed(text))
}

func parseRecipient(p part) (*HybridRecipient, error) {
	raw, err := recipientText.parse(p)
	if err != nil {
		return nil, err
	}
	public, err := hybridKEM.NewPublicKey(raw)
	if err == nil {
		// Nobody can wrap for a point of low order, which only an attempt tells.
		_, _, err = hpke.NewSender(public, hybridKDF, hpke.ExportOnly(), nil)
	}
	if err != nil {
		return nil, recipientText.fail(p, 0, "the checksum matches, and yet this is no key: a faulty program wrote it")
	}
	return &HybridRecipient{public}, nil
}

func parseIdentity(p part) (*HybridIdentity, error) {
	raw, err := identityText.parse(p)
	if err != nil {
		return nil, err
	}
	defer clear(raw)
	return HybridIdentityFrom(raw)
}

// A part is text[begin:end], of which an error tells the place in text.
type part struct {
	text       string
	begin, end int
}

func trimmed(text string) part { return part{text, 0, len(text)}.trim() }

func (p part) String() string { return p.text[p.begin:p.end] }

// trim takes blanks away at both ends.
func (p part) trim() part {
	p.begin += len(p.String()) - len(strings.TrimLeft(p.String(), textBlanks))
	p.end = p.begin + len(strings.TrimRight(p.String(), textBlanks))
	return p
}

func (f *textForm) fail(p part, at int, reason string) error {
	before := p.text[:p.begin+at]
	return &KeyTextError{f.what, 1 + strings.Count(before, "\n"), len(before) - strings.LastIndexByte(before, '\n'), reason}
}

func (f *textForm) base32() *base32.Encoding {
	return base32.NewEncoding(f.alphabet).WithPadding(base32.NoPadding)
}

func (f *textForm) marshal(payload []byte) string {
	sum := sha256.Sum256(append([]byte(f.label), payload...))
	b := append(append(make([]byte, 0, f.size+textChecksumSize), payload...), sum[:textChecksumSize]...)
	defer clear(b)
	return f.prefix + f.base32().EncodeToString(b)
}

// parse returns the payload.
func (f *textForm) parse(p part) ([]byte, error) {
	digits, ok := strings.CutPrefix(p.String(), f.prefix)
	if !ok {
		return nil, f.fail(p, 0, f.otherPrefix(p.String()))
	}
	if i := strings.IndexFunc(digits, func(r rune) bool { return !strings.ContainsRune(f.alphabet, r) }); i >= 0 {
		reason := fmt.Sprintf("this is no character of a %s (%c-%c, 2-7)", f.what, f.alphabet[0], f.alphabet[25])
		if strings.IndexByte(textBlanks, digits[i]) >= 0 {
			reason = fmt.Sprintf("a %s has no blanks and line ends inside", f.what)
		}
		return nil, f.fail(p, len(f.prefix)+i, reason)
	}
	if n := f.base32().EncodedLen(f.size + textChecksumSize); len(digits) != n {
		reason := fmt.Sprintf("%d characters; a %s has %d", len(p.String()), f.what, len(f.prefix)+n)
		if len(digits) < n {
			reason += ": it was cut"
		}
		return nil, f.fail(p, 0, reason)
	}
	raw, err := f.base32().DecodeString(digits)
	if err != nil {
		panic("keys: internal error: " + err.Error())
	}
	payload := raw[:f.size]
	// Whatever else decodes to the payload, with a bit set that is none of its own, is
	// refused as well.
	if f.marshal(payload) != p.String() {
		clear(raw)
		return nil, f.fail(p, 0, "the checksum does not match: a character is mistyped")
	}
	return payload, nil
}

// otherPrefix says what a text is that does not begin as it should.
func (f *textForm) otherPrefix(text string) string {
	wanted := fmt.Sprintf("a %s begins with %s", f.what, f.prefix)
	for _, other := range textPrefixes {
		if !hasPrefixFold(text, other.prefix) {
			continue
		}
		if other.prefix == f.prefix {
			return wanted + ", and all its letters are of this case"
		}
		return other.is + "; " + wanted
	}
	return wanted
}

func hasPrefixFold(text, prefix string) bool {
	return len(text) >= len(prefix) && strings.EqualFold(text[:len(prefix)], prefix)
}
