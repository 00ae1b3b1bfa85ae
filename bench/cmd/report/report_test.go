package main

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/coffer-backup/coffer/bench/comparison"
)

// generate runs the command and returns what it wrote, by name.
func generate(t *testing.T, files ...string) (map[string]string, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "out")
	var stderr strings.Builder
	if err := run(dir, files, &stderr); err != nil {
		t.Fatal(err)
	}
	written := make(map[string]string)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		written[e.Name()] = string(data)
	}
	return written, stderr.String()
}

// texts parses SVG and returns the content of its text elements.
func texts(t *testing.T, name, svg string) []string {
	t.Helper()
	var found []string
	for d := xml.NewDecoder(strings.NewReader(svg)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "text" {
			var s string
			if err := d.DecodeElement(&s, &e); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			found = append(found, s)
		}
	}
}

func TestCharts(t *testing.T) {
	got, stderr := generate(t, samples...)
	for name, want := range map[string][]string{
		"throughput.svg": {"chat, 286 MB", "media, 268 MB", "coffer", "coffer, unchecked", "coffer without cgo", "zstd | age", "age alone", "rclone crypt",
			"borg", "restic", "backup, MB/s", "restore, MB/s"},
		"ratio-speed.svg": {"chat", "coffer", "coffer without cgo", "zstd | age, zstd -1 -T2", "zstd | age, zstd defaults", "borg, repokey", "restic",
			"fast, klauspost", "small, klauspost", "fast, libzstd", "balanced, libzstd", "plaintext MB/s"},
		"scaling.svg": {"chat, fast", "chat, store", "media, fast", "media, store", "1 worker", "2 workers", "write, × the speed of one worker", "read, × the speed of one worker"},
		"growth.svg":  {"seconds", "size of the plaintext", "1 MiB", "16 GiB"},
		"memory.svg":  {"MiB", "size of the plaintext", "1 MiB", "16 GiB"},
	} {
		svg := got[name]
		words := texts(t, name, svg)
		for _, w := range want {
			if !slices.Contains(words, w) {
				t.Errorf("%s has no text %q, but %q", name, w, words)
			}
		}
		for _, part := range []string{`role="img"`, "<title id=", "<desc id=", "@media (prefers-color-scheme:dark)", "sans-serif"} {
			if !strings.Contains(svg, part) {
				t.Errorf("%s has no %s", name, part)
			}
		}
		if strings.Contains(svg, `style="`) {
			t.Errorf("%s has colours outside of the style sheet", name)
		}
		if len(svg) > 60<<10 {
			t.Errorf("%s has %d bytes", name, len(svg))
		}
	}
	for _, name := range []string{"growth.svg", "memory.svg"} {
		for _, series := range []string{"write: ", "read: "} {
			if !slices.ContainsFunc(texts(t, name, got[name]), func(s string) bool { return strings.HasPrefix(s, series) }) {
				t.Errorf("%s has no label %q", name, series)
			}
		}
	}
	if want := "report: sample-peers.jsonl: not installed: kopia\nreport: sample-suites.txt: --- SKIP: BenchmarkArchive: archive_test.go:20: needs 4 cores\n"; stderr != want {
		t.Errorf("stderr %q, want %q", stderr, want)
	}
	again, _ := generate(t, samples...)
	for name := range got {
		if got[name] != again[name] {
			t.Errorf("%s differs in a second run", name)
		}
	}
}

