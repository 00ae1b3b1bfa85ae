package httpapi

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coffer-backup/coffer/vault"
	"github.com/coffer-backup/coffer/vault/wire"
)

func mustParse(tb testing.TB, text string) *url.URL {
	tb.Helper()
	u, err := url.Parse(text)
	if err != nil {
		tb.Fatal(err)
	}
	return u
}

func TestAddresses(t *testing.T) {
	for _, good := range []string{"https://h/#", "https://h#", "https://h:8443/#", "https://h/a/b/#", "https://[::1]:1/#"} {
		d, id, err := Dial(good+testID, nil)
		if err != nil || id != testID {
			t.Errorf("%s: %q, %v", good, id, err)
			continue
		}
		if to := d.base.JoinPath(pathCall).String(); !strings.HasSuffix(to, pathCall) || strings.Count(to, "//") != 1 {
			t.Errorf("%s: calls go to %s", good, to)
		}
	}
	for _, bad := range []string{
		"", "h", "https://h/", "https://h/#", "https://h/#" + testID[1:], "https://h/#" + testID + "A", "https://h/#" + testID[:42] + "d",
		"https://h/#" + strings.Repeat("/", 43), "http://h/#" + testID, "https:///#" + testID, "https://:80/#" + testID,
		"https://u:p@h/#" + testID, "https://h/?q#" + testID, "https://h/?#" + testID, "https:h#" + testID, "https://h:x/#" + testID,
		"unix:///run/x#" + testID, "https://h/#sha256-" + testID,
	} {
		if _, _, err := Dial(bad, nil); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
	if _, _, err := Dial("https://h/#"+testID, &Options{CA: []byte("none")}); err == nil {
		t.Error("a PEM file without certificates was taken")
	}
}

func TestCalls(t *testing.T) {
	v := &fakeVault{answer: func(_ context.Context, r []byte) ([]byte, error) {
		if len(r) != wire.MaxRequest {
			return nil, vault.ErrRefused
		}
		return frame(wire.Call(r[1]), wire.OK), nil
	}}
	s := serve(t, v, HandlerOptions{}, ServeOptions{})
	d := s.dial(t)
	for _, call := range callNames() {
		whole := append(request(call), make([]byte, wire.MaxRequest-len(request(call)))...)
		got, err := d.Call(t.Context(), whole)
		if err != nil || string(got) != string(frame(call, wire.OK)) {
			t.Errorf("%v: %d bytes, %v", call, len(got), err)
		}
		if _, err := d.Call(t.Context(), whole[:100]); !errors.Is(err, vault.ErrRefused) {
			t.Errorf("%v: error %v", call, err)
		}
	}
	before := v.calls.Load()
	for _, bad := range [][]byte{nil, {1}, make([]byte, wire.MaxRequest+1)} {
		if _, err := d.Call(t.Context(), bad); err == nil || errors.Is(err, ErrUnreachable) {
			t.Errorf("%d bytes: error %v", len(bad), err)
		}
	}
	if v.calls.Load() != before {
		t.Error("a request that cannot be right was sent")
	}
}

func TestUnreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	d, _, err := Dial("https://"+l.Addr().String()+"/#"+testID, &Options{Timeout: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	if _, err := d.Descriptor(t.Context()); !errors.Is(err, ErrUnreachable) || errors.Is(err, ErrNotVault) {
		t.Errorf("nobody answers: %v", err)
	}
	_ = l.Close()
	if _, err := d.Descriptor(t.Context()); !errors.Is(err, ErrUnreachable) {
		t.Errorf("nobody listens: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.Descriptor(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestUntrustedCertificate(t *testing.T) {
	s := serve(t, new(fakeVault), HandlerOptions{}, ServeOptions{})
	other, _, err := NewCertificate([]string{"127.0.0.1"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for name, o := range map[string]*Options{"the system's": nil, "another": {CA: other}} {
		d, _, err := Dial(s.address(), o)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.Descriptor(t.Context()); !errors.Is(err, ErrNotVault) || errors.Is(err, ErrUnreachable) {
			t.Errorf("%s: error %v", name, err)
		}
		_ = d.Close()
	}
	d, _, err := Dial(strings.Replace(s.address(), "127.0.0.1", "127.0.0.2", 1), &Options{CA: s.ca})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	if _, err := d.Descriptor(t.Context()); err == nil {
		t.Error("a certificate for another host was taken")
	}
}

// What answers in a vault's stead is refused before much of it is read.
func TestNotAVault(t *testing.T) {
	typed := func(w http.ResponseWriter, contentType string) { w.Header().Set("Content-Type", contentType) }
	long := make([]byte, 1<<20)
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   error
	}{
		"not found": {http.NotFound, ErrNotVault},
		"redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		}, ErrNotVault},
		"page": {func(w http.ResponseWriter, _ *http.Request) {
			typed(w, "text/html")
			_, _ = w.Write(long[:wire.ReplySize])
		}, ErrNotVault},
		"too long": {func(w http.ResponseWriter, _ *http.Request) {
			typed(w, typeFrame)
			_, _ = w.Write(long[:wire.ReplySize+1])
		}, ErrNotVault},
		"too short": {func(w http.ResponseWriter, _ *http.Request) {
			typed(w, typeFrame)
			_, _ = w.Write(long[:wire.ReplySize-1])
		}, ErrNotVault},
		"empty":       {func(w http.ResponseWriter, _ *http.Request) { typed(w, typeFrame) }, ErrNotVault},
		"without end": {func(w http.ResponseWriter, _ *http.Request) { typed(w, typeFrame); _, _ = w.Write(long) }, ErrNotVault},
		"proxy's 400": {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "refused", http.StatusBadRequest) }, ErrNotVault},
		"proxy's 503": {func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, string(long), http.StatusServiceUnavailable)
		}, ErrUnreachable},
		"gateway":       {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "", http.StatusGatewayTimeout) }, ErrUnreachable},
		"created":       {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusCreated) }, ErrNotVault},
		"breaks off":    {func(w http.ResponseWriter, _ *http.Request) { breakOff(w) }, ErrUnreachable},
		"long header":   {func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 64<<10)) }, ErrUnreachable},
		"says encoded":  {func(w http.ResponseWriter, _ *http.Request) { encoded(w, "gzip") }, nil},
		"says identity": {func(w http.ResponseWriter, _ *http.Request) { encoded(w, "identity") }, nil},
	} {
		elsewhere := false
		s := serveHandler(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			elsewhere = elsewhere || r.URL.Path == "/elsewhere"
			c.answer(w, r)
		}), new(journal), ServeOptions{})
		_, err := s.dial(t).Call(t.Context(), request(wire.CallStart))
		if !errors.Is(err, c.want) || c.want == nil && err != nil || errors.Is(err, vault.ErrRefused) || errors.Is(err, vault.ErrOverloaded) {
			t.Errorf("%s: error %v", name, err)
		}
		if elsewhere {
			t.Errorf("%s: the client went where it was sent", name)
		}
	}
}

