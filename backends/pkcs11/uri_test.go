package pkcs11

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// canonicalURI is one with each attribute, as String writes it.
const canonicalURI = "pkcs11:token=backups;manufacturer=Snake%20Oil%2C%20Inc.;model=1.0;serial=a1b2;object=coffer;type=secret-key;id=%01%00%FF" +
	"?module-path=/usr/lib/libp11.so&pin-source=file:/etc/pin&x-coffer-init-args=configdir%3D%27sql:/nss%27&x-coffer-check=0123456789abcdef"

func parsedURI() *URI {
	return &URI{
		Config: Config{Module: "/usr/lib/libp11.so", InitArgs: "configdir='sql:/nss'",
			Token: "backups", Serial: "a1b2", Manufacturer: "Snake Oil, Inc.", Model: "1.0"},
		Key: KeyRef{Label: "coffer", ID: []byte{1, 0, 255}, Type: TypeSecret,
			Check: CheckValue{0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef}},
		PINFile: "/etc/pin",
	}
}

func TestURI(t *testing.T) {
	token := func(label string) *URI { return &URI{Config: Config{Token: label}} }
	pin := func(path string) *URI { return &URI{PINFile: path} }
	for _, tt := range []struct {
		text, canonical string // "": text is
		want            *URI
	}{
		{canonicalURI, "", parsedURI()},
		{"pkcs11:", "", &URI{}},
		{"pkcs11:?", "pkcs11:", &URI{}},
		{"PKCS11:token=a", "pkcs11:token=a", token("a")},
		{"pkcs11:token=a:[]@!$'()*+,=&b", "pkcs11:token=a%3A%5B%5D%40%21%24%27%28%29%2A%2B%2C%3D%26b", token("a:[]@!$'()*+,=&b")},
		{"pkcs11:token=%c3%a4-._~", "pkcs11:token=%C3%A4-._~", token("ä-._~")},
		{"pkcs11:token=%70%69%6e%2dvalue%3d1", "pkcs11:token=pin-value%3D1", token("pin-value=1")},
		{"pkcs11:id=ab%3b;token=t", "pkcs11:token=t;id=%61%62%3B", &URI{Config: Config{Token: "t"}, Key: KeyRef{ID: []byte("ab;")}}},
		{"pkcs11:?x-coffer-check=00000000000000AB&module-path=/a%20b", "pkcs11:?module-path=/a%20b&x-coffer-check=00000000000000ab",
			&URI{Config: Config{Module: "/a b"}, Key: KeyRef{Check: CheckValue{7: 0xab}}}},
		{"pkcs11:?x-coffer-init-args=a/?|b", "pkcs11:?x-coffer-init-args=a/%3F%7Cb", &URI{Config: Config{InitArgs: "a/?|b"}}},
		{"pkcs11:?pin-source=/p", "pkcs11:?pin-source=file:/p", pin("/p")},
		{"pkcs11:?pin-source=file%3A/p", "pkcs11:?pin-source=file:/p", pin("/p")},
		{"pkcs11:?pin-source=file:///p", "pkcs11:?pin-source=file:/p", pin("/p")},
		{"pkcs11:?pin-source=file:////p", "pkcs11:?pin-source=//p", pin("//p")},
		{"pkcs11:?pin-source=/100%25", "", pin("/100%")},
	} {
		u, err := ParseURI(tt.text)
		if err != nil || !reflect.DeepEqual(u, tt.want) {
			t.Errorf("%s: %+v, %v", tt.text, u, err)
			continue
		}
		want := tt.canonical
		if want == "" {
			want = tt.text
		}
		if got := u.String(); got != want {
			t.Errorf("%s: String returns %s", tt.text, got)
		}
		if again, err := ParseURI(want); err != nil || !reflect.DeepEqual(again, u) {
			t.Errorf("%s: %+v, %v", want, again, err)
		}
	}
}

