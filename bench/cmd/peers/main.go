// Command peers measures whole commands side by side: coffer, and the ways of making
// an encrypted backup that people would otherwise take.
//
//	scripts/peers                              # installs the peers, on Debian and Ubuntu
//	go run ./bench/cmd/peers -o results.jsonl  # measures; prints tables, ratios, targets
//	go run ./bench/cmd/peers -table results.jsonl
//
// It runs in the root of the repository or in bench. Both builds of coffer, with cgo
// and without, come from the tree, age from bench's go.mod, the others from the PATH;
// tools.go has the commands. A peer that is not installed is named as missing.
//
// Targets are about coffer seal and open (variants default and no-check), the like of
// zstd | age: a stream is sealed, and nothing else. The variant backup is the row to
// compare with restic and borg, as it writes an archive with a catalog. No target
// compares with age alone, which does not compress, even where it is the fastest: they
// were set against pipelines that compress, and rclone. It has rows like all others,
// and lines of its own say how coffer compares with it.
//
// restic, borg, rclone, gpg and zstd are Debian's, or whose the machine is; age is the
// newest release, 1.3.2; and coffer has the libzstd of engine/libzstd, which may be newer
// than the zstd of the pipelines. The versions are part of the output.
//
// A turn of a tool is a backup of one file and its restore, from files to files; making
// a new repository before, comparing the restored file with the source, and removing
// everything afterwards are not part of the time. In a round each tool has one turn,
// so that a machine whose speed drifts slows all of them; the order changes from round
// to round. The first round warms up and does not count.
//
// Wall time runs from the start of the first process to the end of the last. CPU time
// is user and system time of all processes of a pipeline and of their children. Peak
// memory is the sum of the processes' largest resident sets, 0 on other systems than
// Linux. Output is the length of the container, or what a repository grew by.
//
// All tools have the same -cores (on Linux, the first ones), a home directory of their
// own, and none of the user's environment but PATH. Keys are as each tool has them by
// default, and so is what it spends on them: age and coffer are given random keys,
// restic, borg, rclone, gpg and kopia derive theirs from a passphrase.
//
// All of the tools authenticate: coffer and restic, borg and kopia by an AEAD or a MAC
// over each part, age by ChaCha20-Poly1305, rclone crypt by NaCl's secretbox, gpg by
// what its version takes for symmetric encryption, which is the MDC, a hash inside of
// the encryption, up to 2.2. Only coffer looks whether what it compressed decompresses
// again (variant no-check does not). rclone crypt and age alone do not compress;
// in a backup rclone, by default, reads what it wrote once more and compares a hash.
//
// The exit status is 1 if a command fails or a restored file differs, and with -strict
// if the floor of a target is missed or was not measured, which it is on two cores and
// the corpora's own sizes only. The form of the file, what is compared, and the targets
// are bench/comparison's.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/coffer-backup/coffer/bench/comparison"
	"github.com/coffer-backup/coffer/bench/corpus"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

type options struct {
	corpora []string
	size    int64
	rounds  int
	tools   []string
	dir     string
	raw     string
	cores   int
	strict  bool
	table   string
}

func parseOptions(args []string, stderr io.Writer) (*options, error) {
	var o options
	fs := flag.NewFlagSet("peers", flag.ContinueOnError)
	fs.SetOutput(stderr)
	corpora := fs.String("corpora", "chat,media,source,mix", "`names` of what is backed up")
	fs.Func("size", "`bytes` of each corpus, as 300MB or 1GiB (default: its own size)", func(s string) (err error) {
		o.size, err = corpus.ParseSize(s)
		return err
	})
	fs.IntVar(&o.rounds, "rounds", 5, "turns of each tool that count")
	names := fs.String("tools", "", "`names` of the tools (default: all)")
	fs.StringVar(&o.dir, "dir", "", "work below this `directory` (default: /dev/shm if it has room, else that for temporary files)")
	fs.StringVar(&o.raw, "o", "", "write each measurement to this new `file`, as JSON lines")
	fs.IntVar(&o.cores, "cores", 2, "cores that every tool has")
	fs.BoolVar(&o.strict, "strict", false, "fail if the floor of a target is missed")
	fs.StringVar(&o.table, "table", "", "measure nothing, print the tables of this `file` of JSON lines")
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	o.corpora, o.tools = list(*corpora), list(*names)
	for _, name := range o.corpora {
		if !slices.Contains(corpus.Names(), name) {
			return nil, fmt.Errorf("no corpus %q, there are %s", name, strings.Join(corpus.Names(), ", "))
		}
	}
	for _, name := range o.tools {
		if !slices.ContainsFunc(tools, func(t tool) bool { return t.name == name }) {
			return nil, fmt.Errorf("no tool %q, there are %s", name, strings.Join(toolNames(), ", "))
		}
	}
	switch {
	case fs.NArg() > 0:
		return nil, fmt.Errorf("argument %q is not expected", fs.Arg(0))
	case len(o.corpora) == 0 || o.rounds < 1 || o.size < 0 || o.cores < 1:
		return nil, errors.New("nothing to measure: -corpora, -rounds, -size and -cores must be more than nothing")
	}
	return &o, nil
}

