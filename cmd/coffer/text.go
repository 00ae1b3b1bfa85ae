package main

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// visible returns s with control characters, direction marks and bytes that are
// no UTF-8 escaped: names out of an archive must not drive the terminal.
func visible(s string) string {
	if isVisible(s) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		if strconv.IsPrint(r) && (r != utf8.RuneError || n > 1) {
			b.WriteString(s[:n])
		} else {
			q := strconv.Quote(s[:n])
			b.WriteString(q[1 : len(q)-1])
		}
		s = s[n:]
	}
	return b.String()
}

// visibleLines is visible for text of our own that has several lines.
func visibleLines(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = visible(lines[i])
	}
	return strings.Join(lines, "\n")
}

func isVisible(s string) bool {
	for i, r := range s {
		if !strconv.IsPrint(r) || r == utf8.RuneError && !strings.HasPrefix(s[i:], "\uFFFD") {
			return false
		}
	}
	return true
}

// quoteName returns a file name as it is if that is plain, else quoted as a Go
// string, so that two names never look the same.
func quoteName(name string) string {
	if isVisible(name) && !strings.ContainsAny(name, `"\`) && name == strings.TrimSpace(name) && name != "" {
		return name
	}
	return strconv.Quote(name)
}

// byteCount returns n in units that people read.
func byteCount(n int64) string {
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	v, unit := float64(n), ""
	for _, unit = range []string{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"} {
		if v /= 1 << 10; v < 1<<10 {
			break
		}
	}
	return fmt.Sprintf("%.1f %s", v, unit)
}

// count returns "1 file", "2 files", with an irregular plural if given.
func count(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.FormatInt(n, 10) + " " + many
}

// parseSize reads a number of bytes with an optional unit: 4096, 64KiB, 1MiB.
func parseSize(s string) (int64, error) {
	digits := strings.TrimRight(s, "BGKMi")
	n, err := strconv.ParseInt(digits, 10, 64)
	for _, u := range []struct {
		name string
		size int64
	}{{"", 1}, {"B", 1}, {"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}} {
		if err == nil && n >= 0 && s[len(digits):] == u.name && n <= (1<<62)/u.size {
			return n * u.size, nil
		}
	}
	return 0, fmt.Errorf("%q is no size: write it as 4096, 64KiB, 1MiB or 1GiB", s)
}

// rows is text in two columns.
type rows struct{ b strings.Builder }

func (r *rows) add(name, format string, args ...any) {
	fmt.Fprintf(&r.b, "%-14s %s\n", name, visible(fmt.Sprintf(format, args...)))
}

func (r *rows) text() string { return strings.TrimSuffix(r.b.String(), "\n") }
