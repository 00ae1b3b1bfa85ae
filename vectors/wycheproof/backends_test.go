package wycheproof_test

import (
	"bytes"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/coffer-backup/coffer/backends"
	"github.com/coffer-backup/coffer/backends/aesni"
	"github.com/coffer-backup/coffer/backends/auto"
	"github.com/coffer-backup/coffer/backends/software"
	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/internal/need"
)

// implementations has each backend, by its folder, and the suites that it offers
// where it can run at all. A backend that is added is added here.
var implementations = map[string]struct {
	backend func(*testing.T) backends.Backend
	suites  []format.Suite
}{
	"backends/aesni":    {func(*testing.T) backends.Backend { return aesni.New() }, []format.Suite{format.AES256GCM}},
	"backends/pkcs11":   {softHSM, []format.Suite{format.AES256GCM}},
	"backends/software": {func(*testing.T) backends.Backend { return software.New() }, []format.Suite{format.ChaCha20Poly1305, format.AES256GCM}},
}

// files has the vectors of each suite, and how many of them there are: with keys,
// nonces and tags of our sizes, and with other keys.
var files = map[format.Suite]struct {
	name      string
	ours      counts
	otherKeys int // AES-128 and AES-192
}{
	format.AES256GCM:        {"aes_gcm_test.json", counts{valid: 39, invalid: 27}, 211},
	format.ChaCha20Poly1305: {"chacha20_poly1305_test.json", counts{valid: 256, invalid: 60}, 0},
}

type aeadGroup struct {
	IVSize, KeySize, TagSize int // in bits
	Tests                    []aeadVector
}

type aeadVector struct {
	TcID                       int
	Key, IV, AAD, Msg, Ct, Tag hexBytes
	Result                     string
}

func TestBackends(t *testing.T) {
	for folder, impl := range implementations {
		t.Run(path.Base(folder), func(t *testing.T) {
			backend := impl.backend(t)
			suites := backend.Suites()
			need.That(t, len(suites) > 0, "needs a machine that has what "+folder+" uses")
			if !slices.Equal(suites, impl.suites) {
				t.Errorf("the suites are %v, want %v", suites, impl.suites)
			}
			for _, suite := range suites {
				t.Run(suite.String(), func(t *testing.T) { runFile(t, backend, suite) })
			}
		})
	}
	for suite := range files {
		t.Run("auto/"+suite.String(), func(t *testing.T) {
			b, err := auto.Select(suite)
			if err != nil {
				t.Fatal(err)
			}
			runFile(t, b, suite)
		})
	}
}

// TestListIsComplete looks for backends, that is, for methods named NewAEAD, in all
// our modules.
func TestListIsComplete(t *testing.T) {
	root := filepath.Join("..", "..")
	found := map[string]bool{}
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := d.Name(); d.IsDir() && file != root && (name[0] == '.' || name == "testdata") {
			return filepath.SkipDir
		} else if filepath.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, decl := range parsed.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv != nil && f.Name.Name == "NewAEAD" {
				folder, err := filepath.Rel(root, filepath.Dir(file))
				if err != nil {
					return err
				}
				found[filepath.ToSlash(folder)] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for folder := range found {
		if _, ok := implementations[folder]; !ok {
			t.Errorf("%s has a backend that is not run", folder)
		}
	}
	for folder := range implementations {
		if !found[folder] {
			t.Errorf("%s has no backend", folder)
		}
	}
}

func runFile(t *testing.T, b backends.Backend, suite format.Suite) {
	file, ok := files[suite]
	if !ok {
		t.Fatalf("there are no vectors for %v", suite)
	}
	var ran counts
	otherKeys := 0
	for _, g := range load[aeadGroup](t, file.name) {
		for _, v := range g.Tests {
			switch {
			case g.KeySize != 8*backends.KeySize:
				otherKeys++
				if aead, err := b.NewAEAD(t.Context(), suite, v.Key); err == nil {
					aead.Close()
					t.Errorf("%d: a key of %d bits was accepted", v.TcID, g.KeySize)
				}
			case g.IVSize == 8*backends.NonceSize && g.TagSize == 8*backends.Overhead:
				aead, err := b.NewAEAD(t.Context(), suite, v.Key)
				if err != nil {
					t.Fatalf("%d: %v", v.TcID, err)
				}
				if ran.add(t, v.Result) {
					v.checkValid(t, aead)
				} else {
					v.checkInvalid(t, aead)
				}
				if err := aead.Close(); err != nil {
					t.Errorf("%d: %v", v.TcID, err)
				}
			}
			// The rest has nonces of other sizes, which callers of an AEAD never pass.
		}
	}
	if ran != file.ours || otherKeys != file.otherKeys {
		t.Errorf("ran %+v and %d with other keys, of %+v and %d", ran, otherKeys, file.ours, file.otherKeys)
	}
}

func (v *aeadVector) sealed() []byte { return slices.Concat(v.Ct, v.Tag) }

func (v *aeadVector) checkValid(t *testing.T, aead backends.AEAD) {
	nonce, ad := bytes.Clone(v.IV), bytes.Clone(v.AAD)
	for _, p := range places(v.Msg) {
		before := bytes.Clone(p.dst)
		out, err := aead.Seal(p.dst, nonce, p.in, ad)
		if err != nil || !bytes.Equal(out, slices.Concat(before, v.sealed())) {
			t.Errorf("%d: sealing %s: %x, %v", v.TcID, p.name, out, err)
		}
	}
	for _, p := range places(v.sealed()) {
		before := bytes.Clone(p.dst)
		out, err := aead.Open(p.dst, nonce, p.in, ad)
		if err != nil || !bytes.Equal(out, slices.Concat(before, v.Msg)) {
			t.Errorf("%d: opening %s: %x, %v", v.TcID, p.name, out, err)
		}
	}
	if !bytes.Equal(nonce, v.IV) || !bytes.Equal(ad, v.AAD) {
		t.Errorf("%d: nonce or associated data were changed", v.TcID)
	}
}

// checkInvalid demands that the message is refused, that each byte of dst's memory
// is zero or what it was, and that sealing does not give the message either.
func (v *aeadVector) checkInvalid(t *testing.T, aead backends.AEAD) {
	for _, p := range places(v.sealed()) {
		mem := p.dst[:cap(p.dst)]
		before := bytes.Clone(mem)
		out, err := aead.Open(p.dst, v.IV, p.in, v.AAD)
		if !errors.Is(err, backends.ErrAuth) || len(out) != 0 {
			t.Errorf("%d: opening %s: %x, %v, want ErrAuth", v.TcID, p.name, out, err)
		}
		for i, b := range mem {
			if b != before[i] && (b != 0 || i < len(p.dst)) {
				t.Fatalf("%d: opening %s: output was left in dst's memory", v.TcID, p.name)
			}
		}
	}
	if out, err := aead.Seal(nil, v.IV, v.Msg, v.AAD); err != nil || bytes.Equal(out, v.sealed()) {
		t.Errorf("%d: sealing: %x, %v", v.TcID, out, err)
	}
}

// A place is dst and input as they may lie in memory.
type place struct {
	name    string
	dst, in []byte
}

func places(in []byte) []place {
	const prefix = format.PackageHeaderSize
	apart := bytes.Repeat([]byte{0xa5}, prefix+len(in)+backends.Overhead)
	same := bytes.Clone(apart)
	copy(same[prefix:], in)
	return []place{
		{"to new memory", nil, bytes.Clone(in)},
		{"to dirty memory", apart[:prefix], bytes.Clone(in)},
		{"in place", same[:prefix], same[prefix : prefix+len(in)]},
	}
}
