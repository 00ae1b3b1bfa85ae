package bench

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/coffer-backup/coffer/archive"
	"github.com/coffer-backup/coffer/bench/corpus"
	"github.com/coffer-backup/coffer/engine"
	"github.com/coffer-backup/coffer/keys"
)

// BenchmarkArchive archives a tree of many small files in TMPDIR to nowhere, and
// restores it from memory to TMPDIR. What is measured is mostly the file system, and
// not the disk: Extract is not asked to wait for it, as the command does.
func BenchmarkArchive(b *testing.B) {
	files := *fileCount
	if testing.Short() {
		files = min(files, 1000)
	}
	tree := filepath.Join(b.TempDir(), "tree")
	must(b, os.Mkdir(tree, 0o755))
	must(b, corpus.SmallFiles(tree, files, seed))
	create := func(b *testing.B, dst io.Writer) int64 {
		w, err := engine.NewWriter(b.Context(), dst, []keys.Recipient{key}, nil)
		must(b, err)
		defer w.Abort()
		report, err := archive.Create(b.Context(), w, []string{tree}, nil)
		must(b, err)
		must(b, w.Close())
		return report.Bytes
	}
	b.Run(fmt.Sprintf("do=create/files=%d", files), func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			b.SetBytes(create(b, new(counter)))
		}
		b.ReportMetric(float64(files)*float64(b.N)/b.Elapsed().Seconds(), "files/s")
	})
	b.Run(fmt.Sprintf("do=extract/files=%d", files), func(b *testing.B) {
		var container bytes.Buffer
		b.SetBytes(create(b, &container))
		dir := b.TempDir()
		b.ReportAllocs()
		for n := 0; b.Loop(); n++ {
			target := filepath.Join(dir, strconv.Itoa(n))
			extract(b, container.Bytes(), target)
			b.StopTimer()
			must(b, os.RemoveAll(target))
			b.StartTimer()
		}
		b.ReportMetric(float64(files)*float64(b.N)/b.Elapsed().Seconds(), "files/s")
	})
}

func extract(b *testing.B, container []byte, dir string) {
	r, err := engine.NewReader(b.Context(), bytes.NewReader(container), []keys.Identity{key}, nil)
	must(b, err)
	defer r.Close()
	_, err = archive.Extract(b.Context(), r, dir, nil)
	must(b, err)
}
