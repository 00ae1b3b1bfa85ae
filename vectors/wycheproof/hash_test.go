package wycheproof_test

import (
	"bytes"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// What package keys exports derives with fixed labels, which no published vector
// has. So the vectors are run against the functions that it calls, and
// TestKeysCallsThese holds that it calls no others.

type hkdfGroup struct {
	Tests []struct {
		TcID            int
		IKM, Salt, Info hexBytes
		Size            int
		OKM             hexBytes
		Result          string
	}
}

func TestHKDF(t *testing.T) {
	var ran counts
	for _, g := range load[hkdfGroup](t, "hkdf_sha256_test.json") {
		for _, v := range g.Tests {
			valid := ran.add(t, v.Result)
			prk, err := hkdf.Extract(sha256.New, v.IKM, v.Salt)
			if err != nil {
				t.Fatalf("%d: Extract: %v", v.TcID, err)
			}
			halves, err := hkdf.Expand(sha256.New, prk, string(v.Info), v.Size)
			if (err == nil) != valid || valid && !bytes.Equal(halves, v.OKM) {
				t.Errorf("%d: Expand: %x, %v", v.TcID, halves, err)
			}
			whole, err := hkdf.Key(sha256.New, v.IKM, v.Salt, string(v.Info), v.Size)
			if (err == nil) != valid || valid && !bytes.Equal(whole, v.OKM) {
				t.Errorf("%d: Key: %x, %v", v.TcID, whole, err)
			}
		}
	}
	if want := (counts{valid: 83, invalid: 3}); ran != want {
		t.Errorf("ran %+v of %+v", ran, want)
	}
}

type hmacGroup struct {
	TagSize int // in bits; keys never cuts a tag
	Tests   []struct {
		TcID          int
		Key, Msg, Tag hexBytes
		Result        string
	}
}

func TestHMAC(t *testing.T) {
	var ran counts
	for _, g := range load[hmacGroup](t, "hmac_sha256_test.json") {
		for _, v := range g.Tests {
			m := hmac.New(sha256.New, v.Key)
			m.Write(v.Msg)
			sum := m.Sum(nil)[:g.TagSize/8]
			if equal := subtle.ConstantTimeCompare(sum, v.Tag) == 1; equal != ran.add(t, v.Result) {
				t.Errorf("%d: %x, want %s %x", v.TcID, sum, v.Result, v.Tag)
			}
		}
	}
	if want := (counts{valid: 66, invalid: 108}); ran != want {
		t.Errorf("ran %+v of %+v", ran, want)
	}
}

// TestKeysCallsThese lists the cryptography that package keys imports, and its calls
// of what was tested above.
func TestKeysCallsThese(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "..", "keys", "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	imports, calls := map[string]bool{}, map[string]bool{}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range parsed.Imports {
			if strings.Contains(spec.Path.Value, "crypto") {
				if spec.Name != nil {
					t.Errorf("%s: %s has another name", file, spec.Path.Value)
				}
				imports[strings.Trim(spec.Path.Value, `"`)] = true
			}
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				if f := selector(call.Fun); strings.HasPrefix(f, "hkdf.") || strings.HasPrefix(f, "hmac.") {
					calls[f+" of "+selector(call.Args[0])] = true
				}
			}
			return true
		})
	}
	for _, c := range []struct {
		got  map[string]bool
		want []string
	}{
		{imports, []string{"crypto/hkdf", "crypto/hmac", "crypto/hpke", "crypto/rand", "crypto/sha256", "crypto/subtle", "golang.org/x/crypto/argon2"}},
		{calls, []string{"hkdf.Expand of sha256.New", "hkdf.Extract of sha256.New", "hkdf.Key of sha256.New", "hmac.New of sha256.New"}},
	} {
		if got := slices.Sorted(maps.Keys(c.got)); !slices.Equal(got, c.want) {
			t.Errorf("package keys has\n%q, want\n%q", got, c.want)
		}
	}
}

// selector returns an expression of the form package.Name, or nothing.
func selector(e ast.Expr) string {
	if s, ok := e.(*ast.SelectorExpr); ok {
		if pkg, ok := s.X.(*ast.Ident); ok {
			return pkg.Name + "." + s.Sel.Name
		}
	}
	return ""
}
