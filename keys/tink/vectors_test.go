package tink

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path"
	"strings"
	"testing"

	"github.com/coffer-backup/coffer/engine"
	"github.com/coffer-backup/coffer/keys"
	"github.com/coffer-backup/coffer/vectors"
	"github.com/coffer-backup/coffer/vectors/conformance"
)

// A way reads a container to its end.
type way struct {
	name string
	mode conformance.Mode
	read func(ctx context.Context, container []byte, with []keys.Identity, opts *engine.ReaderOptions) ([]byte, error)
}

var ways = []way{
	{"stream", conformance.Stream, func(ctx context.Context, container []byte, with []keys.Identity, opts *engine.ReaderOptions) ([]byte, error) {
		r, err := engine.NewReader(ctx, bytes.NewReader(container), with, opts)
		if err != nil {
			return nil, err
		}
		defer r.Close()
		return io.ReadAll(r)
	}},
	{"random", conformance.Random, func(ctx context.Context, container []byte, with []keys.Identity, opts *engine.ReaderOptions) ([]byte, error) {
		f, err := engine.Open(ctx, bytes.NewReader(container), int64(len(container)), with, opts)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return io.ReadAll(io.NewSectionReader(f, 0, f.Size()))
	}},
}

// class is the verdict in err. The cases of kind 4 have but these.
func class(err error) vectors.Class {
	switch {
	case err == nil:
		return vectors.OK
	case errors.Is(err, keys.ErrNoMatch):
		return vectors.NoKey
	}
	return "another"
}

// tinkCases are the conformance vectors that need kind 4, with the key of each.
func tinkCases(tb testing.TB) map[*vectors.Case][]byte {
	tb.Helper()
	manifest, err := vectors.Load()
	if err != nil {
		tb.Fatal(err)
	}
	cases := make(map[*vectors.Case][]byte)
	for i := range manifest.Cases {
		c := &manifest.Cases[i]
		if c.Needs != "kind-4" {
			continue
		}
		for _, k := range c.Inputs.OtherKeys {
			if k.Kind != 4 || k.Type != "aes-256" {
				tb.Fatalf("%s: a key of kind %d, %s", c.File, k.Kind, k.Type)
			}
			cases[c] = k.Key
		}
	}
	if len(cases) < 2 {
		tb.Fatalf("%d cases need kind 4", len(cases))
	}
	return cases
}

// TestVectors opens the conformance vectors by Tink itself. Those with slots of other
// kinds besides need their keys, too.
func TestVectors(t *testing.T) {
	opened := 0
	for c, raw := range tinkCases(t) {
		key, _, err := ReadKeyset(keysetJSON(raw, 1), nil)
		if err != nil {
			t.Fatal(err)
		}
		with := []keys.Identity{key}
		for _, k := range c.Inputs.AccountKeys {
			with = append(with, must(keys.AccountKeyFrom(k)))
		}
		container := must(vectors.Files.ReadFile(c.File))
		for _, w := range ways {
			plain, err := w.read(t.Context(), container, with, &engine.ReaderOptions{Context: c.Inputs.Context})
			rules := conformance.Rules{Mode: w.mode, Exact: true}
			if err := rules.Judge(c, class(err), plain); err != nil {
				t.Errorf("%s, %s: %v", c.File, w.name, err)
			}
			if err == nil {
				opened++
			}
		}
	}
	if opened == 0 {
		t.Error("no container was opened")
	}
}

// TestFixedKeyset opens a container that was written once with a keyset that was. Both
// stay as they are.
func TestFixedKeyset(t *testing.T) {
	file, err := os.ReadFile("testdata/keyset.json")
	if err != nil {
		t.Fatal(err)
	}
	key, cleartext, err := ReadKeyset(file, nil)
	if err != nil || !cleartext {
		t.Fatalf("%v, %v", cleartext, err)
	}
	found := false
	for c := range tinkCases(t) {
		if !strings.HasSuffix(path.Base(c.File), "_other-tink.coffer") {
			continue
		}
		found = true
		container := must(vectors.Files.ReadFile(c.File))
		for _, w := range ways {
			if plain, err := w.read(t.Context(), container, []keys.Identity{key}, nil); err != nil || !bytes.Equal(plain, c.Plaintext.Bytes()) {
				t.Errorf("%s: %d bytes, %v", w.name, len(plain), err)
			}
		}
	}
	if !found {
		t.Error("the vector is not there")
	}
}

// TestContainer writes for a Tink key and an account key, and opens with each.
func TestContainer(t *testing.T) {
	const text = "to be kept"
	account, remote := keys.GenerateAccountKey(), newService()
	key := New(remote, &Options{Name: "backup key"})
	var backup bytes.Buffer
	w, err := engine.NewWriter(t.Context(), &backup, []keys.Recipient{key.WithAlias("zürich"), account}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	stranger := New(newService(), nil)
	broken := New(&service{encrypt: down, decrypt: down}, &Options{Name: "broken key"})
	for name, tt := range map[string]struct {
		with []keys.Identity
		err  error // nil: opens
	}{
		"Tink":                 {[]keys.Identity{key}, nil},
		"account":              {[]keys.Identity{account}, nil},
		"both":                 {[]keys.Identity{key, account}, nil},
		"stranger":             {[]keys.Identity{stranger}, keys.ErrNoMatch},
		"stranger and account": {[]keys.Identity{stranger, account}, nil},
		"broken":               {[]keys.Identity{broken}, errDown},
		"broken and stranger":  {[]keys.Identity{broken, stranger}, errDown},
		"broken and Tink":      {[]keys.Identity{broken, key}, nil},
		"broken and account":   {[]keys.Identity{broken, account}, nil},
	} {
		for _, w := range ways {
			plain, err := w.read(t.Context(), backup.Bytes(), tt.with, nil)
			if !errors.Is(err, tt.err) || tt.err == nil && string(plain) != text {
				t.Errorf("%s, %s: %q, %v", name, w.name, plain, err)
			}
			if tt.err == errDown && (errors.Is(err, keys.ErrNoMatch) || !strings.Contains(err.Error(), "broken key")) {
				t.Errorf("%s, %s: %v", name, w.name, err)
			}
		}
	}
	// A writer whose KMS is down makes no container.
	if _, err := engine.NewWriter(t.Context(), io.Discard, []keys.Recipient{broken, account}, nil); !errors.Is(err, errDown) {
		t.Errorf("writing for a key that does not work: %v", err)
	}
}
