package vectors_test

import (
	"encoding/json"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/coffer-backup/coffer/vectors"
)

// withoutCase are the numbers of SPEC.md that no vector can show, and why.
var withoutCase = map[string]string{
	"1": property, "1.1": property, "1.1.2": property, "1.1.4": property, "1.1.5": property, "1.2": property, "1.2.3": property,
	"2.2":   "notation: without it kdf.json comes out otherwise",
	"3.1.2": "a definition, by which the cases of 8.4.33 and 8.4.34 are told from those of 8.4.35",
	"3.2":   "a picture of what 3.2.1 to 3.2.5 say",
	"3.4.6": writers,
	"4.1.2": writers,
	"5.2.3": "what a reader does with its memory shows in no answer",
	"5.3.1": longFile, "8.4.27": longFile,
	"6.1.6": writers, "6.3.5": writers, "6.5.5": writers, "8.4.49": writers, "8.4.50": writers,
	"7.6": "about who extracts: archive/hostile_test.go",
	"8.3": "TestManifest demands a case of each class",
	"8.4": "how the table below it is read",
	"8.5": salvage, "8.5.1": salvage, "8.5.2": salvage, "8.5.3": salvage,
	"9.2": "an advice", "9.3": "what no reader judges", "9.4": "what no reader judges",
	"10": example, "10.1": example, "10.2": example, "10.3": example, "10.4": example, "10.5": example, "10.6": example,
}

const (
	property = "what the format is for: the rules that see to it have cases"
	writers  = "about writers: the tests of engine and format have it"
	longFile = "no vector is 256 TiB long"
	salvage  = "no reader does it: salvage is another program"
	example  = "format/spec_test.go computes every line"
)

// TestSpecHasCases: every number of SPEC.md has a vector or a reason why not, and
// the vectors name numbers that there are.
func TestSpecHasCases(t *testing.T) {
	numbers := specNumbers(t)
	shown := shownNumbers(t)
	for _, n := range slices.Sorted(maps.Keys(shown)) {
		if _, ok := numbers[n]; !ok {
			t.Errorf("%s shows § %s, which SPEC.md does not have", shown[n], n)
		}
	}
	for _, n := range slices.Sorted(maps.Keys(numbers)) {
		switch why := withoutCase[n]; {
		case shown[n] != "" && why != "":
			t.Errorf("§ %s has a case in %s, and yet a reason why not", n, shown[n])
		case shown[n] == "" && why == "" && numbers[n]:
			t.Errorf("§ %s has no case", n)
		}
	}
	for n := range withoutCase {
		if _, ok := numbers[n]; !ok {
			t.Errorf("there is a reason for § %s, which SPEC.md does not have", n)
		}
	}
}

// The numbers stand in headings, before paragraphs, before the steps of a list, which
// counts from 1 below the last number of two parts, and in the rows of § 8.4.
var (
	numberHeading   = regexp.MustCompile(`^#{2,3} (\d+(?:\.\d+)?)\.? `)
	numberParagraph = regexp.MustCompile(`^(\d+\.\d+(?:\.\d+)?) `)
	numberStep      = regexp.MustCompile(`^(\d+)\. `)
	numberRow       = regexp.MustCompile(`^\| (8\.4\.\d+) \|`)
)

// specNumbers returns the numbers of SPEC.md, and whether they have a text of their
// own: some headings have none.
func specNumbers(t *testing.T) map[string]bool {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "format", "SPEC.md"))
	if err != nil {
		t.Fatal(err)
	}
	numbers := map[string]bool{}
	var last, list string
	for line := range strings.Lines(string(text)) {
		match := func(re *regexp.Regexp) (number string) {
			if m := re.FindStringSubmatch(line); m != nil {
				number = m[1]
			}
			return number
		}
		heading, paragraph, step, row := match(numberHeading), match(numberParagraph), match(numberStep), match(numberRow)
		if step != "" {
			step = list + "." + step
		}
		switch number := heading + paragraph + step + row; { // at most one of them
		case number != "":
			last = number
			numbers[number] = heading == ""
			if strings.Count(number, ".") < 2 {
				list = number
			}
		case last != "" && strings.TrimSpace(line) != "":
			numbers[last] = true
		}
	}
	if len(numbers) < 150 {
		t.Fatalf("only %d numbers were found in SPEC.md", len(numbers))
	}
	return numbers
}

// shownNumbers returns what stands in any "spec" of the tables, and the file that has
// it.
func shownNumbers(t *testing.T) map[string]string {
	t.Helper()
	names, err := fs.Glob(vectors.Files, "*.json")
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	shown := map[string]string{}
	for _, name := range names {
		text, err := vectors.Files.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var v any
		if err := json.Unmarshal(text, &v); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		gather(v, func(number string) { shown[number] = name })
	}
	return shown
}

// gather calls found with each string of each array "spec" in v.
func gather(v any, found func(string)) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			gather(e, found)
		}
	case map[string]any:
		for key, e := range v {
			if spec, ok := e.([]any); ok && key == "spec" {
				for _, number := range spec {
					if s, ok := number.(string); ok {
						found(s)
					}
				}
				continue
			}
			gather(e, found)
		}
	}
}
