package main

import (
	"errors"
	"flag"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coffer-backup/coffer/vectors"
	"github.com/coffer-backup/coffer/vectors/conformance"
)

func TestParse(t *testing.T) {
	command, opts, err := parse([]string{"-lacks", "kind-5,kind-3", "-reader", "random", "-match", "^v1/x", "-exact", "-parallel", "3", "-timeout", "9s", "--", "python3", "-x"})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(command, []string{"python3", "-x"}) || !slices.Equal(opts.Lacks, []string{"kind-5", "kind-3"}) ||
		!slices.Equal(opts.Modes, []conformance.Mode{conformance.Random}) || opts.Match.String() != "^v1/x" ||
		!opts.Exact || opts.Parallel != 3 || opts.Timeout != 9*time.Second {
		t.Errorf("%q, %+v", command, opts)
	}
	silence(t)
	for _, bad := range []string{"", "-reader streams -- x", "-match ( -- x", "-timeout 9 -- x", "-lax -- x"} {
		if _, _, err := parse(strings.Fields(bad)); err == nil || errors.Is(err, flag.ErrHelp) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// silence keeps the usage text out of the test's output.
func silence(t *testing.T) {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	stderr := os.Stderr
	os.Stderr = null
	t.Cleanup(func() { os.Stderr = stderr; null.Close() })
}

func TestPrint(t *testing.T) {
	c := &vectors.Case{File: "v1/body_tag.coffer", Comment: "a bit", Spec: []string{"8.4.26"}}
	report := &conformance.Report{Results: []conformance.Result{
		{Case: c, Mode: conformance.Stream, Want: vectors.Auth, Got: vectors.Auth},
		{Case: c, Mode: conformance.Random, Want: vectors.Auth, Err: errors.New("exit status 1"), Stderr: "Traceback"},
	}}
	var out strings.Builder
	failed, err := print(&out, report)
	want := `body_tag (random): exit status 1 [a bit; § 8.4.26], stderr: "Traceback"
  area  runs  wrong
  body     2      1
   all     2      1
`
	if out.String() != want || failed != 1 || err != nil {
		t.Errorf("%d, %v\n%s", failed, err, out.String())
	}
	if _, err := print(failing{}, report); err == nil {
		t.Error("a failing output is no error")
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }
