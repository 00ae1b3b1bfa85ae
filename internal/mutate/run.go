package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coffer-backup/coffer/internal/mutate/mutant"
)

// A witness is one test, in the binary of its package.
type witness struct {
	pkg, dir, binary string
	name             string
	took             time.Duration
	rejects          map[int]bool // the checks that reject something in it
}

func (w *witness) String() string { return filepath.Base(w.pkg) + "." + w.name }

// build compiles the tests of packages, with the replaced files, and lists them.
func build(tmp string, replaced map[string][]byte, packages []*source) ([]*witness, error) {
	overlay := struct{ Replace map[string]string }{make(map[string]string)}
	for path, src := range replaced {
		file := filepath.Join(tmp, fmt.Sprintf("%d.go", len(overlay.Replace)))
		if err := os.WriteFile(file, src, 0o600); err != nil {
			return nil, err
		}
		overlay.Replace[path] = file
	}
	text, err := json.Marshal(overlay)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(tmp, "overlay.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return nil, err
	}
	var all []*witness
	for i, p := range packages {
		binary := filepath.Join(tmp, fmt.Sprintf("%d.test", i))
		if out, err := exec.Command("go", "test", "-c", "-overlay", file, "-o", binary, p.ImportPath).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("go test -c %s: %w\n%s", p.ImportPath, err, out)
		}
		list := exec.Command(binary, "-test.list", "^(Test|Fuzz|Example)")
		list.Dir = p.Dir
		out, err := list.Output()
		if err != nil {
			return nil, fmt.Errorf("listing the tests of %s: %w", p.ImportPath, err)
		}
		for _, name := range strings.Fields(string(out)) {
			all = append(all, &witness{pkg: p.ImportPath, dir: p.Dir, binary: binary, name: name})
		}
	}
	return all, nil
}

// maxMemory bounds what one test may take, in KiB of addresses: without a check it
// may ask for more than the machine has.
const maxMemory = 8 << 20

// run runs the test with a variable of the environment set. The error is an
// *exec.ExitError if the test fails, or does not end by itself.
func (w *witness) run(tmp, variable string, limit time.Duration) (output []byte, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", `ulimit -v "$0"; exec "$@"`, strconv.Itoa(maxMemory), w.binary, "-test.run", "^"+w.name+"$", "-test.failfast")
	cmd.Dir = w.dir
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp, variable)
	cmd.WaitDelay = time.Second
	return cmd.CombinedOutput()
}

// watch runs every test with all checks on, which it must pass, and learns which
// checks reject in it. A check is tried with those tests only: others cannot tell
// whether it is there.
func watch(tmp string, all []*witness, parallel int) error {
	failed := make([]error, len(all))
	each(len(all), parallel, func(i int) {
		w, file := all[i], filepath.Join(tmp, fmt.Sprintf("%d.record", i))
		if failed[i] = errors.Join(os.WriteFile(file, nil, 0o666), os.Chmod(file, 0o666)); failed[i] != nil { // it may become another user
			return
		}
		begin := time.Now()
		if out, err := w.run(tmp, mutant.EnvRecord+"="+file, 10*time.Minute); err != nil {
			failed[i] = fmt.Errorf("%v fails with all checks on: %w\n%s", w, err, out)
			return
		}
		w.took, w.rejects = time.Since(begin), make(map[int]bool)
		numbers, err := os.ReadFile(file)
		failed[i] = err
		for line := range bytes.Lines(numbers) {
			n, err := strconv.Atoi(string(bytes.TrimSpace(line)))
			if err != nil {
				failed[i] = err
			}
			w.rejects[n] = true
		}
	})
	return errors.Join(failed...)
}

// A result is what became of a check.
type result struct {
	by    *witness // the first test that failed without it
	tried int      // tests that did not
	err   error
}

// kill runs the tests in which check i rejects without it, until one fails. Those of
// the check's own package come first, and the quick ones of each.
func kill(tmp string, i int, c *check, all []*witness, patience time.Duration) (r result) {
	var which []*witness
	for _, w := range all {
		if w.rejects[i] {
			which = append(which, w)
		}
	}
	slices.SortStableFunc(which, func(a, b *witness) int {
		if own := a.pkg == c.pkg; own != (b.pkg == c.pkg) {
			return map[bool]int{true: -1, false: 1}[own]
		}
		return cmp.Compare(a.took, b.took)
	})
	for _, w := range which {
		_, err := w.run(tmp, fmt.Sprint(mutant.EnvOff, "=", i), 5*w.took+patience)
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) || errors.Is(err, context.DeadlineExceeded) {
			r.by = w
			return r
		} else if err != nil {
			r.err = err
			return r
		}
		r.tried++
	}
	return r
}

// each calls f(0) … f(n-1), so many at a time.
func each(n, parallel int, f func(i int)) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, parallel)
	for i := range n {
		slots <- struct{}{}
		wg.Go(func() {
			f(i)
			<-slots
		})
	}
	wg.Wait()
}
