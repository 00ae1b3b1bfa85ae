package sample

import "testing"

func TestJudge(t *testing.T) {
	for n, good := range map[int]bool{-1: false, 0: true, 9: true} {
		if (judge(n, false) == nil) != good {
			t.Error(n)
		}
	}
	_ = judge(10, false) // nobody looks
}

func TestAccepts(t *testing.T) {
	if accepts(true, true, false) || accepts(false, false, false) {
		t.Error("accepted")
	}
}

func TestClosures(t *testing.T) {
	if _, err := closures(7); err == nil {
		t.Error("7 is not large")
	}
}

func TestEndless(t *testing.T) { _ = endless() }
