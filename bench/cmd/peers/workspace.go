package main

import (
	"context"
	"crypto/rand"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"filippo.io/age"

	"github.com/coffer-backup/coffer/bench/comparison"
	"github.com/coffer-backup/coffer/bench/corpus"
)

// seed is that of all corpora, for results of different runs to be about the same
// bytes.
const seed = 1

// built names the programs that are built from the tree, and with which setting of
// CGO_ENABLED.
var built = map[string]string{"coffer": "1", "coffer-nocgo": "0", "age": "0"}

// A workspace holds all files of a run, below one directory.
type workspace struct {
	dir        string
	cores      int
	log        *os.File
	source     string // the file that is backed up
	sourceSize int64

	recipient, passphrase string
}

func newWorkspace(ctx context.Context, o *options, stderr io.Writer) (_ *workspace, err error) {
	parent := o.dir
	if parent == "" {
		parent = roomyDir(o.room(), stderr)
	}
	dir, err := os.MkdirTemp(parent, "coffer-peers-")
	if err != nil {
		return nil, err
	}
	w := &workspace{dir: dir, cores: o.cores, passphrase: rand.Text()}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	for _, sub := range []string{"bin", "source", "state", filepath.Join("state", "gnupg")} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, err
		}
	}
	if w.log, err = os.OpenFile(filepath.Join(dir, "log"), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600); err != nil {
		return nil, err
	}
	if err := w.build(ctx); err != nil {
		return nil, err
	}
	return w, w.makeKeys(ctx)
}

// room is what the source, its largest backup and what is restored take, and as
// much again for caches.
func (o *options) room() int64 {
	var largest int64
	for _, name := range o.corpora {
		largest = max(largest, o.size, corpus.DefaultSize(name))
	}
	return 6*largest + 1<<28
}

// roomyDir returns a directory in memory if there is one with room, so that no disk
// is measured, else that for temporary files, and says so.
func roomyDir(room int64, stderr io.Writer) string {
	const memory = "/dev/shm"
	if _, free, err := fileSystem(memory); err == nil && free >= room {
		return memory
	}
	fmt.Fprintf(stderr, "peers: there are no %d MB free in %s: a disk may be measured, that of %s\n", room/1e6, memory, os.TempDir())
	return os.TempDir()
}

// close ends what tools left running, and removes all files.
func (w *workspace) close() {
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	for i := range tools {
		if t := &tools[i]; t.finish != "" && w.has(t) && w.log != nil {
			_, _ = w.player(t, w.dir, "").run(ctx, w.dir, t.finish) // it may never have started
		}
	}
	if w.log != nil {
		w.log.Close()
	}
	_ = os.RemoveAll(w.dir)
}

func (w *workspace) path(elem ...string) string {
	return filepath.Join(append([]string{w.dir}, elem...)...)
}

// build builds coffer from the tree, and the version of age that bench/go.mod has:
// distributions have older ones that are slower. Without the workspace file, which
// would mix the versions that the modules ask for.
func (w *workspace) build(ctx context.Context) error {
	root, err := output(exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/coffer-backup/coffer"))
	if err != nil {
		return err
	}
	for program, cgo := range built {
		dir, pkg := filepath.Join(root, "cmd", "coffer"), "."
		if program == "age" {
			dir, pkg = filepath.Join(root, "bench"), "filippo.io/age/cmd/age"
		}
		c := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=auto", "-o", w.path("bin", program), pkg)
		c.Dir = dir
		c.Env = append(os.Environ(), "GOWORK=off", "CGO_ENABLED="+cgo)
		if _, err := output(c); err != nil {
			return err
		}
	}
	return nil
}

func (w *workspace) makeKeys(ctx context.Context) error {
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		return err
	}
	w.recipient = identity.Recipient().String()
	_, err = output(exec.CommandContext(ctx, w.path("bin", "coffer"), "key", "new", "-o", w.path("state", "coffer.key")))
	return errors.Join(err,
		os.WriteFile(w.path("state", "age.key"), []byte(identity.String()+"\n"), 0o600),
		os.WriteFile(w.path("state", "passphrase"), []byte(w.passphrase+"\n"), 0o600))
}

