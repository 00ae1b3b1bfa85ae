package main

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"path"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/keys"
	"github.com/coffer-backup/coffer/vectors"
	"github.com/coffer-backup/coffer/vectors/conformance"
)

// vectorStatus is what the command says of a class: the table of README.md. Open
// gives the data of a container with a damaged copy, and warns; verify does not.
var vectorStatus = map[vectors.Class]exitStatus{
	vectors.OK: statusOK, vectors.Skew: statusOK, vectors.DamagedCopy: statusOK,
	vectors.NoKey: statusNoKey,
	vectors.Limit: statusFailed, vectors.Version: statusFailed,
	vectors.Magic: statusDamaged, vectors.Header: statusDamaged, vectors.Auth: statusDamaged, vectors.Context: statusDamaged,
	vectors.Truncated: statusDamaged, vectors.Trailing: statusDamaged, vectors.Content: statusDamaged,
}

// inexpressible reports whether a case cannot be put as a command line: it has keys
// that lie in a token, or more than one keyset, options of the engine that have no flag,
// or a context that is no argument.
func inexpressible(in vectors.Inputs) bool {
	keysets := 0
	for _, k := range in.OtherKeys {
		switch format.Kind(k.Kind) {
		case format.KindPKCS11:
			return true
		case format.KindTink:
			keysets++
		}
	}
	return keysets > 1 ||
		in.MinGeneration > 0 || in.MaxMemory > 0 || in.Argon2 != nil ||
		!utf8.Valid(in.Context) || bytes.IndexByte(in.Context, 0) >= 0
}

func TestVectors(t *testing.T) {
	manifest, err := vectors.Load()
	if err != nil {
		t.Fatal(err)
	}
	run := 0
	for i := range manifest.Cases {
		c := &manifest.Cases[i]
		if inexpressible(c.Inputs) {
			continue
		}
		run++
		t.Run(strings.TrimSuffix(path.Base(c.File), ".coffer"), func(t *testing.T) {
			t.Parallel()
			v := newVector(t, c)
			if c.Inputs.Archive {
				v.verify()
			} else {
				v.open()
			}
			v.noTemps()
		})
	}
	if all := len(manifest.Cases); run < all*9/10 {
		t.Errorf("only %d cases of %d can be put as a command line", run, all)
	}
}

// A vector is a case in a place of its own: its container is the file c.
type vector struct {
	place
	*vectors.Case
	flags     []string
	container []byte
}

func newVector(t *testing.T, c *vectors.Case) vector {
	t.Helper()
	v := vector{place: place{t, t.TempDir()}, Case: c}
	var err error
	if v.container, err = vectors.Files.ReadFile(c.File); err != nil {
		t.Fatal(err)
	}
	writeFile(t, v.path("c"), v.container)
	for i, k := range c.Inputs.AccountKeys {
		name := fmt.Sprint("key", i)
		writeFile(t, v.path(name), []byte(hex.EncodeToString(k)+"\n"))
		v.flags = append(v.flags, "--key-file", name)
	}
	for i, p := range c.Inputs.Passphrases {
		name := fmt.Sprint("passphrase", i)
		writeFile(t, v.path(name), append(bytes.Clone(p), '\n')) // one line end is not the passphrase's
		v.flags = append(v.flags, "--passphrase-file", name)
	}
	for i, k := range c.Inputs.OtherKeys {
		v.flags = append(v.flags, v.otherKey(fmt.Sprint("other", i), k)...)
	}
	if c.Inputs.AllowAnonymous {
		v.flags = append(v.flags, "--allow-anonymous")
	}
	if len(c.Inputs.Context) > 0 {
		v.flags = append(v.flags, "--context", string(c.Inputs.Context))
	}
	return v
}

