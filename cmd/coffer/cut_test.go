package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/coffer-backup/coffer/archive"
	"github.com/coffer-backup/coffer/engine"
	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/keys"
)

// cutSink is a writer of containers that forgets the end of the archive.
type cutSink struct {
	*engine.Writer
	left int
}

func (s *cutSink) Write(p []byte) (int, error) {
	q := p[:min(len(p), s.left)]
	s.left -= len(q)
	if _, err := s.Writer.Write(q); err != nil {
		return 0, err
	}
	return len(p), nil
}

// An archive that is cut short in a container that is whole is damage: what is
// whole is restored, the rest listed.
func TestCutArchive(t *testing.T) {
	p := newPlace(t)
	src := p.mkdir("src")
	writeFile(t, src+"/a", []byte("whole"))
	writeFile(t, src+"/b", make([]byte, 100*format.TarBlock))
	key := p.key()
	var sealed bytes.Buffer
	w, err := engine.NewWriter(t.Context(), &sealed, []keys.Recipient{key}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	if _, err := archive.Create(t.Context(), &cutSink{w, 50 * format.TarBlock}, []string{src}, nil); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	writeFile(t, p.path("b"), sealed.Bytes())

	code, stderr := status(t, p.cmd("restore", "--key-file", "k", "-C", "out", "b"))
	restored := "out" + src
	if b, err := os.ReadFile(p.path(restored + "/a")); code != 13 || string(b) != "whole" {
		t.Errorf("exit status %d, %q, %v", code, b, err)
	}
	if !strings.Contains(stderr, "not restored: "+src[1:]+"/b\n") || strings.Contains(stderr, "/a\n") {
		t.Error(stderr)
	}
	if _, err := os.Lstat(p.path(restored + "/b")); err == nil {
		t.Error("a part of a file is restored")
	}
}
