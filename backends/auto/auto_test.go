package auto_test

import (
	"errors"
	"testing"

	"github.com/coffer-backup/coffer/backends"
	"github.com/coffer-backup/coffer/backends/aesni"
	"github.com/coffer-backup/coffer/backends/auto"
	"github.com/coffer-backup/coffer/format"
)

func TestSelect(t *testing.T) {
	best, aes := "software", "software"
	bestSuite := format.ChaCha20Poly1305
	if len(aesni.New().Suites()) > 0 {
		best, aes, bestSuite = "aesni", "aesni", format.AES256GCM
	}
	for suite, want := range map[format.Suite]string{
		0:                       best,
		format.AES256GCM:        aes,
		format.ChaCha20Poly1305: "software",
	} {
		b, err := auto.Select(suite)
		if err != nil {
			t.Fatalf("Select(%v): %v", suite, err)
		}
		if b.Name() != want {
			t.Errorf("Select(%v) = %s, want %s", suite, b.Name(), want)
		}
		if suite == 0 && b.Suites()[0] != bestSuite {
			t.Errorf("best suite is %v, want %v", b.Suites()[0], bestSuite)
		}
	}
	if _, err := auto.Select(3); !errors.Is(err, backends.ErrUnavailable) {
		t.Errorf("Select(3): %v, want ErrUnavailable", err)
	}
}

func TestByName(t *testing.T) {
	for _, want := range auto.Backends() {
		got, err := auto.ByName(want.Name())
		if len(want.Suites()) == 0 {
			if !errors.Is(err, backends.ErrUnavailable) {
				t.Errorf("ByName(%q): %v, want ErrUnavailable", want.Name(), err)
			}
		} else if err != nil || got.Name() != want.Name() {
			t.Errorf("ByName(%q) = %v, %v", want.Name(), got, err)
		}
	}
	if b, err := auto.ByName("quantum"); err == nil {
		t.Errorf("ByName of an unknown name gave %s", b.Name())
	}
}
