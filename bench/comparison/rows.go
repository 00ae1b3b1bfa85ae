package comparison

import (
	"cmp"
	"slices"
	"strings"
)

// A Row is a task with all its rounds together.
type Row struct {
	Task
	Wall, CPU, Peak, Output Stat // seconds and bytes
	Against                 Against
}

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
	Tools    = Order{"coffer", "coffer-nocgo", "zstd-age", "zstd-gpg", "rclone-crypt", "borg", "restic", "kopia"}
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
		peer := fastestPeer(group)
		for _, r := range group {
			if peer != nil {
				r.Against = against(r, peer, runs)
			}
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

func fastestPeer(group []*Row) (best *Row) {
	for _, r := range group {
		if !r.Ours() && (best == nil || r.Wall.Median < best.Wall.Median) {
			best = r
		}
	}
	return best
}

func against(r, peer *Row, runs map[Task][]Run) Against {
	ours, theirs := runs[r.Task], runs[peer.Task]
	var byRounds []float64
	for i := range min(len(ours), len(theirs)) {
		byRounds = append(byRounds, theirs[i].WallSeconds/ours[i].WallSeconds)
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
