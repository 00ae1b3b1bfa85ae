package keys_test

import (
	"bytes"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/crypto/argon2"
	"pgregory.net/rapid"

	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/keys"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func unhex(s string) []byte { return must(hex.DecodeString(s)) }

func hexOf(b []byte) string { return hex.EncodeToString(b) }

// count returns n bytes that count up from first, as § 10 chooses its keys.
func count(first byte, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = first + byte(i)
	}
	return b
}

// What follows computes § 4 from its text, with the standard library and argon2
// alone.

func sum(parts ...[]byte) []byte {
	h := sha256.Sum256(bytes.Join(parts, nil))
	return h[:]
}

func mac(key, data []byte) []byte {
	m := hmac.New(sha256.New, key)
	m.Write(data)
	return m.Sum(nil)
}

func expand(prk []byte, label string, rest []byte, n int) []byte {
	return must(hkdf.Expand(sha256.New, prk, label+string(rest), n))
}

type schedule struct{ mac, contextTag, bodyKey, nonce []byte }

func specSchedule(fk, salt, core, context, block []byte) (s schedule) {
	prk := must(hkdf.Extract(sha256.New, fk, salt))
	s.mac = mac(expand(prk, "coffer v1 header mac", nil, 32), block[:len(block)-40])
	s.contextTag = expand(prk, "coffer v1 context", sum(context), 16)
	bound := append(sum(core), sum(context)...)
	s.bodyKey = expand(prk, "coffer v1 body key", bound, 32)
	s.nonce = expand(prk, "coffer v1 body nonce", bound, 12)
	s.nonce[0] &= 0x7f
	clear(s.nonce[8:])
	return s
}

// specKEK is § 4.5.2; secret is an account key or a passphrase.
func specKEK(secret []byte, slot format.Slot) []byte {
	if slot.Kind == format.KindAccount {
		return must(hkdf.Key(sha256.New, secret, slot.Salt[:], "coffer v1 kek account", 32))
	}
	p, le := slot.Params, binary.LittleEndian
	return argon2.IDKey(secret, slot.Salt[:], le.Uint32(p[4:]), le.Uint32(p[8:]), p[1], 32)
}

// specBind is § 4.5.1.
func specBind(core []byte, slot format.Slot) []byte {
	kind := []byte{byte(slot.Kind), byte(slot.Kind >> 8)}
	return sum([]byte("coffer v1 slot"), core, kind, slot.Salt[:], slot.Params)
}

// specWrap is § 4.5.3.
func specWrap(kek, fk, core []byte, slot format.Slot) []byte {
	bind := specBind(core, slot)
	c := expand(kek, "coffer v1 wrap pad", bind, 32)
	for i := range c {
		c[i] ^= fk[i]
	}
	return append(c, mac(expand(kek, "coffer v1 wrap mac", bind, 32), c)...)
}

// TestWorkedExample holds the package against the numbers of § 10.
func TestWorkedExample(t *testing.T) {
	file := must(os.ReadFile("../format/testdata/worked-example.coffer"))
	h := must(format.ParseHeader(file[:4096]))
	slot, _, err := h.Entries[0].Slot()
	if err != nil {
		t.Fatal(err)
	}
	ak := must(keys.AccountKeyFrom(count(0x00, 32)))
	fk, err := ak.Unwrap(t.Context(), h.Core(), slot)
	if err != nil {
		t.Fatal(err)
	}
	if got := fk.Bytes(); !bytes.Equal(got, count(0x40, 32)) {
		t.Errorf("FK = %x", got)
	}
	s := keys.NewSchedule(fk, &h.Salt)
	context := []byte("worked example")
	if tag := s.ContextTag(context); tag != h.ContextTag || hex.EncodeToString(tag[:]) != "6258a302884649c87ad59a2d37d5a506" {
		t.Errorf("context_tag = %x", tag)
	}
	key, nonce := s.Body(h.Core(), context)
	if hex.EncodeToString(key) != "50e37a1ff1ef32451b34ff111b9f28e81c17c4b2b339653a3981b31d2387b742" {
		t.Errorf("BK = %x", key)
	}
	if hex.EncodeToString(nonce[:]) != "604c00980b85e88a00000000" {
		t.Errorf("N = %x", nonce)
	}
	if got := s.HeaderMAC(file[:4096]); !bytes.Equal(got[:], unhex("5f116da26a611cf962cb717da41a728fd45454433c3a0bac22c104b6a0841df9")) {
		t.Errorf("MAC = %x", got)
	}
	if id := ak.ID(); !bytes.Equal(id[:], unhex("7ad8ec9072dbd3caa61b17fb42f4e26e")) {
		t.Errorf("key_id = %x", id)
	}
	if !strings.HasSuffix(ak.Text(), " b066") {
		t.Error("the checksum of the text form is not b066")
	}
}

