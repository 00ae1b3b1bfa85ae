package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/coffer-backup/coffer/bench/comparison"
)

// A drawing is a finished chart.
type drawing struct {
	file, title, note string
	svg               []byte
}

// errNoData is why a chart is left out.
var errNoData = errors.New("no data")

var charts = []struct {
	file string
	draw func(*input) (drawing, error)
}{
	{"throughput.svg", drawThroughput},
	{"ratio-speed.svg", drawRatioSpeed},
	{"scaling.svg", drawScaling},
	{"growth.svg", drawGrowth},
	{"memory.svg", drawMemory},
}

const (
	mb  = 1e6
	mib = 1 << 20
)

// Names in charts, where tools and settings have shorter or better known ones.
var (
	toolNames = map[string]string{
		"coffer-nocgo": "coffer without cgo",
		"zstd-age":     "zstd | age",
		"age":          "age alone",
		"zstd-gpg":     "zstd | gpg",
		"rclone-crypt": "rclone crypt",
	}
	settingNames = map[string]string{
		"no-check": "unchecked",
		"backup":   "archive",
	}
)

// label names the tool and its setting, unless that is the default.
func label(r *comparison.Row) string {
	if r.Variant == "" || r.Variant == "default" {
		return toolName(r)
	}
	return toolName(r) + ", " + cmp.Or(settingNames[r.Variant], r.Variant)
}

func toolName(r *comparison.Row) string { return cmp.Or(toolNames[r.Tool], r.Tool) }

// isMain tells the row that a chart is about.
func isMain(r *comparison.Row) bool { return label(r) == "coffer" }

// inkOf emphasises coffer: its default setting, then its others, then the peers.
func inkOf(r *comparison.Row) ink {
	switch {
	case isMain(r):
		return blue
	case r.Ours():
		return pale
	}
	return stone
}

// peerRows are the rows of all sessions, of equal ones the first.
func (in *input) peerRows() []*comparison.Row {
	type key struct{ corpus, label, do string }
	seen := make(map[key]bool)
	var rows []*comparison.Row
	for _, s := range in.sessions {
		for _, r := range s.rows {
			if k := (key{r.Corpus, label(r), r.Do}); !seen[k] {
				seen[k] = true
				rows = append(rows, r)
			}
		}
	}
	return rows
}

// benchRows are the rows of a benchmark that have a unit, in the first file that has
// any, and the processor they ran on.
func (in *input) benchRows(base, unit string) (rows []*benchRow, where string) {
	for _, s := range in.suites {
		for _, r := range s.rows {
			if r.base == base && r.stat(unit).Min > 0 {
				rows = append(rows, r)
			}
		}
		if len(rows) == 0 {
			continue
		}
		for _, c := range s.config {
			if c.key == "cpu" {
				where = joined(", ", where, c.value)
			}
		}
		return rows, where
	}
	return nil, ""
}

// where says when and on what the peers were measured.
func (in *input) where() string {
	var all []string
	for _, s := range in.sessions {
		day, _, _ := strings.Cut(s.Date, "T")
		if at := fmt.Sprintf("%s, %d cores, %s", s.CPU, s.Cores, day); !slices.Contains(all, at) {
			all = append(all, at)
		}
	}
	return joined("; ", all...)
}

// seriesName joins the values of those keys that differ between rows.
func seriesName(rows []*benchRow, r *benchRow, except ...string) string {
	var parts []string
	for _, k := range r.keys {
		differs := slices.ContainsFunc(rows, func(o *benchRow) bool { return o.key(k.key) != k.value })
		if differs && !slices.Contains(except, k.key) {
			parts = append(parts, k.value)
		}
	}
	return cmp.Or(strings.Join(parts, ", "), r.base)
}

// exactly is a stat without a range.
func exactly(v float64) comparison.Stat { return comparison.NewStat([]float64{v}) }

// describe adds to what the chart says in words.
func (p *page) describe(format string, args ...any) {
	p.desc += "\n" + fmt.Sprintf(format, args...)
}

func (p *page) drawing() (drawing, error) {
	return drawing{title: p.title, note: p.note, svg: p.render()}, nil
}

// joined joins what is not empty.
func joined(separator string, parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), separator)
}
