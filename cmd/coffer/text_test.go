package main

import "testing"

func TestQuoteName(t *testing.T) {
	for name, want := range map[string]string{
		"plain name.txt": "plain name.txt",
		"käse":           "käse",
		"":               `""`,
		" a":             `" a"`,
		"a\nb":           `"a\nb"`,
		"\x1b[31m":       `"\x1b[31m"`,
		"a\u202eb":       `"a\u202eb"`,
		"\xff":           `"\xff"`,
		"\ufffd":         "\ufffd",
		`\xff`:           `"\\xff"`,
		`"a"`:            `"\"a\""`,
	} {
		if got := quoteName(name); got != want {
			t.Errorf("quoteName(%q) = %s, want %s", name, got, want)
		}
	}
}

func TestVisible(t *testing.T) {
	for text, want := range map[string]string{
		"plain \"text\" \\":   "plain \"text\" \\",
		"a\tb\x1b\xffc\u202e": `a\tb\x1b\xffc\u202e`,
	} {
		if got := visible(text); got != want {
			t.Errorf("visible(%q) = %s, want %s", text, got, want)
		}
	}
}

func TestByteCount(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 1 << 20: "1.0 MiB", 10 << 30: "10.0 GiB", 1<<63 - 1: "8.0 EiB",
	} {
		if got := byteCount(n); got != want {
			t.Errorf("byteCount(%d) = %s, want %s", n, got, want)
		}
	}
}

func TestParseSize(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "4096": 4096, "4096B": 4096, "64KiB": 64 << 10, "1MiB": 1 << 20, "2GiB": 2 << 30,
	} {
		if got, err := parseSize(text); err != nil || got != want {
			t.Errorf("parseSize(%q) = %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "MiB", "-1", "1.5MiB", "1KB", "1K", "1 MiB", "1MiBB", "99999999999GiB"} {
		if got, err := parseSize(text); err == nil {
			t.Errorf("parseSize(%q) = %d", text, got)
		}
	}
}
