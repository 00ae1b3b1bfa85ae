package main

import (
	"bytes"
	"errors"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write testdata/sample.golden")

const sample = "./testdata/sample"

// TestInstrument compares what becomes of the sample with what should.
func TestInstrument(t *testing.T) {
	sources, fset, err := load([]string{sample})
	if err != nil {
		t.Fatal(err)
	}
	checks, replaced, err := instrument(sources, fset)
	if err != nil {
		t.Fatal(err)
	}
	if len(replaced) != 1 {
		t.Fatalf("%d files have checks", len(replaced))
	}
	var got bytes.Buffer
	for _, src := range replaced {
		got.Write(src)
	}
	got.WriteString("\n// The checks:\n")
	for i := range checks {
		got.WriteString("// " + strings.TrimPrefix(checks[i].String(), "internal/mutate/testdata/sample/") + "\n")
	}
	golden := filepath.Join("testdata", "sample.golden")
	if *update {
		if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("got\n%s", got.Bytes())
	}
}

// TestRun runs the check over the sample, with every fault that a list may have.
func TestRun(t *testing.T) {
	const file = "internal/mutate/testdata/sample/sample.go "
	var out bytes.Buffer
	o := options{patterns: []string{sample}, m: 1, parallel: 2, patience: time.Second, out: &out, listed: map[string]string{
		file + "judge | strict && n%2 != 0": "nobody is strict",
		file + "judge | n < 0":              "but it is killed",
		file + "judge | n > 99":             "but it is 9",
		"other/other.go f | n > 99":         "in a package that was not asked for",
	}}
	if err := o.run(); !errors.Is(err, errSurvivors) {
		t.Error(err)
	}
	var got []string
	for line := range strings.Lines(out.String()) {
		if before, after, ok := strings.Cut(line, file[:len(file)-1]); ok {
			got = append(got, before+strings.TrimLeft(after, ":0123456789"))
		}
	}
	want := []string{
		"is on the list, but sample.TestJudge kills it:  judge: n < 0\n",
		"survives 1 tests:  judge: n > 9\n",
		"survives, no test gets there:  use: judge: err != nil\n",
		"survives, no test gets there:  accepts: c\n",
		"survives, no test gets there:  either: a\n",
		"survives, no test gets there:  either: b\n",
		"survives, no test gets there:  cursor.switches: kind > 7\n",
		"survives, no test gets there:  cursor.switches: kind == 0\n",
		"survives, no test gets there:  cursor.switches: default of switch kind\n",
		"survives, no test gets there:  cursor.switches: n == 0\n",
		"survives, no test gets there:  closures: n == 3\n",
		"is on the list, but there is no such check:  judge | n > 99\n",
	}
	if !slices.Equal(got, want) || !strings.Contains(out.String(), "      17       6       1  37.5 %\n") {
		t.Errorf("got\n%s", out.String())
	}
}

func TestParseList(t *testing.T) {
	got, err := parseList(strings.NewReader("# comment\n\na.go f | x | why\n a.go g | s | t | why not  \n"))
	want := map[string]string{"a.go f | x": "why", "a.go g | s | t": "why not"}
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
	for _, bad := range []string{"a.go f | x", "a.go f", "a.go f | x | \n", "a.go f | x | one\na.go f | x | two"} {
		if got, err := parseList(strings.NewReader(bad)); err == nil {
			t.Errorf("%q: %v", bad, got)
		}
	}
}
