package tokentest

import (
	_ "embed"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

//go:embed testdata/shim.c
var shimSource string

// ShimModule is a module around another one, which it calls except where it is told to
// fail.
type ShimModule struct {
	Module string // the path of the shim

	t             testing.TB
	faults, calls string // files
	set           int    // calls of Set
	read          int64  // bytes of calls
	counts        map[string]int
}

// Shim compiles a shim around module.
func Shim(t testing.TB, module string) *ShimModule {
	t.Helper()
	dir := t.TempDir()
	s := &ShimModule{
		Module: filepath.Join(dir, "shim.so"),
		t:      t,
		faults: filepath.Join(dir, "faults"),
		calls:  filepath.Join(dir, "calls"),
		counts: map[string]int{},
	}
	compile(t, shimSource, s.Module, "-shared", "-fPIC",
		fmt.Sprintf("-DMODULE=%q", module), fmt.Sprintf("-DFAULTS=%q", s.faults), fmt.Sprintf("-DCALLS=%q", s.calls))
	return s
}

// Set replaces the rules by which the shim fails. A rule is a line:
//
//	<function> <code>                    fails with a CKR code, a number or a name
//	                                     without CKR_, and does not reach the module
//	<function> <code> until-initialize   … until the next C_Initialize
//	<function> hang                      returns no sooner than the rules change
//	<function> abort                     the process dies
//	<function> short                     the output is a byte shorter; of attributes
//	                                     CKA_VALUE
//	C_EncryptInit replace-iv             GCM uses another IV, and tells it
//	C_EncryptInit other-iv               GCM uses another IV
//	C_Encrypt max <bytes>                DATA_LEN_RANGE for more
//	mech <number> hide                   MECHANISM_INVALID
//	mech <number> as <number>            becomes another mechanism
//
// "*" stands for every function but C_Initialize and C_Finalize. A number at the end,
// other than after max, is how many times the rule holds. The first rule that fits is
// used. A line that the shim does not know ends the process.
func (s *ShimModule) Set(rules ...string) {
	s.t.Helper()
	s.set++
	// The shim starts anew when the text changes, also where the rules are the same.
	text := fmt.Sprintf("# %d\n%s\n", s.set, strings.Join(rules, "\n"))
	write(s.t, s.faults+".new", text)
	if err := os.Rename(s.faults+".new", s.faults); err != nil {
		s.t.Fatal(err)
	}
}

// Clear takes all rules back.
func (s *ShimModule) Clear() { s.t.Helper(); s.Set() }

// Calls returns how often a function was called, or all functions together if fn is "".
func (s *ShimModule) Calls(fn string) int {
	s.t.Helper()
	log, err := os.Open(s.calls)
	if os.IsNotExist(err) {
		return 0
	}
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	more, err := io.ReadAll(io.NewSectionReader(log, s.read, math.MaxInt64-s.read))
	if err != nil {
		s.t.Fatal(err)
	}
	s.read += int64(len(more))
	for name := range strings.FieldsSeq(string(more)) {
		s.counts[name]++
		s.counts[""]++
	}
	return s.counts[fn]
}
