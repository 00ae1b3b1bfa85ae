package vectors_test

import (
	"io/fs"
	"path"
	"regexp"
	"slices"
	"testing"

	"github.com/coffer-backup/coffer/vectors"
)

// What the vectors promise: enough of them, most of them bad, and small enough to
// stand in every clone.
const (
	leastCases    = 150
	mostDataBytes = 5 << 20
)

var allClasses = []vectors.Class{
	vectors.OK, vectors.Magic, vectors.Version, vectors.Header, vectors.NoKey, vectors.Limit, vectors.Auth,
	vectors.Context, vectors.Truncated, vectors.Trailing, vectors.Content, vectors.DamagedCopy, vectors.Skew,
}

func load(t *testing.T) *vectors.Manifest {
	t.Helper()
	m, err := vectors.Load()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestManifest(t *testing.T) {
	m := load(t)
	negative, classes := 0, map[vectors.Class]int{}
	for i := range m.Cases {
		c := &m.Cases[i]
		classes[c.Class]++
		classes[c.ClassFor(true, nil)]++
		if c.Class != vectors.OK && c.Class != vectors.Skew {
			negative++
		}
		checkCase(t, c)
	}
	if m.Version != 1 || len(m.Cases) < leastCases || 3*negative < 2*len(m.Cases) {
		t.Errorf("version %d, %d cases, %d of them negative", m.Version, len(m.Cases), negative)
	}
	for _, class := range allClasses {
		if classes[class] == 0 {
			t.Errorf("no case is of class %s", class)
		}
		delete(classes, class)
	}
	for class, n := range classes {
		t.Errorf("%d cases of class %q, which there is not", n, class)
	}
}

// caseFile is what the files of cases are called: v1/AREA_CASE.coffer.
var caseFile = regexp.MustCompile(`^v1/[a-z0-9-]+_[a-z0-9-]+\.coffer$`)

func checkCase(t *testing.T, c *vectors.Case) {
	fail := func(format string, args ...any) {
		t.Helper()
		t.Errorf(c.File+": "+format, args...)
	}
	if !caseFile.MatchString(c.File) {
		fail("a strange name")
	}
	if c.Comment == "" || len(c.Spec) == 0 {
		fail("comment %q, numbers %q", c.Comment, c.Spec)
	}
	if c.Plaintext.Length < 0 || c.Plaintext.Length > 0 && len(c.Plaintext.Repeat) == 0 {
		fail("no plaintext: %d bytes of %q", c.Plaintext.Length, c.Plaintext.Repeat)
		return
	}
	for _, random := range []bool{false, true} {
		class, released := c.ClassFor(random, nil), c.ReleasedFor(random)
		switch {
		case released < 0 || released > c.Plaintext.Length:
			fail("%d bytes of %d are released", released, c.Plaintext.Length)
		case class.Whole() && released != c.Plaintext.Length, class.Early() && released != 0:
			fail("class %s, and %d bytes of %d are released", class, released, c.Plaintext.Length)
		}
	}
	if c.Class == vectors.DamagedCopy {
		fail("a stream reader does not say %s (§ 3.4.4)", c.Class)
	}
	checkNeeds(c, fail)
	checkInputs(c.Inputs, fail)
}

func checkNeeds(c *vectors.Case, fail func(string, ...any)) {
	lacks := func(string) bool { return true }
	if c.Needs == "" {
		if c.ClassWithout != "" || c.ClassFor(false, lacks) != c.Class {
			fail("needs nothing, and yet class_without is %q", c.ClassWithout)
		}
		return
	}
	if !slices.Contains(allClasses, c.ClassFor(false, lacks)) || c.ClassFor(true, lacks) != c.ClassWithout {
		fail("needs %q, and class_without is %q", c.Needs, c.ClassWithout)
	}
	if !slices.Contains([]string{"kind-3", "kind-4", "kind-5"}, c.Needs) {
		fail("needs %q, which README.md does not know", c.Needs)
	}
}

func checkInputs(in vectors.Inputs, fail func(string, ...any)) {
	for _, k := range in.AccountKeys {
		if len(k) != 32 {
			fail("an account key of %d bytes", len(k))
		}
	}
	for _, p := range in.Passphrases {
		if len(p) < 1 || len(p) > 1024 {
			fail("a passphrase of %d bytes", len(p))
		}
	}
	if len(in.Context) > 65535 {
		fail("a context of %d bytes", len(in.Context))
	}
	kinds := map[string][]int{"aes-256": {3, 4}, "rsa-pkcs8": {3}, "xwing-seed": {5}}
	for _, k := range in.OtherKeys {
		if !slices.Contains(kinds[k.Type], k.Kind) || len(k.Key) < 32 || k.Type != "rsa-pkcs8" && len(k.Key) != 32 {
			fail("a key of kind %d, type %q and %d bytes", k.Kind, k.Type, len(k.Key))
		}
	}
}

// Every container has one case, and the other way round; none is there twice.
func TestFiles(t *testing.T) {
	m := load(t)
	cases := map[string]int{}
	for _, c := range m.Cases {
		cases[c.File]++
	}
	total := 0
	contents := map[string]string{}
	err := fs.WalkDir(vectors.Files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := vectors.Files.ReadFile(name)
		if err != nil {
			return err
		}
		total += len(data)
		if path.Dir(name) != "v1" {
			return nil
		}
		if cases[name] != 1 {
			t.Errorf("%s stands %d times in the manifest", name, cases[name])
		}
		delete(cases, name)
		if same, ok := contents[string(data)]; ok {
			t.Errorf("%s and %s are the same", name, same)
		}
		contents[string(data)] = name
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range cases {
		t.Errorf("%s stands in the manifest, and is not there", name)
	}
	if total > mostDataBytes {
		t.Errorf("the vectors have %d bytes", total)
	}
}
