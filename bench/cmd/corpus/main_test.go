package main

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/coffer-backup/coffer/bench/corpus"
)

func TestRun(t *testing.T) {
	dir := t.TempDir()
	file, tree := filepath.Join(dir, "file"), filepath.Join(dir, "tree")
	want, err := corpus.Bytes("logs", 100_000, 3)
	if err != nil {
		t.Fatal(err)
	}
	var stdout bytes.Buffer
	if err := run([]string{"-size", "100kB", "-seed", "3", "logs"}, &stdout, io.Discard); err != nil || !bytes.Equal(stdout.Bytes(), want) {
		t.Errorf("stdout has %d bytes of %d, %v", stdout.Len(), len(want), err)
	}
	args := []string{"-o", file, "-size", "100000", "-seed", "3", "logs"}
	if err := run(args, nil, io.Discard); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the file has %d bytes of %d, %v", len(got), len(want), err)
	}
	if err := run(args, nil, io.Discard); !errors.Is(err, fs.ErrExist) {
		t.Errorf("replacing a file: %v", err)
	}
	if err := run([]string{"-n", "7", "smallfiles", tree}, nil, io.Discard); err != nil {
		t.Fatal(err)
	}
	files := 0
	err = filepath.WalkDir(tree, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files++
		}
		return err
	})
	if err != nil || files != 7 {
		t.Errorf("%d small files, %v", files, err)
	}
}

func TestRunRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	for _, args := range [][]string{
		{}, {"logs", "chat"}, {"smallfiles"}, {"-o", file, "smallfiles", file}, {"-size", "1MB", "smallfiles", file}, {"-x"},
	} {
		if err := run(args, io.Discard, io.Discard); !errors.Is(err, flag.ErrHelp) && args[0] != "-x" || err == nil {
			t.Errorf("%q: %v", args, err)
		}
	}
	for _, args := range [][]string{{"-o", file, "no-such"}, {"-o", file, "-size", "1kB", "chat"}, {"-size", "1XB", "logs"}} {
		if err := run(args, io.Discard, io.Discard); err == nil {
			t.Errorf("%q: no error", args)
		}
	}
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a refused command leaves a file: %v", err)
	}
}
