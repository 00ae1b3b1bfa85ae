package main

import (
	"slices"

	"github.com/coffer-backup/coffer/bench/comparison"
)

// factorGoals are those of benchmarks that report a factor as their metric. A benchmark
// has to have the key with the value.
var factorGoals = []struct {
	unit, key, value string
	goal             comparison.Goal
}{
	{"of-sio", "cores", "1", comparison.Goal{Floor: 0.97, Aim: 1.15}},
	{"of-sio", "cores", "2", comparison.Goal{Floor: 1.75, Aim: 2.2}},
	{"of-one-core", "level", "fast", comparison.Goal{Floor: 1.7, Aim: 1.8}},
	{"of-one-core", "level", "store", comparison.Goal{Floor: 1.5, Aim: 1.8}},
}

// factors returns lines of name, unit, value and verdict for the rows of a suite that
// there is a goal for.
func factors(s *suite) [][]string {
	var lines [][]string
	for _, g := range factorGoals {
		for _, r := range s.rows {
			if slices.Contains(r.units, g.unit) && r.key(g.key) == g.value {
				v := r.stat(g.unit)
				lines = append(lines, []string{r.name, g.unit, v.String(), comparison.Verdict{Goal: g.goal, Got: v.Median}.String()})
			}
		}
	}
	return lines
}
