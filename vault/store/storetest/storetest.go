// Package storetest is what every store of a vault passes, and a store in memory.
//
//	storetest.Run(t, func(t testing.TB, dir string) store.Store { … })
package storetest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coffer-backup/coffer/vault/store"
)

// Run tests a store against its contract. open opens the store in the directory dir,
// which is empty at first. Run closes it, and opens some again in the same directory.
func Run(t *testing.T, open func(t testing.TB, dir string) store.Store) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, store.Store)
	}{
		{"Cells", testCells},
		{"Sizes", testSizes},
		{"Aliasing", testAliasing},
		{"Refusal", testRefusal},
		{"None", testNone},
		{"Panic", testPanic},
		{"Due", testDue},
		{"LogPages", testLogPages},
		{"LogOfWriters", testLogOfWriters},
		{"Counter", testCounter},
		{"Atomic", testAtomic},
		{"Cancelled", testCancelled},
		{"CancelledMeanwhile", testCancelledMeanwhile},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := open(t, t.TempDir())
			defer s.Close()
			test.run(t, s)
			checkLog(t, s)
		})
	}
	t.Run("Close", func(t *testing.T) { testClose(t, open(t, t.TempDir())) })
	t.Run("CloseMeanwhile", func(t *testing.T) { testCloseMeanwhile(t, open) })
	t.Run("Reopen", func(t *testing.T) { testReopen(t, open) })
}

// writers is how many goroutines work at once where it matters.
const writers = 16

func testCells(t *testing.T, s store.Store) {
	index, other := store.Index{}, store.Index(bytes.Repeat([]byte{0xff}, 32))
	row, row2, pending, none := []byte("row"), []byte("row, longer"), []byte("pending"), []byte{}
	want(t, s, index, nil, nil)
	for i, step := range []struct {
		change       store.Change
		row, pending []byte
	}{
		{store.Change{Pending: none}, nil, nil},
		{store.Change{Row: row}, row, nil},
		{store.Change{Pending: pending}, row, pending},
		{store.Change{Row: row2}, row2, pending},
		{store.Change{Row: row2}, row2, pending},
		{store.Change{Log: []store.Event{{Kind: 1}}}, row2, pending},
		{store.Change{Row: row, Pending: none}, row, nil},
		{store.Change{Row: none, Pending: pending}, nil, pending},
		{store.Change{Pending: none}, nil, nil},
		{store.Change{Row: row, Pending: pending}, row, pending},
		{store.Change{Row: none, Pending: none}, nil, nil},
	} {
		before := view(t, s, index)
		err := s.Update(t.Context(), index, func(c store.Cells) (store.Change, error) {
			if !reflect.DeepEqual(c, before) {
				t.Errorf("step %d: change is called with %q, not %q", i, c, before)
			}
			return step.change, nil
		})
		if err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
		want(t, s, index, step.row, step.pending)
		want(t, s, other, nil, nil)
	}
}

// What a cell holds is any bytes up to more than a vault needs.
func testSizes(t *testing.T, s store.Store) {
	for round := range 2 {
		for i, size := range []int{1, 512, 1536, 4096, 5632, 64 << 10} {
			index := store.Index{byte(i)}
			row, pending := noise(size), noise(size+round)
			update(t, s, index, store.Change{Row: row, Pending: pending})
			want(t, s, index, row, pending)
		}
	}
}

