package archive

import (
	"fmt"
	"path"
	"strings"
)

// A pattern is one line of CreateOptions.Exclude.
type pattern struct {
	parts    []string
	anywhere bool // matches the last part of a name at any depth
	dirOnly  bool
}

// CheckExclude says whether the patterns are ones for CreateOptions.Exclude.
func CheckExclude(patterns []string) error {
	_, err := parsePatterns(patterns)
	return err
}

func parsePatterns(lines []string) ([]pattern, error) {
	var ps []pattern
	for _, line := range lines {
		if strings.HasPrefix(line, "!") {
			return nil, fmt.Errorf("exclude pattern %q: patterns cannot be negated; \\! stands for a ! itself", line)
		}
		p := pattern{dirOnly: strings.HasSuffix(line, "/")}
		body := strings.TrimSuffix(line, "/")
		p.anywhere = !strings.Contains(body, "/")
		p.parts = strings.Split(strings.TrimPrefix(body, "/"), "/")
		for _, part := range p.parts {
			if _, err := path.Match(part, ""); err != nil || part == "" {
				return nil, fmt.Errorf("exclude pattern %q is not well formed", line)
			}
		}
		ps = append(ps, p)
	}
	return ps, nil
}

// excluded reports whether a member of that name, without a slash at its end, is
// left out.
func excluded(ps []pattern, name string, dir bool) bool {
	if len(ps) == 0 || name == "" {
		return false
	}
	parts := strings.Split(name, "/")
	for _, p := range ps {
		if p.dirOnly && !dir {
			continue
		}
		if p.anywhere && matchParts(p.parts, parts[len(parts)-1:]) || !p.anywhere && matchParts(p.parts, parts) {
			return true
		}
	}
	return false
}

// matchParts matches part by part; "**" stands for any number of parts.
func matchParts(pattern, parts []string) bool {
	// Only the last "**" met needs to be retried, as in matching with "*".
	star, from := -1, 0
	i, j := 0, 0
	for j < len(parts) {
		switch {
		case i < len(pattern) && pattern[i] == "**":
			star, from = i, j
			i++
		case i < len(pattern) && matchPart(pattern[i], parts[j]):
			i++
			j++
		case star >= 0:
			from++
			i, j = star+1, from
		default:
			return false
		}
	}
	for i < len(pattern) && pattern[i] == "**" {
		i++
	}
	return i == len(pattern)
}

func matchPart(pattern, part string) bool {
	ok, _ := path.Match(pattern, part) // the pattern was tried before
	return ok
}
