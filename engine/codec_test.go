package engine_test

import (
	"bytes"
	"testing"

	"github.com/coffer-backup/coffer/engine"
	"github.com/coffer-backup/coffer/keys"
)

// A brokenCompressor makes frames that are wrong in one way.
type brokenCompressor struct {
	append func(dst, src []byte) ([]byte, error)
}

func (c brokenCompressor) Append(dst, src []byte) ([]byte, error) { return c.append(dst, src) }

func TestBrokenCompressors(t *testing.T) {
	plain := text(300<<10, 1)
	good := frame
	for name, f := range map[string]func(dst, src []byte) ([]byte, error){
		"error":       func(dst, src []byte) ([]byte, error) { return nil, errDisk },
		"nothing":     func(dst, src []byte) ([]byte, error) { return dst, nil },
		"garbage":     func(dst, src []byte) ([]byte, error) { return append(dst, src[:40]...), nil },
		"flipped bit": func(dst, src []byte) ([]byte, error) { b := good(src); b[1000] ^= 4; return append(dst, b...), nil },
		"other text":  func(dst, src []byte) ([]byte, error) { return append(dst, good(noise(len(src), 1))...), nil },
		"shorter":     func(dst, src []byte) ([]byte, error) { return append(dst, good(src[1:])...), nil },
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
	// One that inflates is replaced by raw blocks.
	c := seal(t, plain, &engine.WriterOptions{NewCompressor: func() (engine.Compressor, error) {
		return brokenCompressor{func(dst, src []byte) ([]byte, error) { return append(dst, make([]byte, 2*len(src))...), nil }}, nil
	}})
	if got, err := open(c, nil); err != nil || !bytes.Equal(got, plain) {
		t.Error(err)
	}
}
