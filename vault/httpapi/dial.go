package httpapi

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/coffer-backup/coffer/vault"
	"github.com/coffer-backup/coffer/vault/wire"
)

// What went wrong before there was a reply. A vault's own refusals are vault.ErrRefused
// and vault.ErrOverloaded.
var (
	// ErrUnreachable: the vault may have got the request, or not.
	ErrUnreachable = errors.New("httpapi: the vault cannot be reached")
	// ErrNotVault: to try again is of no use.
	ErrNotVault = fmt.Errorf("httpapi: what answers there is not the vault: %w", vault.ErrForged)
)

// requestTime is longer than a vault takes.
const requestTime = 15 * time.Second

// Options are for [Dial]. The zero value is safe.
type Options struct {
	// CA has certificates in PEM that vouch for the server's, as that which a vault made
	// for itself. nil: those of the system.
	CA []byte
	// Timeout is that of a request. 0: 15 s.
	Timeout time.Duration
}

// A Transport takes requests to a vault over HTTPS. It keeps connections for the next
// request. It can be used by several goroutines at the same time.
type Transport struct {
	base   *url.URL
	client *http.Client
}

// Dial returns a Transport to the vault at address, "https://HOST/#VAULT-ID", and the
// vault's id. It does not connect yet. A path is where an application has mounted the
// handler.
func Dial(address string, o *Options) (t *Transport, vaultID string, err error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, "", fmt.Errorf("httpapi: %w", err)
	}
	if o == nil {
		o = new(Options)
	}
	id, err := base64.RawURLEncoding.Strict().DecodeString(u.Fragment)
	if err != nil || len(id) != 32 || u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.ForceQuery {
		return nil, "", fmt.Errorf("httpapi: %q is no address of a vault: it is https://HOST/#ID, with an id of 43 characters", address)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS13}
	if o.CA != nil {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(o.CA) {
			return nil, "", errors.New("httpapi: there is no certificate in the PEM file that should vouch for the vault")
		}
	}
	timeout := or(o.Timeout, requestTime)
	vaultID, u.Fragment = u.Fragment, ""
	return &Transport{u, &http.Client{
		Timeout:       timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, TLSClientConfig: config, ForceAttemptHTTP2: true,
			TLSHandshakeTimeout: timeout, DisableCompression: true, MaxResponseHeaderBytes: maxHeader,
			// Less than the server's, so that no request meets a connection that ends.
			IdleConnTimeout: idleTime - 5*time.Second,
		},
	}}, vaultID, nil
}

// Descriptor returns the vault's signed descriptor. Nothing of it was verified.
func (t *Transport) Descriptor(ctx context.Context) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, t.base.JoinPath(pathDescriptor).String(), nil)
	if err != nil {
		return nil, fmt.Errorf("httpapi: %w", err)
	}
	return t.do(r, typeText, 1, vault.MaxDescriptor)
}

// Call returns the reply to a request. Nothing of it but its length was verified.
func (t *Transport) Call(ctx context.Context, request []byte) ([]byte, error) {
	if len(request) < 2 || len(request) > wire.MaxRequest {
		return nil, fmt.Errorf("httpapi: a request of %d bytes, it has 2 to %d", len(request), wire.MaxRequest)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, t.base.JoinPath(pathCall).String(), bytes.NewReader(request))
	if err != nil {
		return nil, fmt.Errorf("httpapi: %w", err)
	}
	r.Header.Set("Content-Type", typeFrame)
	size := callOf(request).ReplySize()
	return t.do(r, typeFrame, size, size)
}

// Close closes connections that are idle.
func (t *Transport) Close() error {
	t.client.CloseIdleConnections()
	return nil
}

// do returns the body of the response, which has least to most bytes of that type.
func (t *Transport) do(r *http.Request, contentType string, least, most int) ([]byte, error) {
	resp, err := t.client.Do(r)
	if err != nil {
		if certificate := new(tls.CertificateVerificationError); errors.As(err, &certificate) {
			return nil, fmt.Errorf("%w: %w", ErrNotVault, err)
		}
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, statusError(resp)
	}
	if n := resp.ContentLength; n < int64(least) || n > int64(most) || resp.Header.Get("Content-Type") != contentType {
		return nil, fmt.Errorf("%w: the response is %d bytes of %q", ErrNotVault, n, resp.Header.Get("Content-Type"))
	}
	body := make([]byte, resp.ContentLength)
	if _, err := io.ReadFull(resp.Body, body); err != nil {
		return nil, fmt.Errorf("%w: reading the response: %w", ErrUnreachable, err)
	}
	return body, nil
}

// statusError returns what a response without a reply means.
func statusError(resp *http.Response) error {
	said, _ := io.ReadAll(io.LimitReader(resp.Body, int64(len(bodyOverloaded))+1))
	switch {
	case resp.StatusCode == http.StatusBadRequest && string(said) == bodyRefused:
		return vault.ErrRefused
	case resp.StatusCode == http.StatusServiceUnavailable && string(said) == bodyOverloaded:
		return vault.ErrOverloaded
	case resp.StatusCode >= 500, resp.StatusCode == http.StatusRequestTimeout, resp.StatusCode == http.StatusTooEarly,
		resp.StatusCode == http.StatusTooManyRequests:
		return fmt.Errorf("%w: status %s", ErrUnreachable, resp.Status)
	}
	return fmt.Errorf("%w: status %s", ErrNotVault, resp.Status)
}
