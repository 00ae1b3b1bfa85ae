package corpus

import "testing"

func TestParseSize(t *testing.T) {
	for s, want := range map[string]int64{"0": 0, "4096": 4096, "2B": 2, "3kB": 3000, "3KiB": 3072, "300MB": 3e8, "16GiB": 16 << 30, "17179869184": 16 << 30, "1024GiB": 1 << 40} {
		if got, err := ParseSize(s); err != nil || got != want {
			t.Errorf("%s is %d, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "MiB", "-1", "1.5MiB", "1 MiB", "1025GiB", "99999999999999999999", "1099511627777"} {
		if got, err := ParseSize(s); err == nil {
			t.Errorf("%q is %d", s, got)
		}
	}
}
