// Package codec writes and reads structures by one description of their fields, so
// that what is read is what is written: a structure has a method that hands its fields,
// in their order, to a Codec, which either appends them to a message or takes them from
// one. Integers are big-endian. There is one encoding for each value.
package codec

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

// ErrSyntax is wrapped by the errors about bytes that are no encoding.
var ErrSyntax = errors.New("malformed")

// A Codec appends fields to a message or reads them from one. After a first error it
// does nothing more.
type Codec struct {
	reading bool
	buf     []byte // written, or not read yet
	size    int    // of what is read
	err     error
}

// Append appends what fields describes to b. It panics if a field is longer than its
// limit, since that is a fault of the caller's.
func Append(b []byte, fields func(*Codec)) []byte {
	c := &Codec{buf: b}
	fields(c)
	if c.err != nil {
		panic("codec: internal error: " + c.err.Error())
	}
	return c.buf
}

// Parse reads what fields describes from the beginning of b and returns the rest.
func Parse(b []byte, fields func(*Codec)) (rest []byte, err error) {
	c := &Codec{reading: true, buf: b, size: len(b)}
	fields(c)
	return c.buf, c.err
}

// ParseAll is Parse of a message that has nothing more.
func ParseAll(b []byte, fields func(*Codec)) error {
	rest, err := Parse(b, fields)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%w: %d bytes too many", ErrSyntax, len(rest))
	}
	return err
}

// Reading tells which of the two c does.
func (c *Codec) Reading() bool { return c.reading }

// Failf ends reading with an error.
func (c *Codec) Failf(format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf("%w at byte %d: %s", ErrSyntax, c.size-len(c.buf), fmt.Sprintf(format, args...))
	}
}

// take returns the next n bytes, or nil if there are fewer.
func (c *Codec) take(n int) []byte {
	if c.err != nil {
		return nil
	}
	if len(c.buf) < n {
		c.err = fmt.Errorf("%w at byte %d: %w", ErrSyntax, c.size-len(c.buf), io.ErrUnexpectedEOF)
		return nil
	}
	p := c.buf[:n:n]
	c.buf = c.buf[n:]
	return p
}

// Fixed is a field of as many bytes as p has.
func (c *Codec) Fixed(p []byte) {
	if c.reading {
		copy(p, c.take(len(p)))
		return
	}
	c.buf = append(c.buf, p...)
}

// Bytes is a field of up to max bytes, with its length, a uint16, before it. What is
// read is a copy.
func (c *Codec) Bytes(p *[]byte, max int) {
	n := uint16(min(len(*p), math.MaxUint16))
	if !c.reading && len(*p) > max {
		c.Failf("%d bytes, the limit is %d", len(*p), max)
		return
	}
	c.Uint16(&n)
	if !c.reading {
		c.buf = append(c.buf, *p...)
		return
	}
	if int(n) > max {
		c.Failf("%d bytes, the limit is %d", n, max)
	}
	*p = append([]byte(nil), c.take(int(n))...)
}

// Text is Bytes of a string.
func (c *Codec) Text(p *string, max int) {
	b := []byte(*p)
	c.Bytes(&b, max)
	*p = string(b)
}

// Uint8 is a field of a byte.
func (c *Codec) Uint8(v *uint8) {
	if !c.reading {
		c.buf = append(c.buf, *v)
	} else if p := c.take(1); p != nil {
		*v = p[0]
	}
}

// Bool is a byte, 0 or 1.
func (c *Codec) Bool(v *bool) {
	var n uint8
	if *v {
		n = 1
	}
	c.Uint8(&n)
	if n > 1 {
		c.Failf("%d is neither 0 nor 1", n)
	}
	*v = n == 1
}

// Uint16 is a field of two bytes.
func (c *Codec) Uint16(v *uint16) {
	if !c.reading {
		c.buf = binary.BigEndian.AppendUint16(c.buf, *v)
	} else if p := c.take(2); p != nil {
		*v = binary.BigEndian.Uint16(p)
	}
}

// Uint32 is a field of four bytes.
func (c *Codec) Uint32(v *uint32) {
	if !c.reading {
		c.buf = binary.BigEndian.AppendUint32(c.buf, *v)
	} else if p := c.take(4); p != nil {
		*v = binary.BigEndian.Uint32(p)
	}
}

// Uint64 is a field of eight bytes.
func (c *Codec) Uint64(v *uint64) {
	if !c.reading {
		c.buf = binary.BigEndian.AppendUint64(c.buf, *v)
	} else if p := c.take(8); p != nil {
		*v = binary.BigEndian.Uint64(p)
	}
}

// Time is a field of eight bytes: Unix seconds, which are not negative.
func (c *Codec) Time(v *int64) {
	n := uint64(*v)
	c.Uint64(&n)
	if n > math.MaxInt64 {
		c.Failf("time %d is out of range", n)
		return
	}
	*v = int64(n)
}

// List is a list of up to max values, with their number, a byte, before it. fields
// describes one of them.
func List[T any](c *Codec, list *[]T, max uint8, fields func(*T)) {
	n := uint8(min(len(*list), math.MaxUint8))
	if c.Uint8(&n); n > max {
		c.Failf("%d values, the limit is %d", n, max)
	}
	if c.reading {
		*list = nil
	}
	for i := 0; i < int(n) && c.err == nil; i++ {
		if c.reading {
			*list = append(*list, *new(T))
		}
		fields(&(*list)[i])
	}
}

// Option is a value that may be absent, with a byte, 0 or 1, before it.
func Option[T any](c *Codec, value **T, fields func(*T)) {
	there := *value != nil
	c.Bool(&there)
	if c.reading {
		*value = nil
	}
	if !there || c.err != nil {
		return
	}
	if c.reading {
		*value = new(T)
	}
	fields(*value)
}
