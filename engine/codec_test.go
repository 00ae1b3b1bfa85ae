package engine_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"testing"

	"github.com/cespare/xxhash/v2"

	"github.com/coffer-backup/coffer/engine"
	"github.com/coffer-backup/coffer/keys"
)

// A brokenCompressor makes frames that are wrong in one way.
type brokenCompressor struct {
	append func(dst, src []byte) ([]byte, error)
}

func (c brokenCompressor) Append(dst, src []byte) ([]byte, error) { return c.append(dst, src) }

// rleFrame returns a data frame of one RLE block: n bytes c.
func rleFrame(c byte, n int) []byte {
	plain := bytes.Repeat([]byte{c}, n)
	v := n<<3 | 1<<1 | 1 // size, RLE, last
	return binary.LittleEndian.AppendUint32(append(frame(plain)[:9:9], byte(v), byte(v>>8), byte(v>>16), c), uint32(xxhash.Sum64(plain)))
}

func TestBrokenCompressors(t *testing.T) {
	plain := text(300<<10, 1)
	good := frame
	for name, f := range map[string]func(dst, src []byte) ([]byte, error){
		"error":                  func(dst, src []byte) ([]byte, error) { return nil, errDisk },
		"nothing":                func(dst, src []byte) ([]byte, error) { return dst, nil },
		"garbage":                func(dst, src []byte) ([]byte, error) { return append(dst, src[:40]...), nil },
		"flipped bit":            func(dst, src []byte) ([]byte, error) { b := good(src); b[1000] ^= 4; return append(dst, b...), nil },
		"other text":             func(dst, src []byte) ([]byte, error) { return append(dst, good(noise(len(src), 1))...), nil },
		"shorter":                func(dst, src []byte) ([]byte, error) { return append(dst, good(src[1:])...), nil },
		"other text, compressed": func(dst, src []byte) ([]byte, error) { return append(dst, rleFrame('x', len(src))...), nil },
		"wrong checksum":         func(dst, src []byte) ([]byte, error) { b := good(src); b[len(b)-1] ^= 4; return append(dst, b...), nil },
		"two frames": func(dst, src []byte) ([]byte, error) {
			return append(append(dst, good(src[:1])...), good(src[1:])...), nil
		},
	} {
		var out bytes.Buffer
		w, err := engine.NewWriter(t.Context(), &out, []keys.Recipient{testKey}, &engine.WriterOptions{
			SegmentSize:   64 << 10,
			NewCompressor: func() (engine.Compressor, error) { return brokenCompressor{f}, nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.Write(plain)
		if closeErr := w.Close(); closeErr == nil || err != nil && err != closeErr {
			t.Errorf("%s: Write: %v, Close: %v", name, err, closeErr)
		}
	}
	// A wrong length shows without the check that decompresses.
	w, err := engine.NewWriter(t.Context(), io.Discard, []keys.Recipient{testKey}, &engine.WriterOptions{
		SkipCheck: true,
		NewCompressor: func() (engine.Compressor, error) {
			return brokenCompressor{func(dst, src []byte) ([]byte, error) { return append(dst, good(src[1:])...), nil }}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err = w.Write(plain); err == nil {
		err = w.Close()
	}
	if err == nil {
		t.Error("shorter, without the check: no error")
	}
	w.Abort()
	// One that inflates is replaced by raw blocks.
	c := seal(t, plain, &engine.WriterOptions{NewCompressor: func() (engine.Compressor, error) {
		return brokenCompressor{func(dst, src []byte) ([]byte, error) { return append(dst, make([]byte, 2*len(src))...), nil }}, nil
	}})
	if got, err := open(c, nil); err != nil || !bytes.Equal(got, plain) {
		t.Error(err)
	}
}

// TestCompressorWithItsOwnMemory has one that answers with the same small buffer each
// time, instead of what it was given to append to, among segments that are stored.
func TestCompressorWithItsOwnMemory(t *testing.T) {
	const seg = 64 << 10
	var plain []byte
	for i := range uint64(12) {
		plain = append(append(plain, bytes.Repeat([]byte{byte(i)}, seg)...), noise(seg, i)...)
		plain = append(plain, noise(seg, 100+i)...)
	}
	c := seal(t, plain, &engine.WriterOptions{SegmentSize: seg, Workers: 1, NewCompressor: func() (engine.Compressor, error) {
		var own []byte
		return brokenCompressor{func(dst, src []byte) ([]byte, error) {
			own = append(own[:0], rleFrame(src[0], len(src))...)
			return own, nil
		}}, nil
	}})
	if got, err := open(c, nil); err != nil || !bytes.Equal(got, plain) {
		t.Error(err)
	}
}
