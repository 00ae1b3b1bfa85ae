package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The samples are made up, in the form of what peers and go test -bench write.
var samples = []string{filepath.Join("testdata", "sample-peers.jsonl"), filepath.Join("testdata", "sample-suites.txt")}

func loadSamples(t *testing.T) *input {
	t.Helper()
	in, err := load(samples)
	if err != nil {
		t.Fatal(err)
	}
	return in
}

func TestLoadPeers(t *testing.T) {
	s := loadSamples(t).sessions[0]
	if s.CPU != "AMD EPYC" || s.Cores != 2 || s.Versions["age"] != "v1.3.2" || !slices.Equal(s.Missing, []string{"kopia"}) {
		t.Errorf("environment: %+v", s.Environment)
	}
	if len(s.Runs) != 2*3*9*2 || len(s.rows) != 2*9*2 {
		t.Errorf("%d runs in %d rows, want 108 in 36: 2 corpora, 3 rounds, 9 settings, both directions", len(s.Runs), len(s.rows))
	}
	r := s.Runs[0]
	if r.Corpus != "chat" || r.Size != 286e6 || r.Tool != "coffer" || r.Variant != "default" || r.Do != "backup" || r.Round != 1 ||
		r.WallSeconds == 0 || r.CPUSeconds == 0 || r.PeakBytes == 0 || r.OutputBytes != 178750000 {
		t.Errorf("first run: %+v", r)
	}
}

func TestLoadSuites(t *testing.T) {
	s := loadSamples(t).suites[0]
	if want := []pair{{"goos", "linux"}, {"goarch", "amd64"}, {"cpu", "AMD EPYC"}}; !slices.Equal(s.config, want) {
		t.Errorf("config %v, want %v", s.config, want)
	}
	if want := []string{"--- SKIP: BenchmarkArchive: archive_test.go:20: needs 4 cores"}; !slices.Equal(s.failures, want) {
		t.Errorf("failures %q, want %q", s.failures, want)
	}
	r := s.rows[0]
	if r.base != "Writer" || r.pkg != "github.com/coffer-backup/coffer/bench" || r.key("corpus") != "chat" || r.key("GOMAXPROCS") != "2" || r.key("nothing") != "" {
		t.Errorf("first row: %+v", r)
	}
	if !slices.Equal(r.units, []string{"sec/op", "B/s", "ratio"}) || len(r.values["B/s"]) != 2 {
		t.Errorf("first row has units %q and values %v", r.units, r.values)
	}
	if v := r.stat("B/s").Median; v < 2.4e9 || v > 2.7e9 {
		t.Errorf("2600 MB/s were read as %v B/s", v)
	}
}

// TestLoadMerges puts repetitions together, but not those of another package.
func TestLoadMerges(t *testing.T) {
	s, err := parseSuite("x", []byte("pkg: a\nBenchmarkX/64KiB-4 1 5 ns/op\nBenchmarkX/64KiB-4 1 7 ns/op\npkg: b\nBenchmarkX/64KiB-4 1 9 ns/op\n"))
	if err != nil {
		t.Fatal(err)
	}
	if len(s.rows) != 2 || len(s.rows[0].values["sec/op"]) != 2 {
		t.Fatalf("%d rows, the first with %v", len(s.rows), s.rows[0].values)
	}
	if want := []pair{{"case", "64KiB"}, {"GOMAXPROCS", "4"}}; !slices.Equal(s.rows[0].keys, want) {
		t.Errorf("keys %v, want %v", s.rows[0].keys, want)
	}
}

func TestLoadRejects(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"", "neither JSON lines"},
		{"PASS\nok\n", "neither JSON lines"},
		{`{"type":"environment"}` + "\n" + `{"type":"result"}`, `line 2: unknown type "result"`},
		{"BenchmarkX 1 NaN ns/op\n", "NaN sec/op is no measurement"},
	} {
		file := filepath.Join(t.TempDir(), "raw")
		if err := os.WriteFile(file, []byte(test.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := load([]string{file}); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q: error %v, want %q", test.text, err, test.want)
		}
	}
}

func TestSizes(t *testing.T) {
	if got := sizeName(1.5 * (1 << 30)); got != "1.5 GiB" {
		t.Errorf("sizeName of 1.5 GiB is %s", got)
	}
}

func TestFactors(t *testing.T) {
	lines := factors(loadSamples(t).suites[0])
	if len(lines) != 6 || !strings.Contains(lines[0][3], "floor ≥ 0.97") || !strings.Contains(lines[5][3], "floor ≥ 1.5") {
		t.Errorf("%q", lines)
	}
}
