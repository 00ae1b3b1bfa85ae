package engine

import (
	"fmt"
	"io"

	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/internal/spool"
)

// maxCatalogFrame is how much of the catalog goes into one frame. The format
// allows a whole segment; readers that look for one entry want less.
const maxCatalogFrame = 1 << 20

// A catalogWriter packs records into catalog frames (§ 6.3) as they come.
type catalogWriter struct {
	w       *Writer
	enc     *encoder
	limit   int    // plaintext bytes a frame
	records []byte // of the frame being filled
	record  []byte
	frame   []byte
	spool   *spool.Spool
	frames  []uint32 // their lengths
	order   catalogOrder
}

// catalogOrder demands that offsets begin at 0 and ascend (§ 6.3.4).
type catalogOrder struct {
	last uint64
	any  bool
}

func (o *catalogOrder) take(offset uint64) (ok bool) {
	ok = !o.any && offset == 0 || o.any && offset > o.last
	o.last, o.any = offset, true
	return ok
}

func newCatalogWriter(w *Writer) catalogWriter {
	return catalogWriter{w: w, limit: min(w.segment, maxCatalogFrame), spool: spool.New(spoolLimit, w.opts.TempDir)}
}

func (c *catalogWriter) add(e format.CatalogEntry) (err error) {
	if !c.order.take(e.Offset) {
		return fmt.Errorf("catalog entry %.256q: offset %d is not in order", e.Path, e.Offset)
	}
	if c.record, err = e.AppendBinary(c.record[:0]); err != nil {
		return err
	}
	if len(c.record) > c.limit {
		return fmt.Errorf("%w: catalog entry %.256q does not fit a segment", ErrLimit, e.Path)
	}
	if len(c.records)+len(c.record) > c.limit {
		if err := c.flush(); err != nil {
			return err
		}
	}
	c.records = append(c.records, c.record...)
	return nil
}

// flush compresses the records gathered so far into a frame.
func (c *catalogWriter) flush() (err error) {
	if len(c.records) == 0 {
		return nil
	}
	if c.enc == nil {
		if c.enc, err = newEncoder(&c.w.opts, c.limit); err != nil {
			return err
		}
	}
	if c.frame, err = c.enc.append(c.frame[:0], c.records); err != nil {
		return fmt.Errorf("the catalog: %w", err)
	}
	c.records = c.records[:0]
	var head [format.SkippableHeaderSize]byte
	if _, err := c.spool.Write(format.AppendSkippable(head[:0], format.MagicCatalog, uint32(len(c.frame)))); err != nil {
		return err
	}
	c.frames = append(c.frames, uint32(len(head)+len(c.frame)))
	_, err = c.spool.Write(c.frame)
	return err
}

// size is the length of all frames, once they are flushed.
func (c *catalogWriter) size() int64 { return c.spool.Size() }

func (c *catalogWriter) writeTo(w io.Writer) error {
	_, err := c.spool.WriteTo(w)
	return err
}

func (c *catalogWriter) close() { _ = c.spool.Close() }

// A catalogReader judges the records of catalog frames in order.
type catalogReader struct{ order catalogOrder }

// parse calls yield for each record of one frame's plaintext, until it says
// false.
func (c *catalogReader) parse(records []byte, yield func(format.CatalogEntry) bool) error {
	for len(records) > 0 {
		e, rest, err := format.ParseCatalogEntry(records)
		if err != nil {
			return err
		}
		if !c.order.take(e.Offset) {
			return &format.SyntaxError{Struct: "catalog record", Field: "offset", Offset: 4, Reason: fmt.Sprintf("%d is not in order", e.Offset)}
		}
		records = rest
		if !yield(e) {
			return nil
		}
	}
	return nil
}
