// Command report makes a report with charts of raw results:
//
//	go run ./bench/cmd/report -o bench/results/2026-11-24 peers.jsonl suites.txt …
//
// Each file holds either the JSON lines of bench/cmd/peers or the text that go test
// -bench printed; its content tells which. Into the directory go report.md, with the
// machines, every row and the targets, and beside it the charts that the input has
// data for; what is left out, and why, is said on stderr:
//
//	throughput.svg   speed of whole commands by corpus              (peers)
//	ratio-speed.svg  compression ratio against speed                (BenchmarkWriter or BenchmarkZstd, and peers)
//	scaling.svg      speed by workers, against one                  (BenchmarkWorkers)
//	growth.svg       time against size, beside a straight line      (BenchmarkGrowth)
//	memory.svg       peak memory against size                       (BenchmarkGrowth, peak-bytes)
//
// Ratios are only ever taken within one run of peers, that is one environment and the
// lines below it. Files are not merged: where two have the same row, both are in the
// tables, and the charts show the first. The same input gives the same bytes.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

func main() {
	dir := flag.String("o", "", "`directory` that the report goes into")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: report -o DIRECTORY FILE...")
		flag.PrintDefaults()
	}
	flag.Parse()
	if *dir == "" || flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(*dir, flag.Args(), os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(1)
	}
}

// run reads files and writes the report into dir. What is missing it tells on stderr.
func run(dir string, files []string, stderr io.Writer) error {
	in, err := load(files)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	var drawn []drawing
	for _, c := range charts {
		d, err := c.draw(in)
		if errors.Is(err, errNoData) {
			fmt.Fprintf(stderr, "report: %s is left out: %v\n", c.file, err)
			// One of an earlier input would pass for this one's.
			if err := os.Remove(filepath.Join(dir, c.file)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			continue
		}
		if err != nil {
			return fmt.Errorf("drawing %s: %w", c.file, err)
		}
		d.file = c.file
		if err := os.WriteFile(filepath.Join(dir, d.file), d.svg, 0o644); err != nil {
			return err
		}
		drawn = append(drawn, d)
	}
	for _, p := range in.problems() {
		fmt.Fprintln(stderr, "report:", p)
	}
	return os.WriteFile(filepath.Join(dir, "report.md"), markdown(in, drawn), 0o644)
}
