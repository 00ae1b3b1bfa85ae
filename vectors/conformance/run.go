package conformance

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/coffer-backup/coffer/vectors"
)

// Options may be nil; every zero value is the default.
type Options struct {
	Modes    []Mode         // nil: both
	Lacks    []string       // as in Rules
	Exact    bool           // as in Rules
	Match    *regexp.Regexp // runs the cases whose file name it matches; nil: all
	Parallel int            // commands at a time; 0: GOMAXPROCS
	Timeout  time.Duration  // for one command; 0: a minute
}

// waitDelay is how long stdout may stay open after the command has ended, held by a
// process that it started.
const waitDelay = 2 * time.Second

// maxStderr is how much of stderr a Result keeps, in bytes.
const maxStderr = 256

// Run runs command over the cases in each mode. The error says why that could not be
// done; what the command did wrong is in the report.
func Run(ctx context.Context, command []string, opts *Options) (*Report, error) {
	m, err := vectors.Load()
	if err != nil {
		return nil, err
	}
	return run(ctx, m, vectors.Files, command, opts)
}

// A runner is the state of one Run.
type runner struct {
	files   fs.FS
	command []string
	opts    Options
	dir     string // private, for containers and CASE.json
}

func run(ctx context.Context, m *vectors.Manifest, files fs.FS, command []string, opts *Options) (*Report, error) {
	r := runner{files: files, command: slices.Clone(command)}
	if opts != nil {
		r.opts = *opts
	}
	if len(r.opts.Modes) == 0 {
		r.opts.Modes = Modes()
	}
	if r.opts.Parallel < 1 {
		r.opts.Parallel = runtime.GOMAXPROCS(0)
	}
	r.opts.Timeout = cmp.Or(r.opts.Timeout, time.Minute)
	report, err := r.plan(m)
	if err != nil {
		return nil, err
	}
	if r.dir, err = os.MkdirTemp("", "coffer-conformance-"); err != nil {
		return nil, err
	}
	defer os.RemoveAll(r.dir)
	if err := r.all(ctx, report.Results); err != nil {
		return nil, err
	}
	return report, nil
}

// plan makes the report, without answers.
func (r *runner) plan(m *vectors.Manifest) (*Report, error) {
	if len(r.command) == 0 {
		return nil, errors.New("no command")
	}
	known := map[string]bool{}
	report := &Report{}
	for i := range m.Cases {
		c := &m.Cases[i]
		known[c.Needs] = true
		if r.opts.Match != nil && !r.opts.Match.MatchString(c.File) {
			continue
		}
		for _, mode := range r.opts.Modes {
			want, _ := r.rules(mode).Want(c)
			report.Results = append(report.Results, Result{Case: c, Mode: mode, Want: want})
		}
	}
	for _, need := range r.opts.Lacks {
		if !known[need] {
			return nil, fmt.Errorf("no case needs %q", need)
		}
	}
	if len(report.Results) == 0 {
		return nil, errors.New("no case matches")
	}
	return report, nil
}

func (r *runner) rules(mode Mode) Rules {
	return Rules{Mode: mode, Lacks: r.opts.Lacks, Exact: r.opts.Exact}
}

// all gets the answers, up to the first that cannot be had.
func (r *runner) all(ctx context.Context, results []Result) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan *Result)
	var wg sync.WaitGroup
	for range r.opts.Parallel {
		wg.Go(func() {
			for result := range next {
				if err := r.answer(ctx, result); err != nil {
					cancel(fmt.Errorf("%s: %w", result.Case.File, err))
				}
			}
		})
	}
	for i := range results {
		if ctx.Err() != nil {
			break
		}
		next <- &results[i]
	}
	close(next)
	wg.Wait()
	return context.Cause(ctx)
}

// answer runs the command once and judges it.
func (r *runner) answer(ctx context.Context, result *Result) error {
	dir, err := os.MkdirTemp(r.dir, "")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	question, stdin, err := r.question(dir, result)
	if err != nil {
		return err
	}
	defer stdin.Close()

	ctx, stop := context.WithTimeout(ctx, r.opts.Timeout)
	defer stop()
	rules := r.rules(result.Mode)
	_, limit := rules.Want(result.Case)
	stdout, stderr := &limitedOutput{limit: limit, over: stop}, &tailOutput{limit: maxStderr}
	cmd := exec.CommandContext(ctx, r.command[0], append(slices.Clip(r.command[1:]), question)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, stderr
	cmd.WaitDelay = waitDelay
	if err := cmd.Start(); err != nil {
		return err
	}
	result.judge(rules, cmd.Wait(), ctx.Err() == context.DeadlineExceeded, cmd.ProcessState, stdout)
	result.Stderr = string(stderr.b)
	return nil
}

// judge fills the result of a command that has ended, late or not, with err.
func (r *Result) judge(rules Rules, err error, late bool, state *os.ProcessState, stdout *limitedOutput) {
	status := state.ExitCode()
	r.Released = len(stdout.b)
	switch {
	case stdout.full: // it was killed for that
		err = nil
	case err != nil && late:
		err = errors.New("no answer in time")
	case !state.Exited() || errors.Is(err, exec.ErrWaitDelay):
	case statuses[status] == "":
		err = fmt.Errorf("exit status %d, want %d for %s", status, Status(r.Want), r.Want)
	default:
		r.Got = statuses[status]
		r.Err = rules.Judge(r.Case, r.Got, stdout.b)
		return
	}
	r.Err = join(err, rules.judgeReleased(r.Case, stdout.b))
}

// question writes CASE.json and the container, under names that tell nothing, and
// opens the latter.
func (r *runner) question(dir string, result *Result) (name string, container *os.File, err error) {
	text, err := json.Marshal(struct {
		vectors.Inputs
		Reader Mode `json:"reader"`
	}{result.Case.Inputs, result.Mode})
	if err != nil {
		return "", nil, err
	}
	data, err := fs.ReadFile(r.files, result.Case.File)
	if err != nil {
		return "", nil, err
	}
	name, path := filepath.Join(dir, "case.json"), filepath.Join(dir, "container")
	if err := os.WriteFile(name, text, 0o600); err != nil {
		return "", nil, err
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		return "", nil, err
	}
	container, err = os.Open(path)
	return name, container, err
}

// A limitedOutput keeps one byte more than limit, which is enough to know that it
// was too much, and ends who goes on.
type limitedOutput struct {
	limit int
	over  func()
	b     []byte
	full  bool
}

func (o *limitedOutput) Write(p []byte) (int, error) {
	n := min(len(p), o.limit+1-len(o.b))
	o.b = append(o.b, p[:n]...)
	if len(o.b) > o.limit {
		o.full = true
		o.over()
		return n, io.ErrShortWrite
	}
	return n, nil
}

// A tailOutput keeps the last bytes: there a program that fails says why.
type tailOutput struct {
	limit int
	b     []byte
}

func (o *tailOutput) Write(p []byte) (int, error) {
	o.b = append(o.b, p[max(0, len(p)-o.limit):]...)
	o.b = bytes.Clone(o.b[max(0, len(o.b)-o.limit):])
	return len(p), nil
}
