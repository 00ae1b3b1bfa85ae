// Command mutate is the mutation check: it takes away one check of the readers at a
// time and demands that some test fails.
//
//	go run ./internal/mutate                     # the packages that read containers
//	go run ./internal/mutate ./format ./keys     # these
//	go run ./internal/mutate -sample 0/8         # every eighth check
//
// It runs in the root of the module, and needs sh. Package archive, which reads what
// is in a container, can be named too; some of its checks still survive.
//
// A check is one comparison that can reject: a condition under which an error is
// made, false returned or a turn of a loop skipped, each part of it that could be
// left out by itself (of a || b both, of a && b the whole); a default of a switch
// that rejects; a comparison that a function returns as its verdict, where each part
// of a && b counts; and the "err != nil" behind a call of a function of ours that has
// checks. What the input or the system fails with does not count, nor what only
// writers judge (see writers in find.go).
//
// All checks are compiled in at once, each behind a switch (package mutant), so that
// every test binary is built once. A first run of each test of the packages tells
// which checks ever reject in it; without a check those tests are run in which it
// does, until one fails. One that hangs or takes too much memory has failed.
//
// A check that no test misses survives. second-defence.txt lists those that may,
// with the reason: what stands before them, or why no test gets there. The command
// fails if another one survives, and if one on the list is killed or is no more.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/coffer-backup/coffer/internal/mutate/mutant"
)

// readers are the packages that read containers.
var readers = []string{"./format", "./internal/dare", "./keys", "./engine"}

func main() {
	o := options{out: os.Stdout, patience: 45 * time.Second}
	flag.IntVar(&o.parallel, "p", runtime.GOMAXPROCS(0), "run `n` tests at a time")
	flag.BoolVar(&o.verbose, "v", false, "tell what kills each check")
	sample := flag.String("sample", "0/1", "try the checks whose number modulo m is n, of `n/m`")
	list := flag.String("list", filepath.Join("internal", "mutate", "second-defence.txt"), "`file` of the checks that may survive")
	flag.Parse()
	if o.patterns = flag.Args(); len(o.patterns) == 0 {
		o.patterns = readers
	}
	_, err := fmt.Sscanf(*sample, "%d/%d", &o.n, &o.m)
	if err != nil || o.n < 0 || o.n >= o.m {
		err = fmt.Errorf("-sample %s is not n/m", *sample)
	} else if o.listed, err = readList(*list); err == nil {
		err = o.run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1)
	}
}

type options struct {
	patterns []string
	listed   map[string]string // reasons, by the key of the check
	n, m     int
	parallel int
	patience time.Duration // for a test that hangs, beside five times what it takes
	verbose  bool
	out      io.Writer
}

// errSurvivors says that the output told of survivors, or of faults of the list.
var errSurvivors = errors.New("not all is as the list has it")

func (o *options) run() error {
	sources, fset, err := load(o.patterns)
	if err != nil {
		return err
	}
	checks, replaced, err := instrument(sources, fset)
	if err != nil {
		return err
	}
	targets := slices.DeleteFunc(sources, func(p *source) bool { return p.DepOnly })
	if len(checks) > mutant.Max {
		return fmt.Errorf("%d checks are more than package mutant has room for", len(checks))
	}
	tmp, err := os.MkdirTemp("", "mutate")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if err := os.Chmod(tmp, 0o711); err != nil { // tests that run as other users make files in it
		return err
	}
	begin := time.Now()
	all, err := build(tmp, replaced, targets)
	if err != nil {
		return err
	}
	if err := watch(tmp, all, o.parallel); err != nil {
		return err
	}
	fmt.Fprintf(o.out, "%d tests, built and run with all checks on in %.0f s\n", len(all), time.Since(begin).Seconds())
	results := make([]result, len(checks))
	each(len(checks), o.parallel, func(i int) {
		if i%o.m == o.n {
			results[i] = kill(tmp, i, &checks[i], all, o.patience)
		}
		if o.verbose && results[i].by != nil {
			fmt.Fprintf(o.out, "killed by %v: %v\n", results[i].by, &checks[i])
		}
	})
	err = o.report(targets, checks, results)
	fmt.Fprintf(o.out, "%.0f s in all\n", time.Since(begin).Seconds())
	return err
}

// report prints the survivors, what is wrong with the list, and the table.
func (o *options) report(targets []*source, checks []check, results []result) error {
	var faults []error
	fault := func(format string, args ...any) {
		fmt.Fprintf(o.out, format+"\n", args...)
		faults = []error{errSurvivors}
	}
	type row struct{ checks, killed, listed int }
	rows := make(map[string]*row)
	unknown := maps.Clone(o.listed)
	for i := range checks {
		c, r := &checks[i], &results[i]
		_, listed := o.listed[c.key()]
		delete(unknown, c.key())
		if r.err != nil {
			faults = append(faults, fmt.Errorf("%v: %w", c, r.err))
		}
		if i%o.m != o.n || r.err != nil {
			continue
		}
		if rows[c.pkg] == nil {
			rows[c.pkg] = new(row)
		}
		rows[c.pkg].checks++
		switch {
		case r.by != nil && listed:
			fault("is on the list, but %v kills it: %v", r.by, c)
			fallthrough
		case r.by != nil:
			rows[c.pkg].killed++
		case listed:
			rows[c.pkg].listed++
		case r.tried == 0:
			fault("survives, no test gets there: %v", c)
		default:
			fault("survives %d tests: %v", r.tried, c)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(unknown)) {
		if slices.ContainsFunc(targets, func(p *source) bool { return p.folder() == path.Dir(strings.Fields(key)[0]) }) {
			fault("is on the list, but there is no such check: %s", key)
		}
	}
	w := tabwriter.NewWriter(o.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "package\tchecks\tkilled\tlisted\trate\t")
	for _, p := range targets {
		if r := rows[p.ImportPath]; r != nil {
			fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%.1f %%\t\n", p.folder(), r.checks, r.killed, r.listed, 100*float64(r.killed)/float64(max(1, r.checks-r.listed)))
		}
	}
	w.Flush()
	return errors.Join(faults...)
}
