package httpapi

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/coffer-backup/coffer/vault/wire"
)

// Limits of a connection. § 4.5
const (
	handshakeTime = 5 * time.Second // for TLS, and for the header of a request
	readTime      = 10 * time.Second
	writeTime     = 10 * time.Second
	idleTime      = 30 * time.Second

	maxHeader  = 8 << 10
	maxStreams = 100
	// What a client may have sent of bodies that nobody has read, least for HTTP/2.
	connWindow = 64 << 10
)

// ServeOptions are for [Serve]. The zero value is safe.
type ServeOptions struct {
	// MaxConns is how many connections there are at a time, and MaxConnsPerBlock how many
	// from one /24, or /48 of IPv6. Others are closed at once. 0: 4,096 and 64.
	MaxConns, MaxConnsPerBlock int
	// Handshake is the time for a TLS handshake, and for the header of a request; Read
	// that for a request, Write that for its reply; Idle that between requests. 0: 5 s,
	// 10 s, 10 s and 30 s.
	Handshake, Read, Write, Idle time.Duration
	// Log gets what strangers do wrong, at most a line a second. nil: slog.Default().
	Log *slog.Logger
}

// Serve answers connections to l with h, over TLS 1.3, until ctx is done; then it waits
// for requests under way, at most as long as one may take, and returns nil. It closes l.
//
// config has the certificate, or a GetCertificate that may return a newer one at any
// time. Its key exchanges are left to Go, which prefers one that is safe from quantum
// computers and also takes X25519, as not every client has the other.
func Serve(ctx context.Context, l net.Listener, h http.Handler, config *tls.Config, o *ServeOptions) error {
	if config == nil || len(config.Certificates) == 0 && config.GetCertificate == nil || config.GetConfigForClient != nil {
		_ = l.Close()
		return errors.New("httpapi: the TLS configuration needs Certificates or GetCertificate, and no GetConfigForClient")
	}
	if o == nil {
		o = new(ServeOptions)
	}
	strangers := newThrottle(o.Log)
	s := newServer(h, config, o, strangers)
	l = &limitedListener{Listener: l, crowd: newCrowd(o.MaxConns, o.MaxConnsPerBlock), log: strangers}

	ended := make(chan error, 1)
	go func() { ended <- s.ServeTLS(l, "", "") }()
	select {
	case err := <-ended:
		_ = s.Close()
		return fmt.Errorf("httpapi: %w", err)
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.ReadTimeout+s.WriteTimeout)
	defer cancel()
	err := s.Shutdown(last)
	if err != nil {
		_ = s.Close()
		err = fmt.Errorf("httpapi: requests were cut off: %w", err)
	}
	<-ended
	return err
}

// newServer returns a server that bounds what a connection may take, in bytes and in
// time, at each phase.
func newServer(h http.Handler, config *tls.Config, o *ServeOptions, log *throttle) *http.Server {
	config = config.Clone()
	config.MinVersion = tls.VersionTLS13
	return &http.Server{
		Handler: h, TLSConfig: config, ErrorLog: log.logger(),
		DisableGeneralOptionsHandler: true,

		ReadHeaderTimeout: or(o.Handshake, handshakeTime), // of the TLS handshake, too
		ReadTimeout:       or(o.Read, readTime),
		WriteTimeout:      or(o.Write, writeTime),
		IdleTimeout:       or(o.Idle, idleTime),
		MaxHeaderBytes:    maxHeader,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams:          maxStreams,
			MaxReadFrameSize:              16 << 10,
			MaxReceiveBufferPerConnection: connWindow,
			MaxReceiveBufferPerStream:     wire.MaxRequest,
			WriteByteTimeout:              or(o.Write, writeTime),
		},
	}
}

func or(d, otherwise time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return otherwise
}