func TestScheduleRecomputed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		fk, salt := drawBytes(t, "FK", 32), drawBytes(t, "salt", 32)
		core := format.Core(drawBytes(t, "CORE", len(format.Core{})))
		context := rapid.SliceOfN(rapid.Byte(), 0, 100).Draw(t, "context")
		block := drawBytes(t, "block", 4096)
		want := specSchedule(fk, salt, core[:], context, block)

		s := keys.NewSchedule(must(keys.FileKeyFrom(fk)), (*[32]byte)(salt))
		key, nonce := s.Body(core, context)
		tag, got := s.ContextTag(context), s.HeaderMAC(block)
		if !bytes.Equal(key, want.bodyKey) || !bytes.Equal(nonce[:], want.nonce) {
			t.Errorf("body: %x, %x, want %x, %x", key, nonce, want.bodyKey, want.nonce)
		}
		if !bytes.Equal(tag[:], want.contextTag) || !bytes.Equal(got[:], want.mac) {
			t.Errorf("header: %x, %x, want %x, %x", tag, got, want.contextTag, want.mac)
		}
		if !s.VerifyHeader(block, &got) {
			t.Error("the right MAC does not verify")
		}
		got[rapid.IntRange(0, 31).Draw(t, "byte")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		if s.VerifyHeader(block, &got) {
			t.Error("a wrong MAC verifies")
		}
	})
}

func drawBytes(t *rapid.T, name string, n int) []byte {
	return rapid.SliceOfN(rapid.Byte(), n, n).Draw(t, name)
}

// TestNonceMask draws so many nonces that a missing mask shows.
func TestNonceMask(t *testing.T) {
	for range 64 {
		s := keys.NewSchedule(keys.NewFileKey(), new([32]byte))
		if _, n := s.Body(format.Core{}, nil); n[0]&0x80 != 0 || !bytes.Equal(n[8:], make([]byte, 4)) {
			t.Fatalf("N = %x", n)
		}
	}
}

// TestLabels compares the labels in the sources with the table of § 4.1.
func TestLabels(t *testing.T) {
	labels := map[string]bool{}
	for _, name := range must(filepath.Glob("*.go")) {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file := must(parser.ParseFile(token.NewFileSet(), name, nil, 0))
		ast.Inspect(file, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING && strings.Contains(lit.Value, "coffer v1") {
				label := must(strconv.Unquote(lit.Value))
				if labels[label] {
					t.Errorf("%s: the label %q stands in the sources twice", name, label)
				}
				labels[label] = true
			}
			return true
		})
	}
	spec := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(coffer v1 [^`]*)` \\|").FindAllSubmatch(must(os.ReadFile("../format/SPEC.md")), -1) {
		spec[string(m[1])] = true
	}
	if !maps.Equal(labels, spec) {
		t.Errorf("the sources have\n%q\n§ 4.1 has\n%q", slices.Sorted(maps.Keys(labels)), slices.Sorted(maps.Keys(spec)))
	}
	for a := range spec {
		for b := range spec {
			if a != b && strings.HasPrefix(b, a) {
				t.Errorf("%q is a prefix of %q", a, b)
			}
		}
	}
}
