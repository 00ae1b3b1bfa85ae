package arch

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// program is what a small program that embeds the engine looks like.
const program = `package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"

	"github.com/coffer-backup/coffer/engine"
	"github.com/coffer-backup/coffer/keys"
)

func run() error {
	ctx, key := context.Background(), keys.GenerateAccountKey()
	var file bytes.Buffer
	w, err := engine.NewWriter(ctx, &file, []keys.Recipient{key}, nil)
	if err != nil {
		return err
	}
	defer w.Abort()
	if _, err := io.WriteString(w, "a backup is as good as its restore"); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	r, err := engine.NewReader(ctx, &file, []keys.Identity{key}, nil)
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.Copy(os.Stdout, r)
	return err
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
`

// TestEmbedding builds a program outside of our modules that imports the engine,
// from the module cache alone, and looks at what came along.
func TestEmbedding(t *testing.T) {
	ours, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	sums, err := os.ReadFile(filepath.Join(ours, "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, text := range map[string]string{
		"main.go": program,
		"go.mod":  "module example.com/small\n\ngo 1.26.0\n\nrequire " + module + " v0.0.0\n\nreplace " + module + " => " + ours + "\n",
		"go.sum":  string(sums),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	run := func(cgo, name string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=mod", "GOPROXY=off", "CGO_ENABLED="+cgo)
		out, err := cmd.Output()
		if err != nil {
			var stderr []byte
			if exit, ok := err.(*exec.ExitError); ok {
				stderr = exit.Stderr
			}
			t.Fatalf("%s: %v\n%s", cmd, err, stderr)
		}
		return string(out)
	}

	run("0", "go", "build", "-o", "small.exe", ".")
	if out := run("0", filepath.Join(dir, "small.exe")); out != "a backup is as good as its restore" {
		t.Errorf("the program says %q", out)
	}
	deps := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^\tdep\t(\S+)`).FindAllStringSubmatch(run("0", "go", "version", "-m", "small.exe"), -1) {
		deps[m[1]] = true
	}
	want := []string{module, "github.com/cespare/xxhash/v2", "github.com/klauspost/compress", "golang.org/x/crypto", "golang.org/x/sys"}
	slices.Sort(want)
	if got := slices.Sorted(maps.Keys(deps)); !slices.Equal(got, want) {
		t.Errorf("the program has the modules\n%q, want\n%q", got, want)
	}

	// With cgo on, so that what would use it if it could is seen.
	for pkg := range strings.SplitSeq(run("1", "go", "list", "-deps", "-f", "{{.ImportPath}} {{len .CgoFiles}}", "."), "\n") {
		name, cgoFiles, _ := strings.Cut(pkg, " ")
		_, limited := onlyIn[name]
		if limited || name == "runtime/cgo" || name != "" && cgoFiles != "0" {
			t.Errorf("the program gets package %s, with %s files of cgo", name, cgoFiles)
		}
	}
}
