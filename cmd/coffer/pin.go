package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"

	"github.com/coffer-backup/coffer/backends/pkcs11"
)

// maxPINFile is longer than any token's PIN, with a line end.
const maxPINFile = 1024

// parseDescriptor judges the descriptor before the command opens anything: a file of its
// own in that place must not pass for the PIN, which would be a wrong one.
func parseDescriptor(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 31)
	switch {
	case err != nil:
		return -1, errors.New("want the number of an open file descriptor")
	case n == 1 || n == 2:
		return -1, errors.New("1 and 2 are what the command writes to")
	}
	return int(n), checkInherited(int(n))
}

// checkInput fails if the command reads its data from where the PIN is.
func (h hsmFlags) checkInput(name string) error {
	if h.pinFD == 0 && name == stdio {
		return usagef("--hsm-pin-fd 0: stdin has the data: use another descriptor, as in --hsm-pin-fd 3 3<pinfile")
	}
	return nil
}

// A pinSource reads the PIN once: it may come through a pipe or from a person, and
// the token may have to be opened again after a failure.
type pinSource struct {
	flags hsmFlags
	uri   *pkcs11.URI

	mu  sync.Mutex
	pin []byte
}

// Format keeps every verb of fmt from the PIN.
func (*pinSource) Format(f fmt.State, _ rune) { fmt.Fprint(f, "[redacted]") }

// get returns a copy, which the caller erases.
func (p *pinSource) get(ctx context.Context) (pin []byte, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pin == nil {
		if p.pin, err = p.flags.readPIN(ctx, p.uri); err != nil {
			return nil, err
		}
	}
	return bytes.Clone(p.pin), nil
}

func (p *pinSource) erase() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.pin)
	p.pin = nil
}

func (h hsmFlags) readPIN(ctx context.Context, uri *pkcs11.URI) ([]byte, error) {
	path := cmp.Or(h.pinFile, uri.PINFile)
	what := "PIN file " + quoteName(path)
	read := func() ([]byte, error) { return readLimited("PIN file", path, maxPINFile) }
	switch {
	case h.pinFD >= 0:
		what = fmt.Sprintf("--hsm-pin-fd %d", h.pinFD)
		read = func() ([]byte, error) { return readDescriptor(h.pinFD) }
	case path == "":
		return askPIN(ctx, uri)
	}
	text, err := orDone(ctx, read)
	if err != nil {
		return nil, err
	}
	pin := trimLineEnd(text)
	// Whatever the token would refuse costs one of a few tries.
	switch {
	case len(pin) == 0:
		return nil, usagef("%s: the PIN is empty", what)
	case len(text) > maxPINFile:
		return nil, usagef("%s: longer than %d bytes: that is no PIN", what, maxPINFile)
	case bytes.ContainsAny(pin, "\r\n"):
		return nil, usagef("%s: more than one line: that is no PIN", what)
	}
	return pin, nil
}

func askPIN(ctx context.Context, uri *pkcs11.URI) ([]byte, error) {
	pin, err := askSecret(ctx, fmt.Sprintf("PIN of token %s: ", quoteName(tokenName(uri))))
	switch {
	case errors.Is(err, errNoTerminal):
		return nil, usagef("the token wants a PIN, and %w: use --hsm-pin-file or --hsm-pin-fd", err)
	case err == nil && len(pin) == 0:
		return nil, usagef("the PIN is empty: the token was not asked")
	}
	return pin, err
}

func readDescriptor(fd int) ([]byte, error) {
	f := os.Stdin
	if fd != 0 {
		f = os.NewFile(uintptr(fd), "PIN")
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxPINFile+1))
	if err != nil {
		return nil, usagef("--hsm-pin-fd %d: %w", fd, err)
	}
	return b, nil
}
