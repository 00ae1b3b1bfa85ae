package comparison

import (
	"math"
	"slices"
	"testing"
)

func TestRows(t *testing.T) {
	s, _ := sample(t)
	rows := s.Rows()
	var tasks []string
	for _, group := range Groups(rows) {
		for _, r := range group {
			tasks = append(tasks, r.Do+" "+r.Tool+" "+r.Variant)
		}
		tasks = append(tasks, "")
	}
	if want := []string{
		"backup coffer default", "backup coffer no-check", "backup zstd-age zstd -1", "backup restic ", "",
		"restore coffer default", "restore zstd-age zstd -1", "",
	}; !slices.Equal(tasks, want) {
		t.Errorf("groups %q, want %q", tasks, want)
	}
	r := rows[0]
	if want := (Row{r.Task, Stat{3, 0.8, 0.8, 4}, Stat{3, 2, 2, 2}, Stat{3, 1 << 20, 1 << 20, 1 << 20}, Stat{3, 511, 511, 511}, r.Against, Against{}}); *r != want {
		t.Errorf("row %+v, want %+v", *r, want)
	}
	if r.Speed() != (Stat{3, 286e6 / 0.8, 286e6 / 4, 286e6 / 0.8}) || r.Ratio().Median != 286e6/511.0 {
		t.Errorf("speed %+v, ratio %+v", r.Speed(), r.Ratio())
	}

	a := r.Against
	near := func(a, b float64) bool { return math.Abs(a-b) < 1e-9 }
	if a.Peer != rows[2] || !near(a.Speed, 1.25) || !near(a.SpeedByRounds, 1.25) || !near(a.CPU, 1) || !near(a.Output, 1.022) {
		t.Errorf("against the fastest peer: %+v", a)
	}
	if a := rows[2].Against; a.Peer != rows[2] || a.Speed != 1 {
		t.Errorf("the fastest peer against itself: %+v", a)
	}
}

// session has rounds of runs with these wall times, in turn.
func session(walls map[Task][]float64) *Session {
	s := new(Session)
	for task, rounds := range walls {
		for i, wall := range rounds {
			s.Runs = append(s.Runs, Run{Task: task, Round: i + 1, WallSeconds: wall})
		}
	}
	return s
}

// The median of quotients is not the quotient of medians.
func TestSpeedByRounds(t *testing.T) {
	a := session(map[Task][]float64{
		{"chat", 100, "coffer", "default", "backup"}: {1, 20, 3},
		{"chat", 100, "restic", "", "backup"}:        {1, 2, 30},
	}).Rows()[0].Against
	if a.SpeedByRounds != 1 || a.Speed != 2.0/3 {
		t.Errorf("%+v", a)
	}
}

// Rounds are paired by their numbers: one of a run that was cut short has no other.
func TestRoundsOfTheirOwn(t *testing.T) {
	s := session(map[Task][]float64{
		{"chat", 100, "coffer", "default", "backup"}: {1, 10, 1},
		{"chat", 100, "restic", "", "backup"}:        {2, 20, 2},
	})
	s.Runs = slices.DeleteFunc(s.Runs, func(r Run) bool { return r.Tool == "coffer" && r.Round == 1 })
	if a := s.Rows()[0].Against; a.SpeedByRounds != 2 {
		t.Errorf("%+v", a)
	}
	s.Runs = slices.DeleteFunc(s.Runs, func(r Run) bool { return r.Tool == "restic" && r.Round != 1 })
	if a := s.Rows()[0].Against; a.Peer == nil || a.SpeedByRounds != 0 {
		t.Errorf("without a common round: %+v", a)
	}
}

// TestUncompared: age is never the fastest peer, and has lines instead.
func TestUncompared(t *testing.T) {
	walls := map[Task][]float64{
		{"chat", 100, "coffer", "default", "backup"}:     {1},
		{"chat", 100, "coffer", "no-check", "backup"}:    {0.5},
		{"chat", 100, "zstd-age", "zstd -1", "backup"}:   {3},
		{"chat", 100, "age", "", "backup"}:               {2},
		{"media", 100, "coffer", "default", "backup"}:    {1},
		{"media", 100, "age", "", "backup"}:              {0.25},
		{"media", 100, "coffer", "default", "restore"}:   {1},
		{"media", 100, "zstd-age", "zstd -1", "restore"}: {1},
	}
	rows := session(walls).Rows()
	for _, r := range rows {
		if a := r.Against; r.Corpus == "chat" && (a.Peer == nil || a.Peer.Tool != "zstd-age") || r.Corpus == "media" && r.Do == "backup" && a.Peer != nil {
			t.Errorf("%+v against %+v", r.Task, a.Peer)
		}
	}
	if want := []string{
		"backup of chat against age alone, which does not compress: coffer default: speed 2.00, by rounds 2.00, CPU seconds 0.00, output 0.0000; " +
			"coffer no-check: speed 4.00, by rounds 4.00, CPU seconds 0.00, output 0.0000",
		"backup of media against age alone, which does not compress: coffer default: speed 0.25, by rounds 0.25, CPU seconds 0.00, output 0.0000",
	}; !slices.Equal(Beside(rows), want) {
		t.Errorf("%q, want %q", Beside(rows), want)
	}
}

func TestFastestPeer(t *testing.T) {
	rows := session(map[Task][]float64{
		{"chat", 100, "coffer", "default", "backup"}:       {1},
		{"chat", 100, "coffer-nocgo", "default", "backup"}: {0.1}, // faster than all, but no peer
		{"chat", 100, "zstd-age", "slow", "backup"}:        {3},
		{"chat", 100, "zstd-age", "fast", "backup"}:        {0.1, 1.2, 2}, // by the median
		{"chat", 100, "restic", "", "backup"}:              {1.3, 1.3, 1.3},
		{"media", 100, "restic", "", "backup"}:             {0.1},
		{"chat", 100, "restic", "", "restore"}:             {0.1},
		{"chat", 10, "restic", "", "backup"}:               {0.1},
		{"mix", 100, "coffer", "default", "backup"}:        {0.1},
	}).Rows()
	found := make(map[string]*Row)
	for _, r := range rows {
		if r.Size == 100 && r.Tool == "coffer" {
			found[r.Corpus] = r
		}
	}
	if a := found["chat"].Against; a.Peer == nil || a.Peer.Variant != "fast" || a.Speed != 1.2 || a.CPU != 0 {
		t.Errorf("against the fastest peer: %+v", a)
	}
	if a := found["mix"].Against; a != (Against{}) {
		t.Errorf("without a peer: %+v", a)
	}
}

func TestOrder(t *testing.T) {
	names := []string{"z", "mix", "a", "chat", "logs"}
	slices.SortFunc(names, Corpora.Compare)
	if want := []string{"chat", "logs", "mix", "a", "z"}; !slices.Equal(names, want) {
		t.Errorf("%q, want %q", names, want)
	}
}
