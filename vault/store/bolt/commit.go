package bolt

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"go.etcd.io/bbolt"

	"github.com/coffer-backup/coffer/vault/store"
)

const maxBatch = 256

// errStale is the outcome of an update whose cells another one has changed meanwhile.
var errStale = errors.New("bolt: internal error: stale")

// An update is a change to cells that were as it says.
type update struct {
	index  store.Index
	was    store.Cells
	change store.Change
	done   chan error // takes one without waiting for a receiver
}

// Update implements [store.Store]. It calls change on what it read, and hands the result
// to the goroutine that commits, which takes it if the cells are still the same: so the
// work of changes is done by their callers at the same time, and what none makes of them
// is written by nobody.
func (s *Store) Update(ctx context.Context, index store.Index, change func(store.Cells) (store.Change, error)) error {
	for {
		was, id, err := s.cells(ctx, index)
		if err != nil {
			return err
		}
		c, refusal := change(store.Cells{Row: bytes.Clone(was.Row), Pending: bytes.Clone(was.Pending)})
		if refusal != nil || c.None() {
			if err := s.settled(ctx, id); err != nil {
				return err
			}
			return refusal
		}
		if err := s.submit(ctx, index, was, c); err != errStale {
			return err
		}
	}
}

// submit hands a change over to be committed. Its slices are the caller's again when
// submit returns, which may be before they are written.
func (s *Store) submit(ctx context.Context, index store.Index, was store.Cells, c store.Change) error {
	c.Row, c.Pending = bytes.Clone(c.Row), bytes.Clone(c.Pending)
	c.Log = append([]store.Event(nil), c.Log...)
	u := &update{index, was, c, make(chan error, 1)}
	select {
	case s.queue <- u:
	case <-ctx.Done():
		return ctx.Err()
	case <-s.closing:
		return errClosed
	}
	select {
	case err := <-u.done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", store.ErrUnknown, ctx.Err())
	}
}

// run commits what is in the queue.
func (s *Store) run() {
	defer close(s.ended)
	for {
		select {
		case u := <-s.queue:
			s.commit(s.gather(u))
		case <-s.closing:
			return
		}
	}
}

// gather returns the updates that wait, first before them.
func (s *Store) gather(first *update) []*update {
	batch := []*update{first}
	for len(batch) < maxBatch {
		select {
		case u := <-s.queue:
			batch = append(batch, u)
		default:
			return batch
		}
	}
	return batch
}

// commit makes one transaction of a batch and tells each update its outcome.
func (s *Store) commit(batch []*update) {
	s.write.Lock()
	defer s.write.Unlock()
	taken, err := s.transact(batch)
	for _, u := range taken {
		u.done <- err
	}
}

// transact commits those of batch that are not stale. It returns the updates that have
// not been told their outcome, and that.
func (s *Store) transact(batch []*update) ([]*update, error) {
	if err := s.failure(); err != nil {
		return batch, err
	}
	tx, err := s.db.Begin(true)
	if err != nil {
		return batch, s.fence(err)
	}
	taken := batch[:0]
	w := newWriter(tx)
	for _, u := range batch {
		if !w.fresh(u) {
			u.done <- errStale
			continue
		}
		taken = append(taken, u)
		w.apply(u)
	}
	if len(taken) == 0 || w.err != nil {
		if err := errors.Join(w.err, tx.Rollback()); err != nil {
			return taken, s.fence(err)
		}
		return nil, nil
	}
	s.mu.Lock()
	s.committing = make(chan struct{})
	s.mu.Unlock()
	id := tx.ID()
	err = tx.Commit()
	if err != nil {
		err = fmt.Errorf("%w: %w", store.ErrUnknown, s.fence(err))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.durable = id
	}
	close(s.committing)
	return taken, err
}

// fence makes err the outcome of all calls from now on, which it returns.
func (s *Store) fence(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = fmt.Errorf("bolt: writing %s failed, and it is used no more until it is opened anew: %w", s.path, err)
	return s.err
}

// A writer writes updates in a transaction, until the first error.
type writer struct {
	row, pending, due, when, log *bbolt.Bucket
	last                         store.Entry
	err                          error
}

func newWriter(tx *bbolt.Tx) *writer {
	w := &writer{
		row:     tx.Bucket(bucketRow),
		pending: tx.Bucket(bucketPending),
		due:     tx.Bucket(bucketDue),
		when:    tx.Bucket(bucketWhen),
		log:     tx.Bucket(bucketLog),
	}
	w.row.FillPercent, w.pending.FillPercent = fill, fill
	w.log.FillPercent = 1 // its keys only grow
	if _, v := w.log.Cursor().Last(); v != nil {
		w.last, w.err = store.ParseEntry(v)
	}
	return w
}

// fresh reports whether the cells are still those that u is made of.
func (w *writer) fresh(u *update) bool {
	return bytes.Equal(w.row.Get(u.index[:]), u.was.Row) && bytes.Equal(w.pending.Get(u.index[:]), u.was.Pending)
}

func (w *writer) apply(u *update) {
	w.cell(w.row, u.index[:], u.change.Row)
	w.cell(w.pending, u.index[:], u.change.Pending)
	if u.change.Row != nil || u.change.Pending != nil {
		w.setDue(u.index, u.change.Due)
	}
	for _, e := range u.change.Log {
		w.last = store.Next(w.last, e)
		w.put(w.log, seqKey(w.last.Seq), w.last.Append(nil))
	}
}

func (w *writer) cell(b *bbolt.Bucket, key, value []byte) {
	switch {
	case value == nil:
	case len(value) == 0:
		w.delete(b, key)
	default:
		w.put(b, key, value)
	}
}

// setDue replaces the time of index, 0 being none.
func (w *writer) setDue(index store.Index, due int64) {
	// The time is at the front of the key in the other bucket.
	old := bytes.Clone(w.when.Get(index[:]))
	var next []byte
	if due != 0 {
		next = dueKey(due, index)
	}
	if old != nil {
		if next != nil && bytes.Equal(old, next[:8]) {
			return
		}
		w.delete(w.due, append(old, index[:]...))
	}
	switch {
	case next != nil:
		w.put(w.due, next, nil)
		w.put(w.when, index[:], next[:8])
	case old != nil:
		w.delete(w.when, index[:])
	}
}

func (w *writer) put(b *bbolt.Bucket, key, value []byte) {
	if w.err == nil {
		w.err = b.Put(key, value)
	}
}

func (w *writer) delete(b *bbolt.Bucket, key []byte) {
	if w.err == nil {
		w.err = b.Delete(key)
	}
}
