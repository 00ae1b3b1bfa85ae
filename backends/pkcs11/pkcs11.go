// Package pkcs11 keeps keys in a PKCS#11 token: an HSM, a smart card, a software
// token. A Key in it wraps the file keys of containers and opens them again, without
// ever leaving the token:
//
//	token, err := pkcs11.Open(ctx, pkcs11.Config{Module: path, Token: "backups", PIN: askPIN})
//	defer token.Close()
//	key, err := token.Key(ctx, pkcs11.KeyRef{Label: "coffer"})
//	w, err := engine.NewWriter(ctx, dst, []keys.Recipient{key}, nil)
//	r, err := engine.NewReader(ctx, src, []keys.Identity{key}, nil)
//
// Token.Bulk is a backends.Backend as well, which computes a container's AES-256-GCM in
// the token where the token can. It is there for compliance and for measuring: the
// plaintext passes through this process all the same, and the key of the body too.
//
// A token's library is code in this process: one that crashes takes the process with
// it, and one that hangs keeps a thread. Calls have a deadline, after which the token
// is unhealthy and fails at once until the library answers. Nothing is ever computed
// in software instead.
//
// Without cgo the package has the same API, and Open returns backends.ErrUnavailable.
//
// All types are safe for concurrent use.
package pkcs11

import (
	"context"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/coffer-backup/coffer/format"
)

// Config says which token to open, and how. It comes from the caller alone: nothing
// that a container says reaches it.
type Config struct {
	// Module is the absolute path of the token's PKCS#11 library.
	Module string
	// InitArgs is handed to the library when it is initialized, if it wants that: NSS
	// wants configdir='sql:DIR' …. Empty: nothing.
	InitArgs string

	// Token is the token's label, Serial its serial number, and Manufacturer and Model
	// are what it says it is. One token must fit what is not empty.
	Token        string
	Serial       string
	Manufacturer string
	Model        string

	// PIN returns the user's PIN. It is called once for each login: when the token is
	// opened, and when it has come back after a failure. What it returns is erased. After
	// a PIN was refused it is not called again: tokens lock, or erase themselves, after
	// a few wrong ones. A token with a PIN pad is logged in to there instead, within
	// Timeout. nil: no login.
	PIN func(context.Context) ([]byte, error)

	// Sessions is how many sessions wrap and unwrap at a time at most; 0: 4. Each AEAD
	// of a Bulk has one of its own besides.
	Sessions int
	// Timeout is the deadline of each call into the library; 0: 10 s. Some HSMs take
	// longer to make an RSA key.
	Timeout time.Duration
}

// Fits reports whether c may mean the token.
func (c *Config) Fits(info TokenInfo) bool {
	is := func(want, got string) bool { return want == "" || want == got }
	return is(c.Token, info.Label) && is(c.Serial, info.Serial) && is(c.Manufacturer, info.Manufacturer) && is(c.Model, info.Model)
}

// TokenInfo is what a token says of itself.
type TokenInfo struct {
	Label, Serial, Manufacturer, Model string
	Firmware, Hardware                 string // versions, "2.6"
	Module                             string // the library's path
	Library                            string // what the library calls itself, with its version
	Initialized                        bool
	LoginRequired                      bool
	PINCountLow, PINFinalTry           bool // wrong PINs were given
	PINLocked                          bool
	Sessions                           int // open ones, of all programs; -1: the token does not say
}

// A KeyRef names a key in a token. What is not empty must fit, and exactly one key
// must fit.
type KeyRef struct {
	Label string // CKA_LABEL
	ID    []byte // CKA_ID
	// Type is the key's CKA_CLASS as a URI has it: TypeSecret or TypePrivate.
	Type string
	// Check, unless zero, is what Key.CheckValue was when the key was made. It tells
	// the key from another one of the same name.
	Check CheckValue
}

// KeySpec says what key to make.
type KeySpec struct {
	Label string      // CKA_LABEL, not empty
	ID    []byte      // CKA_ID; nil: 16 random bytes
	Mech  format.Mech // 0: the first of Probe's that the token proved
}

// A CheckValue tells keys in tokens apart, without telling anything of them: a hash of
// a constant wrapped under the key, or of a public key.
type CheckValue [8]byte

// String returns 16 hex digits.
func (c CheckValue) String() string { return hex.EncodeToString(c[:]) }

// IsZero reports whether there is none.
func (c CheckValue) IsZero() bool { return c == CheckValue{} }

// ParseCheckValue is the inverse of String.
func ParseCheckValue(text string) (c CheckValue, err error) {
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != len(c) {
		return c, fmt.Errorf("%q is no key check value: want %d hex digits", text, 2*len(c))
	}
	copy(c[:], b)
	return c, nil
}

// A Mode is a way to wrap, and whether a token was seen to do it.
type Mode struct {
	Mech format.Mech
	Err  error // nil: proved; else why not
}
