package httpapi

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/coffer-backup/coffer/vault/wire"
)

// quick are time-outs that tests can wait for.
var quick = ServeOptions{
	Handshake: 150 * time.Millisecond, Read: 300 * time.Millisecond, Write: 300 * time.Millisecond, Idle: 150 * time.Millisecond,
}

// trickle writes text a byte at a time, over 2 s, until the other side has had enough of
// it, and returns how long that was.
func trickle(tb testing.TB, c net.Conn, text string) time.Duration {
	tb.Helper()
	start := time.Now()
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		_ = c.SetReadDeadline(start.Add(20 * time.Second))
		_, _ = io.Copy(io.Discard, c)
	}()
	tick := time.NewTicker(2 * time.Second / time.Duration(len(text)))
	defer tick.Stop()
	for i := range len(text) {
		if _, err := io.WriteString(c, text[i:i+1]); err != nil {
			break
		}
		select {
		case <-tick.C:
		case <-closed:
			return time.Since(start)
		}
	}
	<-closed
	return time.Since(start)
}

// within fails if the server took less than least, or so much longer that another limit
// may have been at work.
func within(t *testing.T, took, least time.Duration) {
	t.Helper()
	if took < least*9/10 || took > least+3*time.Second {
		t.Errorf("the connection lived %v, its limit is %v", took, least)
	}
}

func TestSlowClients(t *testing.T) {
	v := new(fakeVault)
	s := serve(t, v, HandlerOptions{}, quick)
	t.Run("half-open", func(t *testing.T) {
		c, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		start := time.Now()
		_, _ = io.Copy(io.Discard, c)
		within(t, time.Since(start), quick.Handshake)
	})
	t.Run("slow handshake", func(t *testing.T) {
		c, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		within(t, trickle(t, c, "\x16\x03\x01\x02\x00"+strings.Repeat("\x01", 200)), quick.Handshake)
	})
	t.Run("nothing", func(t *testing.T) {
		c := s.conn(t)
		start := time.Now()
		_, _ = io.Copy(io.Discard, c)
		within(t, time.Since(start), quick.Handshake)
	})
	t.Run("slow header", func(t *testing.T) {
		within(t, trickle(t, s.conn(t), "POST /v1/call HTTP/1.1\r\nHost: "+strings.Repeat("a", 200)), quick.Handshake)
	})
	t.Run("slow body", func(t *testing.T) {
		c := s.conn(t)
		head, body, _ := strings.Cut(post(make([]byte, 200)), "\r\n\r\n")
		if _, err := io.WriteString(c, head+"\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		within(t, trickle(t, c, body), quick.Read)
	})
	t.Run("idle", func(t *testing.T) {
		c := s.conn(t)
		if _, err := io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		_, _ = io.Copy(io.Discard, c)
		within(t, time.Since(start), quick.Idle)
	})
	if n := v.calls.Load(); n != 0 {
		t.Errorf("%d calls reached the vault", n)
	}
}

// A client that sends requests and reads no replies is cut off when the buffers between
// are full and the time is over.
func TestSlowReader(t *testing.T) {
	s := serve(t, new(fakeVault), HandlerOptions{}, quick)
	c := s.conn(t)
	_ = c.SetWriteDeadline(time.Now().Add(20 * time.Second))
	many := strings.Repeat(strings.Replace(post(request(wire.CallFinish)), "Connection: close\r\n", "", 1), 100)
	for {
		_, err := io.WriteString(c, many)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("the server waits for ever")
		}
		if err != nil {
			return
		}
	}
}

// preface is how a client begins HTTP/2: with empty settings.
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"

func TestSlowHTTP2(t *testing.T) {
	s := serve(t, new(fakeVault), HandlerOptions{}, quick)
	// 0x83: POST. 0x87: https. Then the path and the authority as they are.
	headers := "\x83\x87\x04\x08/v1/call\x01\x09localhost\x0f\x0d\x03200\x0f\x10\x18application/octet-stream"
	open := fmt.Sprintf("\x00\x00%c\x01\x04\x00\x00\x00\x01%s", len(headers), headers) // END_HEADERS, not END_STREAM
	t.Run("idle", func(t *testing.T) {
		c := s.conn(t, "h2")
		if _, err := io.WriteString(c, preface); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		_, _ = io.Copy(io.Discard, c)
		within(t, time.Since(start), quick.Idle) // and then a second for it to go
	})
	t.Run("slow header", func(t *testing.T) {
		c := s.conn(t, "h2")
		if _, err := io.WriteString(c, preface); err != nil {
			t.Fatal(err)
		}
		within(t, trickle(t, c, "\x00\x01\x00\x01\x04\x00\x00\x00\x01"+strings.Repeat("\x83", 200)), quick.Idle)
	})
	t.Run("slow body", func(t *testing.T) {
		c := s.conn(t, "h2")
		if _, err := io.WriteString(c, preface+open); err != nil {
			t.Fatal(err)
		}
		took := trickle(t, c, "\x00\x00\xc8\x00\x00\x00\x00\x00\x01"+strings.Repeat("\x00", 190))
		within(t, took, quick.Read)
		if log := s.log.String(); !strings.Contains(log, "request incomplete") {
			t.Errorf("the log has nothing of it: %s", log)
		}
	})
}

