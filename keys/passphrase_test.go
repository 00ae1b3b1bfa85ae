package keys_test

import (
	"bytes"
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/keys"
)

func TestNewPassphrase(t *testing.T) {
	for n, ok := range map[int]bool{0: false, 1: true, keys.MaxPassphrase: true, keys.MaxPassphrase + 1: false} {
		text := strings.Repeat("x", n)
		if p, err := keys.NewPassphrase([]byte(text)); (err == nil) != ok || (p != nil) != ok {
			t.Errorf("%d bytes: %v", n, err)
		} else if err != nil && n > 0 && strings.Contains(err.Error(), "xx") {
			t.Errorf("%d bytes: the error quotes the passphrase", n)
		}
	}
	if keys.MaxPassphrase != 1024 { // § 4.5.4
		t.Errorf("MaxPassphrase = %d", keys.MaxPassphrase)
	}
}

func TestPassphraseKeepsACopy(t *testing.T) {
	text := []byte("correct horse")
	p := must(must(keys.NewPassphrase(text)).WithCost(cheap))
	clear(text)
	fk := keys.NewFileKey()
	got, err := passphrase(t, "correct horse").Unwrap(t.Context(), testCore, wrap(t, p, fk))
	if err != nil || !bytes.Equal(got.Bytes(), fk.Bytes()) {
		t.Errorf("error %v", err)
	}
}

// TestPassphraseIsBytes: nothing is trimmed, folded or normalised.
func TestPassphraseIsBytes(t *testing.T) {
	slot := wrap(t, passphrase(t, "pässword"), keys.NewFileKey())
	for _, other := range []string{"pa\u0308ssword", "Pässword", "pässword\n", " pässword", "pässword\x00"} {
		if _, err := passphrase(t, other).Unwrap(t.Context(), testCore, slot); err != keys.ErrNoMatch {
			t.Errorf("%q: %v", other, err)
		}
	}
}

func TestWithCost(t *testing.T) {
	p := must(keys.NewPassphrase([]byte("correct horse")))
	for _, c := range []format.PassphraseParams{
		{}, {Time: 0, MemoryKiB: 8, Parallelism: 1}, {Time: 17, MemoryKiB: 8, Parallelism: 1},
		{Time: 1, MemoryKiB: 8, Parallelism: 0}, {Time: 1, MemoryKiB: 1 << 20, Parallelism: 17},
		{Time: 1, MemoryKiB: 31, Parallelism: 4}, {Time: 1, MemoryKiB: 1<<22 + 1, Parallelism: 1},
	} {
		var syntax *format.SyntaxError
		if got, err := p.WithCost(c); got != nil || !errors.As(err, &syntax) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	slot := wrap(t, must(p.WithCost(format.PassphraseParams{Time: 2, MemoryKiB: 64, Parallelism: 3})), keys.NewFileKey())
	if got := must(slot.PassphraseParams()); got != (format.PassphraseParams{Time: 2, MemoryKiB: 64, Parallelism: 3}) {
		t.Errorf("the slot costs %+v", got)
	}
	if _, err := p.Unwrap(t.Context(), testCore, slot); err != nil {
		t.Errorf("a passphrase of another cost does not open the slot: %v", err)
	}
	if want := (format.PassphraseParams{Time: 3, MemoryKiB: 256 << 10, Parallelism: 4}); keys.DefaultCost() != want { // § 3.3.1
		t.Errorf("DefaultCost() = %+v", keys.DefaultCost())
	}
}

// TestArgon2OneAtATime: who waits for another run's memory is let go by its
// context, and runs when the other one ends.
func TestArgon2OneAtATime(t *testing.T) {
	p, fk := passphrase(t, "correct horse"), keys.NewFileKey()
	slot := wrap(t, p, fk)
	keys.OneArgon2 <- struct{}{}

	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("the user went away")
	time.AfterFunc(10*time.Millisecond, func() { cancel(gone) })
	if _, err := p.Unwrap(ctx, testCore, slot); err != gone {
		t.Errorf("Unwrap: %v", err)
	}
	if _, err := p.Wrap(ctx, testCore, fk); err != gone {
		t.Errorf("Wrap: %v", err)
	}

	done := make(chan error, 1)
	go func() {
		_, err := p.Unwrap(t.Context(), testCore, slot)
		done <- err
	}()
	select {
	case err := <-done:
		t.Errorf("two runs at one time: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	<-keys.OneArgon2
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestArgon2NotStarted: a context that has ended starts no run, though the
// memory is free.
func TestArgon2NotStarted(t *testing.T) {
	p := passphrase(t, "correct horse")
	slot := wrap(t, p, keys.NewFileKey())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 64 { // select would choose either way
		if _, err := p.Unwrap(ctx, testCore, slot); err != context.Canceled {
			t.Fatalf("error %v", err)
		}
	}
}

// TestArgon2Memory: the memory of a run is the system's again before segments are
// allocated.
func TestArgon2Memory(t *testing.T) {
	p := must(passphrase(t, "correct horse").WithCost(format.PassphraseParams{Time: 1, MemoryKiB: 256 << 10, Parallelism: 4}))
	wrap(t, p, keys.NewFileKey())
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	const limit = 64 << 20
	if held := m.HeapSys - m.HeapReleased; m.TotalAlloc < 256<<20 || m.HeapInuse > limit || held > limit {
		t.Errorf("of %d MiB allocated, %d are in use and %d held from the system", m.TotalAlloc>>20, m.HeapInuse>>20, held>>20)
	}
}

func TestPassphraseErase(t *testing.T) {
	p := passphrase(t, "correct horse")
	slot := wrap(t, p, keys.NewFileKey())
	p.Erase()
	if _, err := p.Unwrap(t.Context(), testCore, slot); err != keys.ErrNoMatch {
		t.Errorf("an erased passphrase: %v", err)
	}
}
