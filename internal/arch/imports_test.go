package arch

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/coffer-backup/coffer"

// root is the folder of the root module, from here.
var root = filepath.Join("..", "..")

// allowed names, for each of our packages, those of ours that its code (not its
// tests) may import: format ← keys ← backends ← engine ← archive ← cmd, and
// keys, backends/pkcs11 ← vault ← cmd. What is not
// here is not allowed; a new package needs a line.
var allowed = map[string][]string{
	"format": {},
	"keys":   {"format"},

	"keys/tink": {"format", "keys"},

	"backends":              {"format"},
	"backends/backendtest":  {"format", "backends", "backends/selftest"},
	"backends/selftest":     {"format", "backends"},
	"backends/internal/std": {"format", "backends"},
	"backends/software":     {"format", "backends", "backends/internal/std"},
	"backends/aesni":        {"format", "backends", "backends/internal/std"},
	"backends/auto":         {"format", "backends", "backends/software", "backends/aesni"},

	// It wraps file keys too, which no other backend does.
	"backends/pkcs11": {"format", "keys", "backends", "backends/selftest"},

	"internal/arch":      {},
	"internal/dare":      {"format", "backends"},
	"internal/durable":   {},
	"internal/need":      {},
	"internal/spool":     {},
	"internal/tokentest": {"internal/need"},

	// It builds the tests of others with checks taken out.
	"internal/mutate":        {"internal/mutate/mutant"},
	"internal/mutate/mutant": {},

	// Of the backends only those that need no token: others are the caller's to pass.
	"engine":                {"format", "keys", "backends", "backends/auto", "internal/dare", "internal/spool"},
	"engine/compressortest": {"format", "keys", "engine", "internal/need"},
	"engine/libzstd":        {"format", "engine"},

	// It knows a container as an io.Writer and an io.Reader.
	"archive":             {"format", "internal/durable"},
	"archive/archivetest": {},

	"cmd/coffer": {"format", "keys", "keys/tink", "backends", "backends/auto", "backends/pkcs11", "backends/selftest", "engine", "engine/libzstd", "archive", "internal/durable", "vault", "vault/evaluator", "vault/evaluator/hsm", "vault/httpapi", "vault/store", "vault/store/bolt", "vault/wire"},

	"vault": {"keys", "vault/wire", "vault/evaluator", "vault/store", "vault/internal/codec", "vault/internal/machine", "vault/internal/opaque3dh"},

	"vault/evaluator":               {},
	"vault/evaluator/evaluatortest": {"vault/evaluator", "vault/internal/opaque3dh"},
	"vault/evaluator/hsm":           {"backends", "backends/pkcs11", "vault/evaluator"},
	"vault/httpapi":                 {"vault", "vault/wire"},
	"vault/internal/codec":          {},
	"vault/internal/machine":        {"vault/evaluator", "vault/internal/codec", "vault/store", "vault/wire"},
	"vault/internal/opaque3dh":      {"vault/evaluator"},
	"vault/interop":                 {}, // tests alone
	"vault/process":                 {}, // tests alone
	"vault/store":                   {},
	"vault/store/bolt":              {"internal/durable", "vault/store"},
	"vault/store/storetest":         {"vault/store"},
	"vault/wire":                    {"vault/internal/codec"},

	// The builder shares no code with what it is there to judge.
	"vectors":                 {},
	"vectors/build":           {},
	"vectors/gen":             {"vectors", "vectors/build"},
	"vectors/conformance":     {"vectors"},
	"vectors/conformance/run": {"vectors/conformance"},

	"fuzz": {}, // tests alone

	"bench":            {}, // tests alone
	"bench/cmd/corpus": {"bench/corpus"},
	"bench/cmd/peers":  {"bench/comparison", "bench/corpus"},
	"bench/cmd/report": {"bench/comparison", "bench/corpus"},
	"bench/comparison": {"bench/corpus"},
	"bench/corpus":     {},

	"vectors/interop":    {},
	"vectors/wycheproof": {},
}

// onlyIn names packages by which code gets out of its process or out of Go, and who of
// ours may import them.
var onlyIn = map[string][]string{
	"C":        {"backends/pkcs11"}, // the reason why a library does not load
	"net":      {"cmd/coffer", "vault/httpapi"},
	"net/http": {"vault/httpapi"},
	"os/exec":  {"bench/cmd/peers", "cmd/coffer", "engine/compressortest", "internal/mutate", "internal/need", "internal/tokentest", "vectors/conformance", "vectors/gen"},
	"plugin":   {},

	"github.com/DataDog/zstd": {"engine/libzstd"},
	"github.com/miekg/pkcs11": {"backends/pkcs11", "internal/tokentest"},
}

func TestImports(t *testing.T) {
	seen := map[string]bool{}
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if file != root && (strings.HasPrefix(name, ".") || name == "testdata") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		dir, err := filepath.Rel(root, filepath.Dir(file))
		if err != nil {
			return err
		}
		pkg := filepath.ToSlash(dir)
		edges, known := allowed[pkg]
		if !known && !seen[pkg] {
			t.Errorf("package %s has no line in the table of allowed imports", pkg)
		}
		seen[pkg] = true
		if strings.HasSuffix(name, "_test.go") {
			return nil
		}
		// Files of every system and build tag count.
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range f.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			ours, isOurs := strings.CutPrefix(imported, module+"/")
			if isOurs && !slices.Contains(edges, ours) {
				t.Errorf("%s: %s may not import %s", path.Join(pkg, name), pkg, ours)
			}
			if who, limited := onlyIn[imported]; limited && !slices.Contains(who, pkg) {
				t.Errorf("%s: %s may not import %q", path.Join(pkg, name), pkg, imported)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for pkg := range allowed {
		if !seen[pkg] {
			t.Errorf("the table of allowed imports has package %s, which is not there", pkg)
		}
	}
}

// TestTableHasNoCycle: the table itself points one way.
func TestTableHasNoCycle(t *testing.T) {
	var visit func(pkg string, above []string)
	visit = func(pkg string, above []string) {
		if slices.Contains(above, pkg) {
			t.Fatalf("the table has a cycle: %s", strings.Join(append(above, pkg), " → "))
		}
		for _, edge := range allowed[pkg] {
			visit(edge, append(slices.Clip(above), pkg))
		}
	}
	for pkg := range allowed {
		visit(pkg, nil)
	}
}
