//go:build linux

package process_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/coffer-backup/coffer/internal/need"
)

const (
	slowBlocks   = 24 // of addresses
	slowPerBlock = 80
	connsAllowed = 64 // of a block
	slowKinds    = 4
)

// TestSlow has thousands of connections that want nothing, or take their time. They get
// no more descriptors and goroutines than a block of addresses may have, give them back,
// and people elsewhere recover meanwhile.
func TestSlow(t *testing.T) {
	var limit syscall.Rlimit
	err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit)
	need.That(t, err == nil && limit.Cur >= 4096, "needs 4,096 open files: ulimit -n 4096")
	p, _ := newSoftware(t, func(*config) {})
	p.run()
	people := newPeople(t, p)
	descriptors, goroutines := p.descriptors(), p.goroutines()

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	end := people.recoverUntil()
	var work sync.WaitGroup
	var cutOff [slowKinds]atomic.Int64
	for i := range slowBlocks * slowPerBlock {
		work.Go(func() { p.dawdle(ctx, i, &cutOff[i%slowKinds]) })
	}
	mostDescriptors, mostGoroutines := 0, 0
	for start := time.Now(); time.Since(start) < 15*time.Second; time.Sleep(100 * time.Millisecond) {
		mostDescriptors, mostGoroutines = max(mostDescriptors, p.descriptors()), max(mostGoroutines, p.goroutines())
	}
	recoveries, slowest := end()
	t.Logf("descriptors %d, at most %d; goroutines %d, at most %d; %d recoveries, the slowest in %v; %d KiB at most",
		descriptors, mostDescriptors, goroutines, mostGoroutines, recoveries, slowest.Round(time.Millisecond), p.memory("VmHWM"))
	const conns = slowBlocks * connsAllowed
	if mostDescriptors < descriptors+conns*3/4 {
		t.Errorf("%d descriptors: this test has seen nothing", mostDescriptors)
	}
	if mostDescriptors > descriptors+conns+20 {
		t.Errorf("%d descriptors, %d before, and %d connections are allowed", mostDescriptors, descriptors, conns)
	}
	if mostGoroutines > goroutines+3*conns+20 {
		t.Errorf("%d goroutines, %d before, and %d connections are allowed", mostGoroutines, goroutines, conns)
	}
	if recoveries < 20 || slowest > 5*time.Second && !raceEnabled {
		t.Errorf("%d recoveries, the slowest in %v", recoveries, slowest)
	}
	cancel()
	work.Wait()
	for how := range cutOff {
		if cutOff[how].Load() == 0 {
			t.Errorf("kind %d: the vault has ended no connection", how)
		}
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		d, g := p.descriptors(), p.goroutines()
		if d <= descriptors+5 && g <= goroutines+10 {
			break
		}
		if time.Now().After(end) {
			t.Errorf("%d descriptors and %d goroutines stay, there were %d and %d", d, g, descriptors, goroutines)
			break
		}
	}
	p.stop()
}

// dawdle connects from the address of connection i, time and again, and takes its time. It
// counts the connections that the vault has accepted, and then ended.
func (p *process) dawdle(ctx context.Context, i int, cutOff *atomic.Int64) {
	from := &net.TCPAddr{IP: net.IPv4(127, 0, byte(1+i/slowPerBlock), 1)}
	for ctx.Err() == nil {
		conn, err := (&net.Dialer{LocalAddr: from, Timeout: time.Second}).DialContext(ctx, "tcp", p.address)
		if err != nil {
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
			continue
		}
		stop := context.AfterFunc(ctx, func() { conn.Close() })
		start := p.slow(ctx, conn, i%slowKinds)
		if stop() && !start.IsZero() && time.Since(start) > 2*time.Second { // one too many is ended at once
			cutOff.Add(1)
		}
		conn.Close()
	}
}

// slow returns when the vault has had enough, and since when there is nothing to wait
// for, or zero if it does not come to that.
func (p *process) slow(ctx context.Context, conn net.Conn, how int) (start time.Time) {
	defer time.Sleep(50 * time.Millisecond) // before it comes again
	switch how {
	case 0: // half-open
	case 1:
		_, _ = io.WriteString(conn, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03") // of a ClientHello
	default:
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(p.Certificate)
		secure := tls.Client(conn, &tls.Config{RootCAs: roots, ServerName: "127.0.0.1"})
		if secure.HandshakeContext(ctx) != nil {
			return start
		}
		conn = secure
		_, _ = io.WriteString(conn, "POST /v1/call HTTP/1.1\r\nHost: vault\r\n")
	}
	start = time.Now()
	if how == 3 { // a slow body; the header before it never ends
		_, _ = io.WriteString(conn, "Content-Type: application/octet-stream\r\nContent-Length: 200\r\n\r\n")
		for range 200 {
			if _, err := conn.Write([]byte{1}); err != nil || ctx.Err() != nil {
				break
			}
			time.Sleep(500 * time.Millisecond)
		}
	}
	_, _ = io.Copy(io.Discard, conn)
	return start
}