func TestHTTP2Limits(t *testing.T) {
	s := serve(t, new(fakeVault), HandlerOptions{}, ServeOptions{})
	c := s.conn(t, "h2")
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(c, preface); err != nil {
		t.Fatal(err)
	}
	frame := make([]byte, 9)
	if _, err := io.ReadFull(c, frame); err != nil || frame[3] != 4 {
		t.Fatalf("%x is no frame of settings: %v", frame, err)
	}
	settings := make([]byte, int(frame[1])<<8|int(frame[2]))
	if _, err := io.ReadFull(c, settings); err != nil {
		t.Fatal(err)
	}
	got := map[uint16]uint32{}
	for b := settings; len(b) >= 6; b = b[6:] {
		got[uint16(b[0])<<8|uint16(b[1])] = uint32(b[2])<<24 | uint32(b[3])<<16 | uint32(b[4])<<8 | uint32(b[5])
	}
	// Streams, window of a stream, frame, header list.
	if got[3] != maxStreams || got[4] != wire.MaxRequest || got[5] != 16<<10 || got[6] > maxHeader+512 {
		t.Errorf("settings %v", got)
	}
	resp, err := s.client(t, "HTTP/2.0").Do(&http.Request{
		Method: "GET", URL: mustParse(t, "https://"+s.addr+pathHealth), Header: http.Header{"X": {strings.Repeat("x", 7<<10), strings.Repeat("x", 7<<10)}},
	})
	if err == nil {
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("a header of 14 KiB: %v", resp.Status)
		}
	}
}

func TestTLSVersions(t *testing.T) {
	s := serve(t, new(fakeVault), HandlerOptions{}, ServeOptions{})
	old := s.tls.Clone()
	old.MaxVersion = tls.VersionTLS12
	if c, err := tls.Dial("tcp", s.addr, old); err == nil {
		_ = c.Close()
		t.Error("TLS 1.2 was accepted")
	}
	for _, curve := range []tls.CurveID{tls.X25519MLKEM768, tls.X25519, 0} {
		config := s.tls.Clone()
		config.NextProtos = []string{"h2", "http/1.1"}
		want := tls.X25519MLKEM768
		if curve != 0 {
			config.CurvePreferences, want = []tls.CurveID{curve}, curve
		}
		c, err := tls.Dial("tcp", s.addr, config)
		if err != nil {
			t.Fatalf("%v: %v", curve, err)
		}
		state := c.ConnectionState()
		if state.Version != tls.VersionTLS13 || state.CurveID != want || state.NegotiatedProtocol != "h2" {
			t.Errorf("%v: version %x, curve %v, protocol %q", curve, state.Version, state.CurveID, state.NegotiatedProtocol)
		}
		_ = c.Close()
	}
}

func TestTLSConfiguration(t *testing.T) {
	for _, config := range []*tls.Config{nil, {}, {
		Certificates:       []tls.Certificate{{}},
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, nil },
	}} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if err := Serve(t.Context(), l, http.NotFoundHandler(), config, nil); err == nil {
			t.Error("served without a certificate, or with a configuration of somebody else's")
		}
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("the listener is open: %v", err)
		}
	}
}

// takes reports whether the server takes another connection from that address.
func (s *served) takes(tb testing.TB, from string) (*tls.Conn, bool) {
	tb.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 5 * time.Second}
	c, err := tls.DialWithDialer(&d, "tcp", s.addr, s.tls)
	if err != nil {
		return nil, false
	}
	tb.Cleanup(func() { _ = c.Close() })
	return c, true
}

