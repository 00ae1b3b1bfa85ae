package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/coffer-backup/coffer/bench/comparison"
	"github.com/coffer-backup/coffer/internal/need"
)

// needPeers needs all peers but kopia, which Debian does not have.
func needPeers(t *testing.T) {
	for i := range tools {
		for _, program := range tools[i].programs() {
			if _, ours := built[program]; !ours && program != "kopia" {
				need.Command(t, program, "scripts/peers")
			}
		}
	}
}

// TestOrder: a round has every tool once, and in n/2 rounds none has the same one
// before it twice.
func TestOrder(t *testing.T) {
	for n := 1; n <= 20; n++ {
		last := make(map[[2]int]int) // the round in which one was before the other
		for round := range 3 * n {
			row := order(n, round)
			if sorted := slices.Sorted(slices.Values(row)); len(slices.Compact(sorted)) != n || sorted[0] != 0 || sorted[n-1] != n-1 {
				t.Fatalf("%d tools, round %d: %v", n, round, row)
			}
			for i := range n - 1 {
				pair := [2]int{row[i], row[i+1]}
				if before, ok := last[pair]; ok && round-before < n/2 {
					t.Errorf("%d tools: %v in rounds %d and %d", n, pair, before, round)
				}
				last[pair] = round
			}
		}
	}
}

// wantEmpty checks that nothing is left behind.
func wantEmpty(t *testing.T, dir string) {
	t.Helper()
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestPeers is the whole command with all tools, on little data.
func TestPeers(t *testing.T) {
	needPeers(t)
	dir, raw := t.TempDir(), filepath.Join(t.TempDir(), "raw.jsonl")
	cores := min(2, runtime.NumCPU())
	var stdout, stderr bytes.Buffer
	err := run(t.Context(), []string{"-corpora", "chat", "-size", "2000000", "-rounds", "1", "-cores", fmt.Sprint(cores), "-dir", dir, "-o", raw}, &stdout, &stderr)
	if err != nil {
		t.Fatalf("%v\n%s", err, &stderr)
	}
	wantEmpty(t, dir)
	lines, err := os.ReadFile(raw)
	if err != nil {
		t.Fatal(err)
	}
	sessions, err := comparison.Parse(lines)
	if err != nil || len(sessions) != 1 {
		t.Fatalf("%d sessions, %v", len(sessions), err)
	}
	e, runs := sessions[0].Environment, sessions[0].Runs
	if e.Date == "" || e.CPU == "" || e.Cores != cores || e.Revision == "" || e.Storage == "" {
		t.Errorf("environment %+v", e)
	}
	if !strings.Contains(e.Versions["zstd-age"], "age 1.3.2") { // not Debian's
		t.Errorf("versions %v", e.Versions)
	}
	hasKopia := !slices.Contains(e.Missing, "kopia")
	if len(e.Missing) > 1 || hasKopia == strings.Contains(stderr.String(), "missing: kopia\n") {
		t.Errorf("missing %q, and on stderr\n%s", e.Missing, &stderr)
	}

	found := make(map[string]comparison.Run)
	for _, r := range runs {
		found[strings.Join([]string{r.Corpus, r.Tool, r.Variant, r.Do}, "/")] = r
	}
	expected := 0
	for _, tool := range tools {
		if tool.name == "kopia" && !hasKopia {
			continue
		}
		for _, do := range []string{"backup", "restore"} {
			expected++
			name := strings.Join([]string{"chat", tool.name, tool.variant, do}, "/")
			wantPlausible(t, name, found[name])
		}
		if !strings.Contains(stdout.String(), "\n"+tool.name+" ") {
			t.Errorf("the table has no row of %s", tool.name)
		}
	}
	if len(runs) != expected {
		t.Errorf("%d runs, want %d", len(runs), expected)
	}
	for _, text := range []string{"backup of chat", "restore of chat", "against the fastest peer", "backup of chat against age alone, which does not compress: ", "other conditions", "not installed"} {
		if !strings.Contains(stdout.String(), text) && (text != "not installed" || !hasKopia) {
			t.Errorf("the output does not have %q:\n%s", text, &stdout)
		}
	}

	if err := run(t.Context(), []string{"-table", raw, "-strict"}, new(bytes.Buffer), &stderr); err == nil {
		t.Error("-strict takes what is measured on little data")
	}
	var again bytes.Buffer
	if err := run(t.Context(), []string{"-table", raw}, &again, &stderr); err != nil || again.String() != stdout.String() {
		t.Errorf("-table %s gives another table, %v:\n%s", raw, err, &again)
	}
}

func wantPlausible(t *testing.T, name string, r comparison.Run) {
	t.Helper()
	if r.Round != 1 || r.WallSeconds <= 0 || r.CPUSeconds <= 0 || r.Size < 1_900_000 || r.Size > 2_000_000 {
		t.Errorf("%s: %+v", name, r)
	}
	if runtime.GOOS == "linux" && (r.PeakBytes < 1<<20 || r.PeakBytes > 1<<30) {
		t.Errorf("%s: peak %d bytes", name, r.PeakBytes)
	}
	least, most := r.Size/20, r.Size*9/10
	if r.Tool == "rclone-crypt" || r.Tool == "age" { // they do not compress
		least, most = r.Size, r.Size+10_000
	}
	if r.OutputBytes < least || r.OutputBytes > most {
		t.Errorf("%s: %d bytes of output from %d", name, r.OutputBytes, r.Size)
	}
}

// TestWrongRestore: what is restored is compared with the source.
func TestWrongRestore(t *testing.T) {
	need.Command(t, "cp", "apt-get install coreutils")
	w := &workspace{dir: t.TempDir(), cores: 1}
	if err := os.Mkdir(w.sourceDir(), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, corpus := range []string{"logs", "media"} {
		if err := w.makeSource(corpus, 100_000); err != nil {
			t.Fatal(err)
		}
	}
	sources, err := os.ReadDir(w.sourceDir())
	if err != nil || len(sources) != 1 || sources[0].Name() != "media" { // kopia takes the directory
		t.Errorf("beside the source: %v, %v", sources, err)
	}
	if w.log, err = os.OpenFile(w.path("log"), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600); err != nil {
		t.Fatal(err)
	}
	defer w.log.Close()

	right := tool{name: "cp", backup: "cp {name} {out}", restore: "cp {out} {name}"}
	done, err := w.turn(t.Context(), &right)
	if err != nil || done[0].OutputBytes != done[0].Size || done[1].Do != "restore" {
		t.Errorf("%+v, %v", done, err)
	}
	for name, wrong := range map[string]string{"differs": "cp {state} {name}", "absent": "cp {out} other"} {
		if err := os.WriteFile(w.path("state"), []byte("not it"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := w.turn(t.Context(), &tool{name: "cp", backup: right.backup, restore: wrong})
		if err == nil || !strings.Contains(err.Error(), "restore: ") {
			t.Errorf("what is restored %s: %v", name, err)
		}
	}
	if left, _ := filepath.Glob(w.path("turn-*")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// TestNoRoom: it is said when a disk may be measured.
func TestNoRoom(t *testing.T) {
	var stderr bytes.Buffer
	if dir := roomyDir(math.MaxInt64, &stderr); dir != os.TempDir() || !strings.Contains(stderr.String(), "a disk may be measured") {
		t.Errorf("working in %s, and on stderr %q", dir, &stderr)
	}
}

func TestInterrupted(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := run(ctx, []string{"-cores", fmt.Sprint(runtime.NumCPU()), "-dir", dir}, new(bytes.Buffer), new(bytes.Buffer))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	wantEmpty(t, dir)
}

func TestOptions(t *testing.T) {
	for _, args := range [][]string{
		{"-corpora", "chats"}, {"-corpora", ""}, {"-tools", "ages"}, {"-rounds", "0"}, {"-size", "-1"}, {"-cores", "0"}, {"x"}, {"-x"},
		{"-cores", "100000"}, {"-table", "absent"},
	} {
		if err := run(t.Context(), append(args, "-dir", "absent"), new(bytes.Buffer), new(bytes.Buffer)); err == nil {
			t.Errorf("%q: no error", args)
		}
	}
	o, err := parseOptions([]string{"-corpora", "mix,chat", "-tools", "borg,coffer"}, new(bytes.Buffer))
	if err != nil || !slices.Equal(o.corpora, []string{"mix", "chat"}) || !slices.Equal(o.tools, []string{"borg", "coffer"}) {
		t.Errorf("%+v, %v", o, err)
	}
}

// Every program that a turn starts is one that present looks for, or comes with one.
func TestProgramsAreLookedFor(t *testing.T) {
	with := map[string]string{"gpgconf": "gpg"}
	for _, tool := range tools {
		lines := slices.Concat(tool.setup, []string{tool.restore})
		if tool.finish != "" {
			lines = append(lines, tool.finish)
		}
		for _, line := range lines {
			for stage := range strings.SplitSeq(line, "|") {
				program := strings.Fields(stage)[0]
				if from, ok := with[program]; ok {
					program = from
				}
				if !slices.Contains(tool.programs(), program) {
					t.Errorf("%s: %s is not looked for", tool.title(), program)
				}
			}
		}
	}
}
