package archive

import (
	"crypto/sha256"
	"hash"

	"github.com/coffer-backup/coffer/format"
)

// CatalogSum identifies a sequence of catalog records.
type CatalogSum [sha256.Size]byte

// A CatalogDigest sums up catalog records one by one, in constant memory. The
// catalog comes after the tar it describes: whoever wants to know that both say
// the same compares the sums. The zero value is ready.
type CatalogDigest struct {
	h   hash.Hash
	buf []byte
}

// Add takes the next record. It fails if the record has no encoding.
func (d *CatalogDigest) Add(e format.CatalogEntry) error {
	if d.h == nil {
		d.h = sha256.New()
	}
	var err error
	if d.buf, err = e.AppendBinary(d.buf[:0]); err != nil {
		return err
	}
	d.h.Write(d.buf) // records carry their length, so their concatenation is unambiguous
	return nil
}

// Sum is the sum of the records so far.
func (d *CatalogDigest) Sum() CatalogSum {
	if d.h == nil {
		return sha256.Sum256(nil)
	}
	return CatalogSum(d.h.Sum(nil))
}
