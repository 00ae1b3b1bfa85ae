package bolt

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"go.etcd.io/bbolt"

	"github.com/coffer-backup/coffer/internal/durable"
)

// chunk is how much of a compaction is one transaction, in bytes: it is held in memory.
const chunk = 16 << 20

// create makes an empty store at path, whole or not at all.
func create(path string) error {
	f, err := durable.Create(path, nil)
	if err != nil {
		return err
	}
	defer f.Abort()
	db, discard, err := temporary(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer discard()
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{bucketMeta, bucketRow, bucketPending, bucketDue, bucketWhen, bucketLog} {
			if _, err := tx.CreateBucket(name); err != nil {
				return err
			}
		}
		return errors.Join(tx.Bucket(bucketMeta).Put(keyFormat, []byte(format)), putCompacted(tx))
	})
	if err != nil {
		return err
	}
	err = db.View(func(tx *bbolt.Tx) error {
		_, err := tx.WriteTo(f)
		return err
	})
	if err != nil {
		return err
	}
	return f.Commit()
}

// Compact writes the store to a new file that takes the place of the old one, and has
// nothing in it but what the store shows. It needs room for both. Updates wait
// meanwhile, views do not. The context is looked at before the work begins. Where the
// system cannot replace a file that is open (Windows), the error wraps
// errors.ErrUnsupported.
func (s *Store) Compact(ctx context.Context) error {
	if runtime.GOOS == "windows" {
		return fmt.Errorf("bolt: this system cannot replace an open file: %w", errors.ErrUnsupported)
	}
	s.write.Lock()
	defer s.write.Unlock()
	if err := errors.Join(ctx.Err(), s.failure()); err != nil {
		return err
	}
	db, discard, err := temporary(filepath.Dir(s.path))
	if err != nil {
		return fmt.Errorf("bolt: compacting %s: %w", s.path, err)
	}
	id, err := copyTo(db, s.db)
	if err == nil {
		err = os.Rename(db.Path(), s.path)
	}
	if err != nil {
		discard()
		return fmt.Errorf("bolt: compacting %s: %w", s.path, err)
	}
	// Were updates to go to a file whose name a power cut takes back, the old file
	// would be there again without them.
	err = syncDir(filepath.Dir(s.path))
	if err != nil {
		err = s.fence(err)
	}
	s.mu.Lock()
	old := s.db
	s.db, s.durable = db, id
	s.mu.Unlock()
	return errors.Join(err, old.Close())
}

// copyTo copies a store to the temporary file dst and readies that to take its place.
// It returns the transaction that it is at.
func copyTo(dst, src *bbolt.DB) (id int, err error) {
	if err := bbolt.Compact(dst, src, chunk); err != nil {
		return 0, err
	}
	if err := dst.Update(putCompacted); err != nil {
		return 0, err
	}
	if err := dst.Sync(); err != nil {
		return 0, err
	}
	dst.NoSync, dst.NoGrowSync = false, false
	err = dst.View(func(tx *bbolt.Tx) error {
		id = tx.ID()
		return nil
	})
	return id, err
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// temporary makes a bbolt file in dir, with a name and a lock by which it is removed
// later if this process dies. It is not synced.
func temporary(dir string) (db *bbolt.DB, discard func(), err error) {
	path := filepath.Join(dir, durable.TempPrefix+rand.Text())
	db, err = bbolt.Open(path, 0o600, &bbolt.Options{
		PageSize:     pageSize,
		FreelistType: bbolt.FreelistMapType,
		NoSync:       true,
		NoGrowSync:   true,
	})
	if err != nil {
		os.Remove(path)
		return nil, nil, err
	}
	return db, func() {
		db.Close()
		os.Remove(path)
	}, nil
}

func putCompacted(tx *bbolt.Tx) error {
	now := binary.BigEndian.AppendUint64(nil, uint64(time.Now().Unix()))
	return tx.Bucket(bucketMeta).Put(keyCompacted, now)
}
