// Package build puts containers together from their parts, following SPEC.md and
// nothing else: it shares no code with packages format, keys and engine, so that
// what it makes can judge them. It keeps no rule it is not told to keep. Any part
// can be replaced by a wrong one before the next is derived from it, and what was
// edited can be authenticated again.
//
// All of it is deterministic. None of it is for real data: the caller chooses
// keys and salts.
package build

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"hash/crc32"
)

var le = binary.LittleEndian

// Magic begins every container.
const Magic = "\x89COF\r\n\x1a\n"

// A Header is what § 3.1 has fields for. Reserved bytes, paddings and lengths
// follow from it; to break those, edit the encoded block and Reseal it.
type Header struct {
	Suite       byte
	SegmentLog2 byte
	Flags       byte
	Salt        [32]byte
	ContextTag  [16]byte
	Generation  uint64
	Size        int // H
	Entries     []Entry
}

// An Entry is a slot or a note (§ 3.2).
type Entry struct {
	Kind uint16
	Data []byte
}

// Bytes returns the entry with its kind and length.
func (e Entry) Bytes() []byte {
	b := le.AppendUint16(nil, e.Kind)
	b = le.AppendUint16(b, uint16(len(e.Data)))
	return append(b, e.Data...)
}

// Core returns CORE (§ 3.1.1).
func (h *Header) Core() []byte { return h.Encode(nil)[8:64] }

// Encode returns the block, authenticated with macKey. It panics if the entries
// do not fit.
func (h *Header) Encode(macKey []byte) []byte {
	b := []byte(Magic)
	b = le.AppendUint16(b, 1)
	b = append(b, h.Suite, 1, h.SegmentLog2, h.Flags, 0, 0)
	b = append(b, h.Salt[:]...)
	b = append(b, h.ContextTag[:]...)
	b = le.AppendUint64(b, h.Generation)
	b = le.AppendUint32(b, uint32(h.Size))
	var entries []byte
	for _, e := range h.Entries {
		entries = append(entries, e.Bytes()...)
	}
	b = le.AppendUint32(b, uint32(len(entries)))
	b = le.AppendUint16(b, uint16(len(h.Entries)))
	b = append(b, make([]byte, 14)...)
	b = append(b, entries...)
	b = append(b, make([]byte, h.Size-8-len(b))...)
	b = append(b, 0, 0, 0, 0)
	b = le.AppendUint32(b, uint32(h.Size))
	Reseal(b, macKey)
	return b
}

// Reseal makes MAC and CRC of a block those of its other bytes, in place. It goes
// by the length of the block, whatever its fields say.
func Reseal(block, macKey []byte) {
	n := len(block)
	copy(block[n-40:], HMAC(macKey, block[:n-40]))
	ResealCRC(block)
}

// ResealCRC is Reseal for the CRC alone.
func ResealCRC(block []byte) {
	n := len(block)
	le.PutUint32(block[n-8:], crc32.Checksum(block[:n-8], crc32.MakeTable(crc32.Castagnoli)))
}

// HMAC is HMAC-SHA-256.
func HMAC(key, data []byte) []byte {
	m := hmac.New(sha256.New, key)
	m.Write(data)
	return m.Sum(nil)
}
