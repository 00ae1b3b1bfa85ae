package httpapi

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coffer-backup/coffer/vault"
	"github.com/coffer-backup/coffer/vault/wire"
)

// Whatever a vault says to a call, with or without compression: the same header and as
// many bytes.
func TestOutcomesLookAlike(t *testing.T) {
	var code wire.Code
	s := serve(t, &fakeVault{answer: func(_ context.Context, r []byte) ([]byte, error) {
		return frame(wire.Call(r[1]), code), nil
	}}, HandlerOptions{}, ServeOptions{})
	for _, call := range callNames() {
		var first string
		for code = wire.OK; code <= wire.OldDescriptor; code++ {
			for _, accept := range []string{"", "Accept-Encoding: gzip, deflate, br, zstd", "Accept: text/html"} {
				text := post(request(call))
				if accept != "" {
					text = post(request(call), accept)
				}
				head, body, _ := s.raw(t, text)
				if first == "" {
					first = head
				}
				if head != first || len(body) != call.ReplySize() {
					t.Fatalf("%v, %v, %q: %d bytes under\n%s, not %d under\n%s", call, code, accept, len(body), head, call.ReplySize(), first)
				}
			}
		}
		if !strings.HasPrefix(first, "HTTP/1.1 200 ") || strings.Contains(first, "Content-Encoding") || strings.Contains(first, "Cookie") ||
			strings.Contains(first, "Access-Control") || !strings.Contains(first, "Cache-Control: no-store\r\n") {
			t.Errorf("%v: %q", call, first)
		}
	}
}

func TestRefusedAtTheDoor(t *testing.T) {
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	if _, err := z.Write(make([]byte, 10<<20)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	frame := string(request(wire.CallStart))
	head := "POST /v1/call HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
	typed := head + "Content-Type: application/octet-stream\r\n"
	cases := map[string]struct {
		text   string
		status int
	}{
		"too long":              {post(make([]byte, wire.MaxRequest+1)), 413},
		"says too long":         {typed + "Content-Length: 9223372036854775807\r\n\r\n", 413},
		"length overflows":      {typed + "Content-Length: 92233720368547758070\r\n\r\n", 400},
		"negative length":       {typed + "Content-Length: -1\r\n\r\n", 400},
		"two lengths":           {typed + "Content-Length: 10\r\nContent-Length: 11\r\n\r\n" + frame, 400},
		"chunked":               {typed + "Transfer-Encoding: chunked\r\n\r\na\r\n" + frame + "\r\n0\r\n\r\n", 411},
		"chunk that lies":       {typed + "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n" + frame, 411},
		"chunked and a length":  {typed + "Transfer-Encoding: chunked\r\nContent-Length: 10\r\n\r\na\r\n" + frame + "\r\n0\r\n\r\n", 411},
		"gzip bomb":             {post(zipped.Bytes(), "Content-Encoding: gzip"), 415},
		"says identity":         {post([]byte(frame), "Content-Encoding: identity"), 415},
		"gzip transfer":         {typed + "Transfer-Encoding: gzip, chunked\r\n\r\n", 501},
		"no type":               {head + "Content-Length: 10\r\n\r\n" + frame, 415},
		"JSON":                  {head + "Content-Type: application/json\r\nContent-Length: 10\r\n\r\n" + frame, 415},
		"type with parameter":   {head + "Content-Type: application/octet-stream; x=y\r\nContent-Length: 10\r\n\r\n" + frame, 415},
		"form of a web page":    {head + "Content-Type: text/plain\r\nContent-Length: 10\r\n\r\n" + frame, 415},
		"GET":                   {"GET /v1/call HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 405},
		"preflight":             {"OPTIONS /v1/call HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nOrigin: https://x\r\nAccess-Control-Request-Method: POST\r\n\r\n", 405},
		"OPTIONS *":             {"OPTIONS * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 400},
		"POST to descriptor":    {strings.Replace(post([]byte(frame)), "/call", "/descriptor", 1), 405},
		"elsewhere":             {strings.Replace(post([]byte(frame)), "/call", "/calls", 1), 404},
		"header too long":       {post([]byte(frame), "X: "+strings.Repeat("x", 3*maxHeader)), 431},
		"no host":               {"GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n", 400},
		"another version":       {"GET /healthz HTTP/3.7\r\nHost: localhost\r\n\r\n", 505},
		"not HTTP":              {"EHLO vault\r\n\r\n", 400},
		"line feed in a header": {post([]byte(frame), "X: a\x00b"), 400},
	}
	v := new(fakeVault)
	s := serve(t, v, HandlerOptions{}, ServeOptions{Read: 300 * time.Millisecond}) // a chunk that lies is waited for
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, body, status := s.raw(t, c.text)
			if status != c.status || len(body) > 64 {
				t.Errorf("status %d, %q, want status %d", status, body, c.status)
			}
		})
	}
	if n := v.calls.Load(); n != 0 {
		t.Errorf("%d of them reached the vault", n)
	}
}

