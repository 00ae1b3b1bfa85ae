package pkcs11

import "errors"

// The errors that callers branch on. They come wrapped in an *Error.
var (
	// ErrPIN: the token refused the PIN, or is locked. It is not tried again.
	ErrPIN = errors.New("the PIN was refused")
	// ErrTokenNotFound: no token, or more than one, fits the Config.
	ErrTokenNotFound = errors.New("no usable token")
	// ErrKeyNotFound: no key, or more than one, fits the KeyRef, or its check value is
	// another one. No key is ever made because one was not found.
	ErrKeyNotFound = errors.New("no usable key in the token")
	// ErrKeyExists: GenerateKey never makes a second key of a name.
	ErrKeyExists = errors.New("the token has a key of that name")
	// ErrTimeout: the library did not answer in time. Until it does, the token is
	// unhealthy and all calls fail at once.
	ErrTimeout = errors.New("the token does not answer")
	// ErrFailed: the token or its library failed, or the library cannot be loaded. A
	// call made when it works again succeeds.
	ErrFailed = errors.New("the token or its library failed")
)

// An Error says which token failed to do what.
type Error struct {
	Token string // its label and serial, or the module's path
	Op    string // what was asked for: "opening the token", "wrapping the file key", …
	Code  uint   // the CKR value, 0 if there is none
	Err   error  // one of the errors above, or another cause
}

func (e *Error) Error() string { return e.Token + ": " + e.Op + ": " + e.Err.Error() }

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }
