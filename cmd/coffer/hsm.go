package main

import (
	"context"
	"errors"
	"fmt"
	"os"
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

"coffer hsm init" prints the whole of it. Values are percent-encoded. Its attributes:

  token, serial, manufacturer, model   what the token says of itself
  object, id, type      the key: its label, its id, secret-key or private;
                        without object and id it is the one with the label coffer
  module-path           the absolute path of the library
  pin-source            the absolute path of a file with the PIN
  x-coffer-check        the key's check value, which "coffer hsm init" prints
  x-coffer-init-args    what the library is initialized with. That of NSS, whose database
                        is in /db, wants configdir='sql:/db' certPrefix='' keyPrefix=''
                        secmod='secmod.db' flags= and so:
  x-coffer-init-args=configdir='sql:/db'%20certPrefix=''%20keyPrefix=''%20secmod='secmod.db'%20flags=

The PIN is read from --hsm-pin-file, from --hsm-pin-fd or from the URI's pin-source, else
the terminal is asked. A wrong one is never tried again. No container can say what library
to load or which token to open.

Tokens need a build with cgo. The library is code in this process: if it crashes, so does
the command, with exit status 2 and Go's report on stderr instead of an error message. No
output appears under its name then.`

// defaultObject is the label of the key in a token if the URI has neither a label nor
// an id.
const defaultObject = "coffer"

// hsmFlags say which token, and how to open it.
type hsmFlags struct {
	uri     string
	misuse  error // of --hsm
	pinFile string
	pinFD   int // below 0: none
	timeout time.Duration
}

func (h *hsmFlags) register(fs *pflag.FlagSet) {
	// The text is parsed later: the message of a flag that is refused quotes its
	// value, and somebody may try to give a PIN in it.
	fs.Var(uriFlag{h}, "hsm", "`URI` of a key in a PKCS#11 token, with token, serial, object, id, type, module-path, pin-source, x-coffer-check and x-coffer-init-args, see coffer hsm --help; needs a build with cgo ($COFFER_HSM)")
	fs.Var(single{&h.pinFile, "FILE"}, "hsm-pin-file", "`FILE` with the token's PIN ($COFFER_HSM_PIN_FILE, for $COFFER_HSM)")
	h.pinFD = -1
	parsedVar(fs, &h.pinFD, "hsm-pin-fd", "N", "", "inherited file descriptor to read the token's PIN from, as in --hsm-pin-fd 3 3<pinfile", parseDescriptor)
	fs.DurationVar(&h.timeout, "hsm-timeout", 10*time.Second, "`DURATION` that one call of the token's library may take")
}

// A uriFlag is --hsm. A value that is refused is not quoted: somebody may have put a PIN
// into it.
type uriFlag struct{ h *hsmFlags }

func (f uriFlag) String() string { return "" }
func (f uriFlag) Type() string   { return "URI" }

func (f uriFlag) Set(text string) error {
	if f.h.misuse == nil {
		f.h.misuse = checkSingle(f.h.uri, text)
	}
	f.h.uri = text
	return nil
}

// orEnvironment returns h, or with the token of the environment if h has none.
func (h hsmFlags) orEnvironment() hsmFlags {
	if h.given() {
		return h
	}
	h.uri = os.Getenv("COFFER_HSM")
	if h.pinFile == "" && h.pinFD < 0 {
		h.pinFile = os.Getenv("COFFER_HSM_PIN_FILE")
	}
	return h
}

// given reports whether there is an --hsm.
func (h hsmFlags) given() bool { return h.uri != "" || h.misuse != nil }

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
// there is no --hsm. What is in a descriptor is read now: a library that is loaded
// later may open others, and close them.
func (h hsmFlags) key(ctx context.Context) (*tokenKey, error) {
	switch {
	case h.misuse != nil:
		return nil, usagef("--hsm: %w", h.misuse)
	case h.uri == "" && (h.pinFile != "" || h.pinFD >= 0):
		return nil, usagef("a PIN is given, by --hsm-pin-file, --hsm-pin-fd or $COFFER_HSM_PIN_FILE, but no token by --hsm or $COFFER_HSM")
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
	t := &tokenKey{uri: uri, pin: &pinSource{flags: h, uri: uri}}
	t.keyNamed = uri.Key.Label != "" || len(uri.Key.ID) > 0
	t.named = t.keyNamed || uri.Token+uri.Serial+uri.Manufacturer+uri.Model != ""
	if !t.keyNamed {
		uri.Key.Label = defaultObject
	}
	uri.Timeout, uri.PIN = h.timeout, t.pin.get
	if h.pinFD >= 0 {
		pin, err := t.pin.get(ctx)
		if err != nil {
			return nil, err
		}
		clear(pin)
	}
	return t, nil
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
	uri      *pkcs11.URI
	named    bool // the URI named a token or a key
	keyNamed bool // it named the key
	pin      *pinSource

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

// prepare looks for the key before something is made with it, and tells what is wrong
// with it although it works.
func (k *tokenKey) prepare(ctx context.Context, u *ui) error {
	key, err := k.open(ctx)
	if errors.Is(err, pkcs11.ErrKeyNotFound) && k.uri.Key.Check.IsZero() {
		return fmt.Errorf("%w; if it was never made, coffer hsm init makes it", err)
	} else if err != nil {
		return err
	}
	for _, w := range key.Warnings() {
		u.warn("key %s: %s", quoteName(key.Label()), w)
	}
	return nil
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

// close waits for the library no longer than the command: when ctx has ended there is
// an error to tell.
func (k *tokenKey) close(ctx context.Context) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.token != nil {
		_, _ = orDone(ctx, func() (struct{}, error) { return struct{}{}, k.token.Close() })
	}
	k.pin.erase()
}