func TestVaultErrors(t *testing.T) {
	secret := "hunter2"
	cases := map[string]struct {
		answer func() ([]byte, error)
		status int
		body   string
	}{
		"refused":      {func() ([]byte, error) { return nil, fmt.Errorf("%s: %w", secret, vault.ErrRefused) }, 400, bodyRefused},
		"overloaded":   {func() ([]byte, error) { return nil, vault.ErrOverloaded }, 503, bodyOverloaded},
		"another":      {func() ([]byte, error) { return nil, errors.New("x") }, 502, "Bad Gateway\n"},
		"wrong length": {func() ([]byte, error) { return make([]byte, wire.ReplySize-1), nil }, 502, "Bad Gateway\n"},
		"panic":        {func() ([]byte, error) { panic(secret) }, 500, "Internal Server Error\n"},
		"runtime error": {func() ([]byte, error) {
			var b []byte
			return b[len(secret):], nil
		}, 500, "Internal Server Error\n"},
	}
	for _, protocol := range protocols {
		for name, c := range cases {
			s := serve(t, &fakeVault{answer: func(context.Context, []byte) ([]byte, error) { return c.answer() }}, HandlerOptions{}, ServeOptions{})
			resp, err := s.client(t, protocol).Post("https://"+s.addr+pathCall, typeFrame, bytes.NewReader(request(wire.CallStart)))
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			body, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != c.status || string(body) != c.body || resp.Proto != protocol {
				t.Errorf("%s, %s: %v, %q, %s, %v", name, protocol, resp.Status, body, resp.Proto, err)
			}
			_ = resp.Body.Close()
			if again := resp.Header.Get("Retry-After"); (again != "") != (c.status == 503) {
				t.Errorf("%s: Retry-After: %q", name, again)
			}
			if log := s.log.String(); strings.Contains(log, secret) || strings.Contains(log, "and more") {
				t.Errorf("%s: the log tells too much: %s", name, log)
			}
		}
	}
}

func TestPanicIsFound(t *testing.T) {
	s := serve(t, &fakeVault{answer: func(context.Context, []byte) ([]byte, error) { panic([]byte("secret")) }}, HandlerOptions{}, ServeOptions{})
	if _, err := s.dial(t).Call(t.Context(), request(wire.CallStart)); !errors.Is(err, ErrUnreachable) {
		t.Errorf("error %v", err)
	}
	for _, want := range []string{"panic=[]uint8", "TestPanicIsFound", "/v1/call"} {
		if log := s.log.String(); !strings.Contains(log, want) {
			t.Errorf("%q is not in the log: %s", want, log)
		}
	}
}

func TestLogOfCalls(t *testing.T) {
	s := serve(t, &fakeVault{answer: func(_ context.Context, r []byte) ([]byte, error) {
		return frame(wire.Call(r[1]), wire.Frozen), nil
	}}, HandlerOptions{}, ServeOptions{})
	if _, err := s.dial(t).Call(t.Context(), request(wire.CallStatus)); err != nil {
		t.Fatal(err)
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"call=Status", "code=FROZEN", "remote=127.0.0.1:", "took="} {
		if log := s.log.String(); !strings.Contains(log, want) {
			t.Errorf("%q is not in the log: %s", want, log)
		}
	}
}

