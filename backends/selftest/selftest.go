// Package selftest asks a backend, on the machine where it is about to be used,
// whether it computes what the standards say, and how fast.
package selftest

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/coffer-backup/coffer/backends"
	"github.com/coffer-backup/coffer/format"
)

// Run seals and opens known answers, and demands that forged messages are
// refused. It takes about a millisecond in software. The error wraps
// backends.ErrUnavailable if b lacks suite, and what b returned if b failed.
func Run(ctx context.Context, b backends.Backend, suite format.Suite) error {
	if len(vectors[suite]) == 0 {
		return fmt.Errorf("self-test of backend %s: %v: %w", b.Name(), suite, backends.ErrUnavailable)
	}
	for _, v := range vectors[suite] {
		if err := runVector(ctx, b, suite, v); err != nil {
			return fmt.Errorf("self-test of backend %s: %v, %s: %w", b.Name(), suite, v.name, err)
		}
	}
	return nil
}

func runVector(ctx context.Context, b backends.Backend, suite format.Suite, v vector) error {
	aead, err := b.NewAEAD(ctx, suite, unhex(v.key))
	if err != nil {
		return err
	}
	defer aead.Close()
	nonce, ad := unhex(v.nonce), unhex(v.ad)
	plain := bytes.Repeat(unhex(v.plaintext), max(1, v.repeat))

	sealed, err := aead.Seal(nil, nonce, plain, ad)
	if err != nil {
		return fmt.Errorf("sealing: %w", err)
	}
	if len(sealed) != len(plain)+backends.Overhead || !bytes.HasSuffix(sealed, unhex(v.sealed)) {
		return errors.New("the sealed message is wrong")
	}
	opened, err := aead.Open(nil, nonce, sealed, ad)
	if err != nil {
		return fmt.Errorf("opening: %w", err)
	}
	if !bytes.Equal(opened, plain) {
		return errors.New("the opened message is wrong")
	}
	if err := runForged(aead, nonce, sealed, ad); err != nil {
		return err
	}
	return aead.Close()
}

// runForged flips a bit in each byte of the tag, in the ciphertext and in the
// associated data.
func runForged(aead backends.AEAD, nonce, sealed, ad []byte) error {
	refused := func(b *byte) error {
		*b ^= 0x10
		defer func() { *b ^= 0x10 }()
		if _, err := aead.Open(nil, nonce, sealed, ad); err == nil {
			return errors.New("a forged message was opened")
		} else if !errors.Is(err, backends.ErrAuth) {
			return fmt.Errorf("opening a forged message: %w", err)
		}
		return nil
	}
	tag := len(sealed) - backends.Overhead
	for i := tag; i < len(sealed); i++ {
		if err := refused(&sealed[i]); err != nil {
			return err
		}
	}
	if tag > 0 {
		if err := refused(&sealed[tag/2]); err != nil {
			return err
		}
	}
	if len(ad) > 0 {
		return refused(&ad[len(ad)-1])
	}
	return nil
}

// unhex decodes a constant of this package.
func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic("selftest: internal error: " + err.Error())
	}
	return b
}

// Speed seals and then opens messages as long as a full package, for about dur
// each, on one core, and returns the speeds in bytes of plaintext per second.
func Speed(ctx context.Context, b backends.Backend, suite format.Suite, dur time.Duration) (seal, open float64, err error) {
	// Key, nonce and message are constants, so repeating them gives nothing away.
	aead, err := b.NewAEAD(ctx, suite, make([]byte, backends.KeySize))
	if err != nil {
		return 0, 0, fmt.Errorf("measuring backend %s: %w", b.Name(), err)
	}
	defer aead.Close()
	nonce, plain := make([]byte, backends.NonceSize), make([]byte, format.MaxPayload)
	sealed := make([]byte, 0, len(plain)+backends.Overhead)

	seal, err = measure(ctx, dur, func() (err error) {
		sealed, err = aead.Seal(sealed[:0], nonce, plain, nil)
		return err
	})
	if err != nil {
		return 0, 0, fmt.Errorf("measuring backend %s: sealing: %w", b.Name(), err)
	}
	open, err = measure(ctx, dur, func() error {
		_, err := aead.Open(plain[:0], nonce, sealed, nil)
		return err
	})
	if err != nil {
		return 0, 0, fmt.Errorf("measuring backend %s: opening: %w", b.Name(), err)
	}
	return seal, open, nil
}

// measure calls message, at least once, until dur has passed.
func measure(ctx context.Context, dur time.Duration, message func() error) (bytesPerSecond float64, err error) {
	start := time.Now()
	for n := 1; ; n++ {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		if err := message(); err != nil {
			return 0, err
		}
		if d := time.Since(start); d > 0 && d >= dur { // coarse clocks give 0
			return float64(n) * format.MaxPayload / d.Seconds(), nil
		}
	}
}
