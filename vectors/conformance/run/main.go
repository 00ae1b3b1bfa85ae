// Command run runs a reader of containers over the conformance vectors. Package
// conformance says what the reader's command has to do.
//
//	go run ./vectors/conformance/run [flags] -- COMMAND...
//
// It prints a line for each answer that is wrong and a table by area. The exit status
// is 0 if all answers are right, 1 if one is not, 2 if they could not be had.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/coffer-backup/coffer/vectors/conformance"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	command, opts, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		os.Exit(2)
	}
	var report *conformance.Report
	if err == nil {
		report, err = conformance.Run(ctx, command, opts)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	failed, err := print(os.Stdout, report)
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	case failed > 0:
		os.Exit(1)
	}
}

// parse reads the command line.
func parse(args []string) (command []string, opts *conformance.Options, err error) {
	opts = &conformance.Options{}
	flags := flag.NewFlagSet("run", flag.ContinueOnError)
	flags.Usage = func() {
		fmt.Fprintln(flags.Output(), "usage: run [flags] -- COMMAND...")
		flags.PrintDefaults()
	}
	flags.Func("lacks", "what the reader lacks, as `kind-5`; more than one with commas", func(s string) error {
		opts.Lacks = append(opts.Lacks, strings.Split(s, ",")...)
		return nil
	})
	flags.Func("reader", "the `modes` to run, stream or random (default stream,random)", func(s string) error {
		for mode := range strings.SplitSeq(s, ",") {
			if !slices.Contains(conformance.Modes(), conformance.Mode(mode)) {
				return fmt.Errorf("%q is neither stream nor random", mode)
			}
			opts.Modes = append(opts.Modes, conformance.Mode(mode))
		}
		return nil
	})
	flags.Func("match", "run only the cases whose file name this `regexp` matches", func(s string) (err error) {
		opts.Match, err = regexp.Compile(s)
		return err
	})
	flags.BoolVar(&opts.Exact, "exact", false, "a reader that releases less than the case says is wrong, too")
	flags.IntVar(&opts.Parallel, "parallel", 0, "commands at a time (default one a CPU)")
	flags.DurationVar(&opts.Timeout, "timeout", 0, "time for one command (default 1m)")
	if err := flags.Parse(args); err != nil {
		return nil, nil, err
	}
	if flags.NArg() == 0 {
		flags.Usage()
		return nil, nil, errors.New("no command")
	}
	return flags.Args(), opts, nil
}

// print prints what was wrong, and how much.
func print(out io.Writer, report *conformance.Report) (failed int, err error) {
	wrong := report.Failed()
	for _, r := range wrong {
		if _, err := fmt.Fprintln(out, r); err != nil {
			return 0, err
		}
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(table, "area\truns\twrong\t\n")
	for _, a := range report.Areas() {
		fmt.Fprintf(table, "%s\t%d\t%d\t\n", a.Name, a.Runs, a.Failed)
	}
	fmt.Fprintf(table, "all\t%d\t%d\t\n", len(report.Results), len(wrong))
	return len(wrong), table.Flush()
}
