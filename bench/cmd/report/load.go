package main

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/perf/benchfmt"

	"github.com/coffer-backup/coffer/bench/comparison"
)

// An input is what the files hold, in their order.
type input struct {
	sessions []*session
	suites   []*suite
}

// A session is one of peers, in a file.
type session struct {
	file string
	*comparison.Session
	rows []*comparison.Row
}

// A suite is the output of go test -bench.
type suite struct {
	file     string
	config   []pair // goos, goarch, cpu, …; a key with several values has them all
	rows     []*benchRow
	failures []string // lines that say a benchmark failed, was skipped or is no result
}

// A pair is a key of a configuration or of a benchmark's name, with its value.
type pair struct{ key, value string }

// A benchRow is one benchmark, all its repetitions together.
type benchRow struct {
	pkg, base string
	name      string // in full, without "Benchmark"
	keys      []pair
	units     []string
	values    map[string][]float64
}

// key returns the value of a key of the name, "" if there is none.
func (r *benchRow) key(name string) string {
	for _, k := range r.keys {
		if k.key == name {
			return k.value
		}
	}
	return ""
}

// stat summarises one unit of a benchmark.
func (r *benchRow) stat(unit string) comparison.Stat { return comparison.NewStat(r.values[unit]) }

func load(files []string) (*input, error) {
	in := new(input)
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		name := clean(filepath.Base(file))
		if bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")) {
			sessions, err := comparison.Parse(data)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
			for _, s := range sessions {
				in.sessions = append(in.sessions, newSession(name, s))
			}
			continue
		}
		s, err := parseSuite(name, data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		in.suites = append(in.suites, s)
	}
	return in, nil
}

// newSession cleans what is text in s, and sums it up.
func newSession(file string, s *comparison.Session) *session {
	e := &s.Environment
	for _, text := range []*string{&e.Date, &e.CPU, &e.OS, &e.Kernel, &e.Go, &e.Revision, &e.Storage} {
		*text = clean(*text)
	}
	versions := make(map[string]string)
	for tool, version := range e.Versions {
		versions[clean(tool)] = clean(version)
	}
	e.Versions = versions
	for i := range e.Missing {
		e.Missing[i] = clean(e.Missing[i])
	}
	for i := range s.Runs {
		r := &s.Runs[i]
		r.Corpus, r.Tool, r.Variant = clean(r.Corpus), clean(r.Tool), clean(r.Variant)
	}
	return &session{file, s, s.Rows()}
}

// parseSuite parses what go test -bench printed.
func parseSuite(file string, data []byte) (*suite, error) {
	s := &suite{file: file}
	failed := false
	for line := range strings.Lines(string(data)) {
		words := clean(strings.Join(strings.Fields(line), " "))
		switch {
		case isFailure(words):
			s.failures = append(s.failures, words)
		case failed && strings.HasPrefix(line, "    "): // the reason
			s.failures[len(s.failures)-1] += ": " + words
		}
		failed = isFailure(words)
	}
	rows := make(map[[2]string]*benchRow)
	r := benchfmt.NewReader(bytes.NewReader(data), file)
	for r.Scan() {
		switch rec := r.Result().(type) {
		case *benchfmt.SyntaxError:
			s.failures = append(s.failures, clean(rec.Error()))
		case *benchfmt.Result:
			s.configure(rec.Config)
			id := [2]string{rec.GetConfig("pkg"), rec.Name.String()}
			if rows[id] == nil {
				rows[id] = newBenchRow(rec)
				s.rows = append(s.rows, rows[id])
			}
			if err := rows[id].add(rec.Values); err != nil {
				return nil, fmt.Errorf("%s: %w", clean(rec.Name.String()), err)
			}
		}
	}
	if err := r.Err(); err != nil {
		return nil, err
	}
	if len(s.rows) == 0 {
		return nil, errors.New("neither JSON lines of peers nor results of go test -bench")
	}
	return s, nil
}

// isFailure tells lines of go test by which a reader knows that rows are missing.
func isFailure(line string) bool {
	for _, prefix := range []string{"--- FAIL", "--- SKIP", "FAIL ", "panic:"} {
		if strings.HasPrefix(line, prefix) {
			return true
		}
	}
	return false
}

// configure adds what the configuration of a result says that is new.
func (s *suite) configure(config []benchfmt.Config) {
	for _, c := range config {
		p := pair{clean(c.Key), clean(string(c.Value))}
		if p.key != "pkg" && !slices.Contains(s.config, p) {
			s.config = append(s.config, p)
		}
	}
}

// newBenchRow takes a name apart: parts without "=" get the key "case", and the
// -N that the testing package appends the key "GOMAXPROCS".
func newBenchRow(rec *benchfmt.Result) *benchRow {
	base, parts := rec.Name.Parts()
	row := &benchRow{
		pkg:    clean(rec.GetConfig("pkg")),
		base:   clean(string(base)),
		name:   clean(rec.Name.String()),
		values: make(map[string][]float64),
	}
	for _, part := range parts {
		text := clean(string(part))
		key, value, ok := strings.Cut(strings.TrimPrefix(text, "/"), "=")
		switch {
		case strings.HasPrefix(text, "-"):
			key, value = "GOMAXPROCS", text[1:]
		case !ok:
			key, value = "case", key
		}
		row.keys = append(row.keys, pair{key, value})
	}
	return row
}

func (r *benchRow) add(values []benchfmt.Value) error {
	for _, v := range values {
		if math.IsNaN(v.Value) || math.IsInf(v.Value, 0) {
			return fmt.Errorf("%v %s is no measurement", v.Value, clean(v.Unit))
		}
		unit := clean(v.Unit)
		if !slices.Contains(r.units, unit) {
			r.units = append(r.units, unit)
		}
		r.values[unit] = append(r.values[unit], v.Value)
	}
	return nil
}

// clean replaces what is no printable text: XML has no form for most control
// characters, and a line break would end a table.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// problems lists what the raw results say went wrong.
func (in *input) problems() []string {
	var list []string
	for _, s := range in.sessions {
		if len(s.Missing) > 0 {
			list = append(list, fmt.Sprintf("%s: not installed: %s", s.file, strings.Join(s.Missing, ", ")))
		}
		if len(s.Runs) == 0 {
			list = append(list, fmt.Sprintf("%s: no run at all", s.file))
		}
	}
	for _, s := range in.suites {
		for _, f := range s.failures {
			list = append(list, fmt.Sprintf("%s: %s", s.file, f))
		}
	}
	return list
}