// otherKey writes a key of kind 4 or 5 to a file, and returns the flags for it.
func (v vector) otherKey(name string, k vectors.OtherKey) []string {
	v.t.Helper()
	switch k.Type {
	case "aes-256":
		writeFile(v.t, v.path(name), keysetJSON(k.Key))
		return []string{"--tink-keyset", name}
	case "xwing-seed":
		secret, err := keys.HybridIdentityFrom(k.Key)
		if err != nil {
			v.t.Fatal(err)
		}
		writeFile(v.t, v.path(name), []byte(secret.Text()+"\n"))
		return []string{"--key-file", name}
	}
	v.t.Fatalf("a key of type %q", k.Type)
	return nil
}

// run runs the command with the vector's keys.
func (v vector) run(stdin []byte, args ...string) (code int, stdout []byte, stderr string) {
	v.t.Helper()
	c := v.cmd(append(args, v.flags...)...)
	var b bytes.Buffer
	c.Stdin, c.Stdout = bytes.NewReader(stdin), &b
	code, stderr = status(v.t, c)
	return code, b.Bytes(), stderr
}

// open reads the container from stdin, which is a stream, from its file, and into a
// file, which is there afterwards only if all is well.
func (v vector) open() {
	stream, random := conformance.Rules{Mode: conformance.Stream, Exact: true}, conformance.Rules{Mode: conformance.Random, Exact: true}
	code, stdout, stderr := v.run(v.container, "open")
	v.judge("stdin", stream, v.Case, code, stdout, stderr)

	// Of a file whose end is bad the command gives what comes before, as a stream.
	file := *v.Case
	most := max(file.ReleasedFor(false), file.ReleasedFor(true))
	file.RandomReleased = &most
	code, stdout, stderr = v.run(nil, "open", "c")
	v.judge("file", random, &file, code, stdout, stderr)

	code, stdout, stderr = v.run(nil, "open", "-q", "-o", "out", "c")
	out, err := os.ReadFile(v.path("out"))
	class, _ := random.Want(v.Case)
	switch {
	case len(stdout) > 0:
		v.t.Errorf("-o: %d bytes on stdout", len(stdout))
	case class.Whole():
		v.judge("-o", random, v.Case, code, out, stderr)
	case code != vectorStatus[class].code:
		v.t.Errorf("-o: exit status %d for class %s\n%s", code, class, stderr)
	case !os.IsNotExist(err):
		v.t.Errorf("-o: after class %s the file is there: %d bytes, %v", class, len(out), err)
	}
}

// judge compares an answer with what the case says, and demands a warning of what
// is odd.
func (v vector) judge(way string, rules conformance.Rules, c *vectors.Case, code int, stdout []byte, stderr string) {
	v.t.Helper()
	class, _ := rules.Want(c)
	if want := vectorStatus[class].code; code != want {
		v.t.Errorf("%s: exit status %d, want %d for class %s\n%s", way, code, want, class, stderr)
	}
	if err := rules.Judge(c, class, stdout); err != nil {
		v.t.Errorf("%s: %v\n%s", way, err, stderr)
	}
	warned := false
	for line := range strings.Lines(stderr) {
		ofKeys := strings.Contains(line, "is not encrypted: whoever reads it") || strings.Contains(line, "anyone who has the public key can")
		warned = warned || strings.Contains(line, "warning: ") && !ofKeys
	}
	if odd := class == vectors.Skew || class == vectors.DamagedCopy; warned != odd {
		v.t.Errorf("%s: class %s, and on stderr:\n%s", way, class, stderr)
	}
}

// verify reads an archive, which open would take for any stream.
func (v vector) verify() {
	for _, mode := range conformance.Modes() {
		name, stdin := "c", []byte(nil)
		if mode == conformance.Stream {
			name, stdin = "-", v.container
		}
		class, _ := conformance.Rules{Mode: mode}.Want(v.Case)
		want := vectorStatus[class]
		if class == vectors.DamagedCopy {
			want = statusDamaged
		}
		if code, _, stderr := v.run(stdin, "verify", name); code != want.code {
			v.t.Errorf("verify %s: exit status %d, want %d for class %s\n%s", name, code, want.code, class, stderr)
		}
	}
}
