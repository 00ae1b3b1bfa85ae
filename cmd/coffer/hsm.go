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
	"time"

	"github.com/spf13/pflag"

	"github.com/coffer-backup/coffer/backends"
	"github.com/coffer-backup/coffer/backends/pkcs11"
	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/keys"
)

const hsmHelp = `The URI (RFC 7512) names the token's library, the token and the key:

  'pkcs11:token=backups;object=coffer?module-path=/usr/lib/softhsm/libsofthsm2.so'

"coffer hsm init" prints the whole of it. The PIN is read from --hsm-pin-file, from
--hsm-pin-fd or from the URI's pin-source, else the terminal is asked. A wrong one is
never tried again. No container can say what library to load or which token to open.`

// defaultObject is the label of the key in a token if the URI has neither a label nor
// an id.
const defaultObject = "coffer"

// maxPINFile is longer than any token's PIN, with a line end.
const maxPINFile = 1024

// hsmFlags say which token, and how to open it.
type hsmFlags struct {
	uri     string
	pinFile string
	pinFD   int // below 0: none
	timeout time.Duration
}

func (h *hsmFlags) register(fs *pflag.FlagSet) {
	// The text is parsed later: the message of a flag that is refused quotes its
	// value, and somebody may try to give a PIN in it.
	fs.StringVar(&h.uri, "hsm", "", "`URI` of a key in a PKCS#11 token, see coffer hsm --help ($COFFER_HSM)")
	fs.StringVar(&h.pinFile, "hsm-pin-file", "", "`FILE` with the token's PIN ($COFFER_HSM_PIN_FILE, for $COFFER_HSM)")
	h.pinFD = -1
	parsedVar(fs, &h.pinFD, "hsm-pin-fd", "N", "", "open file descriptor to read the token's PIN from", parseDescriptor)
	fs.DurationVar(&h.timeout, "hsm-timeout", 10*time.Second, "how long one call of the token's library may take")
}

func parseDescriptor(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 {
		return -1, errors.New("want the number of an open file descriptor")
	}
	return n, nil
}

// orEnvironment returns h, or with the token of the environment if h has none.
func (h hsmFlags) orEnvironment() hsmFlags {
	if h.uri != "" {
		return h
	}
	h.uri = os.Getenv("COFFER_HSM")
	if h.pinFile == "" && h.pinFD < 0 {
		h.pinFile = os.Getenv("COFFER_HSM_PIN_FILE")
	}
	return h
}

// files returns the name of the file with the PIN. It is called before anything is
// judged.
func (h hsmFlags) files() []string {
	if h.pinFile != "" {
		return []string{h.pinFile}
	}
	if uri, err := pkcs11.ParseURI(h.uri); err == nil && uri.PINFile != "" && h.pinFD < 0 {
		return []string{uri.PINFile}
	}
	return nil
}

// key returns the key in the token, neither of which is looked for yet, or nil if
// there is no --hsm.
func (h hsmFlags) key() (*tokenKey, error) {
	switch {
	case h.uri == "" && (h.pinFile != "" || h.pinFD >= 0):
		return nil, usagef("a PIN is given, but no --hsm")
	case h.uri == "":
		return nil, nil
	case h.pinFile != "" && h.pinFD >= 0:
		return nil, usagef("--hsm-pin-file and --hsm-pin-fd exclude each other")
	case h.timeout <= 0:
		return nil, usagef("--hsm-timeout: want more than 0")
	}
	uri, err := pkcs11.ParseURI(h.uri)
	if err == nil && uri.Module == "" {
		err = errors.New("module-path is missing: the token's library, as in ?module-path=/usr/lib/softhsm/libsofthsm2.so")
	}
	if err != nil {
		return nil, usagef("--hsm: %w", err)
	}
	c, k := &uri.Config, &uri.Key
	named := c.Token+c.Serial+c.Manufacturer+c.Model+k.Label+string(k.ID) != ""
	if k.Label == "" && len(k.ID) == 0 {
		k.Label = defaultObject
	}
	pin := &pinSource{flags: h, uri: uri}
	uri.Timeout, uri.PIN = h.timeout, pin.get
	return &tokenKey{uri: uri, named: named, pin: pin}, nil
}

