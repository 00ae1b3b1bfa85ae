package storetest_test

import (
	"context"
	"errors"
	"testing"

	"github.com/coffer-backup/coffer/vault/store"
	"github.com/coffer-backup/coffer/vault/store/storetest"
)

func TestMemory(t *testing.T) {
	all := make(map[string]*storetest.Memory)
	storetest.Run(t, func(_ testing.TB, dir string) store.Store {
		if m := all[dir]; m != nil {
			return m.Open()
		}
		all[dir] = storetest.NewMemory()
		return all[dir]
	})
}

func TestFaults(t *testing.T) {
	for _, test := range []struct {
		name                    string
		fault                   storetest.Fault
		written, unknown, crash bool
	}{
		{"none", storetest.NoFault, true, false, false},
		{"lost", storetest.LostUnknown, false, true, false},
		{"kept", storetest.KeptUnknown, true, true, false},
		{"late", storetest.LateUnknown, false, true, false},
		{"crash before", storetest.CrashBefore, false, true, true},
		{"crash after", storetest.CrashAfter, true, true, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			index := store.Index{1}
			m := storetest.NewMemory()
			m.Inject(func(i store.Index, c store.Change) storetest.Fault {
				if i != index || string(c.Row) != "a" {
					t.Errorf("faults is asked about %x, %q", i, c.Row)
				}
				return test.fault
			})
			err := m.Update(t.Context(), index, put("a"))
			if errors.Is(err, store.ErrUnknown) != test.unknown || errors.Is(err, storetest.ErrCrashed) != test.crash {
				t.Errorf("the update: %v", err)
			}
			_, err = m.View(t.Context(), index)
			if errors.Is(err, storetest.ErrCrashed) != test.crash || err != nil && errors.Is(err, store.ErrUnknown) {
				t.Errorf("after it: %v", err)
			}
			c, err := m.Open().View(t.Context(), index)
			if err != nil || (string(c.Row) == "a") != test.written {
				t.Errorf("opened again: %q, %v", c.Row, err)
			}
		})
	}
}

// What is late comes once, and only over the cells that it was made of.
func TestLate(t *testing.T) {
	m := storetest.NewMemory()
	m.Inject(func(store.Index, store.Change) storetest.Fault { return storetest.LateUnknown })
	for i := range byte(2) {
		if err := m.Update(t.Context(), store.Index{i}, put("late")); !errors.Is(err, store.ErrUnknown) {
			t.Fatal(err)
		}
	}
	m.Inject(nil)
	if err := m.Update(t.Context(), store.Index{1}, put("before")); err != nil {
		t.Fatal(err)
	}
	m.Deliver()
	m.Deliver()
	for i, want := range []string{"late", "before"} {
		if c, err := m.View(t.Context(), store.Index{byte(i)}); err != nil || string(c.Row) != want {
			t.Errorf("index %d: %q, %v, not %q", i, c.Row, err, want)
		}
	}
	if log, err := m.Log(t.Context(), 0, 10); err != nil || len(log) != 2 {
		t.Errorf("%d entries, %v", len(log), err)
	}
}

func put(row string) func(store.Cells) (store.Change, error) {
	return func(store.Cells) (store.Change, error) {
		return store.Change{Row: []byte(row), Log: []store.Event{{}}}, nil
	}
}

func BenchmarkMemory(b *testing.B) {
	m := storetest.NewMemory()
	row := make([]byte, 1536)
	log := []store.Event{{}}
	var n uint32
	for b.Loop() {
		n++
		index := store.Index{byte(n), byte(n >> 8)}
		err := m.Update(context.Background(), index, func(store.Cells) (store.Change, error) {
			return store.Change{Row: row, Log: log}, nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}
