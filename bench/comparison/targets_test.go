package comparison

import "testing"

func TestJudge(t *testing.T) {
	s, _ := sample(t)
	rows := s.Rows()
	for i, want := range []struct {
		text  string
		holds bool
	}{
		{"1.250; floor ≥ 0.95 met; aim ≥ 1.3 MISSED", true},
		{"1.000; floor ≤ 1.15 met; aim ≤ 0.85 MISSED", true},
		{"1.022; floor ≤ 1.02 MISSED", false},
		{"2.000; floor ≥ 1.3 met; aim ≥ 1.5 met", true},
		{"0.750; floor ≤ 0.85 met; aim ≤ 0.7 MISSED", true},
		{"not measured", false},
		{"not measured", false},
		{"1.111; floor ≥ 1.25 MISSED; aim ≥ 1.8 MISSED", false},
	} {
		target := &Targets[i]
		if v := target.Judge(2, rows, "chat"); v.String() != want.text || v.Holds() != want.holds {
			t.Errorf("%s %s %s, %s: %v, holds: %v; want %v", target.Tool, target.Variant, target.Do, target.Measure.Name, v, v.Holds(), want)
		}
		if v := target.Judge(2, rows, "media"); v.String() != "not measured" {
			t.Errorf("%s on media: %v", target.Tool, v)
		}
		if v := target.Judge(2, rows, "logs"); v.Goal != (Goal{}) || !v.Holds() {
			t.Errorf("corpus logs has a target: %+v", v)
		}
	}
}

// TestOtherConditions: what was measured on other cores or another size is not judged.
func TestOtherConditions(t *testing.T) {
	target := &Targets[0]
	for _, test := range []struct {
		cores int
		size  int64
		want  string
	}{
		{2, 286e6, "2.000; floor ≥ 0.95 met; aim ≥ 1.3 met"},
		{2, 286e6 / 4096 * 4096, "2.000; floor ≥ 0.95 met; aim ≥ 1.3 met"},
		{2, 286e6 - 4096, "other conditions"},
		{2, 286e6 + 1, "other conditions"},
		{2, 2e6, "other conditions"},
		{1, 286e6, "other conditions"},
		{4, 286e6, "other conditions"},
	} {
		rows := session(map[Task][]float64{
			{"chat", test.size, "coffer", "default", "backup"}: {1},
			{"chat", test.size, "restic", "", "backup"}:        {2},
		}).Rows()
		if v := target.Judge(test.cores, rows, "chat"); v.String() != test.want || v.Holds() == (v.Got == 0) {
			t.Errorf("%d cores, %d bytes: %v, holds: %v; want %s", test.cores, test.size, v, v.Holds(), test.want)
		}
	}
}

// TestTargets: on each corpus there is something to reach, an aim is no less than the
// floor, and the output of one setting alone is judged.
func TestTargets(t *testing.T) {
	for _, target := range Targets {
		for _, corpus := range TargetCorpora {
			g := target.Judge(2, nil, corpus).Goal
			less := g.Aim < g.Floor
			if g.AtMost {
				less = g.Aim > g.Floor
			}
			if g.Floor == 0 && g.Aim == 0 || g.Aim != 0 && less {
				t.Errorf("%s %s %s, %s on %s: %+v", target.Tool, target.Variant, target.Do, target.Measure.Name, corpus, g)
			}
		}
		if target.Measure.Name == "output" && (target.Tool != "coffer" || target.Variant != "default") {
			t.Errorf("output of %s %s", target.Tool, target.Variant)
		}
	}
	restore := &Targets[len(Targets)-1]
	if g := restore.Judge(2, nil, "mix").Goal; g != (Goal{Floor: 0, Aim: 1.8}) || restore.Do != "restore" {
		t.Errorf("%s of mix: %+v", restore.Do, g)
	}
}

// Reaching a figure exactly is reaching it.
func TestVerdict(t *testing.T) {
	for _, test := range []struct {
		goal  Goal
		got   float64
		holds bool
		text  string
	}{
		{Goal{1.1, 0, false}, 1.1, true, "1.100; floor ≥ 1.1 met"},
		{Goal{1.1, 0, false}, 1.0999, false, "1.100; floor ≥ 1.1 MISSED"},
		{Goal{1.1, 0, false}, 2, true, "2.000; floor ≥ 1.1 met"},
		{Goal{1.1, 0, true}, 1.1, true, "1.100; floor ≤ 1.1 met"},
		{Goal{1.1, 0, true}, 1.1001, false, "1.100; floor ≤ 1.1 MISSED"},
		{Goal{1.1, 0, true}, 1, true, "1.000; floor ≤ 1.1 met"},
		{Goal{1.1, 2, false}, 0, false, "not measured"},
		{Goal{1.1, 1, true}, 0, false, "not measured"},
		{Goal{0, 1.8, false}, 1.5, true, "1.500; aim ≥ 1.8 MISSED"},
		{Goal{0, 1.8, false}, 0, true, "not measured"},
		{Goal{1, 1.8, false}, 1.8, true, "1.800; floor ≥ 1 met; aim ≥ 1.8 met"},
	} {
		if v := (Verdict{Goal: test.goal, Got: test.got}); v.Holds() != test.holds || v.String() != test.text {
			t.Errorf("%+v, %v: %q, holds: %v", test.goal, test.got, v, v.Holds())
		}
	}
}