// TestMissingData leaves charts out, says why, and removes those of a former input.
func TestMissingData(t *testing.T) {
	dir := t.TempDir()
	if err := run(dir, samples, io.Discard); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "raw.txt")
	if err := os.WriteFile(file, []byte("BenchmarkWorkers/do=write/workers=1 1 5 ns/op 10 MB/s\nBenchmarkGrowth/do=write/size=1MiB 1 5 ns/op\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var stderr strings.Builder
	if err := run(dir, []string{file}, &stderr); err != nil {
		t.Fatal(err)
	}
	for _, c := range charts {
		if !strings.Contains(stderr.String(), c.file+" is left out: no data: ") {
			t.Errorf("nothing said of %s: %s", c.file, stderr.String())
		}
		if _, err := os.Stat(filepath.Join(dir, c.file)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still there: %v", c.file, err)
		}
	}
	md, err := os.ReadFile(filepath.Join(dir, "report.md"))
	if err != nil || strings.Contains(string(md), ".svg") {
		t.Errorf("report.md: %v\n%s", err, md)
	}
}

// cellsOf splits a line of a Markdown table at the bars that are not escaped.
func cellsOf(line string) []string {
	const bar = "\x00"
	line = strings.ReplaceAll(strings.ReplaceAll(line, `\\`, ""), `\|`, bar)
	cells := strings.Split(strings.Trim(line, "|"), "|")
	for i := range cells {
		cells[i] = strings.ReplaceAll(strings.TrimSpace(cells[i]), bar, "|")
	}
	return cells
}

// TestReportRows looks for each row of the input in the report.
func TestReportRows(t *testing.T) {
	in := loadSamples(t)
	md := string(markdown(in, nil))
	var lines [][]string
	for line := range strings.Lines(md) {
		if strings.HasPrefix(line, "| ") {
			lines = append(lines, cellsOf(strings.TrimSpace(line)))
		}
	}
	has := func(cells ...string) bool {
		return slices.ContainsFunc(lines, func(line []string) bool {
			return !slices.ContainsFunc(cells, func(c string) bool { return !slices.Contains(line, c) })
		})
	}
	for _, r := range in.sessions[0].rows {
		if !has(r.Variant, fmt.Sprint(r.Wall.N), r.Wall.String(), r.CPU.String(), r.Speed().Times(1/mb).String(), comparison.Digits(r.Against.SpeedByRounds), r.Peak.Times(1.0/mib).String()) {
			t.Errorf("no line for %+v", r)
		}
	}
	for _, r := range in.suites[0].rows {
		cells := []string{fmt.Sprint(len(r.values[r.units[0]]))}
		for _, k := range r.keys {
			cells = append(cells, plain(k.value))
		}
		for _, u := range r.units {
			_, factor := shown(u)
			cells = append(cells, r.stat(u).Times(factor).String())
		}
		if !has(cells...) {
			t.Errorf("no line for %s: %q", r.name, cells)
		}
	}
	if !has("coffer, default, restore", "speed", "1.322; floor ≥ 1.25 met; aim ≥ 1.8 MISSED", "not measured") {
		t.Error("no line for the target of restore")
	}
	for _, words := range []string{"AMD EPYC, 2 cores", "kernel 6.1.0-25-cloud-amd64", "version of restic: restic 0.14.0", "not installed: kopia", "needs 4 cores", "2026-11-24",
		"about coffer seal and open", "- backup of media against age alone, which does not compress: coffer default: speed "} {
		if !strings.Contains(md, words) {
			t.Errorf("the report does not say %q", words)
		}
	}
}

// TestHostileInput has markup, bars, line breaks and control characters in every
// string of the input.
func TestHostileInput(t *testing.T) {
	const evil = `x</text><script>alert(1)</script>" style="fill:#ffffff" | [a](b) & ]]> \\u0000\\u001b\\n\\uFFFE<!--`
	text := strings.ReplaceAll(evil, `"`, `\"`)
	text = strings.ReplaceAll(text, `\\u`, `\u`)
	text = strings.ReplaceAll(text, `\\n`, `\n`)
	var raw strings.Builder
	fmt.Fprintf(&raw, `{"type":"environment","date":"%[1]s","cpu":"%[1]s","os":"%[1]s","storage":"%[1]s","versions":{"%[1]s":"%[1]s"},"missing":["%[1]s"]}`+"\n", text)
	for _, do := range []string{"backup", "restore"} {
		fmt.Fprintf(&raw, `{"type":"run","corpus":"%[1]s","tool":"%[1]s","variant":"%[1]s","do":"%s","size":100,"wall_s":1,"output_bytes":50}`+"\n", text, do)
	}
	suites := "cpu: <script>|\x1b\nBenchmarkWorkers/do=<script>|/x=\"&\x01\xff/workers=1 1 5 ns/op 10 MB/s <b>|/s\n" +
		"BenchmarkWorkers/do=<script>|/x=\"&\x01\xff/workers=2 1 5 ns/op 20 MB/s 5 <b>|/s\n--- FAIL: <script>|\n"
	suites = strings.Replace(suites, "10 MB/s <b>|/s", "10 MB/s 5 <b>|/s", 1)
	dir := t.TempDir()
	files := []string{filepath.Join(dir, "a.jsonl"), filepath.Join(dir, "b|<i>.txt")}
	for i, data := range []string{raw.String(), suites} {
		if err := os.WriteFile(files[i], []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, stderr := generate(t, files...)
	for _, name := range []string{"throughput.svg", "ratio-speed.svg", "scaling.svg"} {
		if words := strings.Join(texts(t, name, got[name]), "\n"); !strings.Contains(words, "<script>") {
			t.Errorf("%s lost the text: %q", name, words)
		}
		if strings.Contains(got[name], "<script") {
			t.Errorf("%s has a script", name)
		}
	}
	columns := 0
	for line := range strings.Lines(got["report.md"]) {
		if strings.Contains(strings.ReplaceAll(line, `\<`, ""), "<") {
			t.Errorf("markup in the report: %s", line)
		}
		if !strings.HasPrefix(line, "| ") {
			columns = 0
			continue
		}
		if n := len(cellsOf(strings.TrimSpace(line))); columns != 0 && n != columns {
			t.Errorf("%d cells, not %d: %s", n, columns, line)
		} else {
			columns = n
		}
	}
	for _, out := range []string{got["report.md"], stderr} {
		if strings.ContainsAny(out, "\x00\x01\x1b") {
			t.Errorf("control characters in %q", out)
		}
	}
}

// TestInks demands the contrast that WCAG 2 wants of text, 4.5, and of graphics, 3, on
// both papers, and that vgsvg gives back each colour as it was, or there is no dark one.
func TestInks(t *testing.T) {
	least := map[ink]float64{paper: 1, faint: 1, stone: 3, pale: 3}
	seen := make(map[uint32]bool)
	for _, k := range inks {
		want, ok := least[k]
		if !ok {
			want = 4.5
		}
		for _, c := range [][2]uint32{{k.light, paper.light}, {k.dark, paper.dark}} {
			if got := contrast(c[0], c[1]); got < want {
				t.Errorf("%s on %s has a contrast of %.2f, want %v", hex(c[0]), hex(c[1]), got, want)
			}
		}
		if seen[k.light] {
			t.Errorf("%s stands for two inks", hex(k.light))
		}
		seen[k.light] = true
		if k == paper {
			continue // never drawn with
		}
		pg := newPage(10, "", "")
		pg.canvas.StrokeLine2(lineOf(k, 1), 0, 0, 1, 1)
		svg := string(pg.render())
		_, night, _ := strings.Cut(svg, "@media")
		if !strings.Contains(night, "stroke:"+hex(k.dark)) {
			t.Errorf("%s does not become %s in the dark: %s", hex(k.light), hex(k.dark), svg)
		}
	}
}

func contrast(a, b uint32) float64 {
	la, lb := luminance(a), luminance(b)
	return (max(la, lb) + 0.05) / (min(la, lb) + 0.05)
}

func luminance(rgb uint32) float64 {
	channel := func(shift int) float64 {
		v := float64(rgb>>shift&0xff) / 255
		if v <= 0.04045 {
			return v / 12.92
		}
		return math.Pow((v+0.055)/1.055, 2.4)
	}
	return 0.2126*channel(16) + 0.7152*channel(8) + 0.0722*channel(0)
}
