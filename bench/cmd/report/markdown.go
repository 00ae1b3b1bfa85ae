package main

import (
	"bytes"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/coffer-backup/coffer/bench/comparison"
)

// markdown returns the report: charts, targets, every row, and on what it was run.
func markdown(in *input, drawn []drawing) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# Benchmarks\n\nMade by `bench/cmd/report` of %s. Cells are the median, with the least and the most of the n repetitions in brackets.\n",
		plain(strings.Join(in.files(), ", ")))
	for _, d := range drawn {
		fmt.Fprintf(&b, "\n![%s: %s](%s)\n", plain(d.title), plain(d.note), path.Base(d.file))
	}
	if problems := in.problems(); len(problems) > 0 {
		fmt.Fprint(&b, "\n## What is missing\n\n")
		for _, p := range problems {
			fmt.Fprintf(&b, "- %s\n", plain(p))
		}
	}
	for _, s := range in.sessions {
		writeSession(&b, s)
	}
	for _, s := range in.suites {
		writeSuite(&b, s)
	}
	return b.Bytes()
}

func (in *input) files() []string {
	var names []string
	for _, s := range in.sessions {
		names = append(names, s.file)
	}
	for _, s := range in.suites {
		names = append(names, s.file)
	}
	return slices.Compact(names)
}

func writeSession(b *bytes.Buffer, s *session) {
	fmt.Fprintf(b, "\n## Whole commands, %s\n\n", plain(s.file))
	e := s.Environment
	for _, p := range []pair{
		{"date", e.Date}, {"revision", e.Revision}, {"cpu", fmt.Sprintf("%s, %d cores", e.CPU, e.Cores)}, {"memory", sizeName(float64(e.MemoryBytes))},
		{"system", joined(", kernel ", e.OS, e.Kernel)}, {"storage", e.Storage}, {"Go", e.Go},
	} {
		fmt.Fprintf(b, "- %s: %s\n", p.key, plain(p.value))
	}
	for _, tool := range slices.Sorted(maps.Keys(e.Versions)) {
		fmt.Fprintf(b, "- version of %s: %s\n", plain(tool), plain(e.Versions[tool]))
	}
	writeTargets(b, s)
	for _, rows := range comparison.Groups(s.rows) {
		r := rows[0]
		fmt.Fprintf(b, "\n### %s of %s, %s MB\n\n", plain(r.Do), plain(r.Corpus), comparison.Digits(float64(r.Size)/mb))
		table(b, []string{"tool", "setting", "n", "MB/s", "× the fastest peer", "× by rounds", "wall s", "CPU s", "peak MiB", "output MB", "ratio"}, cells(rows))
	}
}

func cells(rows []*comparison.Row) [][]string {
	var lines [][]string
	for _, r := range rows {
		multiple, byRounds := "–", "–"
		if r.Against.Peer != nil {
			multiple, byRounds = comparison.Digits(r.Against.Speed), comparison.Digits(r.Against.SpeedByRounds)
		}
		ratio := r.Ratio()
		if r.Do == "restore" {
			ratio = comparison.Stat{}
		}
		name := r.Tool
		if r.Ours() {
			name = "**" + plain(name) + "**"
		} else {
			name = plain(name)
		}
		lines = append(lines, []string{name, plain(r.Variant), fmt.Sprint(r.Wall.N), r.Speed().Times(1 / mb).String(), multiple, byRounds,
			r.Wall.String(), r.CPU.String(), r.Peak.Times(1.0 / mib).String(), r.Output.Times(1 / mb).String(), ratio.String()})
	}
	return lines
}

