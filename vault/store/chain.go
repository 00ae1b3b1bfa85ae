package store

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
)

// EntrySize is the length of an entry of the log as bytes.
const EntrySize = 8 + 32 + 8 + 8 + 8 + 1 + 1 + 16 + 32

// ErrChain is wrapped by the error about an entry that does not follow the one before it.
var ErrChain = errors.New("store: the log's chain is broken")

// Next returns the entry that follows last, whose zero value stands for none.
func Next(last Entry, e Event) Entry {
	next := Entry{Seq: last.Seq + 1, Event: e}
	h := sha256.New()
	h.Write(last.Hash[:])
	h.Write(next.appendEvent(nil))
	h.Sum(next.Hash[:0])
	return next
}

// Append appends e as bytes to b: its integers big-endian, in the order of its fields,
// the hash at the end.
func (e *Entry) Append(b []byte) []byte {
	return append(e.appendEvent(b), e.Hash[:]...)
}

func (e *Entry) appendEvent(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, e.Seq)
	b = append(b, e.Index[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(e.Time))
	b = binary.BigEndian.AppendUint64(b, e.Ver)
	b = binary.BigEndian.AppendUint64(b, e.Gen)
	b = append(b, e.Kind, e.Left)
	return append(b, e.Attempt[:]...)
}

// ParseEntry is the inverse of Append.
func ParseEntry(b []byte) (e Entry, err error) {
	if len(b) != EntrySize {
		return Entry{}, fmt.Errorf("store: an entry of the log has %d bytes, not %d", len(b), EntrySize)
	}
	e.Seq = binary.BigEndian.Uint64(b)
	copy(e.Index[:], b[8:])
	e.Time = int64(binary.BigEndian.Uint64(b[40:]))
	e.Ver = binary.BigEndian.Uint64(b[48:])
	e.Gen = binary.BigEndian.Uint64(b[56:])
	e.Kind, e.Left = b[64], b[65]
	copy(e.Attempt[:], b[66:])
	copy(e.Hash[:], b[82:])
	return e, nil
}

// Verify checks that all follow last, one after the other, and returns the last of them.
func Verify(last Entry, all []Entry) (Entry, error) {
	for _, e := range all {
		if Next(last, e.Event) != e {
			return last, fmt.Errorf("%w at entry %d", ErrChain, last.Seq+1)
		}
		last = e
	}
	return last, nil
}