// output runs c and returns what it printed, without the last line end.
func output(c *exec.Cmd) (string, error) {
	out, err := c.Output()
	if err != nil {
		var said []byte
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			said = exit.Stderr
		}
		return "", fmt.Errorf("%s: %w\n%s", strings.Join(c.Args, " "), err, said)
	}
	return strings.TrimSpace(string(out)), nil
}

// makeSource replaces the source.
func (w *workspace) makeSource(name string, size int64) error {
	if w.source != "" {
		if err := os.Remove(w.source); err != nil {
			return err
		}
	}
	if size == 0 {
		size = corpus.DefaultSize(name)
	}
	r, err := corpus.New(name, size, seed)
	if err != nil {
		return err
	}
	w.source = filepath.Join(w.sourceDir(), name)
	f, err := os.Create(w.source)
	if err != nil {
		return err
	}
	w.sourceSize, err = io.Copy(f, r)
	return errors.Join(err, f.Close())
}

func (w *workspace) sourceDir() string { return w.path("source") }

// program returns the path of a program.
func (w *workspace) program(name string) (string, error) {
	if _, ours := built[name]; ours {
		return w.path("bin", name), nil
	}
	return exec.LookPath(name)
}

func (w *workspace) has(t *tool) bool {
	return !slices.ContainsFunc(t.programs(), func(name string) bool {
		_, err := w.program(name)
		return err != nil
	})
}

// present returns the tools of these names, or all, that can be run, and the names
// of the others.
func (w *workspace) present(names []string) (present []tool, missing []string) {
	missing = []string{} // which JSON has as a list
	for _, t := range tools {
		switch {
		case len(names) > 0 && !slices.Contains(names, t.name):
		case w.has(&t):
			present = append(present, t)
		default:
			missing = append(missing, t.name)
		}
	}
	return present, slices.Compact(missing)
}

func (w *workspace) replacer(home, out string) *strings.Replacer {
	return strings.NewReplacer(
		"{name}", filepath.Base(w.source), "{source}", w.sourceDir(), "{out}", out, "{home}", home, "{state}", w.path("state"),
		"{recipient}", w.recipient, "{passphrase}", w.passphrase, "{cores}", strconv.Itoa(w.cores))
}

// environment says where and with what is measured.
func (w *workspace) environment(ctx context.Context, present []tool, missing []string) (*comparison.Environment, error) {
	storage, _, err := fileSystem(w.dir)
	if err != nil {
		return nil, err
	}
	e := &comparison.Environment{
		Date: time.Now().UTC().Format(time.RFC3339), Cores: w.cores, OS: runtime.GOOS + "/" + runtime.GOARCH,
		Go: runtime.Version(), Storage: storage, Versions: map[string]string{}, Missing: missing,
	}
	e.CPU, e.MemoryBytes, e.Kernel = machine()
	if e.Revision, err = revision(w.path("bin", "coffer")); err != nil {
		return nil, err
	}
	for i := range present {
		t := &present[i]
		var all []string
		for _, name := range t.programs() {
			v, err := w.version(ctx, name)
			if err != nil {
				return nil, err
			}
			all = append(all, name+" "+v)
		}
		e.Versions[t.name] = strings.Join(all, ", ")
	}
	return e, nil
}

var versionText = regexp.MustCompile(`\bv?\d+\.\d+[^\s,]*`)

// version returns the number that a program prints as its version; of coffer all, as
// it names the compressor.
func (w *workspace) version(ctx context.Context, name string) (string, error) {
	path, err := w.program(name)
	if err != nil {
		return "", err
	}
	c := exec.CommandContext(ctx, path, versionFlags[name])
	c.Env = w.player(&tool{}, w.dir, "").env
	out, err := output(c)
	if text, ok := strings.CutPrefix(out, "coffer "); ok {
		return text, err
	}
	return strings.TrimPrefix(versionText.FindString(out), "v"), err
}

// revision returns the commit that a program was built from.
func revision(program string) (string, error) {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return "", err
	}
	text := "unknown"
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			text = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			text += " with changes"
		}
	}
	return text, nil
}
