package httpapi

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"time"
)

// certificateTime is how long a self-made certificate is valid. Clients go by the
// vault's id, so there is little to gain by a shorter time.
const certificateTime = 10 * 365 * 24 * time.Hour

// NewCertificate makes a certificate for hosts, names or IP addresses, and its key, both
// in PEM. It vouches for itself: clients have to be given it, see [Options].
func NewCertificate(hosts []string, now time.Time) (certificate, key []byte, err error) {
	if len(hosts) == 0 {
		return nil, nil, errors.New("httpapi: a certificate needs a host name or an IP address")
	}
	// P-256, as browsers do not take Ed25519.
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("httpapi: making a key: %w", err)
	}
	template := &x509.Certificate{
		Subject:   pkix.Name{CommonName: "coffer vault"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(certificateTime),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true, // it is no CA
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return nil, nil, fmt.Errorf("httpapi: making a certificate: %w", err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, fmt.Errorf("httpapi: making a key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), nil
}
