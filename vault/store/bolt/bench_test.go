package bolt_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/coffer-backup/coffer/vault/store"
	"github.com/coffer-backup/coffer/vault/store/bolt"
)

// BenchmarkUpdate has each goroutine change the row of an index of its own, with an
// entry of the log, one update after the other.
func BenchmarkUpdate(b *testing.B) {
	for _, writers := range []int{1, 16, 32} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			s, err := bolt.Open(filepath.Join(b.TempDir(), "store"), nil)
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			var left atomic.Int64
			left.Store(int64(b.N))
			var wg sync.WaitGroup
			b.ResetTimer()
			for range writers {
				wg.Go(func() {
					row := make([]byte, 1536)
					for left.Add(-1) >= 0 {
						var index store.Index
						rand.Read(index[:])
						err := s.Update(context.Background(), index, func(store.Cells) (store.Change, error) {
							return store.Change{Row: row, Log: []store.Event{{Index: index}}}, nil
						})
						if err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "updates/s")
		})
	}
}
