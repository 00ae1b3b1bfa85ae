package fuzz_test

import (
	"net/url"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/coffer-backup/coffer/backends/pkcs11"
)

// pkcs11Grammar is the ABNF of RFC 7512, § 2.3, where any name is a vendor's.
var pkcs11Grammar = func() *regexp.Regexp {
	const (
		name     = `[A-Za-z0-9_-]+`
		both     = `[A-Za-z0-9._~:\[\]@!$'()*+,=-]|%[0-9A-Fa-f]{2}`
		inPath   = name + `=(?:` + both + `|&)*`
		inQuery  = name + `=(?:` + both + `|[/?|])*`
		path     = `(?:` + inPath + `(?:;` + inPath + `)*)?`
		query    = `(?:` + inQuery + `(?:&` + inQuery + `)*)?`
		anything = `^(?i:pkcs11):(` + path + `)(?:\?(` + query + `))?$`
	)
	return regexp.MustCompile(anything)
}()

// readPKCS11URI is a URI as the RFC has it: values by name. Attributes of the query
// have a ? before their name.
func readPKCS11URI(text string) (values map[string]string, ok bool) {
	m := pkcs11Grammar.FindStringSubmatch(text)
	if m == nil {
		return nil, false
	}
	values = make(map[string]string)
	for i, part := range []struct{ text, separator, mark string }{{m[1], ";", ""}, {m[2], "&", "?"}} {
		if part.text == "" {
			continue
		}
		for _, attribute := range strings.Split(part.text, part.separator) {
			name, raw, _ := strings.Cut(attribute, "=")
			value, err := url.PathUnescape(raw)
			if _, twice := values[part.mark+name]; err != nil || twice || value == "" || i == 0 && values["?"+name] != "" {
				return nil, false
			}
			values[part.mark+name] = value
		}
	}
	return values, true
}

// pkcs11Meaning turns values into what is to be done, or says that they are to be
// refused.
func pkcs11Meaning(values map[string]string) (meaning map[string]string, ok bool) {
	meaning = make(map[string]string)
	for name, value := range values {
		ok := utf8.ValidString(value) && !strings.Contains(value, "\x00")
		switch name {
		case "token", "manufacturer", "model", "serial", "object", "?x-coffer-init-args":
		case "id":
			ok = true
		case "type":
			ok = value == "secret-key" || value == "private"
		case "?module-path":
			ok = ok && value[0] == '/'
		case "?pin-source":
			path, isURI := strings.CutPrefix(value, "file:")
			if isURI {
				path = strings.TrimPrefix(path, "//")
			}
			ok = ok && strings.HasPrefix(path, "/") && !(isURI && strings.Contains(path, "%"))
			value = path
		case "?x-coffer-check":
			value = strings.ToLower(value)
			ok = regexp.MustCompile("^[0-9a-f]{16}$").MatchString(value) && strings.Trim(value, "0") != ""
		default:
			ok = false
		}
		if !ok {
			return nil, false
		}
		meaning[name] = value
	}
	return meaning, true
}

// pkcs11Values is what a URI that was accepted says, as pkcs11Meaning has it. There is
// no other attribute.
func pkcs11Values(u *pkcs11.URI) map[string]string {
	values := map[string]string{
		"token": u.Token, "manufacturer": u.Manufacturer, "model": u.Model, "serial": u.Serial,
		"object": u.Key.Label, "type": u.Key.Type, "id": string(u.Key.ID),
		"?module-path": u.Module, "?pin-source": u.PINFile, "?x-coffer-init-args": u.InitArgs, "?x-coffer-check": u.Key.Check.String(),
	}
	if u.Key.Check.IsZero() {
		delete(values, "?x-coffer-check")
	}
	for name, value := range values {
		if value == "" {
			delete(values, name)
		}
	}
	return values
}

// FuzzPKCS11URI reads any text as a PKCS#11 URI.
func FuzzPKCS11URI(f *testing.F) {
	var seeds [][]byte
	for _, text := range []string{
		"pkcs11:",
		"pkcs11:token=backups;manufacturer=Snake%20Oil,%20Inc.;model=1.0;serial=a1b2;object=coffer;type=secret-key;id=%01%00%FF" +
			"?module-path=/usr/lib/libp11.so&pin-source=file:/etc/pin&x-coffer-init-args=configdir%3D%27sql:/nss%27&x-coffer-check=0123456789abcdef",
		"PKCS11:type=private;token=%c3%a4&=?pin-source=file:///100%25",
		"pkcs11:?pin-source=file:////a/100&module-path=//a",
		"pkcs11:?pin-source=/100%25",
		"pkcs11:object=a?pin-value=1234&pin-source=|cat",
		"pkcs11:slot-id=1;library-version=3;vendor-aaa=%ff?module-name=p11&x-other=1",
		"pkcs11:token=a;token=b?token=c&type=cert",
	} {
		seeds = append(seeds, []byte(text))
	}
	start(f, 5000, seeds, func(t *testing.T, data []byte) {
		text := string(data)
		u, err := pkcs11.ParseURI(text)
		values, ok := readPKCS11URI(text)
		want, meant := pkcs11Meaning(values)
		if err != nil {
			checkURIError(t, text, values, err)
			if pin := strings.Contains(strings.ToLower(text), "pin-value="); ok && meant && !pin && len(text) <= 1024 { // not even escaped it is too long
				t.Errorf("%q is refused: %v", text, err)
			}
			return
		}
		if got := pkcs11Values(u); !ok || !meant || !reflect.DeepEqual(got, want) {
			t.Fatalf("%q is %q, and was taken for %q", text, want, got)
		}
		canonical := u.String()
		again, err := pkcs11.ParseURI(canonical)
		if err != nil || !reflect.DeepEqual(again, u) || again.String() != canonical {
			t.Errorf("%q is %q in its own words, which are %+v: %v", text, canonical, again, err)
		}
	})
}

// checkURIError demands that an error quotes no value.
func checkURIError(t *testing.T, text string, values map[string]string, err error) {
	t.Helper()
	if strings.Contains(strings.ToLower(text), "pin-value=") {
		if _, pin := pkcs11.ParseURI("pkcs11:?pin-value=1234"); err.Error() != pin.Error() {
			t.Fatalf("%q: %v", text, err)
		}
		return
	}
	said := regexp.MustCompile(`^PKCS#11 URI: byte \d+: [A-Za-z0-9_-]+: `).ReplaceAllString(err.Error(), "")
	for name, value := range values {
		const least = 24 // no sentence has so long a value by chance
		if len(value) >= least && strings.Contains(said, value) {
			t.Errorf("%q: the error quotes %s: %v", text, name, err)
		}
	}
}