// TestURIExamples has those of RFC 7512, § 3 and 2.4, and what holds of each here.
func TestURIExamples(t *testing.T) {
	key := KeyRef{Label: "my-key", Type: TypePrivate}
	signKey := KeyRef{Label: "my-sign-key", Type: TypePrivate}
	for _, tt := range []struct {
		text, err string
		want      *URI
	}{
		{"pkcs11:", "", &URI{}},
		{"pkcs11:object=my-pubkey;type=public", "byte 24: type: only secret-key and private", nil},
		{"pkcs11:object=my-key;type=private?pin-source=file:/etc/token", "", &URI{Key: key, PINFile: "/etc/token"}},
		{"pkcs11:token=The%20Software%20PKCS%2311%20Softtoken;manufacturer=Snake%20Oil,%20Inc.;model=1.0;object=my-certificate;" +
			"type=cert;id=%69%95%3E%5C%F4%BD%EC%91;serial=?pin-source=file:/etc/token_pin", "type: only secret-key and private", nil},
		{"pkcs11:object=my-sign-key;type=private?module-name=mypkcs11", "module-name: it would have the library searched for", nil},
		{"pkcs11:object=my-sign-key;type=private?module-path=/mnt/libmypkcs11.so.1", "", &URI{Config: Config{Module: "/mnt/libmypkcs11.so.1"}, Key: signKey}},
		{"pkcs11:token=Software%20PKCS%2311%20softtoken;manufacturer=Snake%20Oil,%20Inc.?pin-value=the-pin", "pin-value is refused", nil},
		{"pkcs11:slot-description=Sun%20Metaslot", "slot-description: it is not supported", nil},
		{"pkcs11:library-manufacturer=Snake%20Oil,%20Inc.;library-description=Soft%20Token%20Library;library-version=1.23",
			"library-manufacturer: it is not supported", nil},
		{"pkcs11:token=My%20token%25%20created%20by%20Joe;library-version=3;id=%01%02%03%Ba%dd%Ca%fe%04%05%06", "library-version: it is not supported", nil},
		{"pkcs11:token=A%20name%20with%20a%20substring%20%25%3B;object=my-certificate;type=cert", "type: only", nil},
		{"pkcs11:token=Name%20with%20a%20small%20A%20with%20acute:%20%C3%A1;object=my-certificate;type=cert", "type: only", nil},
		{"pkcs11:token=my-token;object=my-certificate;type=cert;vendor-aaa=value-a?pin-source=file:/etc/token_pin&vendor-bbb=value-b", "type: only", nil},

		// Without what is refused, the values are those that the RFC says they are.
		{"pkcs11:token=The%20Software%20PKCS%2311%20Softtoken;manufacturer=Snake%20Oil,%20Inc.;model=1.0;id=%69%95%3E%5C%F4%BD%EC%91", "",
			&URI{Config: Config{Token: "The Software PKCS#11 Softtoken", Manufacturer: "Snake Oil, Inc.", Model: "1.0"},
				Key: KeyRef{ID: []byte("\x69\x95\x3e\x5c\xf4\xbd\xec\x91")}}},
		{"pkcs11:token=My%20token%25%20created%20by%20Joe;id=%01%02%03%Ba%dd%Ca%fe%04%05%06", "",
			&URI{Config: Config{Token: "My token% created by Joe"}, Key: KeyRef{ID: []byte("\x01\x02\x03\xba\xdd\xca\xfe\x04\x05\x06")}}},
		{"pkcs11:token=A%20name%20with%20a%20substring%20%25%3B", "", &URI{Config: Config{Token: "A name with a substring %;"}}},
		{"pkcs11:token=Name%20with%20a%20small%20A%20with%20acute:%20%C3%A1", "", &URI{Config: Config{Token: "Name with a small A with acute: á"}}},
		{"pkcs11:token=my-token;vendor-aaa=value-a", "vendor-aaa: it is not supported", nil},
		{"pkcs11:?pin-source=file:/etc/token_pin&vendor-bbb=value-b", "vendor-bbb: it is not supported", nil},
		{"pkcs11:?pin-source=|/usr/bin/pinomatic", "pin-source: no command is run", nil},
	} {
		u, err := ParseURI(tt.text)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s: %v, want %s", tt.text, err, tt.err)
			}
		} else if err != nil || !reflect.DeepEqual(u, tt.want) {
			t.Errorf("%s: %+v, %v", tt.text, u, err)
		}
	}
}

