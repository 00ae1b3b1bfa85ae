package arch

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// requirement is a line of a go.mod: module, version, and perhaps // indirect.
var requirement = regexp.MustCompile(`(?m)^(?:require |\t)(\S+) (v\S+)( // indirect)?$`)

// entry is a line of the page: module and version.
var entry = regexp.MustCompile(`(?m)^\| ` + "`(\\S+)`" + ` \| (v\S+) \|`)

// TestDependenciesPage compares docs/dependencies.md with every go.mod and with
// tools.mod, both ways.
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
	entries := map[string]bool{} // those of the page, until check takes them out
	for name, text := range sections {
		for _, m := range entry.FindAllStringSubmatch(text, -1) {
			entries[name+" "+m[1]+" "+m[2]] = true
		}
	}
	check := func(name, module, version string) {
		line := name + " " + module + " " + version
		if !entries[line] {
			t.Errorf("docs/dependencies.md has no line for %s", line)
		}
		delete(entries, line)
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
	for line := range entries {
		t.Errorf("docs/dependencies.md has %s, which is no direct requirement", line)
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
	if err != nil || len(names) < 8 {
		t.Fatalf("found %q, %v", names, err)
	}
	return names
}
