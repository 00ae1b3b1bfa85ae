// Package vault keeps people's account keys behind a password that it never learns, and
// lets nobody guess at it more than a few times: a Backup Key Vault.
//
// A [Client] registers a [Keyring] under a credential id and a password, and gets it
// back with the password. A [Server] counts attempts on disk before it evaluates them,
// and destroys a record when none is left. Between them is OPAQUE (RFC 9807), so that
// the vault sees no password, no account key, and nothing that either could be guessed
// from outside of its evaluator. SPEC.md is the protocol, and says who can do what.
//
// The server is free of a network: [Server.Call] answers a request with a reply, and a
// Server is a [Transport], so that a program can embed both ends. Package httpapi puts
// HTTPS between them. Server needs an [evaluator.Evaluator], which has the vault's
// secrets, in a token if it should be worth its name, and a [store.Store].
//
// Servers and Clients can be used by several goroutines at the same time.
package vault

import (
	"context"
	"errors"
)

// A Transport takes requests to a vault: see package httpapi. A [Server] is one, too.
type Transport interface {
	// Descriptor returns the signed descriptor of the vault.
	Descriptor(ctx context.Context) ([]byte, error)
	// Call returns the reply to a request, both as frames of package wire. An error says
	// that there is none: [ErrRefused] if the vault did not even look.
	Call(ctx context.Context, request []byte) ([]byte, error)
}

// ErrRefused is returned for a request that is malformed or has no valid ticket. That is
// all that is told, and nothing was counted.
var ErrRefused = errors.New("vault: the request was refused: it is malformed, or its ticket is not valid")

// ErrOverloaded is returned by a server that has too much to do. Nothing was counted.
var ErrOverloaded = errors.New("vault: too many requests: try again later")
