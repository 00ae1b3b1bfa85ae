package comparison

import (
	"slices"
	"testing"
)

func TestStat(t *testing.T) {
	for _, test := range []struct {
		values []float64
		want   Stat
		text   string
	}{
		{nil, Stat{}, "–"},
		{[]float64{7}, Stat{1, 7, 7, 7}, "7.00"},
		{[]float64{3, 1, 2}, Stat{3, 2, 1, 3}, "2.00 (1.00–3.00)"},
		{[]float64{9, 1, 2, 4}, Stat{4, 3, 1, 9}, "3.00 (1.00–9.00)"},
		{[]float64{4, 1, 2, 30}, Stat{4, 3, 1, 30}, "3.00 (1.00–30.0)"},
	} {
		before := slices.Clone(test.values)
		s := NewStat(test.values)
		if s != test.want || s.String() != test.text {
			t.Errorf("%v: %+v %q, want %+v %q", test.values, s, s, test.want, test.text)
		}
		if !slices.Equal(test.values, before) {
			t.Errorf("the values %v became %v", before, test.values)
		}
	}
	// The slowest time is the least speed.
	if got, want := NewStat([]float64{1, 2, 4}).Per(8), (Stat{3, 4, 2, 8}); got != want {
		t.Errorf("speeds %+v, want %+v", got, want)
	}
	if got := NewStat([]float64{0, 1}).Per(8); got != (Stat{}) {
		t.Errorf("a time of nothing gives the speed %+v", got)
	}
}

func TestDigits(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 0.012345: "0.0123", 0.9996: "1.00", 1.314: "1.31", 12.34: "12.3", 99.96: "100", 1342.4: "1342", -2: "-2.00"} {
		if got := Digits(v); got != want {
			t.Errorf("Digits(%v) is %s, want %s", v, got, want)
		}
	}
}
