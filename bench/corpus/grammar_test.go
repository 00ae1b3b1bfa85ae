package corpus

import (
	"math"
	"regexp"
	"testing"
	"unicode/utf8"
)

// TestGrammars expands every rule of every grammar many times.
func TestGrammars(t *testing.T) {
	notation := regexp.MustCompile(`[$][a-z{^!?<>]`)
	hook := func(dst []byte) []byte { return append(dst, "hook"...) }
	for _, files := range [][]string{
		{"names.txt", "en.txt"}, {"names.txt", "de.txt"}, {"names.txt", "es.txt"}, {"names.txt", "ru.txt"},
		{"attachment.txt"}, {"logs.txt"},
		{"tech.txt", "go.txt"}, {"tech.txt", "c.txt"}, {"tech.txt", "json.txt"}, {"tech.txt", "md.txt"},
	} {
		g := readGrammar("\t", []string{"day", "clock", "stamp", "duration"}, files...)
		s := newSpeaker(g, newRandom(1, 1), hook, hook, hook, hook)
		for i, r := range g.rules {
			for range 200 {
				s.steps = 0
				text := string(s.say(nil, i))
				if !utf8.ValidString(text) || notation.MatchString(text) || len(text) > 1<<16 {
					t.Fatalf("%s: rule %s gives %q", files, r.name, text)
				}
			}
		}
	}
}

// TestSpeaker has each sign of the notation.
func TestSpeaker(t *testing.T) {
	const text = "# nothing\n" +
		"whole =\n\ta {$>\\n$^word\\n\\n$!{ascii}_$name$<\\n}\n" +
		"word: été\nascii: x2y\n" +
		"name =\n\tb$$\\s${word}\\e2$hook\\\\\n\n" +
		"maybe =\n\t<$?ascii $ascii>\n" +
		"digits =\n\t$hex4 $dec3 $base64_5 $num\n" +
		"pool @3 =\n\t$hex8\n" +
		"share =\n\ty\n\t3* x\n"
	g := parseGrammar("  ", []string{"other", "hook"}, text)
	s := newSpeaker(g, newRandom(1, 1), nil, func(dst []byte) []byte { return append(dst, "HOOK"...) })
	if got, want := string(s.sayNamed(nil, "whole")), "a {\n  Été\n\n  X2Y_b$ été2HOOK\\\n}"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	drawn := map[string]int{}
	for range 4000 {
		drawn[string(s.sayNamed(nil, "maybe"))]++
		drawn[string(s.sayNamed(nil, "share"))]++
		if got := string(s.sayNamed(nil, "digits")); !regexp.MustCompile(`^[0-9a-f]{4} [1-9][0-9]{2} [\w-]{5} \d{1,4}$`).MatchString(got) {
			t.Fatalf("digits %q", got)
		}
		drawn["pool "+string(s.sayNamed(nil, "pool"))] = 0
	}
	if n := drawn["<x2y x2y>"]; n < 1800 || n > 2200 || drawn["<x2y>"] != 4000-n {
		t.Errorf("maybe: %v", drawn)
	}
	if n := drawn["x"]; n < 2800 || n > 3200 || drawn["y"] != 4000-n {
		t.Errorf("shares: %v", drawn)
	}
	if len(drawn) != 4+3 {
		t.Errorf("a pool of 3 has %d", len(drawn)-4)
	}
}

func TestGrammarMistakes(t *testing.T) {
	for _, text := range []string{"a =\n\t$b\n", "a =\n", "a\n\tb\n", "a @x =\n\tb\n"} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%q is a grammar", text)
				}
			}()
			parseGrammar("", nil, text)
		}()
	}
}

// TestChooser compares what is picked with the weights.
func TestChooser(t *testing.T) {
	r := newRandom(1, 1)
	for _, weights := range [][]uint64{{1}, {1, 1, 1}, {5, 1, 2}, zipf(400)} {
		c := newChooser(weights)
		const rounds = 200_000
		counts := make([]int, len(weights))
		for range rounds {
			counts[c.pick(r)]++
		}
		var total uint64
		for _, w := range weights {
			total += w
		}
		for i, n := range counts {
			want := float64(rounds) * float64(weights[i]) / float64(total)
			if math.Abs(float64(n)-want) > 6*math.Sqrt(want)+want/10 {
				t.Errorf("%d weights: number %d is picked %d times, want %.0f", len(weights), i, n, want)
			}
		}
	}
}

func TestRandom(t *testing.T) {
	r := newRandom(1, 1)
	seen := [9]int{}
	for range 9000 {
		seen[r.between(3, 8)]++
		if v := r.scale(100, 5000); v < 100 || v > 5000 {
			t.Fatalf("scale gives %d", v)
		}
	}
	for i, n := range seen {
		if i < 3 && n > 0 || i >= 3 && (n < 1300 || n > 1700) {
			t.Errorf("%d is drawn %d times", i, n)
		}
	}
}