func TestDescriptorAndHealth(t *testing.T) {
	var ill error
	var mu sync.Mutex
	s := serve(t, new(fakeVault), HandlerOptions{Health: func(context.Context) error {
		mu.Lock()
		defer mu.Unlock()
		return ill
	}}, ServeOptions{})
	get := func(protocol, path string) (int, string) {
		t.Helper()
		resp, err := s.client(t, protocol).Get("https://" + s.addr + path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.Proto != protocol || resp.ContentLength != int64(len(body)) || resp.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %v %v %v", path, err, resp.Proto, resp.Header)
		}
		return resp.StatusCode, string(body)
	}
	for _, protocol := range protocols {
		if status, body := get(protocol, pathDescriptor); status != 200 || body != testDescriptor {
			t.Errorf("%d %q", status, body)
		}
		if status, body := get(protocol, pathHealth); status != 200 || body != "ok\n" {
			t.Errorf("%d %q", status, body)
		}
	}
	mu.Lock()
	ill = errors.New("the token is gone")
	mu.Unlock()
	if status, body := get("HTTP/1.1", pathHealth); status != 503 || strings.Contains(body, "token") {
		t.Errorf("%d %q", status, body)
	}
}

// A client that goes away has not taken its request back: what it asked for is done, and
// the vault is given a time for it.
func TestCallOutlivesClient(t *testing.T) {
	begun, gone, seen := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	s := serve(t, &fakeVault{answer: func(ctx context.Context, r []byte) ([]byte, error) {
		close(begun)
		<-gone
		time.Sleep(50 * time.Millisecond) // for the server to notice
		if _, ok := ctx.Deadline(); !ok {
			seen <- errors.New("no deadline")
		}
		seen <- ctx.Err()
		return frame(wire.Call(r[1]), wire.OK), nil
	}}, HandlerOptions{}, ServeOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-begun; cancel() }()
	if _, err := s.dial(t).Call(ctx, request(wire.CallStart)); !errors.Is(err, context.Canceled) || !errors.Is(err, ErrUnreachable) {
		t.Errorf("error %v", err)
	}
	close(gone)
	if err := <-seen; err != nil {
		t.Error(err)
	}
}

func TestTooManyCalls(t *testing.T) {
	for _, o := range []HandlerOptions{{MaxCalls: 3}, {MaxCallsPerBlock: 3}} {
		inside, open := make(chan struct{}, 8), make(chan struct{})
		v := &fakeVault{answer: func(_ context.Context, r []byte) ([]byte, error) {
			inside <- struct{}{}
			<-open
			return frame(wire.Call(r[1]), wire.Busy), nil
		}}
		s := serve(t, v, o, ServeOptions{})
		d := s.dial(t)
		var waiting sync.WaitGroup
		for range 3 {
			waiting.Go(func() {
				if _, err := d.Call(context.Background(), request(wire.CallStart)); err != nil {
					t.Error(err)
				}
			})
			<-inside
		}
		for range 5 {
			if _, err := d.Call(t.Context(), request(wire.CallStart)); !errors.Is(err, vault.ErrOverloaded) {
				t.Errorf("error %v", err)
			}
		}
		close(open)
		waiting.Wait()
		if n := v.calls.Load(); n != 3 {
			t.Errorf("%d calls reached the vault", n)
		}
		if _, err := d.Call(t.Context(), request(wire.CallStart)); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	}
}

func TestMounted(t *testing.T) {
	mux := http.NewServeMux()
	mux.Handle("/keys/", http.StripPrefix("/keys", Handler(new(fakeVault), &HandlerOptions{Log: slog.New(slog.DiscardHandler)})))
	s := serveHandler(t, mux, new(journal), ServeOptions{})
	d, id, err := Dial("https://"+s.addr+"/keys#"+testID, &Options{CA: s.ca})
	if err != nil || id != testID {
		t.Fatal(id, err)
	}
	defer func() { _ = d.Close() }()
	if got, err := d.Descriptor(t.Context()); err != nil || string(got) != testDescriptor {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := d.Call(t.Context(), request(wire.CallFinish)); err != nil || len(got) != wire.ReleaseSize {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}