// breakOff ends a response in its midst.
func breakOff(w http.ResponseWriter) {
	w.Header().Set("Content-Type", typeFrame)
	w.Header().Set("Content-Length", "768")
	_, _ = w.Write(make([]byte, 100))
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

// encoded says what the body would be; the client takes the bytes as they are.
func encoded(w http.ResponseWriter, as string) {
	w.Header().Set("Content-Encoding", as)
	respond(w, 200, typeFrame, make([]byte, wire.ReplySize))
}

func TestDescriptorIsBounded(t *testing.T) {
	for size, ok := range map[int]bool{0: false, 1: true, vault.MaxDescriptor: true, vault.MaxDescriptor + 1: false} {
		s := serveHandler(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			respond(w, 200, typeText, make([]byte, size))
		}), new(journal), ServeOptions{})
		if got, err := s.dial(t).Descriptor(t.Context()); (err == nil) != ok || ok && len(got) != size || !ok && !errors.Is(err, ErrNotVault) {
			t.Errorf("%d bytes: %d, %v", size, len(got), err)
		}
	}
}

func TestCertificate(t *testing.T) {
	now := time.Now()
	text, key, err := NewCertificate([]string{"vault.example.org", "192.0.2.1", "::1"}, now)
	if err != nil {
		t.Fatal(err)
	}
	block, rest := pem.Decode(text)
	if block == nil || len(rest) > 0 || !strings.HasPrefix(string(key), "-----BEGIN PRIVATE KEY-----\n") {
		t.Fatalf("%s", text)
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(c)
	for _, host := range []string{"vault.example.org", "192.0.2.1", "::1"} {
		for _, at := range []time.Time{now, now.Add(certificateTime - time.Hour)} {
			if _, err := c.Verify(x509.VerifyOptions{DNSName: host, Roots: roots, CurrentTime: at}); err != nil {
				t.Errorf("%s: %v", host, err)
			}
		}
	}
	if _, err := c.Verify(x509.VerifyOptions{DNSName: "example.org", Roots: roots}); err == nil {
		t.Error("it is for another host, too")
	}
	if c.IsCA || c.CheckSignatureFrom(c) == nil {
		t.Error("it vouches for others")
	}
	if _, _, err := NewCertificate(nil, now); err == nil {
		t.Error("made for no host")
	}
}
