package format

import "encoding/binary"

// A cursor goes forward through one structure and never past its end. The first
// fault sticks: after it every read gives zeros.
type cursor struct {
	name string // the structure, for errors
	data []byte
	off  int
	err  error
}

func (c *cursor) fail(off int, field, reason string) {
	if c.err == nil {
		c.err = &SyntaxError{Struct: c.name, Field: field, Offset: int64(off), Reason: reason}
	}
}

// take returns the next n bytes, aliasing the input.
func (c *cursor) take(field string, n int) []byte {
	if n > len(c.data)-c.off {
		c.fail(c.off, field, "the structure ends inside this field")
	}
	if c.err != nil {
		return nil
	}
	b := c.data[c.off : c.off+n : c.off+n]
	c.off += n
	return b
}

func (c *cursor) u8(field string) uint8 {
	if b := c.take(field, 1); b != nil {
		return b[0]
	}
	return 0
}

func (c *cursor) u16(field string) uint16 {
	if b := c.take(field, 2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

func (c *cursor) u32(field string) uint32 {
	if b := c.take(field, 4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (c *cursor) u64(field string) uint64 {
	if b := c.take(field, 8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// zeros demands that the next n bytes are reserved ones, all zero.
func (c *cursor) zeros(field string, n int) {
	at := c.off
	for i, b := range c.take(field, n) {
		if b != 0 {
			c.fail(at+i, field, "reserved byte is not zero")
			return
		}
	}
}

// end demands that the whole structure was read.
func (c *cursor) end(field string) {
	if c.err == nil && c.off != len(c.data) {
		c.fail(c.off, field, "bytes are left over")
	}
}
