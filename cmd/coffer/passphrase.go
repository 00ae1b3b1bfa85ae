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
		text, err := readLimited("passphrase file", path, maxPassphraseText)
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
		text, err := outputOf("passphrase command", shell(ctx, command), maxPassphraseText)
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

// maxPassphraseText is the length of a passphrase with a line end.
const maxPassphraseText = keys.MaxPassphrase + 2

// shell returns the command, with more in its environment.
func shell(ctx context.Context, command string, environment ...string) *exec.Cmd {
	with := []string{"/bin/sh", "-c"}
	if runtime.GOOS == "windows" {
		with = []string{"cmd", "/c"}
	}
	cmd := exec.CommandContext(ctx, with[0], with[1], command)
	cmd.Stderr = os.Stderr
	cmd.Env = append(os.Environ(), environment...)
	return cmd
}

// outputOf returns what a command prints, or of more than limit bytes the first limit+1,
// for the caller to refuse. The command may talk to the user on the terminal, but not on
// stdin, which may be the data.
func outputOf(what string, cmd *exec.Cmd, limit int) ([]byte, error) {
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	text, readErr := io.ReadAll(io.LimitReader(out, int64(limit)+1))
	out.Close() // or it may print for ever
	if err := errors.Join(readErr, cmd.Wait()); err != nil && len(text) <= limit {
		return nil, fmt.Errorf("%s: %w", what, err)
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
