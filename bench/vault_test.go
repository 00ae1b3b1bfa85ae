//go:build !386 && !arm

package bench

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coffer-backup/coffer/vault"
	"github.com/coffer-backup/coffer/vault/store"
	"github.com/coffer-backup/coffer/vault/store/bolt"
	"github.com/coffer-backup/coffer/vault/wire"
)

// vaultClients is how many clients there are at a time.
const vaultClients = 16

// logins registers as many records as n attempts take, since a record takes no more
// than 12 tickets in as many minutes, and begins the attempts.
func (v *testVault) logins(b *testing.B, n int) []*clientLogin {
	const each = 10
	records := max(n/each+1, 2*vaultClients)
	all := make([]*clientLogin, n)
	v.users++
	var next atomic.Int64
	inParallel(b, func(ctx context.Context) error {
		for i := next.Add(1) - 1; int(i) < records; i = next.Add(1) - 1 {
			credential := fmt.Sprintf("user-%d-%d", v.users, i)
			if err := v.register(ctx, credential); err != nil {
				return err
			}
			for at := int(i); at < n; at += records {
				l, err := newLogin(credential)
				if err != nil {
					return err
				}
				if l.ticket, err = v.issuer.Ticket(credential, vault.TicketRecover, time.Now()); err != nil {
					return err
				}
				all[at] = l
			}
		}
		return nil
	})
	return all
}

// inParallel calls fn for each client.
func inParallel(b *testing.B, fn func(context.Context) error) {
	b.Helper()
	var group sync.WaitGroup
	errs := make(chan error, vaultClients)
	for range vaultClients {
		group.Go(func() { errs <- fn(b.Context()) })
	}
	group.Wait()
	close(errs)
	for err := range errs {
		must(b, err)
	}
}

// BenchmarkVault is complete recoveries of 16 clients: ticket, count, evaluation, proof
// and release. Clients share the cores; their tickets and first messages are made
// before, passwords are not stretched, and replies' signatures are not verified. After
// it, at half the rate, come as many that wait for nobody: p50-ms and p99-ms are theirs.
func BenchmarkVault(b *testing.B) {
	for _, e := range newEvaluators(b) {
		for _, over := range []string{"https", "call"} {
			b.Run(fmt.Sprintf("mode=%s/over=%s", e.Info().Mode, over), func(b *testing.B) {
				v := newVault(b, e, over)
				all := v.logins(b, b.N)
				var next atomic.Int64
				b.ResetTimer()
				inParallel(b, func(ctx context.Context) error {
					for i := next.Add(1) - 1; int(i) < len(all); i = next.Add(1) - 1 {
						if err := all[i].recover(ctx, v); err != nil {
							return err
						}
					}
					return nil
				})
				b.StopTimer()
				rate := float64(b.N) / b.Elapsed().Seconds()
				b.ReportMetric(rate, "recoveries/s")
				if b.N >= 100 {
					v.atHalfLoad(b, rate/2)
				}
			})
		}
	}
}

// atHalfLoad begins recoveries at that rate, whether or not those before have ended.
func (v *testVault) atHalfLoad(b *testing.B, rate float64) {
	all := v.logins(b, min(b.N, 3000))
	took := make([]float64, len(all))
	errs := make(chan error, len(all))
	start := time.Now()
	for i, l := range all {
		due := start.Add(time.Duration(float64(i) / rate * float64(time.Second)))
		time.Sleep(time.Until(due))
		go func() {
			err := l.recover(b.Context(), v)
			took[i] = float64(time.Since(due)) / float64(time.Millisecond)
			errs <- err
		}()
	}
	for range all {
		must(b, <-errs)
	}
	slices.Sort(took)
	b.ReportMetric(took[len(took)/2], "p50-ms")
	b.ReportMetric(took[len(took)*99/100], "p99-ms")
}

