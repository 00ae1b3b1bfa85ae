//go:build cgo

package pkcs11

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	p11 "github.com/miekg/pkcs11"
)

// A callError is a call into the library that failed.
type callError struct {
	fn   string
	code uint
}

func (e *callError) Error() string {
	text := e.fn + ": " + codeName(e.code)
	if hint := cmp.Or(hints[*e], hints[callError{code: e.code}]); hint != "" {
		text += " (" + hint + ")"
	}
	return text
}

// hints say what a code means here, of one function or of any.
var hints = map[callError]string{
	{"C_Initialize", p11.CKR_ARGUMENTS_BAD}: "the library may want initialization arguments, as that of NSS does: x-coffer-init-args in a URI",
	{"C_Initialize", p11.CKR_GENERAL_ERROR}: "its configuration or the directory of its tokens may be missing or unreadable; SoftHSM's is the file in SOFTHSM2_CONF",

	{"", p11.CKR_BUFFER_TOO_SMALL}:           "the token gives a length that is too short for its own answer",
	{"", p11.CKR_DATA_LEN_RANGE}:             "the token takes no message of that length",
	{"", p11.CKR_KEY_FUNCTION_NOT_PERMITTED}: "the key's attributes forbid it",
	{"", p11.CKR_SESSION_COUNT}:              "the token has no session left: close other programs, or use fewer sessions",
	{"", p11.CKR_USER_NOT_LOGGED_IN}:         "the token wants a PIN",
	{"", p11.CKR_USER_PIN_NOT_INITIALIZED}:   "the token has no user PIN yet",
}

// codeName returns the name of a CKR value.
func codeName(code uint) string {
	text := p11.Error(code).Error() // "pkcs11: 0x30: CKR_DEVICE_ERROR"
	if name := text[strings.LastIndexByte(text, ' ')+1:]; name != "" && code != p11.CKR_VENDOR_DEFINED {
		return name
	}
	return fmt.Sprintf("CKR %#x", code)
}

// called turns what the binding returned into a callError.
func called(fn string, err error) error {
	var code p11.Error
	if errors.As(err, &code) {
		return &callError{fn, uint(code)}
	}
	return err
}

func isCode(err error, code uint) bool {
	var c p11.Error
	return errors.As(err, &c) && uint(c) == code
}

// class says what is to be done about an error.
type class int

const (
	// classRequest: the request or its data are at fault, or the token is and does not
	// say so (CKR_GENERAL_ERROR). It is not tried again.
	classRequest class = iota
	// classSession: the session, the login or an object is gone. Again with a new
	// session, in which the keys are found anew.
	classSession
	// classDevice: the token or the library is gone. Again with the library initialized
	// anew.
	classDevice
	// classPIN: the PIN was refused. Never again.
	classPIN
	// classOther is what the library did not say: a deadline, the caller's context, a
	// key that is not there.
	classOther
)

var sessionCodes = []uint{
	p11.CKR_SESSION_CLOSED, p11.CKR_SESSION_HANDLE_INVALID, p11.CKR_USER_NOT_LOGGED_IN,
	p11.CKR_OBJECT_HANDLE_INVALID, p11.CKR_KEY_HANDLE_INVALID,
	p11.CKR_WRAPPING_KEY_HANDLE_INVALID, p11.CKR_UNWRAPPING_KEY_HANDLE_INVALID,
	p11.CKR_OPERATION_ACTIVE, p11.CKR_OPERATION_NOT_INITIALIZED, p11.CKR_KEY_CHANGED,
}

var deviceCodes = []uint{
	p11.CKR_DEVICE_ERROR, p11.CKR_DEVICE_MEMORY, p11.CKR_DEVICE_REMOVED,
	p11.CKR_TOKEN_NOT_PRESENT, p11.CKR_TOKEN_NOT_RECOGNIZED,
	p11.CKR_CRYPTOKI_NOT_INITIALIZED, p11.CKR_SLOT_ID_INVALID,
}

var pinCodes = []uint{
	p11.CKR_PIN_INCORRECT, p11.CKR_PIN_INVALID, p11.CKR_PIN_LEN_RANGE, p11.CKR_PIN_EXPIRED,
	p11.CKR_PIN_LOCKED, p11.CKR_USER_PIN_NOT_INITIALIZED,
}

