package comparison

import (
	"fmt"
	"slices"

	"github.com/coffer-backup/coffer/bench/corpus"
)

// About says what the targets are about.
const About = "Targets are about coffer seal and open, the like of zstd | age; backup is the row to compare with restic and borg."

// A Target is what one build of coffer in one setting should reach against the fastest
// peer, on targetCores and a corpus of its default size.
type Target struct {
	Tool, Variant, Do string
	Measure           Measure
	floor, aim        figures
}

// A Measure is a ratio to the fastest peer.
type Measure struct {
	Name   string
	atMost bool // less is better
	of     func(Against) float64
}

var (
	speed      = Measure{"speed", false, func(a Against) float64 { return a.Speed }}
	cpuSeconds = Measure{"CPU seconds", true, func(a Against) float64 { return a.CPU }}
	output     = Measure{"output", true, func(a Against) float64 { return a.Output }}
)

const targetCores = 2

// TargetCorpora are those that targets are about.
var TargetCorpora = []string{"chat", "media", "source", "mix"}

// figures are those for each of TargetCorpora, 0 for none.
type figures [4]float64

// Targets are all of them.
var Targets = []Target{
	{"coffer", "default", "backup", speed, figures{0.95, 1.6, 0.95, 1.1}, figures{1.3, 3, 1.1, 1.6}},
	{"coffer", "default", "backup", cpuSeconds, figures{1.15, 0.65, 1.15, 1.15}, figures{0.85, 0.65, 0.85, 0.85}},
	{"coffer", "default", "backup", output, figures{1.02, 1.02, 1.02, 1.02}, figures{}},
	{"coffer", "no-check", "backup", speed, figures{1.3, 1.7, 1.2, 1.4}, figures{1.5, 3.2, 1.25, 1.9}},
	{"coffer", "no-check", "backup", cpuSeconds, figures{0.85, 0.85, 0.85, 0.85}, figures{0.7, 0.7, 0.7, 0.7}},
	{"coffer-nocgo", "default", "backup", speed, figures{0.75, 1.5, 0.7, 1.0}, figures{0.75, 2.5, 0.75, 1.0}},
	{"coffer-nocgo", "no-check", "backup", speed, figures{0.85, 1.7, 0.85, 1.15}, figures{0.85, 3, 0.9, 1.15}},
	{"coffer", "default", "restore", speed, figures{1.25, 1.6, 1.25, 0}, figures{1.8, 2, 1.8, 1.8}},
}

// Judge holds the rows of a session on so many cores to the target on one of
// TargetCorpora; for others there is no goal.
func (t *Target) Judge(cores int, rows []*Row, name string) Verdict {
	i := slices.Index(TargetCorpora, name)
	if i < 0 {
		return Verdict{}
	}
	v := Verdict{Goal: Goal{t.floor[i], t.aim[i], t.Measure.atMost}}
	for _, r := range rows {
		switch {
		case r.Corpus != name || r.Tool != t.Tool || r.Variant != t.Variant || r.Do != t.Do:
		case cores != targetCores || !isDefaultSize(name, r.Size):
			v.Otherwise = true
		default:
			v.Got = t.Measure.of(r.Against)
		}
	}
	return v
}

// isDefaultSize allows for the rounding down of chat to pages and of source to blocks.
func isDefaultSize(name string, size int64) bool {
	less := corpus.DefaultSize(name) - size
	return less >= 0 && less < 4096
}

// A Goal is a floor, which has to hold, and an aim, which is what is wanted; 0 is none.
type Goal struct {
	Floor, Aim float64
	AtMost     bool // less is better
}

// A Verdict is a goal and what was reached.
type Verdict struct {
	Goal
	Got       float64 // 0 if it was not measured
	Otherwise bool    // it was, but on other cores or another size than the target's
}

// Holds reports whether there is no floor, or it was measured and is kept.
func (v Verdict) Holds() bool { return v.Floor == 0 || v.Got != 0 && v.meets(v.Floor) }

// meets counts reaching a figure exactly as reaching it.
func (v Verdict) meets(figure float64) bool {
	if v.AtMost {
		return v.Got <= figure
	}
	return v.Got >= figure
}

// String is like "1.200; floor ≥ 0.95 met; aim ≥ 1.3 MISSED".
func (v Verdict) String() string {
	switch {
	case v.Got == 0 && v.Otherwise:
		return "other conditions"
	case v.Got == 0:
		return "not measured"
	}
	text := fmt.Sprintf("%.3f", v.Got)
	add := func(name string, figure float64) {
		sign, mark := "≥", "MISSED"
		if v.AtMost {
			sign = "≤"
		}
		if v.meets(figure) {
			mark = "met"
		}
		if figure != 0 {
			text += fmt.Sprintf("; %s %s %v %s", name, sign, figure, mark)
		}
	}
	add("floor", v.Floor)
	add("aim", v.Aim)
	return text
}