// A pinSource reads the PIN once: it may come through a pipe or from a person, and
// the token may have to be opened again after a failure.
type pinSource struct {
	flags hsmFlags
	uri   *pkcs11.URI

	mu  sync.Mutex
	pin []byte
}

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
	switch {
	case len(pin) == 0:
		return nil, usagef("%s: the PIN is empty", what)
	case len(text) > maxPINFile:
		return nil, usagef("%s: longer than %d bytes: that is no PIN", what, maxPINFile)
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
	f := os.NewFile(uintptr(fd), "PIN")
	if f == nil {
		return nil, usagef("--hsm-pin-fd %d: there is no such descriptor", fd)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxPINFile+1))
	if err != nil {
		return nil, usagef("--hsm-pin-fd %d: %w", fd, err)
	}
	return b, nil
}

// tokenName is what a URI calls its token, for people.
func tokenName(uri *pkcs11.URI) string {
	for _, name := range []string{uri.Token, uri.Serial, uri.Model, uri.Manufacturer} {
		if name != "" {
			return name
		}
	}
	return "in " + uri.Module
}

// A tokenKey is the key that --hsm names. Token and key are looked for when they are
// first needed, once: another key that opens a container needs no token. It is a
// Recipient and an Identity.
type tokenKey struct {
	uri   *pkcs11.URI
	named bool // the URI named a token or a key
	pin   *pinSource

	mu       sync.Mutex
	token    *pkcs11.Token
	tokenErr error
	found    *pkcs11.Key
	foundErr error
	failed   error // why a slot could not be tried
}

// open returns the key.
func (k *tokenKey) open(ctx context.Context) (*pkcs11.Key, error) {
	token, err := k.openToken(ctx)
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.found == nil && k.foundErr == nil {
		k.found, k.foundErr = token.Key(ctx, k.uri.Key)
	}
	return k.found, k.foundErr
}

// openToken returns the token, without a key.
func (k *tokenKey) openToken(ctx context.Context) (*pkcs11.Token, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.token == nil && k.tokenErr == nil {
		// Its failure waits for the library, which an interrupted command must not.
		k.token, k.tokenErr = orDone(ctx, func() (*pkcs11.Token, error) { return pkcs11.Open(ctx, k.uri.Config) })
	}
	return k.token, k.tokenErr
}

// bulk returns the backend that computes in the token.
func (k *tokenKey) bulk(ctx context.Context) (backends.Backend, error) {
	token, err := k.openToken(ctx)
	if err != nil {
		return nil, err
	}
	return token.Bulk(ctx)
}

func (k *tokenKey) Kind() format.Kind { return format.KindPKCS11 }

func (k *tokenKey) Wrap(ctx context.Context, core format.Core, fk *keys.FileKey) (format.Slot, error) {
	found, err := k.open(ctx)
	if err != nil {
		return format.Slot{}, err
	}
	return found.Wrap(ctx, core, fk)
}

func (k *tokenKey) Unwrap(ctx context.Context, core format.Core, slot format.Slot) (fk *keys.FileKey, err error) {
	found, err := k.open(ctx)
	if err == nil {
		fk, err = found.Unwrap(ctx, core, slot)
	}
	if err != nil && !errors.Is(err, keys.ErrNoMatch) {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.failed = err
	}
	return fk, err
}

// failure is why a slot could not be tried, or nil: another key may have opened the
// container.
func (k *tokenKey) failure() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.failed
}

func (k *tokenKey) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.token != nil {
		_ = k.token.Close()
	}
	k.pin.erase()
}
