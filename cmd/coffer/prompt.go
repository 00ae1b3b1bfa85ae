package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/term"

	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/keys"
)

var errNoTerminal = errors.New("there is no terminal to ask on")

// openTerminal opens the terminal of the process, whatever stdin is.
func openTerminal() (*os.File, error) {
	name := "/dev/tty"
	if runtime.GOOS == "windows" {
		name = "CONIN$"
	}
	tty, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return nil, errNoTerminal
	}
	return tty, nil
}

// askSecret reads a line from the terminal without echo, until ctx ends.
func askSecret(ctx context.Context, prompt string) ([]byte, error) {
	tty, err := openTerminal()
	if err != nil {
		return nil, err
	}
	defer tty.Close()
	fd := int(tty.Fd())
	state, err := term.GetState(fd)
	if err != nil {
		return nil, errNoTerminal
	}
	if _, err := fmt.Fprint(tty, prompt); err != nil { // a console's input cannot be written to
		fmt.Fprint(os.Stderr, prompt)
	}
	text, err := orDone(ctx, func() ([]byte, error) { return term.ReadPassword(fd) })
	if err != nil {
		// If ctx ended, ReadPassword still waits and will not turn the echo on again.
		_ = term.Restore(fd, state)
		err = fmt.Errorf("reading from the terminal: %w", err)
	}
	fmt.Fprintln(tty)
	return text, err
}

// askKnown asks for what is there already.
func askKnown(ctx context.Context, what string) ([]byte, error) {
	return askSecret(ctx, "The "+what+": ")
}

// askNew asks twice for what: a slip would lock the owner out.
func askNew(ctx context.Context, what string) ([]byte, error) {
	text, err := askSecret(ctx, "New "+what+": ")
	if err != nil {
		return nil, err
	}
	again, err := askSecret(ctx, "The same again: ")
	if err != nil {
		return nil, err
	}
	return sameTwice(what, text, again)
}

// askNewOrKnown asks for what nobody but the person knows to be new or not: if it is
// known, it is asked for once.
func askNewOrKnown(ctx context.Context, what string) (text []byte, known bool, err error) {
	text, err = askSecret(ctx, "The "+what+", a new one if this is the first backup: ")
	if err != nil {
		return nil, false, err
	}
	again, err := askSecret(ctx, "If it is new, the same again, else only Enter: ")
	if err != nil || len(again) == 0 {
		return text, true, err
	}
	text, err = sameTwice(what, text, again)
	return text, false, err
}

func sameTwice(what string, text, again []byte) ([]byte, error) {
	if !bytes.Equal(text, again) {
		return nil, usagef("the two %ss differ: nothing was written", what)
	}
	return text, nil
}

// confirm fails unless somebody at the terminal types yes.
func confirm(ctx context.Context, question string) error {
	tty, err := openTerminal()
	if err != nil {
		return err
	}
	defer tty.Close()
	question += " Type yes: "
	if _, err := fmt.Fprint(tty, question); err != nil { // a console's input cannot be written to
		fmt.Fprint(os.Stderr, question)
	}
	answer, err := orDone(ctx, func() (string, error) { return bufio.NewReader(io.LimitReader(tty, 1<<10)).ReadString('\n') })
	if err != nil {
		return fmt.Errorf("reading from the terminal: %w", err)
	}
	if strings.TrimSpace(answer) != "yes" {
		return usagef("nothing was done, as the answer was not yes")
	}
	return nil
}

// askForSlots asks for what opens one of the slots.
func askForSlots(ctx context.Context, slots []format.Kind) ([]key, error) {
	account := slices.Contains(slots, format.KindAccount)
	passphrase := slices.Contains(slots, format.KindPassphrase)
	switch {
	case account && passphrase:
		text, err := askSecret(ctx, "Account key (64 digits) or passphrase: ")
		if err != nil {
			return nil, err
		}
		return keyOrPassphrase(text)
	case account:
		text, err := askSecret(ctx, "Account key (64 digits): ")
		if err != nil {
			return nil, err
		}
		k, err := keys.ParseAccountKey(string(text))
		if err != nil {
			return nil, err
		}
		return []key{accountKey{k, keys.HasChecksum(text)}}, nil
	case passphrase:
		text, err := askSecret(ctx, "Passphrase: ")
		if err != nil {
			return nil, err
		}
		p, err := keys.NewPassphrase(text)
		if err != nil {
			return nil, usagef("%w", err)
		}
		return []key{p}, nil
	}
	return nil, cannotAsk(slots, "")
}

// cannotAsk says what opens slots for which nobody can be asked, and why not.
func cannotAsk(slots []format.Kind, why string) error {
	var ways []string
	for _, k := range slotKinds {
		if slices.Contains(slots, k.kind) {
			ways = append(ways, fmt.Sprintf("%s (%v)", k.flag, k.kind))
		}
	}
	if len(ways) == 0 {
		return fmt.Errorf("%w: this program knows nothing that opens the container: %v", keys.ErrNoMatch, slots)
	}
	return usagef("no key was given%s: the container is opened by %s", why, strings.Join(ways, ", or by "))
}

// keyOrPassphrase takes text for a key if it is one, and for a passphrase too: it
// may be that by chance. What has a key's digits but not its checksum is a typing
// error.
func keyOrPassphrase(text []byte) ([]key, error) {
	account, err := keys.ParseAccountKey(string(text))
	if err != nil && looksLikeKey(text) {
		return nil, err
	}
	p, perr := keys.NewPassphrase(text)
	if perr != nil {
		return nil, usagef("%w", perr)
	}
	if err != nil {
		return []key{p}, nil
	}
	return []key{accountKey{account, keys.HasChecksum(text)}, p}, nil
}

// looksLikeKey reports whether text is nothing but hex digits, in groups or not,
// about as many as a key has.
func looksLikeKey(text []byte) bool {
	digits := 0
	for _, c := range bytes.ToLower(text) {
		switch {
		case c >= '0' && c <= '9' || c >= 'a' && c <= 'f':
			digits++
		case c != ' ' && c != '-':
			return false
		}
	}
	return digits >= 56 && digits <= 76
}
