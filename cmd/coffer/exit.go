package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/coffer-backup/coffer/archive"
	"github.com/coffer-backup/coffer/backends/pkcs11"
	"github.com/coffer-backup/coffer/engine"
	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/keys"
	"github.com/coffer-backup/coffer/vault"
	"github.com/coffer-backup/coffer/vault/httpapi"
	"github.com/coffer-backup/coffer/vault/wire"
)

// An exitStatus is a row of the table that scripts rely on: released numbers and
// classes do not change. 10 and 11 are kept for repositories.
type exitStatus struct {
	code    int
	class   string // as in {"type":"error"} of --json
	meaning string
}

const exitInterrupted = 130

var (
	statusOK          = exitStatus{0, "ok", "done"}
	statusFailed      = exitStatus{1, "failed", "failed: no such file, disk full, target exists, a limit"}
	statusUsage       = exitStatus{2, "usage", "wrong usage: flags, arguments, key text, or another command is needed"}
	statusIncomplete  = exitStatus{3, "incomplete", "done, but some files could not be read, changed while they were read, or could not be restored as they were"}
	statusNoKey       = exitStatus{12, "no-key", "no key fits, or the token refused the PIN"}
	statusDamaged     = exitStatus{13, "damaged", "damaged, truncated, forged, or not the container that was asked for"}
	statusRefused     = exitStatus{14, "vault-refused", "the vault refused: wrong password, delay, freeze, ticket; it says how many attempts are left"}
	statusDestroyed   = exitStatus{15, "vault-destroyed", "the vault has locked the record for good: it is destroyed, and the password opens nothing"}
	statusUnreachable = exitStatus{16, "unreachable", "the vault cannot be reached or cannot work, or what answers is not it"}
	statusInterrupted = exitStatus{exitInterrupted, "interrupted", "interrupted"}

	exitTable = []exitStatus{statusOK, statusFailed, statusUsage, statusIncomplete, statusNoKey, statusDamaged,
		statusRefused, statusDestroyed, statusUnreachable, statusInterrupted}
)

var errInterrupted = errors.New("interrupted")

// A usageError is one that another command line would avoid.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error {
	return &usageError{fmt.Errorf(format, args...)}
}

// An incompleteError says that the command did what it could.
type incompleteError struct{ what string }

func (e *incompleteError) Error() string { return e.what }

// classify finds the row for what a command returned.
func classify(err error) exitStatus {
	switch {
	case err == nil:
		return statusOK
	case errors.Is(err, errInterrupted):
		return statusInterrupted
	case errors.Is(err, errOtherContent): // whatever else is in its chain
		return statusDamaged
	case isAs[*usageError](err), isAs[*keys.KeyTextError](err), isAny(err, archive.ErrNotArchive, vault.ErrCredential):
		return statusUsage
	case isAs[*incompleteError](err):
		return statusIncomplete
	case isAny(err, keys.ErrNoMatch, pkcs11.ErrPIN):
		return statusNoKey
	case errors.Is(err, format.ErrVersion):
		return statusFailed // a newer program reads it
	case isAny(err, errHeaderCopy, archive.ErrUnsafe, engine.ErrAuth, engine.ErrTruncated, engine.ErrTrailingData, engine.ErrContext, engine.ErrDamagedCopy,
		format.ErrMagic), isAs[*format.SyntaxError](err):
		return statusDamaged
	}
	return classifyVault(err)
}

// classifyVault finds the row for what a vault said, or something in its place.
func classifyVault(err error) exitStatus {
	var state *vault.StateError
	switch {
	case isAs[*vault.TombstoneError](err):
		return statusDestroyed
	case errors.As(err, &state) && state.Code == wire.Unavailable,
		isAny(err, vault.ErrOverloaded, vault.ErrForged, vault.ErrDescriptor, httpapi.ErrUnreachable, httpapi.ErrNotVault):
		return statusUnreachable
	case state != nil, isAs[*vault.WrongPasswordError](err), errors.Is(err, vault.ErrRefused):
		return statusRefused
	}
	return statusFailed
}

func isAs[T error](err error) bool {
	var target T
	return errors.As(err, &target)
}

func isAny(err error, targets ...error) bool {
	for _, t := range targets {
		if errors.Is(err, t) {
			return true
		}
	}
	return false
}

// advice is what to do about err, or empty where the error says it.
func advice(err error) string {
	var state *vault.StateError
	switch {
	case errors.Is(err, errOtherContent):
		return "to have the plaintext itself use coffer open"
	case errors.Is(err, archive.ErrUnsafe):
		return "to have the tar itself use coffer open"
	case errors.Is(err, archive.ErrNotArchive):
		return "use coffer open"
	case errors.Is(err, engine.ErrContext):
		return "give the --context that the container was made with, or none if it was made without"
	case errors.Is(err, engine.ErrDamagedCopy):
		return "restore it or copy it by coffer open and coffer seal while the other copy is good"
	case errors.Is(err, pkcs11.ErrPIN):
		return pinAdvice(err)
	case errors.Is(err, pkcs11.ErrKeyExists):
		return "coffer hsm status with the same URI prints the URI to use"
	case errors.Is(err, pkcs11.ErrTimeout):
		return "--hsm-timeout sets how long to wait"
	case errors.Is(err, vault.ErrRefused):
		return "get another ticket: one is for one use within ten minutes, and for one vault, credential id and purpose"
	case isAs[*vault.TombstoneError](err):
		return "with its file, coffer restore --key-file restores, and coffer vault register --key-file has a vault keep it again"
	case errors.As(err, &state) && state.Code == wire.Wait:
		return "attempts have failed, or there were too many requests lately: coffer vault status shows delays"
	case errors.Is(err, httpapi.ErrNotVault) && isAs[*tls.CertificateVerificationError](err):
		return "if the vault has made its certificate itself, give that with --vault-ca"
	case errors.Is(err, keys.ErrNoMatch):
		return "check that key and container belong together: coffer inspect shows which kinds of key open it"
	case isAny(err, fs.ErrExist, archive.ErrNotEmpty):
		return "use --force to replace what is there"
	case isAny(err, syscall.ENOSPC, syscall.EDQUOT):
		return "the disk is full"
	}
	return ""
}

// What a token may say of a PIN besides that it is wrong (PKCS #11, CK_RV).
const (
	ckrPINExpired        = 0xa3
	ckrPINLocked         = 0xa4
	ckrPINNotInitialized = 0x102
)

func pinAdvice(err error) string {
	var e *pkcs11.Error
	code := uint(0)
	if errors.As(err, &e) {
		code = e.Code
	}
	switch code {
	case ckrPINLocked:
		return "the token is locked, for the right PIN too, until its security officer unlocks it"
	case ckrPINExpired:
		return "change it with the token's own tool"
	case ckrPINNotInitialized:
		return "the token's security officer has to set one"
	}
	return "it was tried once, and is not tried again: a token locks after a few wrong ones, see coffer hsm status"
}

func exitHelp() string {
	b := []byte("Exit status:")
	for _, s := range exitTable {
		b = fmt.Appendf(b, "\n  %3d  %s", s.code, s.meaning)
	}
	return string(b)
}
