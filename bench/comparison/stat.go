package comparison

import (
	"fmt"
	"slices"
	"strconv"

	"golang.org/x/perf/benchmath"
)

// A Stat is the median of N measurements and how far they spread.
type Stat struct {
	N                int
	Median, Min, Max float64
}

// NewStat sums measurements up. Of none the Stat is zero.
func NewStat(values []float64) Stat {
	if len(values) == 0 {
		return Stat{}
	}
	s := benchmath.NewSample(slices.Clone(values), &benchmath.DefaultThresholds)
	return Stat{
		N:      len(s.Values),
		Median: benchmath.AssumeNothing.Summary(s, 0.95).Center,
		Min:    s.Values[0],
		Max:    s.Values[len(s.Values)-1],
	}
}

// Per returns amount/s: the speed that goes with a time, or a ratio.
func (s Stat) Per(amount float64) Stat {
	if s.Min <= 0 {
		return Stat{}
	}
	return Stat{s.N, amount / s.Median, amount / s.Max, amount / s.Min}
}

// Times returns s in another unit.
func (s Stat) Times(factor float64) Stat {
	return Stat{s.N, s.Median * factor, s.Min * factor, s.Max * factor}
}

// String is the median with the range, 1.31 (1.28–1.40), if it is one in these digits.
func (s Stat) String() string {
	switch {
	case s.N == 0:
		return "–"
	case Digits(s.Min) == Digits(s.Max):
		return Digits(s.Median)
	}
	return fmt.Sprintf("%s (%s–%s)", Digits(s.Median), Digits(s.Min), Digits(s.Max))
}

// Digits gives three significant ones, and all of those before the point.
func Digits(v float64) string {
	switch {
	case v == 0:
		return "0"
	case v >= 99.95 || v <= -99.95:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 9.995 || v <= -9.995:
		return strconv.FormatFloat(v, 'f', 1, 64)
	case v >= 0.9995 || v <= -0.9995:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}
