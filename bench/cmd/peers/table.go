package main

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/coffer-backup/coffer/bench/comparison"
)

// printTables writes what each tool did, how coffer compares with the fastest peer, and
// the targets, and reports whether all of their floors hold.
func printTables(out io.Writer, s *comparison.Session) (allHold bool, err error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s: %s, %d cores used, %s, kernel %s, %s, files in %s\n", s.Date, s.CPU, s.Cores, s.OS, s.Kernel, s.Go, s.Storage)
	for _, name := range slices.Sorted(maps.Keys(s.Versions)) {
		fmt.Fprintf(&b, "%s: %s\n", name, s.Versions[name])
	}
	rows := s.Rows()
	for _, group := range comparison.Groups(rows) {
		printGroup(&b, group, s.Missing)
	}
	printComparisons(&b, rows)
	allHold = printVerdicts(&b, s.Cores, rows)
	_, err = b.WriteTo(out)
	return allHold, err
}

// table writes lines of cells between tabs, aligned.
func table(b *bytes.Buffer, lines []string) {
	b.WriteByte('\n')
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, strings.Join(lines, "\n"))
	w.Flush() // a bytes.Buffer takes everything
}

func printGroup(b *bytes.Buffer, group []*comparison.Row, missing []string) {
	first := group[0]
	fmt.Fprintf(b, "\n%s of %s, %.1f MB, rounds: %d, median [least–most]", first.Do, first.Corpus, float64(first.Size)/1e6, first.Wall.N)
	lines := []string{"tool\tvariant\t     MB/s\t   CPU s\tpeak MiB\toutput bytes\tratio"}
	for _, r := range group {
		lines = append(lines, fmt.Sprintf("%s\t%s\t%s\t%s\t%8.1f\t%12.0f\t%5.2f", r.Tool, r.Variant,
			spread(r.Speed().Times(1e-6), "%6.1f"), spread(r.CPU, "%6.2f"), r.Peak.Median/(1<<20), r.Output.Median, r.Ratio().Median))
	}
	for _, name := range missing {
		lines = append(lines, name+"\tnot installed")
	}
	table(b, lines)
}

func spread(s comparison.Stat, verb string) string {
	return fmt.Sprintf(verb+" ["+verb+"–"+verb+"]", s.Median, s.Min, s.Max)
}

func printComparisons(b *bytes.Buffer, rows []*comparison.Row) {
	lines := []string{"corpus\ttool\tvariant\tdo\tspeed\tby rounds\tCPU\toutput\tpeer"}
	for _, r := range rows {
		if a := r.Against; a.Peer != nil && r.Ours() {
			lines = append(lines, fmt.Sprintf("%s\t%s\t%s\t%s\t%.2f\t%.2f\t%.2f\t%.4f\t%s %s", r.Corpus, r.Tool, r.Variant, r.Do,
				a.Speed, a.SpeedByRounds, a.CPU, a.Output, a.Peer.Tool, a.Peer.Variant))
		}
	}
	if len(lines) > 1 {
		b.WriteString("\nagainst the fastest peer")
		table(b, lines)
	} else {
		b.WriteString("\nno peer to compare with was measured\n")
	}
	if lines := comparison.Beside(rows); len(lines) > 0 {
		fmt.Fprintf(b, "\n%s\n", strings.Join(lines, "\n"))
	}
}

// printVerdicts judges the corpora that were measured, and reports whether all floors
// hold.
func printVerdicts(b *bytes.Buffer, cores int, rows []*comparison.Row) bool {
	var lines []string
	allHold := true
	for _, corpus := range comparison.TargetCorpora {
		if !slices.ContainsFunc(rows, func(r *comparison.Row) bool { return r.Corpus == corpus }) {
			continue
		}
		for i := range comparison.Targets {
			t := &comparison.Targets[i]
			v := t.Judge(cores, rows, corpus)
			lines = append(lines, fmt.Sprintf("%s\t%s\t%s\t%s\t%s\t%v", corpus, t.Tool, t.Variant, t.Do, t.Measure.Name, v))
			allHold = allHold && v.Holds()
		}
	}
	if len(lines) > 0 {
		fmt.Fprintf(b, "\n%s\ntargets", comparison.About)
		table(b, lines)
	}
	return allHold
}
