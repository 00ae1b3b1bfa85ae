package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

const mutantPackage = "github.com/coffer-backup/coffer/internal/mutate/mutant"

// A source is a package with its files.
type source struct {
	ImportPath string
	Dir        string
	Export     string // file with the types that others see
	GoFiles    []string
	DepOnly    bool
	Module     *struct {
		Dir  string
		Main bool
	}

	files []*ast.File
	info  *types.Info
}

// folder is where the package lies below the module's root, with slashes.
func (p *source) folder() string {
	rel, err := filepath.Rel(p.Module.Dir, p.Dir)
	if err != nil {
		panic(err) // both come from go list
	}
	return filepath.ToSlash(rel)
}

// load parses the packages that patterns name, and those of their module that they
// import, each after what it imports.
func load(patterns []string) (sources []*source, fset *token.FileSet, err error) {
	cmd := exec.Command("go", append([]string{"list", "-export", "-deps", "-json=ImportPath,Dir,Export,GoFiles,DepOnly,Module", "--"}, patterns...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, nil, fmt.Errorf("go list: %w", err)
	}
	exports := make(map[string]string)
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		p := new(source)
		if err := d.Decode(p); err == io.EOF {
			break
		} else if err != nil {
			return nil, nil, err
		}
		exports[p.ImportPath] = p.Export
		if p.Module != nil && p.Module.Main {
			sources = append(sources, p)
		}
	}
	fset = token.NewFileSet()
	conf := types.Config{Importer: importer.ForCompiler(fset, "gc", func(path string) (io.ReadCloser, error) {
		return os.Open(exports[path])
	})}
	for _, p := range sources {
		for _, name := range p.GoFiles {
			f, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				return nil, nil, err
			}
			p.files = append(p.files, f)
		}
		p.info = &types.Info{Types: make(map[ast.Expr]types.TypeAndValue), Defs: make(map[*ast.Ident]types.Object), Uses: make(map[*ast.Ident]types.Object)}
		if _, err := conf.Check(p.ImportPath, fset, p.files, p.info); err != nil {
			return nil, nil, err
		}
	}
	return sources, fset, nil
}

// instrument finds the checks of the sources that patterns named. A file that has
// some is replaced by one in which each can be turned off.
func instrument(sources []*source, fset *token.FileSet) (checks []check, replaced map[string][]byte, err error) {
	known := newVerdicts()
	for before := -1; before != known.size(); { // until nothing more is learned
		before = known.size()
		checks, replaced = nil, make(map[string][]byte)
		for _, p := range sources {
			for _, file := range p.files {
				path := fset.Position(file.Package).Filename
				src, err := os.ReadFile(path)
				if err != nil {
					return nil, nil, err
				}
				f := &finder{verdicts: known, info: p.info, fset: fset, src: src, pkg: p.ImportPath, name: p.folder() + "/" + filepath.Base(path), first: len(checks)}
				if f.find(file); len(f.checks) > 0 && !p.DepOnly {
					checks = append(checks, f.checks...)
					replaced[path] = f.instrumented(file)
				}
			}
		}
	}
	return checks, replaced, nil
}
