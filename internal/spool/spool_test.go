package spool

import (
	"bytes"
	"io"
	"math/rand/v2"
	"os"
	"testing"
)

func TestSpool(t *testing.T) {
	for _, limit := range []int64{0, 1, chunkSize, 3 * chunkSize, 1 << 30} {
		for _, size := range []int{0, 1, chunkSize - 1, chunkSize, chunkSize + 1, 5*chunkSize + 17} {
			dir := t.TempDir()
			s := New(limit, dir)
			rnd := rand.New(rand.NewPCG(1, uint64(size)))
			want := make([]byte, size)
			for i := range want {
				want[i] = byte(rnd.Uint32())
			}
			for rest := want; len(rest) > 0; {
				n := min(len(rest), 1+rnd.IntN(2*chunkSize))
				if m, err := s.Write(rest[:n]); m != n || err != nil {
					t.Fatalf("Write = %d, %v", m, err)
				}
				rest = rest[n:]
			}
			if int64(size) > limit+chunkSize && s.file == nil {
				t.Errorf("limit %d, size %d: everything is still in memory", limit, size)
			}
			for range 2 {
				var got bytes.Buffer
				if n, err := s.WriteTo(&got); n != int64(size) || err != nil || !bytes.Equal(got.Bytes(), want) || s.Size() != n {
					t.Fatalf("limit %d, size %d: WriteTo = %d, %v", limit, size, n, err)
				}
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if left, _ := os.ReadDir(dir); len(left) != 0 {
				t.Errorf("Close left %v", left)
			}
		}
	}
}

func TestSpoolFileIsSealed(t *testing.T) {
	s := New(0, t.TempDir())
	defer s.Close()
	text := bytes.Repeat([]byte("plaintext"), chunkSize)
	if _, err := s.Write(text); err != nil {
		t.Fatal(err)
	}
	file, err := io.ReadAll(io.NewSectionReader(s.file, 0, 1<<30))
	if err != nil {
		t.Fatal(err)
	}
	if len(file) < chunkSize || bytes.Contains(file, []byte("plaintext")) {
		t.Errorf("%d bytes in the file, in the clear: %v", len(file), bytes.Contains(file, []byte("plaintext")))
	}
	if _, err := s.file.WriteAt([]byte{file[100] ^ 1}, 100); err != nil {
		t.Fatal(err)
	}
	if _, err := s.WriteTo(io.Discard); err == nil {
		t.Error("a changed file was read")
	}
}

// A write that failed is not tried again: it would use a nonce twice.
func TestSpoolFailsForGood(t *testing.T) {
	s := New(0, t.TempDir())
	if _, err := s.Write(make([]byte, 2*chunkSize)); err != nil {
		t.Fatal(err)
	}
	s.file.Close()
	_, first := s.Write(make([]byte, 2*chunkSize))
	if first == nil {
		t.Fatal("writing to a closed file worked")
	}
	sealed := s.sealed
	if _, err := s.Write([]byte("more")); err != first || s.sealed != sealed {
		t.Errorf("then %v, %d chunks after %d", err, s.sealed, sealed)
	}
	if _, err := s.WriteTo(io.Discard); err != first {
		t.Errorf("WriteTo: %v", err)
	}
}

func TestSpoolFailures(t *testing.T) {
	s := New(0, t.TempDir()+"/missing")
	if _, err := s.Write([]byte("x")); err == nil {
		t.Error("a missing directory was no error")
	}
}