// lackCodes are what a token says that does not do something, or not with that key, and
// will not do it the next time.
var lackCodes = []uint{
	p11.CKR_MECHANISM_INVALID, p11.CKR_MECHANISM_PARAM_INVALID, p11.CKR_FUNCTION_NOT_SUPPORTED,
	p11.CKR_KEY_FUNCTION_NOT_PERMITTED, p11.CKR_KEY_TYPE_INCONSISTENT, p11.CKR_KEY_SIZE_RANGE,
	p11.CKR_KEY_NOT_WRAPPABLE, p11.CKR_KEY_UNEXTRACTABLE,
	p11.CKR_WRAPPING_KEY_SIZE_RANGE, p11.CKR_WRAPPING_KEY_TYPE_INCONSISTENT,
	p11.CKR_UNWRAPPING_KEY_SIZE_RANGE, p11.CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT,
	p11.CKR_TEMPLATE_INCOMPLETE, p11.CKR_TEMPLATE_INCONSISTENT, p11.CKR_ATTRIBUTE_READ_ONLY,
	p11.CKR_ATTRIBUTE_TYPE_INVALID, p11.CKR_ATTRIBUTE_VALUE_INVALID,
	p11.CKR_ARGUMENTS_BAD,    // SoftHSM, of OAEP with SHA-256
	p11.CKR_BUFFER_TOO_SMALL, // NSS, of AES-GCM and KWP
	p11.CKR_DATA_LEN_RANGE,
}

// lacks reports whether err says that a mech is not to be had, so that another may be
// tried. What may pass must not choose a mech: the key's check value goes with it.
func lacks(err error) bool {
	if c := new(callError); errors.As(err, &c) {
		return slices.Contains(lackCodes, c.code)
	}
	return errors.Is(err, errNonsense)
}

// mayPass reports whether err is of the codes that say nothing.
func mayPass(err error) bool {
	c := new(callError)
	return errors.As(err, &c) && (c.code == p11.CKR_GENERAL_ERROR || c.code == p11.CKR_FUNCTION_FAILED)
}

// dataCodes are what a token may say of data that do not open.
var dataCodes = []uint{
	p11.CKR_GENERAL_ERROR, p11.CKR_FUNCTION_FAILED, p11.CKR_ARGUMENTS_BAD, p11.CKR_DATA_INVALID, p11.CKR_DATA_LEN_RANGE,
	p11.CKR_ENCRYPTED_DATA_INVALID, p11.CKR_ENCRYPTED_DATA_LEN_RANGE,
	p11.CKR_WRAPPED_KEY_INVALID, p11.CKR_WRAPPED_KEY_LEN_RANGE,
}

// refusesData reports whether err may be what a token that works says of data that do not
// open.
func refusesData(err error) bool {
	if c := new(callError); errors.As(err, &c) {
		return (c.fn == "C_Decrypt" || c.fn == "C_UnwrapKey") && slices.Contains(dataCodes, c.code)
	}
	return errors.Is(err, errNonsense)
}

// errNonsense is an answer that was not asked for.
var errNonsense = fmt.Errorf("%w: it gave a wrong answer", ErrFailed)

func classOf(err error) class {
	var c *callError
	switch {
	case err == nil:
		return classOther
	case errors.Is(err, ErrPIN):
		return classPIN
	case errors.As(err, &c):
	case errors.Is(err, ErrFailed):
		return classRequest // the token said yes and gave nonsense
	default:
		return classOther
	}
	switch {
	case slices.Contains(sessionCodes, c.code):
		return classSession
	case slices.Contains(deviceCodes, c.code):
		return classDevice
	case slices.Contains(pinCodes, c.code):
		return classPIN
	}
	return classRequest
}

// newError says which token failed to do what. It returns err if it says so already.
func newError(token, op string, err error) error {
	var done *Error
	if err == nil || errors.As(err, &done) {
		return err
	}
	e := &Error{Token: token, Op: op, Err: err}
	var c *callError
	if errors.As(err, &c) {
		e.Code = c.code
		if !errors.Is(err, ErrPIN) && !errors.Is(err, ErrFailed) {
			e.Err = fmt.Errorf("%w: %w", ErrFailed, err)
		}
	}
	return e
}
