package httpapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"runtime"
	"strconv"
	"time"

	"github.com/coffer-backup/coffer/vault"
	"github.com/coffer-backup/coffer/vault/wire"
)

// callTime is how long a vault has for a reply, once it has the request. It leaves
// time to write it.
const callTime = 8 * time.Second

// HandlerOptions are for [Handler]. The zero value is safe.
type HandlerOptions struct {
	// Health says what keeps the vault from working. nil: only whether there is a
	// descriptor.
	Health func(context.Context) error
	// MaxCalls is how many calls are answered at a time, and MaxCallsPerBlock how many
	// that come from one /24, or /48 of IPv6. Others are told to come back. 0: 4,096 and
	// 64. Behind a proxy, whose address all calls come from, both have to be the same.
	MaxCalls, MaxCallsPerBlock int
	// Log gets a line for each reply: the call, how it went, the remote address. nil:
	// slog.Default().
	Log *slog.Logger
}

// Handler returns the handler for the vault behind t.
func Handler(t vault.Transport, o *HandlerOptions) http.Handler {
	if o == nil {
		o = new(HandlerOptions)
	}
	h := &handler{transport: t, health: o.Health, calls: newCrowd(o.MaxCalls, o.MaxCallsPerBlock), log: newThrottle(o.Log)}
	if h.health == nil {
		h.health = func(ctx context.Context) error { _, err := t.Descriptor(ctx); return err }
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+pathCall, h.call)
	mux.HandleFunc("GET "+pathDescriptor, h.descriptor)
	mux.HandleFunc("GET "+pathHealth, h.healthz)
	h.mux = mux
	return h
}

type handler struct {
	transport vault.Transport
	health    func(context.Context) error
	calls     *crowd
	log       *throttle
	mux       *http.ServeMux
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer h.recover(w, r)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	h.mux.ServeHTTP(w, r)
}

// recover tells of a panic where it was and no values, which may be secret: that is why
// this is not left to net/http.
func (h *handler) recover(w http.ResponseWriter, r *http.Request) {
	p := recover()
	if p == nil {
		return
	}
	what := fmt.Sprintf("%T", p)
	if err, ok := p.(runtime.Error); ok {
		what = err.Error()
	}
	var callers [16]uintptr
	frames := runtime.CallersFrames(callers[:runtime.Callers(3, callers[:])])
	var at []string
	for {
		f, more := frames.Next()
		at = append(at, f.Function+":"+strconv.Itoa(f.Line))
		if !more {
			break
		}
	}
	h.log.log.Error("a request caused a panic", "path", r.URL.Path, "remote", r.RemoteAddr, "panic", what, "at", at)
	fail(w, http.StatusInternalServerError)
}

// call answers POST /v1/call.
func (h *handler) call(w http.ResponseWriter, r *http.Request) {
	block := blockOf(r.RemoteAddr)
	if !h.calls.enter(block) {
		h.log.warn("too many calls", "remote", r.RemoteAddr)
		overloaded(w)
		return
	}
	defer h.calls.leave(block)
	if status := checkCall(r); status != 0 {
		h.log.warn("request refused", "remote", r.RemoteAddr, "status", status)
		w.Header().Set("Connection", "close") // the body is not worth reading
		fail(w, status)
		return
	}
	request := make([]byte, r.ContentLength)
	if _, err := io.ReadFull(r.Body, request); err != nil {
		h.log.warn("request incomplete", "remote", r.RemoteAddr, "error", err)
		fail(w, http.StatusRequestTimeout)
		return
	}
	// A client that has gone away has not taken back what it asked for.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), callTime)
	defer cancel()
	h.answer(ctx, w, r.RemoteAddr, request)
}

// answer has the vault answer a request.
func (h *handler) answer(ctx context.Context, w http.ResponseWriter, remote string, request []byte) {
	start, call := time.Now(), callOf(request)
	reply, err := h.transport.Call(ctx, request)
	if err == nil && len(reply) != call.ReplySize() {
		err = fmt.Errorf("it has %d bytes", len(reply))
	}
	said := []any{"call", call, "remote", remote, "took", time.Since(start)}
	switch {
	case errors.Is(err, vault.ErrRefused):
		respond(w, http.StatusBadRequest, typeText, []byte(bodyRefused))
		h.log.warn("call refused", said...)
	case errors.Is(err, vault.ErrOverloaded):
		overloaded(w)
		h.log.warn("overloaded", said...)
	case err != nil:
		fail(w, http.StatusBadGateway)
		h.log.log.Error("call without a reply", append(said, "error", err)...)
	default:
		respond(w, http.StatusOK, typeFrame, reply)
		code := wire.Code(reply[2])
		log := h.log.log.Info
		if code == wire.Stale { // the one that comes without a ticket, as often as one likes
			log = h.log.warn
		}
		log("call", append(said, "code", code)...)
	}
}

// checkCall returns the status to refuse r with for what can be seen before its body is
// read, or 0. The length has to be known: nobody gets more memory than they say.
func checkCall(r *http.Request) int {
	media, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case err != nil || media != typeFrame || len(params) > 0 || r.Header.Get("Content-Encoding") != "":
		return http.StatusUnsupportedMediaType
	case r.ContentLength < 0:
		return http.StatusLengthRequired
	case r.ContentLength > wire.MaxRequest:
		return http.StatusRequestEntityTooLarge
	}
	return 0
}

// callOf returns what a request that may be anything asks for.
func callOf(request []byte) wire.Call {
	if len(request) < 2 {
		return 0
	}
	return wire.Call(request[1])
}

func (h *handler) descriptor(w http.ResponseWriter, r *http.Request) {
	signed, err := h.transport.Descriptor(r.Context())
	if err != nil {
		h.log.warn("no descriptor", "error", err)
		fail(w, http.StatusBadGateway)
		return
	}
	respond(w, http.StatusOK, typeText, signed)
}

func (h *handler) healthz(w http.ResponseWriter, r *http.Request) {
	if err := h.health(r.Context()); err != nil {
		h.log.warn("not healthy", "error", err)
		fail(w, http.StatusServiceUnavailable)
		return
	}
	respond(w, http.StatusOK, typeText, []byte("ok\n"))
}

func overloaded(w http.ResponseWriter) {
	w.Header().Set("Retry-After", "1")
	respond(w, http.StatusServiceUnavailable, typeText, []byte(bodyOverloaded))
}

func fail(w http.ResponseWriter, status int) {
	respond(w, status, typeText, []byte(http.StatusText(status)+"\n"))
}

func respond(w http.ResponseWriter, status int, contentType string, body []byte) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // an error is the client's
}
