package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"
)

// readList reads the list in file.
func readList(file string) (reasons map[string]string, err error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if reasons, err = parseList(f); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return reasons, nil
}

// parseList reads the checks that are kept as a second defence, with their reasons:
// lines of "file function | condition | reason", blank lines and # comments.
func parseList(r io.Reader) (reasons map[string]string, err error) {
	reasons = make(map[string]string)
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		// A condition may have a | of its own, a reason may not.
		first, last := strings.Index(line, " | "), strings.LastIndex(line, " | ")
		if first == last {
			return nil, fmt.Errorf("line %d is not \"file function | condition | reason\"", n)
		}
		key := line[:last]
		if _, twice := reasons[key]; twice {
			return nil, fmt.Errorf("line %d: %s is listed twice", n, key)
		}
		reasons[key] = line[last+3:]
	}
	return reasons, lines.Err()
}