func writeTargets(b *bytes.Buffer, s *session) {
	fmt.Fprintf(b, "\n### Targets\n\n%s\n\nMedians as multiples of those of the peer that is fastest at the same. The floor has to hold, the aim is what is wanted.\n\n", plain(comparison.About))
	var lines [][]string
	for i := range comparison.Targets {
		t := &comparison.Targets[i]
		cells := []string{joined(", ", t.Tool, t.Variant, t.Do), t.Measure.Name}
		for _, corpus := range comparison.TargetCorpora {
			cells = append(cells, t.Judge(s.Cores, s.rows, corpus).String())
		}
		lines = append(lines, cells)
	}
	table(b, append([]string{"", ""}, comparison.TargetCorpora...), lines)
	if beside := comparison.Beside(s.rows); len(beside) > 0 {
		fmt.Fprint(b, "\nWhat targets do not compare with:\n\n")
		for _, l := range beside {
			fmt.Fprintf(b, "- %s\n", plain(l))
		}
	}
}

func writeSuite(b *bytes.Buffer, s *suite) {
	fmt.Fprintf(b, "\n## go test -bench, %s\n\n", plain(s.file))
	for _, p := range s.config {
		fmt.Fprintf(b, "- %s: %s\n", plain(p.key), plain(p.value))
	}
	if lines := factors(s); len(lines) > 0 {
		fmt.Fprint(b, "\n### Targets\n\n")
		table(b, []string{"benchmark", "factor", "reached", ""}, lines)
	}
	type group struct{ pkg, base string }
	var order []group
	rows := make(map[group][]*benchRow)
	for _, r := range s.rows {
		g := group{r.pkg, r.base}
		if rows[g] == nil {
			order = append(order, g)
		}
		rows[g] = append(rows[g], r)
	}
	for _, g := range order {
		fmt.Fprintf(b, "\n### %s\n\n", plain(joined(", ", g.base, g.pkg)))
		writeBenchmark(b, rows[g])
	}
}

// writeBenchmark has a column for each key of the names and for each unit.
func writeBenchmark(b *bytes.Buffer, rows []*benchRow) {
	var keys, units []string
	for _, r := range rows {
		for _, k := range r.keys {
			if !slices.Contains(keys, k.key) {
				keys = append(keys, k.key)
			}
		}
		for _, u := range r.units {
			if !slices.Contains(units, u) {
				units = append(units, u)
			}
		}
	}
	head := slices.Concat(keys, []string{"n"})
	for _, u := range units {
		name, _ := shown(u)
		head = append(head, name)
	}
	var lines [][]string
	for _, r := range rows {
		var cells []string
		for _, k := range keys {
			cells = append(cells, plain(r.key(k)))
		}
		cells = append(cells, fmt.Sprint(len(r.values[r.units[0]])))
		for _, u := range units {
			_, factor := shown(u)
			cells = append(cells, r.stat(u).Times(factor).String())
		}
		lines = append(lines, cells)
	}
	for i := range head {
		head[i] = plain(head[i])
	}
	table(b, head, lines)
}

// shown returns the unit that a benchmark's is shown in, and how many of it one is.
// benchfmt has turned MB into B and ns into sec.
func shown(unit string) (string, float64) {
	switch {
	case unit == "B/s":
		return "MB/s", 1 / mb
	case unit == "peak-bytes":
		return "peak MiB", 1.0 / mib
	case strings.HasSuffix(unit, "sec/op"), strings.HasSuffix(unit, "-sec"):
		return strings.Replace(unit, "sec", "ms", 1), 1e3
	}
	return unit, 1
}

// table writes a Markdown table. Cells are Markdown already.
func table(b *bytes.Buffer, head []string, lines [][]string) {
	row := func(cells []string) { fmt.Fprintf(b, "| %s |\n", strings.Join(cells, " | ")) }
	row(head)
	row(slices.Repeat([]string{"---"}, len(head)))
	for _, l := range lines {
		row(l)
	}
}

var markup = strings.NewReplacer(
	`\`, `\\`, "`", "\\`", `*`, `\*`, `_`, `\_`, `[`, `\[`, `]`, `\]`, `<`, `\<`, `>`, `\>`,
	`|`, `\|`, `~`, `\~`, `&`, `\&`, `!`, `\!`, `#`, `\#`, `$`, `\$`, `@`, `&#64;`)

// plain escapes what Markdown, or GitHub in it, would take for markup.
func plain(s string) string { return markup.Replace(s) }