func list(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' })
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parseOptions(args, stderr)
	if err != nil {
		return err
	}
	lines, err := o.lines(ctx, stderr)
	if err != nil {
		return err
	}
	sessions, err := comparison.Parse(lines)
	switch {
	case err != nil:
		return fmt.Errorf("reading results: %w", err)
	case len(sessions) != 1:
		return fmt.Errorf("reading results: they are of %d sessions, which are not comparable, not of one", len(sessions))
	}
	allHold, err := printTables(stdout, sessions[0])
	if err == nil && o.strict && !allHold {
		err = errors.New("targets are missed")
	}
	return err
}

// lines returns those of -table, or measures, and has them in the file of -o as they
// come.
func (o *options) lines(ctx context.Context, stderr io.Writer) (_ []byte, err error) {
	if o.table != "" {
		return os.ReadFile(o.table)
	}
	unpin, err := pin(o.cores)
	if err != nil {
		return nil, fmt.Errorf("-cores: %w", err)
	}
	defer func() { err = errors.Join(err, unpin()) }()
	var lines bytes.Buffer
	out := io.Writer(&lines)
	if o.raw != "" {
		f, openErr := os.OpenFile(o.raw, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
		if openErr != nil {
			return nil, openErr
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		out = io.MultiWriter(&lines, f)
	}
	err = o.measure(ctx, out, stderr)
	return lines.Bytes(), err
}

// measure gives every tool its turns.
func (o *options) measure(ctx context.Context, out, stderr io.Writer) error {
	w, err := newWorkspace(ctx, o, stderr)
	if err != nil {
		return err
	}
	defer w.close()

	present, missing := w.present(o.tools)
	if len(missing) > 0 {
		fmt.Fprintf(stderr, "peers: missing: %s\n", strings.Join(missing, ", "))
	}
	env, err := w.environment(ctx, present, missing)
	if err != nil {
		return err
	}
	if err := env.Write(out); err != nil {
		return err
	}
	for _, name := range o.corpora {
		if err := w.makeSource(name, o.size); err != nil {
			return fmt.Errorf("corpus %s: %w", name, err)
		}
		for round := range o.rounds + 1 {
			fmt.Fprintf(stderr, "peers: %s, round %d of %d%s\n", name, round, o.rounds, map[bool]string{true: ": warming up"}[round == 0])
			if err := w.round(ctx, present, round, out); err != nil {
				return err
			}
		}
	}
	return nil
}

// round gives each tool a turn. Round 0 warms up.
func (w *workspace) round(ctx context.Context, tools []tool, round int, out io.Writer) error {
	for _, i := range order(len(tools), round) {
		t := &tools[i]
		done, err := w.turn(ctx, t)
		if err != nil {
			return fmt.Errorf("%s: %w", t.title(), err)
		}
		for _, r := range done {
			r.Round = round
			if round == 0 {
				continue
			}
			if err := r.Write(out); err != nil {
				return err
			}
		}
	}
	return nil
}

// order is a row of a Williams square: in no two of n/2 consecutive rounds has a tool
// the same one before it, whose leftovers, such as a warm cache or a busy kernel, it
// might meet.
func order(n, round int) []int {
	row := make([]int, n)
	for i := range row {
		step := (i + 1) / 2
		if i%2 == 0 {
			step = n - i/2
		}
		row[i] = (step + round) % n
	}
	return row
}
