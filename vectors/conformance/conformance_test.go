package conformance

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/coffer-backup/coffer/vectors"
)

// The environment that makes of the test binary a command under test, which errs in
// the way that it names.
const (
	envFault = "COFFER_TEST_FAULT"
	envLacks = "COFFER_TEST_LACKS"
)

func TestMain(m *testing.M) {
	if fault := os.Getenv(envFault); fault != "" {
		os.Exit(fake(fault))
	}
	os.Exit(m.Run())
}

// testManifest is a case of every sort, in files that hold their own names.
func testManifest() (*vectors.Manifest, fstest.MapFS) {
	const length = 100_000
	whole := length
	m := &vectors.Manifest{Version: 1, Cases: []vectors.Case{
		{File: "v1/body_good.coffer", Class: vectors.OK, Released: length},
		{File: "v1/body_tag.coffer", Class: vectors.Auth, Released: 65_000},
		{File: "v1/copy_head.coffer", Class: vectors.Header, RandomClass: vectors.DamagedCopy, RandomReleased: &whole},
		{File: "v1/copy_skew.coffer", Class: vectors.Skew, Released: length},
		{File: "v1/keys_none.coffer", Class: vectors.NoKey},
		{File: "v1/keys_hpke.coffer", Class: vectors.Auth, Released: 65_000, Needs: "kind-5", ClassWithout: vectors.NoKey},
	}}
	files := fstest.MapFS{}
	for i := range m.Cases {
		c := &m.Cases[i]
		c.Comment, c.Spec = "a fault", []string{"8.4.1"}
		c.Plaintext = vectors.Plaintext{Repeat: vectors.Hex("plaintext"), Length: length}
		files[c.File] = &fstest.MapFile{Data: []byte(c.File)}
	}
	return m, files
}

// fake answers a case, rightly but for the fault, and returns its exit status.
func fake(fault string) int {
	if fault == "linger" { // on stdout, which is its parent's
		time.Sleep(waitDelay + 3*time.Second)
		return 0
	}
	question, err := os.ReadFile(os.Args[len(os.Args)-1])
	if err != nil {
		panic(err)
	}
	container, err := io.ReadAll(os.Stdin)
	if err != nil {
		panic(err)
	}
	rules := Rules{Mode: Stream, Lacks: strings.Fields(os.Getenv(envLacks))}
	if strings.Contains(string(question), `"reader":"random"`) {
		rules.Mode = Random
	}
	var c *vectors.Case
	m, _ := testManifest()
	for i := range m.Cases {
		if m.Cases[i].File == string(container) {
			c = &m.Cases[i]
		}
	}
	class, released := rules.Want(c)
	plain := c.Plaintext.Bytes()[:released]
	switch fault {
	case "class":
		class = map[bool]vectors.Class{true: vectors.Skew, false: vectors.OK}[class == vectors.OK]
	case "usage":
		os.Stderr.WriteString("unknown field \"reader\"")
		return 2
	case "too much":
		plain = append(c.Plaintext.Bytes(), 'x')[:released+1]
	case "endless":
		for {
			if _, err := os.Stdout.Write(make([]byte, 1<<16)); err != nil {
				return Status(class)
			}
		}
	case "wrong byte":
		if released > 0 {
			plain[released-1] ^= 1
		}
	case "less":
		plain = plain[:released/2]
	case "nothing before a fault":
		if !class.Whole() {
			plain = nil
		}
	case "crash":
		os.Stdout.Write(plain)
		panic("index out of range")
	case "killed":
		self, _ := os.FindProcess(os.Getpid())
		self.Kill()
		select {}
	case "hang":
		os.Stdout.Write(plain)
		time.Sleep(time.Hour)
	case "child":
		child := exec.Command(os.Args[0], os.Args[1:]...)
		child.Env = append(os.Environ(), envFault+"=linger")
		child.Stdout = os.Stdout
		if err := child.Start(); err != nil {
			panic(err)
		}
	case "noise":
		for range 10_000 {
			os.Stderr.WriteString("a warning that nobody reads\n")
		}
	}
	os.Stdout.Write(plain)
	return Status(class)
}

// runFake runs the fake command over the test's cases.
func runFake(t *testing.T, fault string, opts *Options) (*Report, error) {
	t.Helper()
	t.Setenv(envFault, fault)
	t.Setenv(envLacks, strings.Join(opts.Lacks, " "))
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	m, files := testManifest()
	return run(t.Context(), m, files, []string{self, "an argument"}, opts)
}

