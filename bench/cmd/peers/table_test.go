package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/coffer-backup/coffer/bench/comparison"
)

// raw is a run of three rounds on chat, made up.
var raw = filepath.Join("..", "..", "comparison", "testdata", "session.jsonl")

func TestTables(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), []string{"-table", raw}, &out, &out); err != nil {
		t.Errorf("with targets missed: %v", err)
	}
	for _, want := range []string{
		"backup of chat, 286.0 MB, rounds: 3, median [least–most]",
		"restic 190.7 [ 38.1– 190.7] 2.00 [ 2.00– 2.00] 1.0 400 715000.00 ",
		"kopia not installed",
		"chat coffer default backup 1.25 1.25 1.00 1.0220 zstd-age zstd -1",
		"chat coffer default backup output 1.022; floor ≤ 1.02 MISSED",
		"chat coffer-nocgo default backup speed not measured",
		comparison.About,
	} {
		if !strings.Contains(strings.Join(strings.Fields(out.String()), " "), want) {
			t.Errorf("the tables do not have\n%s\nthey are\n%s", want, out.String())
		}
	}
	if n := strings.Count(out.String(), "not installed"); n != 2 { // backup and restore
		t.Errorf("%d rows of the missing peer", n)
	}
	if strings.Contains(out.String(), "\nmedia") {
		t.Errorf("what was not measured is judged:\n%s", &out)
	}
	if err := run(t.Context(), []string{"-table", raw, "-strict"}, &out, &out); err == nil || err.Error() != "targets are missed" {
		t.Errorf("-strict: %v", err)
	}
}

// TestAllHold: floors count and aims do not, and of corpora that nobody measured
// neither.
func TestAllHold(t *testing.T) {
	s := &comparison.Session{Environment: comparison.Environment{Cores: 2}}
	for _, do := range []string{"backup", "restore"} {
		for _, task := range []comparison.Task{
			{Tool: "restic"}, {Tool: "coffer", Variant: "default"}, {Tool: "coffer", Variant: "no-check"},
			{Tool: "coffer-nocgo", Variant: "default"}, {Tool: "coffer-nocgo", Variant: "no-check"},
		} {
			task.Corpus, task.Size, task.Do = "chat", 286e6, do
			r := comparison.Run{Task: task, Round: 1, WallSeconds: 1, CPUSeconds: 0.85, OutputBytes: 500}
			if task.Tool == "restic" {
				r.WallSeconds, r.CPUSeconds = 1.3, 1
			}
			s.Runs = append(s.Runs, r)
		}
	}
	var out bytes.Buffer
	if allHold, err := printTables(&out, s); !allHold || err != nil || !strings.Contains(out.String(), "MISSED") {
		t.Errorf("all floors hold: %v, %v\n%s", allHold, err, &out)
	}
	s.Runs[1].OutputBytes = 511
	if allHold, err := printTables(&out, s); allHold || err != nil {
		t.Errorf("with too large an output all floors hold: %v, %v", allHold, err)
	}
	s.Runs[1].OutputBytes, s.Cores = 500, 4
	if allHold, err := printTables(&out, s); allHold || err != nil || !strings.Contains(out.String(), "other conditions") {
		t.Errorf("on four cores all floors hold: %v, %v\n%s", allHold, err, &out)
	}
	s.Cores = 2
	s.Runs = slices.DeleteFunc(s.Runs, func(r comparison.Run) bool { return r.Tool == "restic" })
	if allHold, err := printTables(&out, s); allHold || err != nil || !strings.Contains(out.String(), "no peer to compare with was measured") {
		t.Errorf("without a peer all floors hold: %v, %v\n%s", allHold, err, &out)
	}
}

func TestRawResults(t *testing.T) {
	text, err := os.ReadFile(raw)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "raw.jsonl")
	for name, damaged := range map[string][]byte{
		"two runs in one file": slices.Concat(text, text),
		"no environment":       bytes.SplitAfterN(text, []byte("\n"), 2)[1],
		"a cut line":           text[:len(text)-9],
		"a line of something":  slices.Concat(text, []byte(`{"type":"benchmark"}`)),
		"nothing":              nil,
	} {
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := run(t.Context(), []string{"-table", path}, new(bytes.Buffer), new(bytes.Buffer)); err == nil {
			t.Errorf("%s: read", name)
		}
	}
	err = run(t.Context(), []string{"-o", path, "-cores", fmt.Sprint(runtime.NumCPU()), "-dir", "absent"}, new(bytes.Buffer), new(bytes.Buffer))
	if !errors.Is(err, os.ErrExist) {
		t.Errorf("results are overwritten: %v", err)
	}
}

// TestTargetsNameTools: a target for what nobody runs would never be judged. What
// counts as a peer is every tool but coffer, the only one of the programs built that is the
// tree's own.
func TestTargetsNameTools(t *testing.T) {
	for _, target := range comparison.Targets {
		if !slices.ContainsFunc(tools, func(t tool) bool { return t.name == target.Tool && t.variant == target.Variant }) {
			t.Errorf("no tool %s %s", target.Tool, target.Variant)
		}
		if !(comparison.Task{Tool: target.Tool}).Ours() {
			t.Errorf("there is a target for %s", target.Tool)
		}
	}
	for i := range tools {
		program := tools[i].programs()[0]
		_, isBuilt := built[program]
		if ours := (comparison.Task{Tool: tools[i].name}).Ours(); ours != (isBuilt && program != "age") {
			t.Errorf("%s is ours: %v", tools[i].name, ours)
		}
	}
}
