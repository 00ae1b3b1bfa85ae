// Package bolt keeps a vault's records in one file of the key-value store bbolt:
//
//	s, err := bolt.Open(path, nil) // makes the file if there is none
//	defer s.Close()
//
// One process has the file at a time. Updates that arrive together are committed
// together, with two syncs of the file; one that turns out to change nothing costs none.
//
// What a [Store] returns is on the disk. bbolt shows a transaction to readers before its
// last sync has returned, and a vault that evaluates a guess on that word would forget
// the count in a power cut; so whoever read it waits here for that sync. For the same
// reason Open syncs the file before its first use: the process that wrote it may have
// been killed between the two.
//
// After a commit that failed, because of the disk or for want of room, nobody knows what
// the file holds: its updates end in [store.ErrUnknown], and the store refuses all calls
// from then on with that error. Make room, or see to the disk, and open it anew.
//
// bbolt leaves the old bytes of a changed or deleted cell in the file until it needs the
// room. [Store.Compact] writes a new file without them; Open does so where the last time
// was a week ago, and a process that runs for longer calls it as often. The blocks of the
// old file, copies of it and snapshots of the disk are beyond its reach.
//
// A file says which format it has, and Open refuses others. Its buckets: "row" and
// "pending" have the cells by index, "log" the entries by number, "due" is a set of
// time ‖ index, and "when" has the time of an index. Integers are big-endian.
package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/coffer-backup/coffer/internal/durable"
	"github.com/coffer-backup/coffer/vault/store"
)

const (
	format = "coffer vault store 1"
	// pageSize and fill are those that gave the smallest file for 100,000 rows of 1,536
	// bytes under random keys: 2,233 bytes a row, against 2,370 with pages of 4 KiB.
	// With half-filled pages, bbolt's default, it were 2,458.
	pageSize = 8 << 10
	fill     = 0.65
	// lockTimeout is for how long Open waits for another process to end.
	lockTimeout = time.Second
	// compactAfter is the age of the last compaction at which Open does the next.
	compactAfter = 7 * 24 * time.Hour
)

var (
	bucketMeta    = []byte("meta")
	bucketRow     = []byte("row")
	bucketPending = []byte("pending")
	bucketDue     = []byte("due")
	bucketWhen    = []byte("when")
	bucketLog     = []byte("log")

	keyFormat    = []byte("format")
	keyCompacted = []byte("compacted") // Unix seconds
)

// Options may be nil.
type Options struct {
	// Existing lets Open fail with an error that wraps fs.ErrNotExist if there is no
	// file. Without it a wrong path gives an empty store, in which no one has a record.
	Existing bool
}

// A Store is a [store.Store].
type Store struct {
	path    string // of the file, not of a symbolic link to it
	queue   chan *update
	closing chan struct{} // closed by Close
	close   sync.Once
	ended   chan struct{} // closed by the goroutine that commits

	write sync.Mutex // held over each transaction that writes, and over a compaction

	mu sync.RWMutex // over what follows
	db *bbolt.DB
	// durable is the last transaction that is known to be on the disk. committing is
	// closed when the outcome of the one after it is known.
	durable    int
	committing chan struct{}
	err        error // why the store is used no more
}

// Open opens the store in the file path and makes it if it does not exist.
func Open(path string, opts *Options) (*Store, error) {
	if opts == nil {
		opts = &Options{}
	}
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) && !opts.Existing {
		err = create(path)
		if errors.Is(err, fs.ErrExist) { // by another process just now
			err = nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("bolt: %w", err)
	}
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return nil, fmt.Errorf("bolt: %w", err)
	}
	if err := check(path); err != nil {
		return nil, fmt.Errorf("bolt: opening %s: %w", path, err)
	}
	db, err := openFile(path, false)
	if err != nil {
		return nil, fmt.Errorf("bolt: opening %s: %w", path, err)
	}
	s := &Store{
		path:       path,
		queue:      make(chan *update),
		closing:    make(chan struct{}),
		ended:      make(chan struct{}),
		db:         db,
		committing: make(chan struct{}),
	}
	close(s.committing)
	if err := s.prepare(); err != nil {
		return nil, errors.Join(fmt.Errorf("bolt: opening %s: %w", path, err), s.db.Close())
	}
	go s.run()
	return s, nil
}

// check refuses what is no store before it is opened for writing: bbolt writes to the
// files of other programs, and takes this one down where a file has lost its end.
func check(path string) error {
	db, err := openFile(path, true)
	if err != nil {
		return err
	}
	defer db.Close()
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	return db.View(func(tx *bbolt.Tx) error {
		if tx.Size() > info.Size() {
			return fmt.Errorf("it is cut short: %d bytes of %d are there", info.Size(), tx.Size())
		}
		if meta := tx.Bucket(bucketMeta); meta == nil || string(meta.Get(keyFormat)) != format {
			return fmt.Errorf("it is no store of a vault, or one of another version than %q", format)
		}
		return nil
	})
}

