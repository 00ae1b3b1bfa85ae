// Package store is the contract between a vault and what keeps its records.
//
// A store keeps, for each index, two cells, the bytes of a record and of a registration
// under way, which are sealed: a store can read nothing in them. What matters is that
// [Store.Update] is atomic and durable: a vault counts attempts with it, and evaluates a
// guess only after the count is on disk. Package storetest is the suite that every
// store passes; bolt is the embedded store.
package store

import (
	"context"
	"errors"
)

// An Index names a record. It is pseudorandom.
type Index = [32]byte

// Cells are those of one index. A cell that is not there is nil.
type Cells struct {
	Row     []byte
	Pending []byte
}

// A Change is what an update makes of the cells of one index: nil leaves a cell as it
// is, and what is empty but not nil deletes it.
type Change struct {
	Row     []byte
	Pending []byte
	// Due is when the vault wants to look at this index again, in Unix seconds; 0 is
	// never. It takes the place of the time that was set before, and is used only if the
	// change is none or changes a cell.
	Due int64
	// Log is appended to the log, in the same transaction.
	Log []Event
}

// None reports whether c changes nothing, in which case Update writes nothing.
func (c *Change) None() bool { return c.Row == nil && c.Pending == nil && len(c.Log) == 0 }

// An Event is an entry of the audit log as the vault makes it. All of it is told to who
// reads the log; the index is a pseudonym of the credential id.
type Event struct {
	Index Index
	Time  int64 // Unix seconds, by the clock of the node that made it
	Ver   uint64
	Gen   uint64
	// Kind and the fields after it are the vault's: see package machine.
	Kind uint8
	Left uint8
	// Attempt is the id of the attempt or the registration, or zero.
	Attempt [16]byte
}

// An Entry is an event in its place in the log.
type Entry struct {
	Seq uint64 // from 1, without gaps
	Event
	// Hash is SHA-256 of the hash before it (32 zero bytes before the first) and of the
	// entry's bytes, see AppendEntry.
	Hash [32]byte
}

// ErrUnknown is wrapped by the error of an Update whose outcome is not known: it may
// have been committed, or may be yet.
var ErrUnknown = errors.New("store: the outcome is not known")

// A Store keeps cells and the log. Its methods can be called at the same time.
type Store interface {
	// View returns the cells of index: what the last committed Update made of them, or a
	// later one. The slices are the caller's.
	View(ctx context.Context, index Index) (Cells, error)
	// Update calls change with the cells of index and makes its result durable before it
	// returns. Updates of one index happen one after the other. change may be called more
	// than once, must not keep the slices, and depends on nothing but its argument and
	// what does not change. An error of change is returned as it is, and nothing is
	// written; any other error wraps ErrUnknown unless it is certain that nothing was
	// or will be written.
	Update(ctx context.Context, index Index, change func(Cells) (Change, error)) error
	// Due returns up to max indexes, at most one for each, whose time has come at now,
	// the earliest first.
	Due(ctx context.Context, now int64, max int) ([]Index, error)
	// Log returns up to max entries after seq, in their order.
	Log(ctx context.Context, after uint64, max int) ([]Entry, error)
	Close() error
}
