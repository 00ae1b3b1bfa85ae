package interop_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os/exec"
	"testing"

	seekable "github.com/SaveTheRbtz/zstd-seekable-format-go/pkg"
	"github.com/klauspost/compress/zstd"
	"github.com/minio/sio"

	"github.com/coffer-backup/coffer/engine"
	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/internal/need"
	"github.com/coffer-backup/coffer/keys"
)

// sioSuites is what sio calls our suites.
var sioSuites = map[format.Suite]byte{
	format.AES256GCM:        sio.AES_256_GCM,
	format.ChaCha20Poly1305: sio.CHACHA20_POLY1305,
}

const segment = 64 << 10

// sizes lie around the bounds of zstd's content size field, of a segment and of
// a package.
var sizes = []int{0, 1, 255, 256, segment - 1, segment, segment + 1, 3 * segment, 9*segment + 4711}

// plaintext returns n bytes, half of which compress.
func plaintext(n int) []byte {
	rnd := rand.New(rand.NewPCG(uint64(n), 1))
	b := make([]byte, n)
	for i := range b {
		if b[i] = 'a' + byte(rnd.IntN(4)); i/5000%2 == 1 {
			b[i] = byte(rnd.Uint32())
		}
	}
	return b
}

// seal returns a container of plain, and the account key that opens it.
func seal(t *testing.T, plain []byte, opts *engine.WriterOptions, catalog bool) ([]byte, *keys.AccountKey) {
	key := keys.GenerateAccountKey()
	var out bytes.Buffer
	w, err := engine.NewWriter(t.Context(), &out, []keys.Recipient{key}, opts)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	if _, err := w.Write(plain); err != nil {
		t.Fatal(err)
	}
	if catalog {
		for i := range uint64(3) {
			if err := w.AddCatalogEntry(format.CatalogEntry{Offset: i * format.TarBlock, Type: '0', Path: fmt.Sprint("file ", i)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes(), key
}

// openBody decrypts the body of a container with sio: all it has of ours is the
// key BK of § 4.4.
func openBody(t *testing.T, container []byte, key *keys.AccountKey, context []byte) []byte {
	h, block, err := format.ReadHeader(bytes.NewReader(container))
	if err != nil {
		t.Fatal(err)
	}
	slot, _, err := h.Entries[0].Slot()
	if err != nil {
		t.Fatal(err)
	}
	fk, err := key.Unwrap(t.Context(), h.Core(), slot)
	if err != nil {
		t.Fatal(err)
	}
	bodyKey, _ := keys.NewSchedule(fk, &h.Salt).Body(h.Core(), context)
	body := container[len(block) : len(container)-len(block)]
	content, err := sio.DecryptBuffer(nil, body, sio.Config{
		MinVersion:   sio.Version20,
		CipherSuites: []byte{sioSuites[h.Suite]},
		Key:          bodyKey,
	})
	if err != nil {
		t.Fatalf("sio does not open the body: %v", err)
	}
	return content
}

// forEach calls do with the content, as sio decrypts it, of containers of every
// level and size, with and without padding and catalog.
func forEach(t *testing.T, do func(t *testing.T, content, plain []byte)) {
	suite := format.AES256GCM
	for _, level := range []engine.Level{engine.Store, engine.Fast, engine.Balanced, engine.Small} {
		for _, size := range sizes {
			for _, extra := range []struct{ pad, catalog bool }{{}, {pad: true}, {catalog: true}, {true, true}} {
				suite = format.AES256GCM + format.ChaCha20Poly1305 - suite // the other one
				name := fmt.Sprintf("%v/%d/pad=%v/catalog=%v", level, size, extra.pad, extra.catalog)
				t.Run(name, func(t *testing.T) {
					plain := plaintext(size)
					container, key := seal(t, plain, &engine.WriterOptions{Suite: suite, Level: level, SegmentSize: segment, Pad: extra.pad}, extra.catalog)
					do(t, openBody(t, container, key, nil), plain)
				})
			}
		}
	}
}

// TestSio opens bodies of both suites, of one package and of many, with a context
// and without.
func TestSio(t *testing.T) {
	for suite := range sioSuites {
		for _, size := range sizes {
			for _, context := range []string{"", "snapshot 7"} {
				plain := plaintext(size)
				container, key := seal(t, plain, &engine.WriterOptions{Suite: suite, Level: engine.Store, SegmentSize: segment, Context: []byte(context)}, false)
				content := openBody(t, container, key, []byte(context))
				if dec, err := decoder(t).DecodeAll(content, nil); err != nil || !bytes.Equal(dec, plain) {
					t.Errorf("%v, %d bytes, context %q: %d bytes, %v", suite, size, context, len(dec), err)
				}
			}
		}
	}
}

// TestZstdCommand decompresses with the reference implementation.
func TestZstdCommand(t *testing.T) {
	command := need.Command(t, "zstd", "apt-get install zstd")
	forEach(t, func(t *testing.T, content, plain []byte) {
		zstd := exec.CommandContext(t.Context(), command, "-d", "-c")
		zstd.Stdin = bytes.NewReader(content)
		var stderr bytes.Buffer
		zstd.Stderr = &stderr
		if got, err := zstd.Output(); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%d bytes, %v: %s", len(got), err, &stderr)
		}
	})
}

// TestSeekableReader seeks with a reader of the zstd seekable format that knows
// nothing of us.
func TestSeekableReader(t *testing.T) {
	dec := decoder(t)
	forEach(t, func(t *testing.T, content, plain []byte) {
		r, err := seekable.NewReader(bytes.NewReader(content), dec)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("reading in order: %d bytes, %v", len(got), err)
		}
		if end, err := r.Seek(0, io.SeekEnd); err != nil || end != int64(len(plain)) {
			t.Errorf("the end is at %d, %v", end, err)
		}
		rnd := rand.New(rand.NewPCG(1, uint64(len(plain))))
		for range 30 {
			from := rnd.IntN(len(plain) + 1)
			to := from + rnd.IntN(len(plain)-from+1)
			if _, err := r.Seek(int64(from), io.SeekStart); err != nil {
				t.Fatal(err)
			}
			got := make([]byte, to-from)
			if _, err := io.ReadFull(r, got); err != nil || !bytes.Equal(got, plain[from:to]) {
				t.Fatalf("[%d, %d): %v", from, to, err)
			}
		}
		if n, err := r.ReadAt(make([]byte, 1), int64(len(plain))); n != 0 || !errors.Is(err, io.EOF) {
			t.Errorf("after the end: %d bytes, %v", n, err)
		}
	})
}

func decoder(t *testing.T) *zstd.Decoder {
	d, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}