func TestURIRefused(t *testing.T) {
	for _, tt := range []struct{ text, err string }{
		{"", `must begin with "pkcs11:"`},
		{"pkcs11", `must begin with "pkcs11:"`},
		{"token=a", `must begin with "pkcs11:"`},
		{" pkcs11:token=a", `must begin with "pkcs11:"`},
		{"pkcs11:token", "byte 7: want name=value"},
		{"pkcs11:;", "byte 7: want name=value"},
		{"pkcs11:token=a;", "byte 15: want name=value"},
		{"pkcs11:token=a?&", "byte 15: want name=value"},
		{"pkcs11:=a", "byte 7: want name=value"},
		{"pkcs11:%74oken=a", "byte 7: want name=value"},
		{"pkcs11:" + strings.Repeat("n", 65) + "=a", "byte 7: want name=value"},
		{"pkcs11:" + strings.Repeat("n", 64) + "=a", "nnn: it is not supported"},
		{"pkcs11:Token=a", "Token: it is not supported"}, // names are case-sensitive
		{"pkcs11:slot-id=3", "slot-id: slots are numbered anew"},
		{"pkcs11:?x-other=1", "x-other: it is not supported"},
		{"pkcs11:?x-coffer-other=1", "x-coffer-other: it is not supported"},
		{"pkcs11:token=a;token=a", "byte 15: token: it is there twice"},
		{"pkcs11:?module-path=/a&module-path=/a", "module-path: it is there twice"},
		{"pkcs11:token=a?token=a", "byte 15: token: it is there twice"},
		{"pkcs11:module-path=/a", "module-path: the ? stands on the wrong side of it"},
		{"pkcs11:x-coffer-check=0123456789abcdef", "x-coffer-check: the ? stands on the wrong side of it"},
		{"pkcs11:?token=a", "token: the ? stands on the wrong side of it"},
		{"pkcs11:token=", "token: it has no value"},
		{"pkcs11:id=", "id: it has no value"},
		{"pkcs11:token=a%", "token: a % needs two hex digits"},
		{"pkcs11:token=a%4", "token: a % needs two hex digits"},
		{"pkcs11:token=a%4;type=private", "token: a % needs two hex digits"},
		{"pkcs11:token=a%zz", "token: a % needs two hex digits"},
		{"pkcs11:token=a%\x10\x11", "token: a % needs two hex digits"},
		{"pkcs11:token=a b", "token: blanks and most signs"},
		{"pkcs11:token=a/b", "token: blanks and most signs"},
		{"pkcs11:token=ä", "token: blanks and most signs"},
		{"pkcs11:token=a#b", "token: blanks and most signs"},
		{"pkcs11:token=a\x00", "token: blanks and most signs"},
		{"pkcs11:?module-path=/a;b", "module-path: blanks and most signs"},
		{"pkcs11:?module-path=/a#b", "module-path: blanks and most signs"},
		{"pkcs11:token=%ff", "token: not UTF-8"},
		{"pkcs11:token=a%00", "token: it has a zero byte"},
		{"pkcs11:object=%c3", "object: not UTF-8"},
		{"pkcs11:?x-coffer-init-args=%00", "x-coffer-init-args: it has a zero byte"},
		{"pkcs11:?module-path=/a%00b", "module-path: it has a zero byte"},
		{"pkcs11:?module-path=libp11.so", "module-path: it must be an absolute path"},
		{"pkcs11:?module-path=./libp11.so", "module-path: it must be an absolute path"},
		{"pkcs11:?pin-source=pin", "pin-source: it must be an absolute path"},
		{"pkcs11:?pin-source=file:pin", "pin-source: it must be an absolute path"},
		{"pkcs11:?pin-source=file:", "pin-source: it must be an absolute path"},
		{"pkcs11:?pin-source=file://host/pin", "pin-source: it must be an absolute path"},
		{"pkcs11:?pin-source=https://host/pin", "pin-source: it must be an absolute path"},
		{"pkcs11:?pin-source=file:/a%2520b", "pin-source: a file: URI with a %"},
		{"pkcs11:?pin-source=%7C/bin/pin", "pin-source: no command is run"},
		{"pkcs11:?pin-source=/a%ff", "pin-source: not UTF-8"},
		{"pkcs11:type=data", "type: only secret-key and private"},
		{"pkcs11:?x-coffer-check=0123", "x-coffer-check: a key check value has 16 hex digits"},
		{"pkcs11:?x-coffer-check=0123456789abcdeg", "x-coffer-check: a key check value has 16 hex digits"},
		{"pkcs11:?x-coffer-check=0000000000000000", "x-coffer-check: a key check value has 16 hex digits"},
		{"pkcs11:token=" + strings.Repeat("a", maxURI), "4109 bytes are over the limit of 4096"},
		{"pkcs11:token=" + strings.Repeat("=", 1400), "has 4213 bytes, over the limit of 4096"},
	} {
		u, err := ParseURI(tt.text)
		if err == nil || u != nil || !strings.HasPrefix(err.Error(), "PKCS#11 URI: ") || !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%q: %v, want %s", tt.text, err, tt.err)
		}
	}
	longest := "pkcs11:token=" + strings.Repeat("a", maxURI-13)
	if u, err := ParseURI(longest); err != nil || u.String() != longest {
		t.Errorf("%d bytes: %v", len(longest), err)
	}
}

// TestURIPIN: a PIN in a URI is in no error, wherever it stands and whatever else is
// wrong.
func TestURIPIN(t *testing.T) {
	const pin = "98765432"
	for _, text := range []string{
		"pkcs11:?pin-value=" + pin,
		"pkcs11:pin-value=" + pin,
		"pkcs11:token=a&pin-value=" + pin,
		"pkcs11:?pin-source=/a;pin-value=" + pin,
		"pkcs11:?Pin-Value=" + pin,
		"pkcs11:?pin-value=" + pin + "&pin-value=" + pin,
		"pkcs11:?nonsense&pin-value=" + pin,
		"pin-value=" + pin,
		strings.Repeat("x", maxURI) + "pin-value=" + pin,
	} {
		u, err := ParseURI(text)
		if err != errPINValue || u != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	for _, text := range []string{
		"pkcs11:" + pin,
		"pkcs11:?pin-source=" + pin,
		"pkcs11:?pin-source=file:" + pin,
		"pkcs11:?pin-source=|" + pin,
		"pkcs11:?pin=" + pin,
		"pkcs11:?pin-value:" + pin,
		"pkcs11:type=" + pin,
		"pkcs11:?module-path=" + pin,
		"pkcs11:?module-name=" + pin,
		"pkcs11:?x-coffer-check=" + pin,
		pin,
	} {
		if u, err := ParseURI(text); err == nil || strings.Contains(fmt.Sprintf("%v %+v", err, u), pin) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
