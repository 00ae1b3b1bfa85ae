package arch

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// requirement is a line of a go.mod: module, version, and perhaps // indirect.
var requirement = regexp.MustCompile(`(?m)^(?:require |\t)(\S+) (v\S+)( // indirect)?$`)

// TestDependenciesPage compares docs/dependencies.md with every go.mod and with
// tools.mod.
func TestDependenciesPage(t *testing.T) {
	read := func(file string) string {
		b, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	page := read("docs/dependencies.md")
	sections := map[string]string{} // by the name of the file in the heading
	for _, section := range strings.Split(page, "\n## ")[1:] {
		heading, text, _ := strings.Cut(section, "\n")
		if _, name, ok := strings.Cut(heading, "`"); ok {
			sections[strings.TrimSuffix(name, "`")] = text
		}
	}
	check := func(name, module, version string) {
		if line := fmt.Sprintf("\n| `%s` | %s |", module, version); !strings.Contains(sections[name], line) {
			t.Errorf("docs/dependencies.md has no line for %s %s of %s", module, version, name)
		}
	}

	for _, name := range goMods(t) {
		for _, m := range requirement.FindAllStringSubmatch(read(name), -1) {
			if indirect := m[3] != ""; !indirect && m[1] != module && !strings.HasPrefix(m[1], module+"/") {
				check(name, m[1], m[2])
			}
		}
	}
	tools := read("tools.mod")
	versions := map[string]string{}
	for _, m := range requirement.FindAllStringSubmatch(tools, -1) {
		versions[m[1]] = m[2]
	}
	for _, m := range regexp.MustCompile(`(?m)^\t(\S+)/cmd/\S+$`).FindAllStringSubmatch(tools, -1) {
		check("tools.mod", m[1], versions[m[1]])
	}
}

// goMods returns the go.mod files of our modules, from the root.
func goMods(t *testing.T) (names []string) {
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err == nil && d.Name() == "go.mod" {
			name, _ := filepath.Rel(root, file)
			names = append(names, filepath.ToSlash(name))
		}
		return err
	})
	if err != nil || len(names) < 6 {
		t.Fatalf("found %q, %v", names, err)
	}
	return names
}
