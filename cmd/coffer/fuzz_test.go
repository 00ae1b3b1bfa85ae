package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/coffer-backup/coffer/format"
)

// scriptLines returns the command lines in the scripts.
func scriptLines(tb testing.TB) (lines [][]string) {
	tb.Helper()
	scripts, err := filepath.Glob("testdata/*/*.txtar")
	if err != nil {
		tb.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^!? ?(?:exec|status \d+) coffer (.*)$`)
	for _, name := range scripts {
		text, err := os.ReadFile(name)
		if err != nil {
			tb.Fatal(err)
		}
		for _, m := range line.FindAllStringSubmatch(string(text), -1) {
			lines = append(lines, strings.Fields(m[1]))
		}
	}
	if len(lines) == 0 {
		tb.Fatal("the scripts have no command lines")
	}
	return lines
}

// FuzzCommandLine parses any arguments, with zero bytes between them, and runs nothing.
func FuzzCommandLine(f *testing.F) {
	for _, args := range scriptLines(f) {
		f.Add([]byte(strings.Join(args, "\x00")))
	}
	f.Add([]byte("seal\x00--argon2=t=3,m=256MiB,p=4\x00--segment-size=64KiB\x00--workers\x001\x00--level=store\x00--suite\x00auto\x00--\x00-"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<10 {
			return
		}
		args := strings.Split(string(data), "\x00")
		var said bytes.Buffer
		u := &ui{result: &said, stderr: &said}
		started := false
		root := newRoot(u, &started)
		cmd, err := parseOnly(root, args)
		if started {
			t.Fatal("a command was started")
		}
		checkValues(t, args)
		if err == nil {
			checkFlags(t, cmd)
			return
		}
		if err = usagef("%w\nRun '%s --help' for usage.", err, cmd.CommandPath()); classify(err) != statusUsage {
			t.Errorf("%v is no usage error", err)
		}
		u.error(err)
		if u.json {
			if !json.Valid(said.Bytes()) || bytes.Count(said.Bytes(), []byte("\n")) != 1 {
				t.Errorf("no line of JSON: %q", said.Bytes())
			}
		} else if strings.ContainsFunc(said.String(), func(r rune) bool { return r < ' ' && r != '\n' || r >= 0x7f && r < 0xa0 }) {
			t.Errorf("it drives the terminal: %q", said.Bytes())
		}
	})
}

// parseOnly does what cobra does with a command line, up to where the command would be
// run.
func parseOnly(root *cobra.Command, args []string) (cmd *cobra.Command, err error) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd(args...)
	cmd, args, err = root.Find(args)
	if err != nil {
		return cmd, err
	}
	cmd.InitDefaultHelpFlag()
	cmd.InitDefaultVersionFlag()
	if err := cmd.ParseFlags(args); err != nil {
		return cmd, err
	}
	if help, err := cmd.Flags().GetBool("help"); help || err != nil {
		return cmd, err
	}
	if err := cmd.ValidateArgs(cmd.Flags().Args()); err != nil {
		return cmd, err
	}
	if err := cmd.ValidateRequiredFlags(); err != nil {
		return cmd, err
	}
	return cmd, cmd.ValidateFlagGroups()
}

// checkFlags demands that what a flag shows as its value is one.
func checkFlags(t *testing.T, cmd *cobra.Command) {
	t.Helper()
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if _, list := f.Value.(pflag.SliceValue); list {
			return
		}
		text := f.Value.String()
		if err := f.Value.Set(text); err != nil || f.Value.String() != text {
			t.Errorf("--%s was accepted and shows %q: %v", f.Name, text, err)
		}
	})
}

// checkValues gives the arguments to the parsers of values, and demands that what they
// accept is within its limits.
func checkValues(t *testing.T, args []string) {
	t.Helper()
	for _, a := range args {
		if _, value, ok := strings.Cut(a, "="); ok && strings.HasPrefix(a, "-") {
			a = value
		}
		if n, err := parseSize(a); err == nil && n < 0 {
			t.Errorf("size %q is %d", a, n)
		}
		if n, err := parseSegment(a); err == nil && (n < 1<<format.MinSegmentLog2 || n > 1<<format.MaxSegmentLog2 || n&(n-1) != 0) {
			t.Errorf("segment size %q is %d", a, n)
		}
		if n, err := parseWorkers(a); err == nil && n < 1 {
			t.Errorf("workers %q is %d", a, n)
		}
		if cost, err := parseCost(a); err == nil {
			params, err := cost.AppendBinary(nil)
			if again, perr := (format.Slot{Params: params}).PassphraseParams(); err != nil || perr != nil || again != cost {
				t.Errorf("cost %q is %+v: %v, %v", a, cost, err, perr)
			}
		}
		if kinds, err := parseAccept(a); err == nil && len(kinds) != 1+strings.Count(a, ",") {
			t.Errorf("--accept %q is %v", a, kinds)
		}
		if c, err := parseBackend(a); err == nil && (a == "pkcs11") != c.inToken {
			t.Errorf("backend %q is %v", a, c)
		}
		if m, err := parseMech(a); err == nil && a != "auto" && a != m.String() {
			t.Errorf("mech %q is %v", a, m)
		}
		if c, err := parseCompressor(a); err == nil && (a != "auto" && a != c.name || c.library == "") {
			t.Errorf("compressor %q is %v", a, c)
		}
		if s, err := parseSuite(a); err == nil && !slices.Contains([]string{"auto", format.AES256GCM.String(), format.ChaCha20Poly1305.String()}, a) {
			t.Errorf("suite %q is %v", a, s)
		}
	}
}
