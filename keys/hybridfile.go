package keys

import (
	"crypto/subtle"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/coffer-backup/coffer/format"
)

// MaxHybridFile is the longest file of recipients or of their secret keys, in bytes. It
// has room for as many as a container has slots, and as much for comments.
const MaxHybridFile = 128 << 10

// A Key is both sides of a slot: it wraps for itself.
type Key interface {
	Recipient
	Identity
	// Erase overwrites the key, as far as that is possible in Go.
	Erase()
}

// ParseRecipientsFile reads a recipients file (§ 4.7.4): UTF-8, at most MaxHybridFile
// bytes, a recipient a line, 1 to 32 of them and none twice. Lines that are blank or
// begin with # are ignored. The error is a *KeyTextError.
func ParseRecipientsFile(file []byte) ([]*HybridRecipient, error) {
	var all []*HybridRecipient
	lines := make(map[string]int) // by the recipient that is there
	err := recipientText.eachLine(string(file), func(p part, line int) error {
		r, err := parseRecipient(p)
		if err != nil {
			return err
		}
		// Somebody's recipient was to be here, and they could not restore.
		if first, ok := lines[p.String()]; ok {
			return recipientText.fail(p, 0, fmt.Sprintf("this is the recipient of line %d again", first))
		}
		lines[p.String()] = line
		all = append(all, r)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// ParseIdentityFile reads a key file of either sort: that of an account key
// (ParseKeyFile), or one of secret keys of recipients (§ 4.7.5), which is as
// ParseRecipientsFile has it, but that one that is there twice counts once. The error
// is a *KeyTextError.
func ParseIdentityFile(file []byte) ([]Key, error) {
	text := string(file)
	if !holdsHybridText(text) {
		key, err := ParseKeyFile(file)
		if err != nil {
			return nil, err
		}
		return []Key{key}, nil
	}
	var all []Key
	identities, err := parseIdentities(text)
	for _, k := range identities {
		all = append(all, k)
	}
	return all, err
}

func parseIdentities(text string) ([]*HybridIdentity, error) {
	var all []*HybridIdentity
	err := identityText.eachLine(text, func(p part, _ int) error {
		k, err := parseIdentity(p)
		if err != nil {
			return err
		}
		same := func(other *HybridIdentity) bool { return subtle.ConstantTimeCompare(other.raw(), k.raw()) == 1 }
		if !slices.ContainsFunc(all, same) {
			all = append(all, k)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// MarshalIdentityFile returns a key file for k, with comments that say what it is, when
// it was made, and its recipient.
func MarshalIdentityFile(k *HybridIdentity, created time.Time) []byte {
	return fmt.Appendf(nil, `# coffer secret key, made %s
# Whoever has its line can read every backup made for the recipient below, and
# without it nobody can. The recipient is for the machines that write backups.
# %s
%s
`, created.UTC().Format(time.RFC3339), k.Recipient(), k.Text())
}

// eachLine calls do for each line of text that is neither blank nor a comment, without
// the blanks around it, and with its number.
func (f *textForm) eachLine(text string, do func(p part, line int) error) error {
	p := part{text: text}
	if len(text) > MaxHybridFile {
		return f.fail(p, 0, fmt.Sprintf("the file is longer than %d bytes", MaxHybridFile))
	}
	found, number := 0, 0
	for line := range strings.Lines(text) {
		p.begin, p.end = p.end, p.end+len(line)
		number++
		if !utf8.ValidString(line) {
			return f.fail(p, 0, "the line is not UTF-8")
		}
		if isComment(line) {
			continue
		}
		if found++; found > format.MaxEntries {
			return f.fail(p, 0, fmt.Sprintf("more than %d: a container has no room for them", format.MaxEntries))
		}
		if err := do(p.trim(), number); err != nil {
			return err
		}
	}
	if found == 0 {
		return f.fail(part{text: text}, 0, fmt.Sprintf("there is no %s in the file", f.what))
	}
	return nil
}

// isComment reports whether a line of a recipients file is ignored.
func isComment(line string) bool {
	line = strings.Trim(line, textBlanks)
	return line == "" || line[0] == '#'
}

// holdsHybridText reports whether the first line that counts begins like a recipient or
// a secret key, of ours or of age. No account key does: all four have a letter that is
// no hex digit.
func holdsHybridText(text string) bool {
	for line := range strings.Lines(text) {
		if !isComment(line) {
			line = strings.TrimLeft(line, textBlanks)
			return slices.ContainsFunc(textPrefixes, func(t struct{ prefix, is string }) bool { return hasPrefixFold(line, t.prefix) })
		}
	}
	return false
}
