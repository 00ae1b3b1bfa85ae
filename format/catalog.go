package format

import (
	"encoding/binary"
	"fmt"
)

// Wire numbers of a catalog record (§ 6.3), sizes in bytes.
const (
	catalogFixedSize = 34 // after len
	// MaxCatalogRecord is the limit of a record's length field.
	MaxCatalogRecord = 65535
	// TarBlock is the unit of the offsets.
	TarBlock = 512
)

// A CatalogEntry is the record of one archive entry (§ 6.3). It is an index, never
// an authority: what is extracted comes from the tar header at Offset.
type CatalogEntry struct {
	Offset  uint64 // of the entry's first tar block in the plaintext, its PAX header included
	Size    uint64 // bytes of content, as in the tar header
	ModTime int64  // nanoseconds since 1970, saturated
	Mode    uint32 // as in the tar header
	Type    byte   // tar typeflag
	Path    string // bytes, as in the tar header
	Link    string // target of a link, or empty
}

// AppendBinary appends the record to dst. It fails if Path and Link do not fit
// one record or Offset is no multiple of TarBlock.
func (e *CatalogEntry) AppendBinary(dst []byte) ([]byte, error) {
	n := catalogFixedSize + len(e.Path) + len(e.Link)
	if n > MaxCatalogRecord {
		return nil, &SyntaxError{Struct: "catalog record", Field: "len", Reason: fmt.Sprintf("path and link are too long: %d bytes", len(e.Path)+len(e.Link))}
	}
	if e.Offset%TarBlock != 0 {
		return nil, &SyntaxError{Struct: "catalog record", Field: "offset", Offset: 4, Reason: fmt.Sprintf("%d is no multiple of %d", e.Offset, TarBlock)}
	}
	le := binary.LittleEndian
	dst = le.AppendUint32(dst, uint32(n))
	dst = le.AppendUint64(dst, e.Offset)
	dst = le.AppendUint64(dst, e.Size)
	dst = le.AppendUint64(dst, uint64(e.ModTime))
	dst = le.AppendUint32(dst, e.Mode)
	dst = append(dst, e.Type, 0)
	dst = le.AppendUint16(dst, uint16(len(e.Path)))
	dst = le.AppendUint16(dst, uint16(len(e.Link)))
	dst = append(dst, e.Path...)
	return append(dst, e.Link...), nil
}

// ParseCatalogEntry parses the record at the beginning of b, and returns it and
// what follows it. Bytes within the record that this version does not know are
// skipped.
func ParseCatalogEntry(b []byte) (e CatalogEntry, rest []byte, err error) {
	head := &cursor{name: "catalog record", data: b}
	n := head.u32("len")
	if n > MaxCatalogRecord {
		head.fail(0, "len", fmt.Sprintf("%d is over %d", n, MaxCatalogRecord))
	}
	head.take("record", int(min(n, MaxCatalogRecord)))
	if head.err != nil {
		return e, nil, head.err
	}
	c := &cursor{name: "catalog record", data: b[:head.off], off: 4}
	if e.Offset = c.u64("offset"); e.Offset%TarBlock != 0 {
		c.fail(4, "offset", fmt.Sprintf("%d is no multiple of %d", e.Offset, TarBlock))
	}
	e.Size = c.u64("size")
	e.ModTime = int64(c.u64("mtime"))
	e.Mode = c.u32("mode")
	e.Type = c.u8("type")
	c.zeros("reserved", 1)
	pathLen, linkLen := int(c.u16("path_len")), int(c.u16("link_len"))
	e.Path = string(c.take("path", pathLen))
	e.Link = string(c.take("link", linkLen))
	return e, b[head.off:], c.err
}