func TestTooManyConnections(t *testing.T) {
	s := serve(t, new(fakeVault), HandlerOptions{}, ServeOptions{MaxConns: 5, MaxConnsPerBlock: 3})
	var open []*tls.Conn
	take := func(from string, want bool) {
		t.Helper()
		c, ok := s.takes(t, from)
		if ok != want {
			t.Fatalf("%s is taken: %v", from, ok)
		}
		if ok {
			open = append(open, c)
		}
	}
	take("127.0.0.1", true)
	take("127.0.0.2", true)
	take("127.0.0.3", true)
	take("127.0.0.4", false) // of the same /24
	take("127.0.1.1", true)
	take("127.0.2.1", true)
	take("127.0.3.1", false)
	for _, c := range open {
		_ = c.Close()
	}
	eventually(t, "their places are free", func() bool { _, ok := s.takes(t, "127.0.0.1"); return ok })
	if log := s.log.String(); strings.Count(log, "too many connections") != 1 {
		t.Errorf("the log is %s", log)
	}
}

// A connection that is half open takes a place until its time is over.
func TestHalfOpenConnectionsCount(t *testing.T) {
	s := serve(t, new(fakeVault), HandlerOptions{}, ServeOptions{MaxConnsPerBlock: 2, Handshake: 500 * time.Millisecond})
	for range 2 {
		c, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
	}
	if _, ok := s.takes(t, "127.0.0.1"); ok {
		t.Error("a third connection was taken")
	}
	eventually(t, "the places are free", func() bool { _, ok := s.takes(t, "127.0.0.1"); return ok })
}

func TestShutdownWaitsForCalls(t *testing.T) {
	for _, protocol := range protocols {
		begun, goOn := make(chan struct{}), make(chan struct{})
		s := serve(t, &fakeVault{answer: func(_ context.Context, r []byte) ([]byte, error) {
			close(begun)
			<-goOn
			return frame(wire.Call(r[1]), wire.OK), nil
		}}, HandlerOptions{}, ServeOptions{})
		idle := s.conn(t)
		got := make(chan error, 1)
		client := s.client(t, protocol)
		go func() {
			resp, err := client.Post("https://"+s.addr+pathCall, typeFrame, strings.NewReader(string(request(wire.CallStart))))
			if err == nil {
				_, err = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
			}
			got <- err
		}()
		<-begun
		ended := make(chan error, 1)
		go func() { ended <- s.stop() }()
		eventually(t, "new connections are refused", func() bool {
			c, err := net.Dial("tcp", s.addr)
			if err == nil {
				_ = c.Close()
			}
			return err != nil
		})
		select {
		case err := <-ended:
			t.Errorf("%s: stopped with a call under way: %v", protocol, err)
		default:
		}
		_ = idle.Close()
		close(goOn)
		if err := <-got; err != nil {
			t.Errorf("%s: the call under way: %v", protocol, err)
		}
		if err := <-ended; err != nil {
			t.Errorf("%s: %v", protocol, err)
		}
	}
}

func TestShutdownCutsOff(t *testing.T) {
	goOn := make(chan struct{})
	s := serve(t, &fakeVault{answer: func(context.Context, []byte) ([]byte, error) {
		<-goOn
		return nil, errors.New("late")
	}}, HandlerOptions{}, quick)
	c := s.conn(t)
	if _, err := io.WriteString(c, post(request(wire.CallStart))); err != nil {
		t.Fatal(err)
	}
	stop := s.stop
	s.stop = func() error { return nil } // the clean-up's
	time.Sleep(50 * time.Millisecond)
	if err := stop(); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
	close(goOn)
	if _, err := bufio.NewReader(c).ReadByte(); err == nil {
		t.Error("the connection is open")
	}
}

func TestListenerFails(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	if err := Serve(t.Context(), l, http.NotFoundHandler(), &tls.Config{Certificates: make([]tls.Certificate, 1)}, nil); !errors.Is(err, net.ErrClosed) {
		t.Errorf("error %v", err)
	}
}

func TestBlocks(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.77:443": "192.0.2.0/24", "[2001:db8:1:2:3::4]:443": "2001:db8:1::/48", "[::ffff:192.0.2.1]:80": "192.0.2.0/24",
		"[fe80::1%eth0]:80": "fe80::/48", "@": "invalid Prefix", "": "invalid Prefix", "192.0.2.1": "invalid Prefix",
	} {
		if got := blockOf(address).String(); got != want {
			t.Errorf("%q is in %s, not %s", address, got, want)
		}
	}
	c := newCrowd(3, 1)
	socket := blockOf("@")
	for range 3 {
		if !c.enter(socket) {
			t.Error("the limit of a block holds for what is in none")
		}
	}
	if c.enter(socket) {
		t.Error("the limit of all does not")
	}
	for range 3 {
		c.leave(socket)
	}
	if c.in != 0 || len(c.blocks) != 0 {
		t.Errorf("%d are in, %v", c.in, c.blocks)
	}
}
