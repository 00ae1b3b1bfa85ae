// Package comparison is what whole commands did when they were measured side by side,
// and what the project demands of coffer among them.
//
// bench/cmd/peers writes an Environment and then a Run for each command, as JSON lines,
// while it measures:
//
//	{"type":"environment","date":"2026-11-24T10:00:00Z","cpu":"AMD EPYC","cores":2,…}
//	{"type":"run","corpus":"chat","size":286000000,"tool":"coffer","variant":"default","do":"backup","round":1,"wall_s":0.71,…}
//
// Parse has them again: an environment and the runs below it are a Session. Its Rows
// sum up the rounds, and compare each tool with the fastest peer; Targets judge them:
//
//	sessions, err := comparison.Parse(lines)
//	rows := sessions[0].Rows()
//	verdict := comparison.Targets[0].Judge(sessions[0].Cores, rows, "chat")
//
// Figures are medians, and ratios are only ever taken within one session: on another
// machine, or on this one later, everything may be faster. A ratio of 0 says that it
// was not measured.
//
// Files may be anyone's: Parse refuses what has no speed, but strings are as they were
// written, to be escaped by who prints them.
package comparison

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// An Environment is where and with what a session was measured.
type Environment struct {
	Date        string            `json:"date"`
	CPU         string            `json:"cpu"`
	Cores       int               `json:"cores"` // that each tool had
	MemoryBytes int64             `json:"memory_bytes"`
	OS          string            `json:"os"`
	Kernel      string            `json:"kernel"`
	Go          string            `json:"go"`
	Revision    string            `json:"revision"`
	Storage     string            `json:"storage"`
	Versions    map[string]string `json:"versions"` // of tools
	Missing     []string          `json:"missing"`  // tools that were not installed
}

// A Task is something to do for a tool in one setting.
type Task struct {
	Corpus  string `json:"corpus"`
	Size    int64  `json:"size"` // of the plaintext, in bytes
	Tool    string `json:"tool"`
	Variant string `json:"variant"` // what is set differently, "" if there is one only
	Do      string `json:"do"`      // backup or restore
}

// A Run is a task done once.
type Run struct {
	Task
	Round       int     `json:"round"`
	WallSeconds float64 `json:"wall_s"`
	CPUSeconds  float64 `json:"cpu_s"`
	PeakBytes   int64   `json:"peak_bytes"` // of memory
	OutputBytes int64   `json:"output_bytes"`
}

// A Session is what was measured side by side.
type Session struct {
	Environment
	Runs []Run
}

// Write writes the line that begins a session.
func (e *Environment) Write(w io.Writer) error {
	return json.NewEncoder(w).Encode(struct {
		Type string `json:"type"`
		*Environment
	}{"environment", e})
}

// Write writes a line of a session.
func (r *Run) Write(w io.Writer) error {
	return json.NewEncoder(w).Encode(struct {
		Type string `json:"type"`
		*Run
	}{"run", r})
}

// Parse returns the sessions of JSON lines.
func Parse(data []byte) (sessions []*Session, err error) {
	number := 0
	for line := range bytes.Lines(data) {
		number++
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		if sessions, err = parseLine(sessions, line); err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
	}
	return sessions, nil
}

func parseLine(sessions []*Session, line []byte) ([]*Session, error) {
	var head struct{ Type string }
	if err := json.Unmarshal(line, &head); err != nil {
		return nil, err
	}
	switch {
	case head.Type == "environment":
		s := new(Session)
		return append(sessions, s), json.Unmarshal(line, &s.Environment)
	case head.Type != "run":
		return nil, fmt.Errorf("unknown type %q", head.Type)
	case len(sessions) == 0:
		return nil, errors.New("a run before any environment")
	}
	var r Run
	if err := json.Unmarshal(line, &r); err != nil {
		return nil, err
	}
	s := sessions[len(sessions)-1]
	s.Runs = append(s.Runs, r)
	return sessions, r.check()
}

// check refuses what speeds and logarithms cannot be taken of.
func (r *Run) check() error {
	switch {
	case r.Corpus == "" || r.Tool == "":
		return errors.New("a run without corpus or tool")
	case r.Do != "backup" && r.Do != "restore":
		return fmt.Errorf("do is %q, neither backup nor restore", r.Do)
	case r.Size <= 0 || r.WallSeconds <= 0:
		return errors.New("size and wall_s must be positive")
	case r.CPUSeconds < 0 || r.PeakBytes < 0 || r.OutputBytes < 0:
		return errors.New("a measurement is negative")
	}
	return nil
}
