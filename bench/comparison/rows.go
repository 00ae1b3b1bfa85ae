package comparison

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// A Row is a task with all its rounds together.
type Row struct {
	Task
	Wall, CPU, Peak, Output Stat // seconds and bytes
	Against                 Against
	Beside                  Against // the same with the fastest tool of uncompared
}

// uncompared are tools that are measured and shown like all others, but of which none
// counts as the fastest peer, on any corpus, with what is said of them. The targets were
// set against pipelines that people use for everything, which compress, and rclone.
// How coffer compares with the others has lines of its own, those of Beside.
var uncompared = map[string]string{"age": "alone, which does not compress"}

// Against is how a row compares with the fastest peer at the same, which for that peer
// is itself.
type Against struct {
	Peer          *Row    // nil if there is none
	Speed         float64 // how many times as fast
	SpeedByRounds float64 // the same, the median of the rounds' quotients
	CPU, Output   float64 // share of its CPU seconds, and of its output
}

// Ours tells coffer in all its builds from the peers.
func (t Task) Ours() bool { return t.Tool == "coffer" || strings.HasPrefix(t.Tool, "coffer-") }

// Speed is in bytes of plaintext a second.
func (r *Row) Speed() Stat { return r.Wall.Per(float64(r.Size)) }

// Ratio is bytes of plaintext for a byte of output; none where output was not measured.
func (r *Row) Ratio() Stat { return r.Output.Per(float64(r.Size)) }

// An Order is that in which names are shown; what is not in it comes last, by name.
type Order []string

// The orders of rows.
var (
	Corpora  = Order{"chat", "media", "source", "logs", "mix"}
	Tools    = Order{"coffer", "coffer-nocgo", "zstd-age", "age", "zstd-gpg", "rclone-crypt", "borg", "restic", "kopia"}
	Variants = Order{"", "default", "no-check", "backup"}
)

// Compare is for sorting.
func (o Order) Compare(a, b string) int {
	rank := func(s string) int {
		if i := slices.Index(o, s); i >= 0 {
			return i
		}
		return len(o)
	}
	return cmp.Or(cmp.Compare(rank(a), rank(b)), strings.Compare(a, b))
}

// Rows returns a row for each task, in groups as Groups finds them.
func (s *Session) Rows() []*Row {
	runs := make(map[Task][]Run)
	for _, r := range s.Runs {
		runs[r.Task] = append(runs[r.Task], r)
	}
	var rows []*Row
	for task, rounds := range runs {
		of := func(value func(Run) float64) Stat {
			var values []float64
			for _, r := range rounds {
				values = append(values, value(r))
			}
			return NewStat(values)
		}
		rows = append(rows, &Row{
			Task:   task,
			Wall:   of(func(r Run) float64 { return r.WallSeconds }),
			CPU:    of(func(r Run) float64 { return r.CPUSeconds }),
			Peak:   of(func(r Run) float64 { return float64(r.PeakBytes) }),
			Output: of(func(r Run) float64 { return float64(r.OutputBytes) }),
		})
	}
	slices.SortFunc(rows, func(a, b *Row) int {
		return cmp.Or(
			Corpora.Compare(a.Corpus, b.Corpus), cmp.Compare(a.Size, b.Size), cmp.Compare(a.Do, b.Do),
			Tools.Compare(a.Tool, b.Tool), Variants.Compare(a.Variant, b.Variant))
	})
	for _, group := range Groups(rows) {
		peer, beside := fastestPeers(group)
		for _, r := range group {
			r.Against, r.Beside = against(r, peer, runs), against(r, beside, runs)
		}
	}
	return rows
}

// Groups divides rows by corpus, size and direction: what can be compared.
func Groups(rows []*Row) (groups [][]*Row) {
	for i, r := range rows {
		if i == 0 || r.Corpus != rows[i-1].Corpus || r.Size != rows[i-1].Size || r.Do != rows[i-1].Do {
			groups = append(groups, nil)
		}
		last := len(groups) - 1
		groups[last] = append(groups[last], r)
	}
	return groups
}

// fastestPeers returns the fastest peer, and the fastest tool of uncompared.
func fastestPeers(group []*Row) (peer, beside *Row) {
	for _, r := range group {
		best := &peer
		if uncompared[r.Tool] != "" {
			best = &beside
		}
		if !r.Ours() && (*best == nil || r.Wall.Median < (*best).Wall.Median) {
			*best = r
		}
	}
	return peer, beside
}

// Beside says how coffer compares with the fastest tool of uncompared, a line for each
// group in which there is one.
func Beside(rows []*Row) (lines []string) {
	for _, group := range Groups(rows) {
		var parts []string
		var peer *Row
		for _, r := range group {
			if b := r.Beside; b.Peer != nil && r.Ours() {
				peer = b.Peer
				parts = append(parts, fmt.Sprintf("%s %s: speed %.2f, by rounds %.2f, CPU seconds %.2f, output %.4f",
					r.Tool, r.Variant, b.Speed, b.SpeedByRounds, b.CPU, b.Output))
			}
		}
		if peer != nil {
			lines = append(lines, fmt.Sprintf("%s of %s against %s %s: %s", peer.Do, peer.Corpus, peer.Tool, uncompared[peer.Tool], strings.Join(parts, "; ")))
		}
	}
	return lines
}

func against(r, peer *Row, runs map[Task][]Run) Against {
	if peer == nil {
		return Against{}
	}
	theirs := make(map[int]float64) // by round
	for _, run := range runs[peer.Task] {
		theirs[run.Round] = run.WallSeconds
	}
	var byRounds []float64
	for _, run := range runs[r.Task] {
		if wall, ok := theirs[run.Round]; ok {
			byRounds = append(byRounds, wall/run.WallSeconds)
		}
	}
	return Against{
		Peer:          peer,
		Speed:         quotient(peer.Wall, r.Wall),
		SpeedByRounds: NewStat(byRounds).Median,
		CPU:           quotient(r.CPU, peer.CPU),
		Output:        quotient(r.Output, peer.Output),
	}
}

// quotient is 0 where there is nothing to divide, or to divide by.
func quotient(a, b Stat) float64 {
	if b.Median == 0 {
		return 0
	}
	return a.Median / b.Median
}
