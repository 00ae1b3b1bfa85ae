// Package httpapi puts HTTPS between a vault and its clients.
//
// A program that serves a vault makes a [Handler] of its vault.Server and has [Serve]
// answer with it, or mounts it among its own handlers, where its own server has to set
// the limits that Serve sets. A client calls [Dial] with the vault's address and gives
// what it returns to vault.NewClient:
//
//	https://vault.example.org/#VAULT-ID
//
// The vault's id behind the # is what the client goes by. The certificate only keeps
// others from listening; who has it cannot pass for the vault.
//
// There are three requests. SPEC.md § 4.5
//
//	POST /v1/call        a frame of package wire, answered by another
//	GET  /v1/descriptor  the signed descriptor
//	GET  /healthz        whether the vault can work
//
// Replies to a call are frames of a fixed length with status 200, whatever they say.
// Statuses from 400 to 499, and 503, are for what was refused before anything was
// counted, and say no more than that; after 500 or 502 nobody knows. There are no
// cookies and no cross-origin headers: an application whose web pages call the vault
// from another origin adds them around the handler.
package httpapi

import (
	"log"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// Where things are. § 4.5
const (
	pathCall       = "/v1/call"
	pathDescriptor = "/v1/descriptor"
	pathHealth     = "/healthz"

	typeFrame = "application/octet-stream"
	typeText  = "text/plain; charset=utf-8"
)

// What a client knows the two errors of a vault by, so that it does not believe a
// proxy's to be the vault's.
const (
	bodyRefused    = "coffer vault: refused\n"
	bodyOverloaded = "coffer vault: overloaded\n"
)

// A throttle logs what strangers can bring about, at most once a second.
type throttle struct {
	log  *slog.Logger
	mu   sync.Mutex
	next time.Time
	more int // times since that were not logged
}

func newThrottle(l *slog.Logger) *throttle {
	if l == nil {
		l = slog.Default()
	}
	return &throttle{log: l}
}

func (t *throttle) warn(text string, args ...any) {
	t.mu.Lock()
	now, more := time.Now(), t.more
	if now.Before(t.next) {
		t.more++
		t.mu.Unlock()
		return
	}
	t.next, t.more = now.Add(time.Second), 0
	t.mu.Unlock()
	t.log.Warn(text, append(args, "unlogged", more)...)
}

// Write takes the lines of net/http's own log.
func (t *throttle) Write(line []byte) (int, error) {
	t.warn(strings.TrimSuffix(string(line), "\n"))
	return len(line), nil
}

func (t *throttle) logger() *log.Logger { return log.New(t, "", 0) }
