package httpapi

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/coffer-backup/coffer/vault"
	"github.com/coffer-backup/coffer/vault/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var testID = base64.RawURLEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32))

// A fakeVault answers calls with what answer returns.
type fakeVault struct {
	answer func(ctx context.Context, request []byte) ([]byte, error)
	calls  atomic.Int64
}

const testDescriptor = "{}\nsigned\n"

func (f *fakeVault) Descriptor(context.Context) ([]byte, error) { return []byte(testDescriptor), nil }

func (f *fakeVault) Call(ctx context.Context, request []byte) ([]byte, error) {
	f.calls.Add(1)
	if f.answer == nil {
		return frame(wire.Call(request[1]), wire.Unavailable), nil
	}
	return f.answer(ctx, request)
}

// frame returns a reply.
func frame(call wire.Call, code wire.Code) []byte {
	r := &wire.Reply{Call: call, Code: code}
	switch {
	case code == wire.Dead:
		r.Tombstone = new(wire.Tombstone)
	case code == wire.OK && (call == wire.CallStart || call == wire.CallRegTry):
		r.Login = new(wire.Login)
	case code == wire.OK && call == wire.CallRegBegin:
		r.Begun = new(wire.Begun)
	case code == wire.OK && (call == wire.CallRegDone || call == wire.CallOwner):
		r.Receipt = new(wire.Receipt)
	case (code == wire.OK || code == wire.Frozen) && call == wire.CallStatus:
		r.State = new(wire.State)
	case (code == wire.OK || code == wire.Conflict) && call == wire.CallFinish:
		r.Release = make([]byte, wire.MaxRelease)
	}
	return wire.AppendReply(nil, r)
}

// A journal is a log that tests look at.
type journal struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.String()
}

// A served is a vault on loopback.
type served struct {
	addr string
	ca   []byte
	tls  *tls.Config // of a client
	log  *journal
	stop func() error
}

// serve serves t until the test ends.
func serve(tb testing.TB, t vault.Transport, ho HandlerOptions, so ServeOptions) *served {
	tb.Helper()
	j := new(journal)
	ho.Log = slog.New(slog.NewTextHandler(j, nil))
	return serveHandler(tb, Handler(t, &ho), j, so)
}

func serveHandler(tb testing.TB, h http.Handler, j *journal, so ServeOptions) *served {
	tb.Helper()
	ca, key, err := NewCertificate([]string{"127.0.0.1", "localhost"}, time.Now())
	if err != nil {
		tb.Fatal(err)
	}
	pair, err := tls.X509KeyPair(ca, key)
	if err != nil {
		tb.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	s := &served{addr: l.Addr().String(), ca: ca, log: j}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	s.tls = &tls.Config{RootCAs: pool, ServerName: "localhost"}
	so.Log = slog.New(slog.NewTextHandler(j, nil))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- Serve(ctx, l, h, &tls.Config{Certificates: []tls.Certificate{pair}}, &so)
	}()
	s.stop = sync.OnceValue(func() error { cancel(); return <-ended })
	tb.Cleanup(func() {
		if err := s.stop(); err != nil {
			tb.Errorf("serving ended: %v", err)
		}
	})
	return s
}

func (s *served) address() string { return "https://" + s.addr + "/#" + testID }

// dial returns a Transport to s.
func (s *served) dial(tb testing.TB) *Transport {
	tb.Helper()
	t, _, err := Dial(s.address(), &Options{CA: s.ca})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = t.Close() })
	return t
}

// conn returns a TLS connection to s.
func (s *served) conn(tb testing.TB, protocols ...string) *tls.Conn {
	tb.Helper()
	config := s.tls.Clone()
	config.NextProtos = protocols
	c, err := tls.Dial("tcp", s.addr, config)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.Close() })
	return c
}

// raw sends text over HTTP/1.1 and returns the response, whose header has no date.
func (s *served) raw(tb testing.TB, text string) (head, body string, status int) {
	tb.Helper()
	c := s.conn(tb)
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = io.WriteString(c, text) // the server may have answered before it has all
	r := bufio.NewReader(c)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			tb.Fatalf("%.60q: after %q: %v", text, head, err)
		}
		if strings.HasPrefix(line, "Date: ") {
			line = fmt.Sprintf("Date: of %d bytes\r\n", len(line))
		}
		head += line
		if line == "\r\n" {
			break
		}
	}
	rest, err := io.ReadAll(r)
	if err != nil {
		tb.Fatalf("%.60q: %v", text, err)
	}
	if _, err := fmt.Sscanf(head, "HTTP/1.1 %d", &status); err != nil {
		tb.Fatalf("%v: %q", err, head)
	}
	return head, string(rest), status
}

// post returns the text of a request that has these header lines besides.
func post(body []byte, lines ...string) string {
	all := append([]string{
		"POST /v1/call HTTP/1.1", "Host: localhost", "Connection: close",
		"Content-Type: application/octet-stream", fmt.Sprintf("Content-Length: %d", len(body)),
	}, lines...)
	return strings.Join(all, "\r\n") + "\r\n\r\n" + string(body)
}

// client returns a client of that protocol alone.
func (s *served) client(tb testing.TB, protocol string) *http.Client {
	p := new(http.Protocols)
	p.SetHTTP1(protocol == "HTTP/1.1")
	p.SetHTTP2(protocol == "HTTP/2.0")
	t := &http.Transport{TLSClientConfig: s.tls.Clone(), Protocols: p, DisableCompression: true}
	tb.Cleanup(t.CloseIdleConnections)
	return &http.Client{Transport: t, Timeout: 10 * time.Second}
}

var protocols = []string{"HTTP/1.1", "HTTP/2.0"}

// request returns a frame that a vault would take for a call.
func request(call wire.Call) []byte { return append([]byte{wire.Version, byte(call)}, "and more"...) }

func callNames() (calls []wire.Call) {
	for c := wire.CallStart; c <= wire.CallStatus; c++ {
		calls = append(calls, c)
	}
	return calls
}

// eventually waits for ok.
func eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			tb.Fatalf("not in time: %s", what)
		}
	}
}
