package pkcs11

import (
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"unicode/utf8"
)

// A URI is a PKCS#11 URI (RFC 7512) that names a key, its token, the library to load
// and where the PIN is, never the PIN:
//
//	pkcs11:token=backups;object=coffer;type=secret-key?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/etc/coffer/pin
//
// Attributes of the path are token, manufacturer, model, serial, object, type
// (secret-key or private) and id; those of the query are module-path, pin-source and
// two of our own, x-coffer-init-args (Config.InitArgs) and x-coffer-check
// (KeyRef.Check, in hex). There are no others: an attribute that is ignored is one
// that another key or library gets past.
//
// A URI comes from whoever runs the program. It must never come from a file that is
// read: it says what code to load.
type URI struct {
	Config         // Module, InitArgs and what the token says of itself
	Key     KeyRef // object, id, type, x-coffer-check
	PINFile string // pin-source: an absolute path, for the caller's Config.PIN to read
}

// The types of keys that wrap, in KeyRef.Type.
const (
	TypeSecret  = "secret-key"
	TypePrivate = "private"
)

// maxURI is how long a URI may be, in bytes.
const maxURI = 4096

const uriScheme = "pkcs11:"

// errPINValue stands for whatever else may be wrong with the URI, so that no other
// error can tell of the PIN.
var errPINValue = errors.New("PKCS#11 URI: pin-value is refused: command lines, environments and logs " +
	"show it to others. Put the PIN into a file and give pin-source=file:/path, or leave it to be asked for")

// ParseURI parses a PKCS#11 URI that a caller gives. Errors name the attribute, and
// never quote its value.
func ParseURI(text string) (*URI, error) {
	switch {
	case strings.Contains(strings.ToLower(text), "pin-value="):
		return nil, errPINValue
	case len(text) > maxURI:
		return nil, fmt.Errorf("PKCS#11 URI: %d bytes are over the limit of %d", len(text), maxURI)
	case len(text) < len(uriScheme) || !strings.EqualFold(text[:len(uriScheme)], uriScheme):
		return nil, fmt.Errorf("PKCS#11 URI: it must begin with %q", uriScheme)
	}
	p := uriParser{seen: make(map[string]bool)}
	path, query, hasQuery := strings.Cut(text[len(uriScheme):], "?")
	if err := p.attributes(path, ";", false, len(uriScheme)); err != nil {
		return nil, err
	}
	if hasQuery {
		if err := p.attributes(query, "&", true, len(uriScheme)+len(path)+1); err != nil {
			return nil, err
		}
	}
	if n := len(p.uri.String()); n > maxURI {
		return nil, fmt.Errorf("PKCS#11 URI: with everything escaped it has %d bytes, over the limit of %d", n, maxURI)
	}
	return &p.uri, nil
}

// String returns the one form of a URI that ParseURI returned: ParseURI takes it for
// the same, and its String is the same.
func (u *URI) String() string {
	var path, query []string
	for _, a := range uriAttributes {
		value := a.get(u)
		switch {
		case value == "":
		case a.query:
			query = append(query, a.name+"="+percentEncode(value, "-._~/:"))
		case a.name == "id": // all of it (RFC 7512, § 2.3)
			path = append(path, a.name+"="+percentEncode(value, ""))
		default:
			path = append(path, a.name+"="+percentEncode(value, "-._~"))
		}
	}
	s := uriScheme + strings.Join(path, ";")
	if len(query) > 0 {
		s += "?" + strings.Join(query, "&")
	}
	return s
}

