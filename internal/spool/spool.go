// Package spool keeps bytes that are written first and read once, later: in
// memory as long as they are few, then in a temporary file, sealed under a random
// key that exists in this process only.
package spool

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

const chunkSize = 64 << 10

// A Spool is for one goroutine. The zero value keeps everything in the file;
// use New.
type Spool struct {
	limit  int64
	dir    string
	size   int64
	chunks [][]byte // in memory; once there is a file, only the one being filled
	aead   cipher.AEAD
	file   *os.File
	sealed uint64 // chunks in the file
	buf    []byte
	err    error // the first one: what was half written is not written again
}

// New returns a spool that holds up to limit bytes in memory and the rest in a
// file in dir, "" being os.TempDir.
func New(limit int64, dir string) *Spool { return &Spool{limit: limit, dir: dir} }

// Size is the number of bytes written.
func (s *Spool) Size() int64 { return s.size }

// Write appends p. It fails only if the temporary file does, and then for good: a
// second try would seal other bytes under a nonce that is used.
func (s *Spool) Write(p []byte) (n int, err error) {
	for n < len(p) {
		if len(s.chunks) == 0 || len(s.chunks[len(s.chunks)-1]) == chunkSize {
			if s.err == nil {
				s.err = s.grow()
			}
			if s.err != nil {
				return n, s.err
			}
		}
		last := len(s.chunks) - 1
		c := s.chunks[last]
		m := copy(c[len(c):chunkSize], p[n:])
		s.chunks[last] = c[:len(c)+m]
		n += m
		s.size += int64(m)
	}
	return n, nil
}

// grow makes room for a chunk, in memory or, past the limit, by moving what is
// there to the file.
func (s *Spool) grow() error {
	if s.file == nil && s.size+chunkSize <= s.limit {
		s.chunks = append(s.chunks, make([]byte, 0, chunkSize))
		return nil
	}
	if s.file == nil {
		if err := s.create(); err != nil {
			return fmt.Errorf("spooling to a temporary file: %w", err)
		}
	}
	for _, c := range s.chunks {
		s.buf = s.aead.Seal(s.buf[:0], nonce(s.sealed), c, nil)
		if _, err := s.file.Write(s.buf); err != nil {
			return fmt.Errorf("spooling to a temporary file: %w", err)
		}
		s.sealed++
	}
	s.chunks = [][]byte{make([]byte, 0, chunkSize)}
	return nil
}

func (s *Spool) create() error {
	key := make([]byte, 32)
	rand.Read(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		return err
	}
	if s.aead, err = cipher.NewGCM(block); err != nil {
		return err
	}
	if s.file, err = os.CreateTemp(s.dir, ".coffer-spool-*"); err != nil {
		return err
	}
	// Where a name may be removed while the file is open, nothing is left behind
	// whatever happens to the process; elsewhere Close removes it.
	_ = os.Remove(s.file.Name())
	return nil
}

// nonce counts chunks: the key is used by one spool only.
func nonce(chunk uint64) []byte {
	return binary.BigEndian.AppendUint64(make([]byte, 4, 12), chunk)
}

// WriteTo writes all bytes to w, in order. The spool stays as it is.
func (s *Spool) WriteTo(w io.Writer) (written int64, err error) {
	if s.err != nil {
		return 0, s.err
	}
	sealed := make([]byte, chunkSize+16)
	for i := range s.sealed {
		if _, err := s.file.ReadAt(sealed, int64(i)*int64(len(sealed))); err != nil {
			return written, fmt.Errorf("reading a temporary file: %w", err)
		}
		plain, err := s.aead.Open(sealed[:0], nonce(i), sealed, nil)
		if err != nil {
			return written, errors.New("reading a temporary file: somebody changed it")
		}
		n, err := w.Write(plain)
		written += int64(n)
		if err != nil {
			return written, err
		}
	}
	for _, c := range s.chunks {
		n, err := w.Write(c)
		written += int64(n)
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

// Close frees the memory and removes the file.
func (s *Spool) Close() error {
	s.chunks = nil
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	_ = os.Remove(s.file.Name())
	s.file = nil
	return err
}