// BenchmarkVaultStranger is a request whose ticket nobody signed: it changes nothing.
func BenchmarkVaultStranger(b *testing.B) {
	v := newVault(b, newSoftware(b), "call")
	other := v.issuer
	other.ID = "stranger"
	ticket, err := other.Ticket("victim", vault.TicketRecover, time.Now())
	must(b, err)
	l, err := newLogin("victim")
	must(b, err)
	request := wire.AppendRequest(nil, &wire.Start{Ticket: ticket, Attempt: l.attempt, KE1: l.ke1})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Call(b.Context(), request); err != vault.ErrRefused {
			b.Fatal(err)
		}
	}
	entries, err := v.store.Log(b.Context(), 0, 1)
	must(b, err)
	if len(entries) > 0 {
		b.Errorf("a stranger's request is in the log: %+v", entries)
	}
}

// BenchmarkVaultStore is a store of many records of the small size: B/record is its
// file's length, and lookups are at random.
func BenchmarkVaultStore(b *testing.B) {
	sizes := []int{1_000, 100_000, 1_000_000}
	if testing.Short() {
		sizes = sizes[:1]
	}
	for _, n := range sizes {
		b.Run(fmt.Sprintf("records=%d", n), func(b *testing.B) {
			path := filepath.Join(b.TempDir(), "store")
			s, err := bolt.Open(path, nil)
			must(b, err)
			defer s.Close()
			begun := time.Now()
			fill(b, s, n)
			b.Logf("filled at %.0f records/s", float64(n)/time.Since(begun).Seconds())
			info, err := os.Stat(path)
			must(b, err)
			b.Run("do=lookup", func(b *testing.B) {
				var i uint64
				for b.Loop() {
					i++
					cells, err := s.View(b.Context(), indexOf(i*7919%uint64(n)))
					must(b, err)
					if len(cells.Row) != rowSize {
						b.Fatalf("record %d is not there", i)
					}
				}
				b.ReportMetric(float64(info.Size())/float64(n), "B/record")
			})
			b.Run("do=update", func(b *testing.B) {
				row := make([]byte, rowSize)
				var next atomic.Uint64
				inParallel(b, func(ctx context.Context) error {
					for i := next.Add(1); i <= uint64(b.N); i = next.Add(1) {
						err := s.Update(ctx, indexOf(i*7919%uint64(n)), func(store.Cells) (store.Change, error) {
							return store.Change{Row: row, Log: []store.Event{{Kind: 1}}}, nil
						})
						if err != nil {
							return err
						}
					}
					return nil
				})
			})
		})
	}
}

// rowSize is that of a record with few keys.
const rowSize = 1536

func indexOf(i uint64) (index store.Index) {
	// Spread as a MAC's output is.
	binary.BigEndian.PutUint64(index[:], i*0x9e3779b97f4a7c15)
	binary.BigEndian.PutUint64(index[8:], i)
	return index
}

func fill(b *testing.B, s *bolt.Store, n int) {
	var next atomic.Int64
	var group sync.WaitGroup
	const writers = 512 // that many updates share a sync
	errs := make(chan error, writers)
	for range writers {
		group.Go(func() {
			row := make([]byte, rowSize)
			rand.Read(row)
			for i := next.Add(1) - 1; int(i) < n; i = next.Add(1) - 1 {
				err := s.Update(b.Context(), indexOf(uint64(i)), func(store.Cells) (store.Change, error) {
					return store.Change{Row: row}, nil
				})
				if err != nil {
					errs <- err
					return
				}
			}
		})
	}
	group.Wait()
	close(errs)
	for err := range errs {
		must(b, err)
	}
}

// BenchmarkSync is what the disk takes to make four bytes durable: each recovery of
// BenchmarkVault waits for two transactions of two syncs, which it shares with others.
func BenchmarkSync(b *testing.B) {
	f, err := os.Create(filepath.Join(b.TempDir(), "file"))
	must(b, err)
	defer f.Close()
	for b.Loop() {
		_, err := f.WriteAt([]byte("sync"), 0)
		must(b, err)
		must(b, f.Sync())
	}
}
