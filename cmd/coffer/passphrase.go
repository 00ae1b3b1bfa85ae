package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"

	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/keys"
)

func newPassphrase(text []byte, cost format.PassphraseParams) (*keys.Passphrase, error) {
	p, err := keys.NewPassphrase(text)
	if err != nil {
		return nil, err
	}
	return p.WithCost(cost)
}

// readPassphrases reads those that need no terminal.
func (k *keyFlags) readPassphrases(ctx context.Context, cost format.PassphraseParams) (found []key, err error) {
	for _, path := range k.passphraseFiles {
		text, err := readLimited("passphrase file", path, keys.MaxPassphrase+2)
		if err != nil {
			return nil, err
		}
		p, err := newPassphrase(trimLineEnd(text), cost)
		if err != nil {
			return nil, usagef("passphrase file %s: %w", quoteName(path), err)
		}
		found = append(found, p)
	}
	for _, command := range k.passphraseCommands {
		text, err := runPassphraseCommand(ctx, command)
		if err != nil {
			return nil, err
		}
		p, err := newPassphrase(trimLineEnd(text), cost)
		if err != nil {
			return nil, usagef("passphrase command: %w", err)
		}
		found = append(found, p)
	}
	return found, nil
}

// runPassphraseCommand returns what the command prints, or of more than a passphrase
// its beginning, for the caller to refuse. It may talk to the user on the terminal,
// but not on stdin, which may be the data.
func runPassphraseCommand(ctx context.Context, command string) ([]byte, error) {
	shell := []string{"/bin/sh", "-c"}
	if runtime.GOOS == "windows" {
		shell = []string{"cmd", "/c"}
	}
	cmd := exec.CommandContext(ctx, shell[0], shell[1], command)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("passphrase command: %w", err)
	}
	const limit = keys.MaxPassphrase + 2 // with a line end
	text, readErr := io.ReadAll(io.LimitReader(out, limit+1))
	out.Close() // or it may print for ever
	if err := errors.Join(readErr, cmd.Wait()); err != nil && len(text) <= limit {
		return nil, fmt.Errorf("passphrase command: %w", err)
	}
	return text, nil
}

// trimLineEnd removes one line end, LF or CRLF: the rest is the passphrase.
func trimLineEnd(b []byte) []byte {
	if t, ok := bytes.CutSuffix(b, []byte("\n")); ok {
		return bytes.TrimSuffix(t, []byte("\r"))
	}
	return b
}
