package corpus

import (
	"fmt"
	"os"
	"path/filepath"
	"time"
)

const (
	filesInDir = 150 // at most
	dirsInDir  = 40  // at most: with the files fewer than 200 entries
	dirsDeep   = 8
)

// smallTree is a tree of directories that grows.
type smallTree struct {
	*source
	root  string
	open  []smallDir // that take another directory
	all   []string
	log   producer
	lines []byte // of the log, not yet used
	scans *entropy
}

type smallDir struct {
	path        string
	depth, dirs int
}

// SmallFiles writes n files into a tree below dir, which it makes if there is none:
// source, configuration, documentation, logs and icons, most of them below 8 KiB,
// some empty, three in a hundred up to 128 KiB. No directory has more than 200
// entries. It replaces nothing. The times of all but dir are set.
func SmallFiles(dir string, n int, seed uint64) error {
	t := &smallTree{source: newSource(0, seed).(*source), root: dir, log: newLogs(1<<62, seed), scans: newEntropy(seed, 7)}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	t.open = []smallDir{{}}
	for n > 0 {
		path, err := t.mkdir()
		if err != nil {
			return err
		}
		here := min(n, t.scale(4, filesInDir))
		n -= here
		for i := range here {
			if err := t.addFile(path, i); err != nil {
				return err
			}
		}
	}
	for _, path := range t.all { // at the end, as each new file changed the time
		if err := t.setTime(filepath.Join(dir, path)); err != nil {
			return err
		}
	}
	return nil
}

// mkdir makes a directory somewhere in the tree.
func (t *smallTree) mkdir() (string, error) {
	i := t.below(len(t.open))
	parent := &t.open[i]
	t.changeDir()
	child := smallDir{filepath.Join(parent.path, filepath.Base(t.dir)), parent.depth + 1, 0}
	if parent.dirs++; parent.dirs == dirsInDir {
		t.open[i] = t.open[len(t.open)-1]
		t.open = t.open[:len(t.open)-1]
	}
	if child.depth < dirsDeep {
		t.open = append(t.open, child)
	}
	t.all = append(t.all, child.path)
	return child.path, os.Mkdir(filepath.Join(t.root, child.path), 0o755)
}

// addFile writes the file of that number in its directory.
func (t *smallTree) addFile(dir string, number int) error {
	size := t.scale(16, 8<<10)
	switch t.below(100) {
	case 0, 1:
		size = 0
	case 2, 3, 4:
		size = t.scale(8<<10, 128<<10)
	}
	content, extension := t.content(size)
	mode := os.FileMode(0o644)
	if t.oneIn(40) {
		mode = 0o755
	}
	name := filepath.Join(t.root, dir, fmt.Sprintf("%s_%d%s", t.langs[0].sayNamed(nil, "snake"), number, extension))
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = t.setTime(name)
	}
	return err
}

// content returns what is in a file of that size.
func (t *smallTree) content(size int) (content []byte, extension string) {
	switch t.below(10) {
	case 0:
		if content := appendJPEGHead(nil, 64, 64, 80); len(content)+2 < size {
			return t.scans.appendScan(content, size-len(content)), ".jpg"
		}
	case 1:
		for len(t.lines) < size {
			t.lines = append(t.lines, t.log.next()...)
		}
		content, t.lines = t.lines[:size:size], t.lines[size:]
		return content, ".log"
	}
	t.write(size)
	return t.file.text[:min(size, len(t.file.text))], sourceLanguages[t.file.language].extension
}

// setTime gives a file or directory a time in 2023, by the seed.
func (t *smallTree) setTime(name string) error {
	at := time.Unix(1_680_000_000+int64(t.bits(24)), int64(t.bits(29)))
	return os.Chtimes(name, at, at)
}
