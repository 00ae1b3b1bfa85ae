package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/coffer-backup/coffer/bench/comparison"
)

const (
	// patience is what a pipeline may take before it hangs.
	patience = 15 * time.Minute
	// grace is what a process has to clean up once it is interrupted.
	grace = 5 * time.Second
)

// usage is what a pipeline took.
type usage struct {
	wall, cpu time.Duration
	peak      int64 // bytes
}

// A pipeline is run as a shell would: processes side by side, each reading what the
// one before it writes.
type pipeline struct {
	commands [][]string // of which the first word is a path
	dir      string
	env      []string
	log      *os.File // what the processes say
}

func (p *pipeline) run(ctx context.Context) (u usage, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := p.log.Truncate(0); err != nil {
		return u, err
	}
	start := time.Now()
	processes, err := p.start(ctx)
	peaks := watch(processes)
	for i, c := range processes {
		if waitErr := c.Wait(); waitErr != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", strings.Join(p.commands[i], " "), waitErr))
		}
	}
	u.wall = time.Since(start)
	if err != nil {
		said, _ := io.ReadAll(io.NewSectionReader(p.log, 0, 1<<16))
		return u, fmt.Errorf("%w\n%s", errors.Join(ctx.Err(), err), bytes.TrimSpace(said))
	}
	u.peak = peaks()
	for _, c := range processes {
		u.cpu += c.ProcessState.UserTime() + c.ProcessState.SystemTime()
	}
	return u, nil
}

// start starts the processes, and returns those that run. If one of them cannot be
// started the others end, as the pipes are closed.
func (p *pipeline) start(ctx context.Context) (running []*exec.Cmd, err error) {
	var stdin *os.File
	for i, words := range p.commands {
		c := exec.CommandContext(ctx, words[0], words[1:]...)
		c.Dir, c.Env = p.dir, p.env
		c.Stdout, c.Stderr = p.log, p.log
		c.Cancel = func() error { return c.Process.Signal(os.Interrupt) }
		c.WaitDelay = grace
		var ours []*os.File
		if stdin != nil {
			c.Stdin = stdin
			ours = append(ours, stdin)
		}
		if i < len(p.commands)-1 {
			next, stdout, pipeErr := os.Pipe()
			if pipeErr != nil {
				closeAll(ours)
				return running, pipeErr
			}
			c.Stdout, stdin = stdout, next
			ours = append(ours, stdout)
		}
		err := c.Start()
		closeAll(ours)
		if err != nil {
			if i < len(p.commands)-1 {
				stdin.Close()
			}
			return running, err
		}
		running = append(running, c)
	}
	return running, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// turn backs the source up and restores it, in a directory that is removed again.
func (w *workspace) turn(ctx context.Context, t *tool) (done [2]comparison.Run, err error) {
	dir, err := os.MkdirTemp(w.dir, "turn-")
	if err != nil {
		return done, err
	}
	defer os.RemoveAll(dir)
	home, restored, out := filepath.Join(dir, "home"), filepath.Join(dir, "restored"), filepath.Join(dir, "out")
	if err := errors.Join(os.Mkdir(home, 0o700), os.Mkdir(restored, 0o700)); err != nil {
		return done, err
	}
	p := w.player(t, home, out)
	for _, line := range t.setup {
		if _, err := p.run(ctx, w.sourceDir(), line); err != nil {
			return done, err
		}
	}
	before, err := size(out)
	if err != nil {
		return done, err
	}
	backup, err := p.run(ctx, w.sourceDir(), t.backup)
	if err != nil {
		return done, err
	}
	after, err := size(out)
	if err != nil {
		return done, err
	}
	restore, err := p.run(ctx, restored, t.restore)
	if err != nil {
		return done, err
	}
	if err := sameContent(w.source, filepath.Join(restored, filepath.Base(w.source))); err != nil {
		return done, fmt.Errorf("restore: %w", err)
	}
	output := after - before
	return [2]comparison.Run{w.measured(t, "backup", backup, output), w.measured(t, "restore", restore, output)}, nil
}

func (w *workspace) measured(t *tool, do string, u usage, output int64) comparison.Run {
	return comparison.Run{
		Task:        comparison.Task{Corpus: filepath.Base(w.source), Size: w.sourceSize, Tool: t.name, Variant: t.variant, Do: do},
		WallSeconds: u.wall.Seconds(), CPUSeconds: u.cpu.Seconds(), PeakBytes: u.peak, OutputBytes: output,
	}
}

// A player runs the command lines of a tool.
type player struct {
	w       *workspace
	replace *strings.Replacer
	env     []string
}

func (w *workspace) player(t *tool, home, out string) *player {
	r := w.replacer(home, out)
	env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "TMPDIR=" + home, "LC_ALL=C.UTF-8"}
	for _, v := range t.env {
		env = append(env, r.Replace(v))
	}
	return &player{w, r, env}
}

func (p *player) run(ctx context.Context, dir, line string) (usage, error) {
	job := pipeline{dir: dir, env: p.env, log: p.w.log}
	for stage := range strings.SplitSeq(line, "|") {
		words := strings.Fields(stage)
		program, err := p.w.program(words[0])
		if err != nil {
			return usage{}, err
		}
		command := []string{program}
		for _, word := range words[1:] {
			command = append(command, p.replace.Replace(word))
		}
		job.commands = append(job.commands, command)
	}
	return job.run(ctx)
}

// size returns the length of a file, of all files in a directory, or 0 if there is
// neither.
func size(path string) (total int64, err error) {
	err = filepath.WalkDir(path, func(_ string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			total += info.Size()
		}
		return err
	})
	return total, err
}

// sameContent fails unless the two files have the same bytes.
func sameContent(want, got string) error {
	a, err := os.Open(want)
	if err != nil {
		return err
	}
	defer a.Close()
	b, err := os.Open(got)
	if err != nil {
		return err
	}
	defer b.Close()
	x, y := make([]byte, 1<<18), make([]byte, 1<<18)
	for offset := int64(0); ; {
		n, errA := io.ReadFull(a, x)
		m, errB := io.ReadFull(b, y)
		if !bytes.Equal(x[:n], y[:m]) {
			return fmt.Errorf("what was restored differs from the source within %d bytes after byte %d", max(n, m), offset)
		}
		offset += int64(n)
		if errA != nil || errB != nil {
			return errors.Join(ignoreEnd(errA), ignoreEnd(errB))
		}
	}
}

func ignoreEnd(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return nil
	}
	return err
}