func TestEveryFaultIsNoticed(t *testing.T) {
	for _, test := range []struct {
		fault string
		opts  Options
		// want is what a fault looks like; the names are those of the cases that
		// show it, all if there is none.
		want, names string
	}{
		{fault: "none"},
		{fault: "none", opts: Options{Exact: true, Parallel: 1}},
		{fault: "none", opts: Options{Lacks: []string{"kind-5"}, Exact: true}},
		{fault: "noise"},
		{fault: "nothing before a fault"},
		{fault: "nothing before a fault", opts: Options{Exact: true}, want: "0 bytes were released instead of 65000", names: "tag|hpke"},
		{fault: "class", want: "class (ok|skew), want "},
		{fault: "usage", want: `exit status 2, want \d+ for .*, stderr: "unknown field \\"reader\\""`},
		{fault: "too much", want: "more than (0|65000|100000) bytes were released"},
		{fault: "endless", want: "no prefix of the plaintext: byte 0 differs"},
		{fault: "wrong byte", want: "no prefix of the plaintext: byte (64999|99999) differs", names: "good|tag|hpke|skew|head.*random"},
		{fault: "less", want: "50000 bytes were released instead of 100000", names: "good|skew|head.*random"},
		{fault: "crash", want: `exit status 2, want .* stderr: ".*`},
		{fault: "killed", want: "signal: killed|exit status 1"},
		{fault: "hang", opts: Options{Timeout: 2 * time.Second, Match: regexp.MustCompile("good")}, want: "no answer in time", names: "good"},
		{fault: "child", opts: Options{Match: regexp.MustCompile("good")}, want: "WaitDelay", names: "good"},
	} {
		report, err := runFake(t, test.fault, &test.opts)
		if err != nil {
			t.Fatalf("%s: %v", test.fault, err)
		}
		for _, r := range report.Results {
			shows := test.want != "" && regexp.MustCompile(test.names).MatchString(r.String())
			switch {
			case !shows && r.Err != nil, shows && (r.Err == nil || !regexp.MustCompile(test.want).MatchString(r.String())):
				t.Errorf("%s: %v", test.fault, r)
			case len(r.String()) > 700:
				t.Errorf("%s: %d bytes of text: %v", test.fault, len(r.String()), r)
			}
		}
	}
}

func TestReport(t *testing.T) {
	report, err := runFake(t, "less", &Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := []Area{{"body", 4, 2}, {"copy", 4, 3}, {"keys", 4, 0}}
	areas := report.Areas()
	if len(areas) != len(want) || len(report.Results) != 12 || len(report.Failed()) != 5 {
		t.Fatalf("areas %v, %d results, %d failed", areas, len(report.Results), len(report.Failed()))
	}
	for i := range want {
		if areas[i] != want[i] {
			t.Errorf("area %v, want %v", areas[i], want[i])
		}
	}
	if r := report.Results[5]; r.Name() != "copy_head" || r.Mode != Random || r.Want != vectors.DamagedCopy || r.Got != vectors.DamagedCopy || r.Released != 50_000 {
		t.Errorf("the sixth result is %+v", r)
	}
}

func TestRunFails(t *testing.T) {
	m, files := testManifest()
	for name, test := range map[string]struct {
		command []string
		opts    Options
	}{
		"no command":      {nil, Options{}},
		"missing command": {[]string{"/nonexistent/decoder"}, Options{}},
		"unknown need":    {[]string{"true"}, Options{Lacks: []string{"kind5"}}},
		"no case":         {[]string{"true"}, Options{Match: regexp.MustCompile("^x")}},
	} {
		if _, err := run(t.Context(), m, files, test.command, &test.opts); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	stop := errors.New("stop")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(stop)
	if _, err := run(ctx, m, files, []string{os.Args[0]}, nil); !errors.Is(err, stop) {
		t.Errorf("cancelled: %v", err)
	}
}

// The command gets the inputs, and nothing that tells what is expected.
func TestQuestion(t *testing.T) {
	m, files := testManifest()
	c := &m.Cases[1]
	c.Inputs = vectors.Inputs{
		AccountKeys: []vectors.Hex{{1, 2}}, Passphrases: []vectors.Hex{vectors.Hex("x")}, Context: vectors.Hex{0xab},
		OtherKeys:     []vectors.OtherKey{{Kind: 4, Type: "aes-256", Key: vectors.Hex{3}}},
		MinGeneration: 7, MaxMemory: 8, Argon2: &vectors.Argon2{MaxRuns: 9}, AllowAnonymous: true, Archive: true,
	}
	for _, test := range []struct {
		inputs vectors.Inputs
		want   string
	}{
		{c.Inputs, `{"account_keys":["0102"],"passphrases":["78"],"other_keys":[{"kind":4,"type":"aes-256","key":"03"}],"context":"ab",` +
			`"min_generation":7,"max_memory":8,"argon2":{"max_runs":9},"allow_anonymous":true,"archive":true,"reader":"random"}`},
		{vectors.Inputs{}, `{"reader":"random"}`},
	} {
		c.Inputs = test.inputs
		r, dir := runner{files: files}, t.TempDir()
		name, container, err := r.question(dir, &Result{Case: c, Mode: Random})
		if err != nil {
			t.Fatal(err)
		}
		defer container.Close()
		if got, err := os.ReadFile(name); err != nil || string(got) != test.want {
			t.Errorf("CASE.json is %s, %v", got, err)
		}
		if got, err := io.ReadAll(container); err != nil || string(got) != c.File {
			t.Errorf("the container is %q, %v", got, err)
		}
		if strings.Contains(name+container.Name(), "tag") {
			t.Errorf("%s and %s tell what the case is", name, container.Name())
		}
		if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) != 2 {
			t.Errorf("files %q", left)
		}
	}
}

func TestStatuses(t *testing.T) {
	for status, class := range statuses {
		if Status(class) != status {
			t.Errorf("%s has the statuses %d and %d", class, status, Status(class))
		}
	}
	if Status("another") != 1 || Status("") != 1 {
		t.Error("what is no class has a status of one")
	}
}