func testAliasing(t *testing.T, s store.Store) {
	index := store.Index{1}
	row, pending := noise(100), noise(100)
	log := []store.Event{{Index: index, Ver: 1}}
	change := store.Change{Row: bytes.Clone(row), Pending: bytes.Clone(pending), Log: log}
	update(t, s, index, change)
	clear(change.Row)
	clear(change.Pending)
	clear(log)
	want(t, s, index, row, pending)
	if e := logOf(t, s); e[0].Ver != 1 {
		t.Error("the log has the caller's slice")
	}

	c := view(t, s, index)
	clear(c.Row)
	clear(c.Pending)
	_, _ = append(c.Row, 1, 2, 3), append(c.Pending, 1, 2, 3)
	want(t, s, index, row, pending)

	// A change that writes to what it is given, and refuses.
	err := s.Update(t.Context(), index, func(c store.Cells) (store.Change, error) {
		clear(c.Row)
		clear(c.Pending)
		return store.Change{}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want(t, s, index, row, pending)

	// A change that makes its result in place, with parts of it swapped.
	err = s.Update(t.Context(), index, func(c store.Cells) (store.Change, error) {
		c.Row[0] ^= 0xff
		return store.Change{Row: c.Pending[:10], Pending: append(c.Row[:50], 7)}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	wantPending := append(bytes.Clone(row[:50]), 7)
	wantPending[0] ^= 0xff
	want(t, s, index, pending[:10], wantPending)
}

func testRefusal(t *testing.T, s store.Store) {
	index := store.Index{1}
	update(t, s, index, store.Change{Row: []byte("a"), Due: 10, Log: []store.Event{{Ver: 1}}})
	refusal := errors.New("refused")
	err := s.Update(t.Context(), index, func(store.Cells) (store.Change, error) {
		return store.Change{Row: []byte("b"), Pending: []byte("b"), Due: 5, Log: []store.Event{{Ver: 2}}}, refusal
	})
	if err != refusal {
		t.Errorf("the error is %v, not the one of change", err)
	}
	want(t, s, index, []byte("a"), nil)
	wantDue(t, s, 9, nil)
	wantDue(t, s, 10, []store.Index{index})
	if n := len(logOf(t, s)); n != 1 {
		t.Errorf("the log has %d entries, not 1", n)
	}
}

func testNone(t *testing.T, s store.Store) {
	index := store.Index{1}
	update(t, s, index, store.Change{Due: 5})
	wantDue(t, s, math.MaxInt64, nil)
	update(t, s, index, store.Change{Row: []byte("a"), Due: 10})
	update(t, s, index, store.Change{Due: 5, Log: []store.Event{}})
	want(t, s, index, []byte("a"), nil)
	wantDue(t, s, 9, nil)
	wantDue(t, s, 10, []store.Index{index})
	if n := len(logOf(t, s)); n != 0 {
		t.Errorf("the log has %d entries, not 0", n)
	}
}

// A change that panics does so in the goroutine of its caller, and harms nobody else.
func testPanic(t *testing.T, s store.Store) {
	index := store.Index{1}
	for range 3 {
		func() {
			defer func() {
				if p := recover(); p != "out" {
					t.Errorf("recovered %v", p)
				}
			}()
			s.Update(t.Context(), index, func(store.Cells) (store.Change, error) { panic("out") })
		}()
	}
	want(t, s, index, nil, nil)
	update(t, s, index, store.Change{Row: []byte("a")})
	want(t, s, index, []byte("a"), nil)
}

func testDue(t *testing.T, s store.Store) {
	a, b, c := store.Index{1}, store.Index{2}, store.Index{3}
	row := []byte("row")
	set := func(index store.Index, due int64) {
		t.Helper()
		update(t, s, index, store.Change{Row: row, Due: due})
	}
	set(a, 300)
	set(b, 100)
	set(c, 200)
	wantDue(t, s, 99, nil)
	wantDue(t, s, 100, []store.Index{b})
	wantDue(t, s, 1<<40, []store.Index{b, c, a})
	wantDue(t, s, math.MaxInt64, []store.Index{b, c, a})
	for _, max := range []int{0, 1, 2} {
		if list, err := s.Due(t.Context(), 300, max); err != nil || !slices.Equal(list, []store.Index{b, c, a}[:max]) {
			t.Errorf("with at most %d: %v, %v", max, list, err)
		}
	}
	set(b, 400)
	set(b, 400)
	wantDue(t, s, 1000, []store.Index{c, a, b})
	set(c, 1<<33)
	wantDue(t, s, 1000, []store.Index{a, b})
	wantDue(t, s, 1<<33, []store.Index{a, b, c})

	// It is the other cell's as well, and stays with both cells gone.
	update(t, s, a, store.Change{Pending: row, Due: 50})
	wantDue(t, s, 1000, []store.Index{a, b})
	update(t, s, a, store.Change{Pending: []byte{}, Due: 60})
	update(t, s, a, store.Change{Row: []byte{}, Due: 70})
	wantDue(t, s, 69, nil)
	wantDue(t, s, 1000, []store.Index{a, b})
	// Only a change of a cell touches it.
	update(t, s, b, store.Change{Log: []store.Event{{Index: b}}})
	wantDue(t, s, 1000, []store.Index{a, b})
	set(a, 0)
	wantDue(t, s, 1000, []store.Index{b})
	set(b, 0)
	set(b, 0)
	set(c, 0)
	wantDue(t, s, math.MaxInt64, nil)
}

func testLogPages(t *testing.T, s store.Store) {
	if list, err := s.Log(t.Context(), 0, 10); err != nil || len(list) != 0 {
		t.Fatalf("the log begins with %v, %v", list, err)
	}
	const n = 300 // across a byte of the number
	for ver := uint64(1); ver <= n; {
		var log []store.Event
		for range 1 + ver%70 {
			if ver <= n {
				log = append(log, store.Event{Index: store.Index{9}, Time: -int64(ver), Ver: ver, Gen: 7, Kind: 3, Left: 4, Attempt: [16]byte{5}})
				ver++
			}
		}
		update(t, s, store.Index{byte(ver)}, store.Change{Row: []byte("x"), Log: log})
	}
	all := logOf(t, s)
	for i, e := range all {
		ver := uint64(i + 1)
		if want := (store.Event{Index: store.Index{9}, Time: -int64(ver), Ver: ver, Gen: 7, Kind: 3, Left: 4, Attempt: [16]byte{5}}); e.Event != want {
			t.Fatalf("entry %d is %v, not %v", i, e.Event, want)
		}
	}
	if len(all) != n {
		t.Fatalf("%d entries, not %d", len(all), n)
	}
	for _, after := range []uint64{0, 1, 254, 255, 256, 257, n - 1, n, n + 1, math.MaxUint64} {
		for _, max := range []int{0, 1, 7, 1000} {
			list, err := s.Log(t.Context(), after, max)
			rest := all[min(after, n):]
			if err != nil || !slices.Equal(list, rest[:min(max, len(rest))]) {
				t.Errorf("after %d, at most %d: %d entries, %v", after, max, len(list), err)
			}
		}
	}
}

// The entries of an update stand together and in their order, and updates of an index in
// theirs.
func testLogOfWriters(t *testing.T, s store.Store) {
	const rounds = 20
	var group sync.WaitGroup
	for i := range byte(writers) {
		group.Go(func() {
			for round := range uint64(rounds) {
				log := []store.Event{{Index: store.Index{i}, Ver: round, Kind: 0}, {Index: store.Index{i}, Ver: round, Kind: 1}}
				update(t, s, store.Index{i}, store.Change{Row: []byte{1}, Log: log})
			}
		})
	}
	group.Wait()
	all := logOf(t, s)
	if len(all) != 2*writers*rounds {
		t.Fatalf("%d entries, not %d", len(all), 2*writers*rounds)
	}
	var next [writers]uint64
	for pair := range slices.Chunk(all, 2) {
		i := pair[0].Index[0]
		if pair[0].Kind != 0 || pair[1].Kind != 1 || pair[1].Index[0] != i || pair[0].Ver != next[i] || pair[1].Ver != next[i] {
			t.Fatalf("entry %d: not the two of update %d of one index: %v", pair[0].Seq, next[i], pair)
		}
		next[i]++
	}
}

// Updates of one index see each other.
func testCounter(t *testing.T, s store.Store) {
	const rounds = 25
	index := store.Index{1}
	var calls atomic.Int64
	var group sync.WaitGroup
	for range writers {
		group.Go(func() {
			for range rounds {
				err := s.Update(t.Context(), index, func(c store.Cells) (store.Change, error) {
					calls.Add(1)
					return increment(c, index), nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	if n := count(view(t, s, index)); n != writers*rounds {
		t.Errorf("%d updates counted to %d", writers*rounds, n)
	}
	for i, e := range logOf(t, s) {
		if e.Ver != uint64(i+1) {
			t.Fatalf("entry %d is of update %d", i+1, e.Ver)
		}
	}
	t.Logf("%d calls of change for %d updates", calls.Load(), writers*rounds)
}

// Who reads sees both cells, the log and the time of one moment, and never an older one
// than before.
func testAtomic(t *testing.T, s store.Store) {
	index := store.Index{1}
	stop := make(chan struct{})
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			last := uint64(0)
			for {
				select {
				case <-stop:
					return
				default:
				}
				log, err := s.Log(t.Context(), last, 1000)
				if err != nil {
					t.Error(err)
					return
				}
				c := view(t, s, index)
				n := count(c)
				if !bytes.Equal(c.Row, c.Pending) {
					t.Errorf("one cell is of update %d, the other of %d", n, binary.BigEndian.Uint64(c.Pending))
					return
				}
				if n < last+uint64(len(log)) {
					t.Errorf("the log is at %d, and the cells at %d", last+uint64(len(log)), n)
					return
				}
				if due, err := s.Due(t.Context(), int64(n)-1, 1); n > 0 && (err != nil || len(due) != 0) {
					t.Errorf("at %d the time is still that of an earlier update: %v", n, err)
					return
				}
				last = n
			}
		})
	}
	for range 300 {
		err := s.Update(t.Context(), index, func(c store.Cells) (store.Change, error) { return increment(c, index), nil })
		if err != nil {
			t.Error(err)
		}
	}
	close(stop)
	group.Wait()
}

func testCancelled(t *testing.T, s store.Store) {
	index := store.Index{1}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.View(ctx, index)
	wantCancelled(t, "View", err)
	_, err = s.Due(ctx, 1, 1)
	wantCancelled(t, "Due", err)
	_, err = s.Log(ctx, 0, 1)
	wantCancelled(t, "Log", err)
	err = s.Update(ctx, index, func(store.Cells) (store.Change, error) {
		return store.Change{Row: []byte("a"), Log: []store.Event{{}}}, nil
	})
	wantCancelled(t, "Update", err)
	if !errors.Is(err, store.ErrUnknown) {
		want(t, s, index, nil, nil)
	}
}

// A cancelled update is written or not, and says so only where that is certain.
func testCancelledMeanwhile(t *testing.T, s store.Store) {
	var group sync.WaitGroup
	var outcomes [3]atomic.Int64
	for i := range byte(writers) {
		group.Go(func() {
			index := store.Index{i}
			var done, unknown uint64
			for range 40 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rand.IntN(2000))*time.Microsecond)
				err := s.Update(ctx, index, func(c store.Cells) (store.Change, error) { return increment(c, index), nil })
				cancel()
				switch {
				case err == nil:
					done++
					outcomes[0].Add(1)
				case !errors.Is(err, context.DeadlineExceeded):
					t.Errorf("the error is %v", err)
				case errors.Is(err, store.ErrUnknown):
					unknown++
					outcomes[1].Add(1)
				default:
					outcomes[2].Add(1)
				}
			}
			// This one comes after all that may be on their way.
			update(t, s, index, store.Change{Log: []store.Event{{}}})
			if n := count(view(t, s, index)); n < done || n > done+unknown {
				t.Errorf("%d updates were done and %d unknown, and %d are there", done, unknown, n)
			}
		})
	}
	group.Wait()
	t.Logf("%d done, %d unknown, %d certainly not", outcomes[0].Load(), outcomes[1].Load(), outcomes[2].Load())
}

func testClose(t *testing.T, s store.Store) {
	index := store.Index{1}
	update(t, s, index, store.Change{Row: []byte("a")})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	err := s.Update(t.Context(), index, func(store.Cells) (store.Change, error) {
		return store.Change{Row: []byte("b")}, nil
	})
	if err == nil || errors.Is(err, store.ErrUnknown) {
		t.Errorf("Update after Close: %v", err)
	}
	if _, err := s.View(t.Context(), index); err == nil {
		t.Error("View works after Close")
	}
	if _, err := s.Due(t.Context(), 1, 1); err == nil {
		t.Error("Due works after Close")
	}
	if _, err := s.Log(t.Context(), 0, 1); err == nil {
		t.Error("Log works after Close")
	}
}

// Close in the middle of updates: each of them tells the truth.
func testCloseMeanwhile(t *testing.T, open func(testing.TB, string) store.Store) {
	dir := t.TempDir()
	s := open(t, dir)
	var done, unknown [writers]uint64
	var group sync.WaitGroup
	var total atomic.Int64
	for i := range writers {
		group.Go(func() {
			index := store.Index{byte(i)}
			for {
				err := s.Update(context.Background(), index, func(c store.Cells) (store.Change, error) { return increment(c, index), nil })
				if errors.Is(err, store.ErrUnknown) {
					unknown[i]++
				}
				if err != nil {
					return
				}
				done[i]++
				total.Add(1)
			}
		})
	}
	for total.Load() < 100 {
		time.Sleep(time.Millisecond)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	group.Wait()
	s = open(t, dir)
	defer s.Close()
	for i := range writers {
		if n := count(view(t, s, store.Index{byte(i)})); n < done[i] || n > done[i]+unknown[i] {
			t.Errorf("index %d: %d updates were done and %d unknown, and %d are there", i, done[i], unknown[i], n)
		}
	}
	checkLog(t, s)
}

func testReopen(t *testing.T, open func(testing.TB, string) store.Store) {
	dir := t.TempDir()
	s := open(t, dir)
	rng := rand.New(rand.NewPCG(1, 2))
	cells := make(map[store.Index]store.Cells)
	for round := range 3 {
		for i := range byte(100) {
			index := store.Index{i}
			c := store.Cells{Row: noise(1 + rng.IntN(3000)), Pending: noise(1 + rng.IntN(3000))}
			change := store.Change{Row: c.Row, Pending: c.Pending, Due: int64(rng.IntN(50)), Log: []store.Event{{Index: index, Ver: uint64(round)}}}
			if rng.IntN(3) == 0 {
				change.Pending, c.Pending = []byte{}, nil
			}
			update(t, s, index, change)
			cells[index] = c
		}
		due, err := s.Due(t.Context(), 40, 70)
		if err != nil {
			t.Fatal(err)
		}
		log := logOf(t, s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, dir)
		for index, c := range cells {
			want(t, s, index, c.Row, c.Pending)
		}
		if again, err := s.Due(t.Context(), 40, 70); err != nil || !slices.Equal(again, due) {
			t.Errorf("Due is another after opening again: %v", err)
		}
		if again := logOf(t, s); !slices.Equal(again, log) || len(log) != 100*(round+1) {
			t.Errorf("the log has %d entries after opening again, and had %d", len(again), len(log))
		}
	}
	checkLog(t, s)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