// openFile opens the file at path and locks it.
func openFile(path string, readOnly bool) (*bbolt.DB, error) {
	taken := errors.New("another process has it")
	for deadline := time.Now().Add(lockTimeout); ; {
		var file *os.File
		db, err := bbolt.Open(path, 0, &bbolt.Options{
			ReadOnly:     readOnly,
			Timeout:      lockTimeout,
			FreelistType: bbolt.FreelistMapType,
			OpenFile: func(name string, flag int, _ os.FileMode) (_ *os.File, err error) {
				file, err = openStore(name, flag)
				return file, err
			},
		})
		switch {
		case errors.Is(err, berrors.ErrTimeout):
			return nil, taken
		case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrVersionMismatch), errors.Is(err, berrors.ErrChecksum):
			return nil, fmt.Errorf("it is no store of a vault, or is damaged: %w", err)
		case err != nil:
			return nil, err
		}
		// While this waited for the lock, its holder may have compacted the store, and
		// the file has no name any more.
		held, err1 := file.Stat()
		named, err2 := os.Stat(path)
		if err := errors.Join(err1, err2); err != nil {
			return nil, errors.Join(err, db.Close())
		}
		if os.SameFile(held, named) {
			return db, nil
		}
		if err := db.Close(); err != nil {
			return nil, err
		}
		if time.Now().After(deadline) { // whoever has it compacts it again and again
			return nil, taken
		}
	}
}

// openStore opens a file that is there and not empty: of any other bbolt would make a new
// store, and the records were gone unnoticed.
func openStore(name string, flag int) (*os.File, error) {
	f, err := os.OpenFile(name, flag&^os.O_CREATE, 0)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil || info.Size() == 0 {
		return nil, errors.Join(err, errors.New("the file is empty, which no store is"), f.Close())
	}
	return f, nil
}

// prepare readies the store for its first use.
func (s *Store) prepare() error {
	if dir, err := os.Open(filepath.Dir(s.path)); err == nil {
		durable.Reap(dir)
		dir.Close()
	}
	var compacted time.Time
	err := s.db.View(func(tx *bbolt.Tx) error {
		s.durable = tx.ID()
		if b := tx.Bucket(bucketMeta).Get(keyCompacted); len(b) == 8 {
			compacted = time.Unix(int64(binary.BigEndian.Uint64(b)), 0)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := s.db.Sync(); err != nil {
		return err
	}
	if time.Since(compacted) >= compactAfter {
		if err := s.Compact(context.Background()); err != nil && s.failure() != nil { // else it goes without
			return err
		}
	}
	return nil
}

// View implements [store.Store].
func (s *Store) View(ctx context.Context, index store.Index) (store.Cells, error) {
	cells, id, err := s.cells(ctx, index)
	if err == nil {
		err = s.settled(ctx, id)
	}
	if err != nil {
		return store.Cells{}, err
	}
	return cells, nil
}

// Due implements [store.Store].
func (s *Store) Due(ctx context.Context, now int64, max int) (list []store.Index, err error) {
	last := dueKey(now, store.Index(bytes.Repeat([]byte{0xff}, len(store.Index{}))))
	id, err := s.view(ctx, func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucketDue).Cursor()
		for k, _ := c.First(); len(list) < max && k != nil && bytes.Compare(k, last) <= 0; k, _ = c.Next() {
			list = append(list, store.Index(k[8:]))
		}
		return nil
	})
	if err == nil {
		err = s.settled(ctx, id)
	}
	return list, err
}

// Log implements [store.Store].
func (s *Store) Log(ctx context.Context, after uint64, max int) (list []store.Entry, err error) {
	id, err := s.view(ctx, func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucketLog).Cursor()
		k, v := c.Seek(seqKey(after))
		if k != nil && binary.BigEndian.Uint64(k) == after {
			k, v = c.Next()
		}
		for ; len(list) < max && k != nil; k, v = c.Next() {
			e, err := store.ParseEntry(v)
			if err != nil {
				return err
			}
			list = append(list, e)
		}
		return nil
	})
	if err == nil {
		err = s.settled(ctx, id)
	}
	return list, err
}

// cells returns copies of the cells of index, and the transaction that it saw, which may
// not be on the disk yet.
func (s *Store) cells(ctx context.Context, index store.Index) (c store.Cells, id int, err error) {
	id, err = s.view(ctx, func(tx *bbolt.Tx) error {
		c.Row = bytes.Clone(tx.Bucket(bucketRow).Get(index[:]))
		c.Pending = bytes.Clone(tx.Bucket(bucketPending).Get(index[:]))
		return nil
	})
	return c, id, err
}

// view reads what the last transaction left, which it returns the id of.
func (s *Store) view(ctx context.Context, read func(*bbolt.Tx) error) (id int, err error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.err != nil {
		return 0, s.err
	}
	err = s.db.View(func(tx *bbolt.Tx) error {
		id = tx.ID()
		return read(tx)
	})
	return id, err
}

// settled waits until the transaction id, which somebody has read, is on the disk.
func (s *Store) settled(ctx context.Context, id int) error {
	s.mu.RLock()
	there, committing, err := id <= s.durable, s.committing, s.err
	s.mu.RUnlock()
	if there || err != nil {
		return err
	}
	select {
	case <-committing:
		return s.failure()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// failure returns why the store is used no more, or nil.
func (s *Store) failure() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.err
}

// Close waits for the updates that are being committed, and gives the file back.
func (s *Store) Close() (err error) {
	s.close.Do(func() {
		close(s.closing)
		<-s.ended
		s.write.Lock()
		defer s.write.Unlock()
		s.mu.Lock()
		defer s.mu.Unlock()
		s.err = errClosed
		err = s.db.Close()
	})
	return err
}

var errClosed = fmt.Errorf("bolt: the store is closed: %w", fs.ErrClosed)

// dueKey sorts by time, those before 1970 too.
func dueKey(due int64, index store.Index) []byte {
	return append(binary.BigEndian.AppendUint64(nil, uint64(due)^1<<63), index[:]...)
}

func seqKey(seq uint64) []byte { return binary.BigEndian.AppendUint64(nil, seq) }