// percentEncode encodes value but for letters, digits and the bytes of safe, or,
// without these, all of it. What a name and its value are separated by is never safe.
func percentEncode(value, safe string) string {
	var b strings.Builder
	for _, c := range []byte(value) {
		if safe != "" && (isAlnum(c) || strings.IndexByte(safe, c) >= 0) {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

func isAlnum(c byte) bool {
	return '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z'
}

// A uriAttribute is one that a URI acts on. A value of "" is none.
type uriAttribute struct {
	name  string
	query bool
	get   func(*URI) string
	set   func(*URI, string) error
}

// uriAttributes are in the order in which String writes them.
var uriAttributes = []uriAttribute{
	textAttribute("token", false, func(u *URI) *string { return &u.Token }),
	textAttribute("manufacturer", false, func(u *URI) *string { return &u.Manufacturer }),
	textAttribute("model", false, func(u *URI) *string { return &u.Model }),
	textAttribute("serial", false, func(u *URI) *string { return &u.Serial }),
	textAttribute("object", false, func(u *URI) *string { return &u.Key.Label }),
	{"type", false, func(u *URI) string { return u.Key.Type }, setType},
	{"id", false, func(u *URI) string { return string(u.Key.ID) }, setID},
	{"module-path", true, func(u *URI) string { return u.Module }, setModule},
	{"pin-source", true, (*URI).pinSource, setPINSource},
	textAttribute("x-coffer-init-args", true, func(u *URI) *string { return &u.InitArgs }),
	{"x-coffer-check", true, (*URI).check, setCheck},
}

// refusedAttributes are those of RFC 7512 of which there is something to say.
var refusedAttributes = map[string]string{
	"module-name": "it would have the library searched for: give module-path",
	"slot-id":     "slots are numbered anew when tokens come and go: give token or serial",
}

func textAttribute(name string, query bool, field func(*URI) *string) uriAttribute {
	return uriAttribute{name, query, func(u *URI) string { return *field(u) }, func(u *URI, value string) error {
		*field(u) = value
		return checkText(value)
	}}
}

// checkText refuses what is not UTF-8, and NUL, where C ends a string.
func checkText(value string) error {
	if !utf8.ValidString(value) {
		return errors.New("not UTF-8")
	}
	if strings.Contains(value, "\x00") {
		return errors.New("it has a zero byte")
	}
	return nil
}

func checkPath(path string) error {
	if !filepath.IsAbs(path) {
		return errors.New("it must be an absolute path")
	}
	return checkText(path)
}

func setType(u *URI, value string) error {
	if u.Key.Type = value; value != TypeSecret && value != TypePrivate {
		return errors.New("only secret-key and private are keys that open backups")
	}
	return nil
}

func setID(u *URI, value string) error {
	u.Key.ID = []byte(value)
	return nil
}

func setModule(u *URI, value string) error {
	u.Module = value
	return checkPath(value)
}

func setCheck(u *URI, value string) error {
	if u.Key.Check, _ = ParseCheckValue(value); u.Key.Check.IsZero() { // as what does not parse is
		return fmt.Errorf("a key check value has %d hex digits, not all zero", 2*len(u.Key.Check))
	}
	return nil
}

func (u *URI) check() string {
	if u.Key.Check.IsZero() {
		return ""
	}
	return u.Key.Check.String()
}

// setPINSource takes a path, or a file: URI. What the RFC has in its examples besides,
// "|command", is never run.
func setPINSource(u *URI, value string) error {
	if strings.HasPrefix(value, "|") {
		return errors.New("no command is run for a PIN: give file:/path, and let the command write to that file")
	}
	path, isURI := strings.CutPrefix(value, "file:")
	if isURI {
		if host, hasHost := strings.CutPrefix(path, "//"); hasHost {
			path = host // an empty one, if the path is absolute
		}
		if strings.Contains(path, "%") {
			return errors.New("a file: URI with a % in it may be meant in two ways: give the path alone")
		}
	}
	u.PINFile = path
	return checkPath(path)
}

func (u *URI) pinSource() string {
	if u.PINFile == "" || strings.Contains(u.PINFile, "%") || strings.HasPrefix(u.PINFile, "//") {
		return u.PINFile
	}
	return "file:" + u.PINFile
}

type uriParser struct {
	uri  URI
	seen map[string]bool
}

// attributes parses the path or the query, which begins at byte at.
func (p *uriParser) attributes(text, separator string, query bool, at int) error {
	if text == "" {
		return nil
	}
	for part := range strings.SplitSeq(text, separator) {
		if err := p.attribute(part, query, at); err != nil {
			return err
		}
		at += len(part) + len(separator)
	}
	return nil
}

func (p *uriParser) attribute(part string, query bool, at int) error {
	name, raw, ok := strings.Cut(part, "=")
	if !ok || !isAttributeName(name) {
		return fmt.Errorf("PKCS#11 URI: byte %d: want name=value", at)
	}
	fail := func(reason string) error { return fmt.Errorf("PKCS#11 URI: byte %d: %s: %s", at, name, reason) }
	if p.seen[name] {
		return fail("it is there twice")
	}
	p.seen[name] = true
	for _, a := range uriAttributes {
		if a.name != name {
			continue
		}
		if a.query != query {
			return fail("the ? stands on the wrong side of it")
		}
		value, err := percentDecode(raw, query)
		if err == nil && value == "" {
			err = errors.New("it has no value: leave it out if any will do")
		}
		if err == nil {
			err = a.set(&p.uri, value)
		}
		if err != nil {
			return fail(err.Error())
		}
		return nil
	}
	if reason := refusedAttributes[name]; reason != "" {
		return fail(reason)
	}
	return fail("it is not supported, and what a URI asks for is not ignored")
}

// isAttributeName keeps out of errors what is no name.
func isAttributeName(s string) bool {
	for _, c := range []byte(s) {
		if !isAlnum(c) && c != '-' && c != '_' {
			return false
		}
	}
	return s != "" && len(s) <= 64
}

// percentDecode is its inverse, and refuses bytes that RFC 7512, § 2.3, has encoded.
func percentDecode(raw string, query bool) (string, error) {
	plain := "-._~:[]@!$'()*+,=&"
	if query {
		plain = "-._~:[]@!$'()*+,=/?|"
	}
	b := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case c == '%':
			octet, err := hex.DecodeString(raw[i+1 : min(i+3, len(raw))])
			if err != nil || len(octet) != 1 {
				return "", errors.New("a % needs two hex digits after it")
			}
			b = append(b, octet...)
			i += 2
		case isAlnum(c) || strings.IndexByte(plain, c) >= 0:
			b = append(b, c)
		default:
			return "", errors.New("blanks and most signs in it must be percent-encoded")
		}
	}
	return string(b), nil
}
