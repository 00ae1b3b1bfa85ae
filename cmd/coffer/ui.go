package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"unicode"
	"unicode/utf16"

	"golang.org/x/term"

	"github.com/coffer-backup/coffer/engine"
)

// A ui is all that a command says. Data and results go to stdout and the rest to
// stderr; where stdout carries data, results go to stderr too. With --json
// everything is one JSON object a line with a "type", in the place of the result.
//
// Its methods are safe for concurrent use.
type ui struct {
	json, quiet bool

	mu       sync.Mutex
	stdout   *os.File
	result   io.Writer // stdout or stderr
	stderr   io.Writer
	progress progress
}

func newUI(stdout, stderr *os.File) *ui {
	u := &ui{stdout: stdout, result: stdout, stderr: stderr}
	if term.IsTerminal(int(stderr.Fd())) {
		u.progress.line = stderr
	}
	return u
}

// stdoutIsData sends results to stderr from now on.
func (u *ui) stdoutIsData() {
	u.result = u.stderr
	u.keepOffStdout()
}

// keepOffStdout shows no progress if stdout is a terminal, for a command that
// writes to it all the while.
func (u *ui) keepOffStdout() {
	if term.IsTerminal(int(u.stdout.Fd())) {
		u.progress.line = nil
	}
}

type warningObject struct {
	Type    string `json:"type"`
	Message string `json:"message"`
}

// errorObject is for the error that ends a command.
type errorObject struct {
	Type    string `json:"type"`
	Code    int    `json:"code"`
	Class   string `json:"class"`
	Message string `json:"message"`
	refusal        // of a vault
}

func (u *ui) error(err error) {
	text := err.Error()
	if a := advice(err); a != "" {
		text += ": " + a
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.json {
		s := classify(err)
		_ = u.object(errorObject{"error", s.code, s.class, text, newRefusal(err)}) // the exit status is left
		return
	}
	u.progress.clear()
	fmt.Fprintln(u.stderr, "coffer: "+visibleLines(text))
}

// warn prints what -q does not silence.
func (u *ui) warn(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.json {
		_ = u.object(warningObject{"warning", text}) // the result will fail too
		return
	}
	u.progress.clear()
	fmt.Fprintln(u.stderr, "coffer: warning: "+visible(text))
}

// note tells people what a command did besides its result. Programs have the result.
func (u *ui) note(format string, args ...any) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.json {
		u.progress.clear()
		fmt.Fprintln(u.stderr, visible(fmt.Sprintf(format, args...)))
	}
}

// summary prints what a command did: object with --json, else the line.
func (u *ui) summary(object any, line string) error {
	if u.quiet {
		return nil
	}
	return u.print(object, line)
}

// print prints what was asked for.
func (u *ui) print(object any, line string) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.json {
		return u.object(object)
	}
	u.progress.clear()
	_, err := fmt.Fprintln(u.result, line)
	return err
}

func (u *ui) object(v any) error { return writeObject(u.result, v) }

// writeObject writes v as one line of JSON. What a terminal might act on is escaped, as
// text of a container or a token is not to be trusted.
func writeObject(w io.Writer, v any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	var line strings.Builder
	for _, r := range b.String() {
		if r < 0x7F || unicode.IsPrint(r) {
			line.WriteRune(r)
			continue
		}
		for _, unit := range utf16.Encode([]rune{r}) {
			fmt.Fprintf(&line, "\\u%04x", unit)
		}
	}
	_, err := io.WriteString(w, line.String())
	return err
}

// onProgress returns the callback for a WriterOptions or ReaderOptions. total is
// the length of the container in bytes, or 0 if it is not known.
func (u *ui) onProgress(total int64) func(engine.Progress) {
	if u.quiet || !u.json && u.progress.line == nil {
		return nil
	}
	u.progress.start()
	return func(p engine.Progress) {
		u.mu.Lock()
		defer u.mu.Unlock()
		if !u.progress.due(u.json) {
			return
		}
		if u.json {
			_ = u.object(u.progress.object(p, total)) // the result will fail too
			return
		}
		u.progress.draw(p, total)
	}
}

// close leaves the terminal's line empty for what follows.
func (u *ui) close() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.progress.clear()
}
