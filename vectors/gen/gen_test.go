package main

import (
	"bytes"
	"io/fs"
	"maps"
	"slices"
	"testing"

	"github.com/coffer-backup/coffer/vectors"
)

// What is committed is what the generator makes, to the byte.
func TestRegenerates(t *testing.T) {
	f, err := loadFixtures("testdata/fixtures.json")
	if err != nil {
		t.Fatal(err)
	}
	made := generate(f)
	var committed []string
	err = fs.WalkDir(vectors.Files, ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			committed = append(committed, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if names := slices.Sorted(maps.Keys(made)); !slices.Equal(names, committed) {
		t.Errorf("the generator makes %d files, %d are committed", len(names), len(committed))
	}
	for _, name := range committed {
		b, err := vectors.Files.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b, made[name]) {
			t.Errorf("%s: what is committed is not what the generator makes", name)
		}
	}
	if len(f.used) != len(f.values) {
		t.Errorf("%d fixtures are used of %d", len(f.used), len(f.values))
	}
}
