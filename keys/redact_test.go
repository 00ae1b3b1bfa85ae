package keys_test

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/coffer-backup/coffer/keys"
)

// renderings prints v in every way that somebody might by mistake.
func renderings(v any) map[string]string {
	out := map[string]string{"Sprint": fmt.Sprint(v), "Errorf": fmt.Errorf("using %v: %w", v, keys.ErrNoMatch).Error()}
	for _, verb := range "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ!" {
		for _, flags := range []string{"", "+", "#", "# ", "-40.9", "[1]*[1]", "%"} { // the last: an argument too many
			f := "%" + flags + string(verb)
			out[f] = fmt.Sprintf(f, v)
		}
	}
	var text, js bytes.Buffer
	slog.New(slog.NewTextHandler(&text, nil)).Info("opening", "key", v, slog.Group("group", "key", v))
	slog.New(slog.NewJSONHandler(&js, nil)).Info("opening", "key", v, slog.Group("group", "key", v))
	out["slog text"], out["slog JSON"] = text.String(), js.String()
	if b, err := json.Marshal(v); err == nil {
		out["json"] = string(b)
	}
	return out
}

// shapes returns v as programs hold it.
func shapes[T any](v *T) map[string]any {
	type exported struct {
		Pointer *T
		Value   T
	}
	type unexported struct {
		pointer *T
		value   T
		any     any
	}
	type embedded struct{ Inner unexported }
	s := unexported{v, *v, v}
	return map[string]any{
		"pointer": v, "value": *v, "pointer to pointer": &v,
		"exported": exported{v, *v}, "pointer to exported": &exported{v, *v},
		"unexported": s, "pointer to unexported": &s, "nested": embedded{s}, "pointer to nested": &embedded{s},
		"slice": []T{*v}, "pointers": []*T{v}, "array": [1]T{*v}, "pointer to array": &[1]T{*v},
		"map": map[string]T{"k": *v}, "map of pointers": map[string]*T{"k": v}, "anys": []any{v, *v, s},
	}
}

// traces are the ways in which any 4 bytes of a secret in a row can show.
type traces struct {
	text    []string // raw, as runes, in base64
	packed  []string // in hex, all else taken away
	numbers []string // to base 2, 8, 10 or 16, with a blank on each side
}

func tracesOf(secret []byte) (s traces) {
	for i := range len(secret) - 3 {
		w := secret[i : i+4]
		var runes, spaced string
		for _, b := range w {
			runes += string(rune(b))
			spaced += string(rune(b)) + " "
		}
		s.text = append(s.text, string(w), runes, spaced)
		s.packed = append(s.packed, hexOf(w))
		for _, base := range []int{2, 8, 10, 16} {
			list := " "
			for _, b := range w {
				list += strconv.FormatInt(int64(b), base) + " "
			}
			s.numbers = append(s.numbers, list)
		}
	}
	for i := range len(secret) - 5 {
		w := secret[i : i+6]
		s.text = append(s.text, base64.StdEncoding.EncodeToString(w), base64.URLEncoding.EncodeToString(w))
	}
	return s
}

var (
	notHex = regexp.MustCompile(`0x|u\+00|[^0-9a-f]`)
	number = regexp.MustCompile(`[0-9a-f]+`)
)

func (s traces) in(out string) bool {
	lower := strings.ToLower(out)
	packed := notHex.ReplaceAllString(lower, "")
	numbers := " " + strings.Join(number.FindAllString(strings.ReplaceAll(lower, "0x", " "), -1), " ") + " "
	contains := func(where string) func(string) bool {
		return func(s string) bool { return strings.Contains(where, s) }
	}
	return slices.ContainsFunc(s.text, contains(out)) || slices.ContainsFunc(s.packed, contains(packed)) || slices.ContainsFunc(s.numbers, contains(numbers))
}

func TestRedaction(t *testing.T) {
	secret := sum([]byte("nobody may see this")) // fixed, and like no text
	pass := []byte("zwölf Boxkämpfer jagen Viktor")
	fk := must(keys.FileKeyFrom(secret))
	schedule, prk := keys.NewSchedule(fk, new([32]byte)), must(hkdf.Extract(sha256.New, secret, make([]byte, 32)))
	check := func(name string, secret []byte, shapes map[string]any) {
		traces := tracesOf(secret)
		for shape, v := range shapes {
			for how, out := range renderings(v) {
				if traces.in(out) {
					t.Errorf("%s, %s, by %s: %s", name, shape, how, out)
				}
			}
		}
	}
	check("AccountKey", secret, shapes(must(keys.AccountKeyFrom(secret))))
	check("FileKey", secret, shapes(fk))
	check("Passphrase", pass, shapes(must(keys.NewPassphrase(pass))))
	check("Schedule", prk, shapes(schedule))
	ak := must(keys.AccountKeyFrom(secret))
	withID := ak.WithID()
	check("WithID", secret, shapes(&withID))
}

// TestRedactedText says what is printed instead.
func TestRedactedText(t *testing.T) {
	ak := keys.GenerateAccountKey()
	for _, v := range []any{ak, *ak, keys.NewFileKey(), passphrase(t, "correct horse")} {
		for _, verb := range []string{"%v", "%s", "%x", "%#v", "%d", "%q"} {
			if out := fmt.Sprintf(verb, v); out != "[redacted]" {
				t.Errorf("%T by %s is %q", v, verb, out)
			}
		}
		if b, err := json.Marshal(v); err != nil || string(b) != `"[redacted]"` {
			t.Errorf("%T in JSON is %s, %v", v, b, err)
		}
	}
	if out := fmt.Sprint((*keys.AccountKey)(nil)); out != "<nil>" {
		t.Errorf("a nil key is %q", out)
	}
}

// TestTracesAreFound proves the search of TestRedaction by what is not redacted.
func TestTracesAreFound(t *testing.T) {
	secret := sum([]byte("nobody may see this"))
	for _, verb := range []string{"%v", "%+v", "%#v", "%d", "%s", "%x", "%X", "% x", "%# X", "%o", "%b", "%c", "%U"} {
		for _, v := range []any{secret, [32]byte(secret), struct{ b []byte }{secret}} {
			if out := fmt.Sprintf(verb, v); !tracesOf(secret).in(out) {
				t.Errorf("%T by %s is not found in %q", v, verb, out)
			}
		}
	}
	if out := string(must(json.Marshal(secret))); !tracesOf(secret).in(out) {
		t.Errorf("not found in %s", out)
	}
	if out := string(must(json.Marshal([32]byte(secret)))); !tracesOf(secret).in(out) {
		t.Errorf("not found in %s", out)
	}
}
