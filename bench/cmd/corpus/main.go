// Command corpus writes the data of the benchmarks to where other programs can read
// it:
//
//	go run ./bench/cmd/corpus [-o FILE] [-size 300MB] [-seed N] NAME    # chat, media, source, logs or mix
//	go run ./bench/cmd/corpus [-n 100000] [-seed N] smallfiles DIR      # a tree below DIR
//
// Without -o a corpus goes to stdout, and without -size it has the size of the
// published comparisons. A file that is there is not replaced.
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/coffer-backup/coffer/bench/corpus"
)

const usage = "corpus [-o FILE] [-size SIZE] [-seed N] %s\n       corpus [-n COUNT] [-seed N] smallfiles DIR\n"

func main() {
	err := run(os.Args[1:], os.Stdout, os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "corpus:", err)
		os.Exit(1)
	}
}

func run(args []string, stdout, stderr io.Writer) error {
	fs := flag.NewFlagSet("corpus", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.Usage = func() {
		fmt.Fprintf(stderr, "usage: "+usage, strings.Join(corpus.Names(), "|"))
		fs.PrintDefaults()
	}
	file := fs.String("o", "", "write to this new `file`")
	seed := fs.Uint64("seed", 1, "another `seed`, other data of the same kind")
	files := fs.Int("n", 100_000, "`count` of small files")
	var size int64 = -1
	fs.Func("size", "`bytes` of the corpus, as 300MB or 1GiB (default: that of the comparisons)", func(s string) (err error) {
		size, err = corpus.ParseSize(s)
		return err
	})
	if err := fs.Parse(args); err != nil {
		return err
	}
	switch {
	case fs.NArg() == 2 && fs.Arg(0) == "smallfiles" && *file == "" && size < 0 && *files >= 0:
		return corpus.SmallFiles(fs.Arg(1), *files, *seed)
	case fs.NArg() != 1 || fs.Arg(0) == "smallfiles":
		fs.Usage()
		return flag.ErrHelp
	}
	if size < 0 {
		size = corpus.DefaultSize(fs.Arg(0))
	}
	r, err := corpus.New(fs.Arg(0), size, *seed)
	if err != nil {
		return err
	}
	if *file == "" {
		_, err = io.Copy(stdout, r)
		return err
	}
	return create(*file, r)
}

// create writes a new file, and removes it if it does not get whole.
func create(name string, r io.Reader) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 1<<20)
	_, err = io.Copy(w, r)
	if err == nil {
		err = w.Flush()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		_ = os.Remove(name) // the first error tells more
	}
	return err
}
