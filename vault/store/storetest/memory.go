package storetest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"

	"github.com/coffer-backup/coffer/vault/store"
)

// A Fault is what goes wrong with an update that changes something.
type Fault int

const (
	NoFault Fault = iota
	// LostUnknown and KeptUnknown end in store.ErrUnknown: nothing is written, or all is.
	LostUnknown
	KeptUnknown
	// LateUnknown ends in store.ErrUnknown, and is written by Deliver, if the cells are
	// still the same then.
	LateUnknown
	// CrashBefore and CrashAfter end the process that has this Memory, as far as it can
	// see, before or after the write: this update ends in ErrCrashed and store.ErrUnknown,
	// and all later calls in ErrCrashed.
	CrashBefore
	CrashAfter
)

// ErrCrashed is wrapped by the errors of a Memory that a fault has ended.
var ErrCrashed = errors.New("storetest: the process that had this store is no more")

// Memory is a store in memory, for tests and benchmarks of what works on a store. Use
// NewMemory.
type Memory struct {
	data *data
	// Under the lock of data:
	err    error
	faults func(store.Index, store.Change) Fault
}

// data is what outlives a Memory.
type data struct {
	mu      sync.Mutex
	records map[store.Index]*record
	due     map[store.Index]int64
	log     []store.Entry
	late    []func()
}

// A record is replaced as a whole, and its cells are never written to.
type record struct{ cells store.Cells }

// NewMemory returns an empty store.
func NewMemory() *Memory {
	return &Memory{data: &data{records: make(map[store.Index]*record), due: make(map[store.Index]int64)}}
}

// Open returns another Memory with the same content, as another process has it or the
// same one after it was started again.
func (m *Memory) Open() *Memory { return &Memory{data: m.data} }

// Inject lets faults choose what goes wrong with each update of this Memory that changes
// something. It may be called again for an update that has to be made again.
func (m *Memory) Inject(faults func(store.Index, store.Change) Fault) {
	m.data.mu.Lock()
	defer m.data.mu.Unlock()
	m.faults = faults
}

// Deliver writes what LateUnknown has left over, in its order.
func (m *Memory) Deliver() {
	m.data.mu.Lock()
	defer m.data.mu.Unlock()
	for _, write := range m.data.late {
		write()
	}
	m.data.late = nil
}

// View implements store.Store.
func (m *Memory) View(ctx context.Context, index store.Index) (store.Cells, error) {
	r, _, err := m.read(ctx, index)
	if err != nil {
		return store.Cells{}, err
	}
	return r.clone(), nil
}

// Update implements store.Store. Changes are made outside of the lock.
func (m *Memory) Update(ctx context.Context, index store.Index, change func(store.Cells) (store.Change, error)) error {
	for {
		was, faults, err := m.read(ctx, index)
		if err != nil {
			return err
		}
		c, err := change(was.clone())
		if err != nil || c.None() {
			return err
		}
		fault := NoFault
		if faults != nil {
			fault = faults(index, c)
		}
		if fresh, err := m.commit(index, was, c, fault); fresh {
			return err
		}
	}
}

func (m *Memory) read(ctx context.Context, index store.Index) (*record, func(store.Index, store.Change) Fault, error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	m.data.mu.Lock()
	defer m.data.mu.Unlock()
	return m.data.records[index], m.faults, m.err
}

// commit reports false if the record is not was any more.
func (m *Memory) commit(index store.Index, was *record, c store.Change, fault Fault) (bool, error) {
	c.Row, c.Pending, c.Log = bytes.Clone(c.Row), bytes.Clone(c.Pending), slices.Clone(c.Log)
	d := m.data
	d.mu.Lock()
	defer d.mu.Unlock()
	if m.err != nil {
		return true, m.err
	}
	if d.records[index] != was {
		return false, nil
	}
	switch fault {
	case NoFault, KeptUnknown, CrashAfter:
		d.write(index, c)
	case LateUnknown:
		d.late = append(d.late, func() {
			if d.records[index] == was {
				d.write(index, c)
			}
		})
	}
	switch fault {
	case NoFault:
		return true, nil
	case CrashBefore, CrashAfter:
		m.err = ErrCrashed
		return true, fmt.Errorf("%w: %w", store.ErrUnknown, ErrCrashed)
	}
	return true, store.ErrUnknown
}

func (d *data) write(index store.Index, c store.Change) {
	if c.Row != nil || c.Pending != nil {
		next := new(record)
		if r := d.records[index]; r != nil {
			*next = *r
		}
		next.cells.Row = changed(next.cells.Row, c.Row)
		next.cells.Pending = changed(next.cells.Pending, c.Pending)
		d.records[index] = next
		delete(d.due, index)
		if c.Due != 0 {
			d.due[index] = c.Due
		}
	}
	for _, e := range c.Log {
		var last store.Entry
		if n := len(d.log); n > 0 {
			last = d.log[n-1]
		}
		d.log = append(d.log, store.Next(last, e))
	}
}

// changed returns the cell after a change.
func changed(cell, change []byte) []byte {
	switch {
	case change == nil:
		return cell
	case len(change) == 0:
		return nil
	}
	return change
}

func (r *record) clone() store.Cells {
	if r == nil {
		return store.Cells{}
	}
	return store.Cells{Row: bytes.Clone(r.cells.Row), Pending: bytes.Clone(r.cells.Pending)}
}

// Due implements store.Store. It sorts all times that are set.
func (m *Memory) Due(ctx context.Context, now int64, max int) ([]store.Index, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	d := m.data
	d.mu.Lock()
	defer d.mu.Unlock()
	if m.err != nil {
		return nil, m.err
	}
	var list []store.Index
	for index, due := range d.due {
		if due <= now {
			list = append(list, index)
		}
	}
	slices.SortFunc(list, func(a, b store.Index) int {
		return cmp.Or(cmp.Compare(d.due[a], d.due[b]), bytes.Compare(a[:], b[:]))
	})
	return list[:min(max, len(list))], nil
}

// Log implements store.Store.
func (m *Memory) Log(ctx context.Context, after uint64, max int) ([]store.Entry, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.data.mu.Lock()
	defer m.data.mu.Unlock()
	if m.err != nil {
		return nil, m.err
	}
	rest := m.data.log[min(after, uint64(len(m.data.log))):]
	return slices.Clone(rest[:min(max, len(rest))]), nil
}

// Close implements store.Store. The content stays, for Open.
func (m *Memory) Close() error {
	m.data.mu.Lock()
	defer m.data.mu.Unlock()
	m.err = fmt.Errorf("storetest: the store is closed: %w", fs.ErrClosed)
	return nil
}
