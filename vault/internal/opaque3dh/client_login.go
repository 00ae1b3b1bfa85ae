package opaque3dh

import (
	"crypto/subtle"
	"fmt"

	"github.com/coffer-backup/coffer/vault/evaluator"
)

// An Answer is what the server sent to a KE1, and what was agreed before.
type Answer struct {
	// Context, ClientIdentity and ServerIdentity are as in Login.
	Context, ClientIdentity, ServerIdentity []byte

	KE2     [KE2Size]byte
	Stretch Stretch // that of the registration
}

// A Session is what a login gives the client.
type Session struct {
	redacted
	KE3 [KE3Size]byte
	// SessionKey is the server's too, once it has KE3.
	SessionKey [HashSize]byte
	// ExportKey is that of the registration.
	ExportKey [HashSize]byte
	// ServerPublic is the key that was registered, of which the server has proved that it
	// has the secret.
	ServerPublic evaluator.Point
}

// Wipe overwrites the secrets, as far as that is possible in Go.
func (s *Session) Wipe() {
	clear(s.KE3[:])
	clear(s.SessionKey[:])
	clear(s.ExportKey[:])
}

// fields are those of KE2.
type fields struct {
	evaluated    evaluator.Point
	maskingNonce [NonceSize]byte
	masked       [maskedSize]byte
	nonce        [NonceSize]byte
	keyShare     evaluator.Point
	mac          [HashSize]byte
}

// parseKE2 checks the key share. The evaluated element is for finalize.
func parseKE2(b []byte) (*fields, error) {
	m := new(fields)
	err := split("KE2", b, m.evaluated[:], m.maskingNonce[:], m.masked[:], m.nonce[:], m.keyShare[:], m.mac[:])
	if err != nil {
		return nil, err
	}
	if err := evaluator.CheckPoint(m.keyShare); err != nil {
		return nil, fmt.Errorf("opaque3dh: server's key share: %w", err)
	}
	return m, nil
}

// Finish takes KE2 (§ 6.3.2.3 and § 6.4.3). An error of Stretch is wrapped.
func (c *Client) Finish(a *Answer) (*Session, error) {
	if err := checkLengths(a.Context, a.ClientIdentity, a.ServerIdentity); err != nil {
		return nil, err
	}
	m, err := parseKE2(a.KE2[:])
	if err != nil {
		return nil, err
	}
	if m.keyShare == c.ke1.KeyShare {
		return nil, fmt.Errorf("%w: server's key share", ErrReflected)
	}
	randomized, err := c.randomize(m.evaluated, a.Stretch)
	if err != nil {
		return nil, err
	}
	defer clear(randomized)

	// l becomes what the server answered from.
	l := &Login{Context: a.Context, ClientIdentity: a.ClientIdentity, ServerIdentity: a.ServerIdentity, KE1: c.ke1}
	l.unmask(m, maskingKey(randomized))
	k := l.credentials(randomized)
	defer k.wipe()
	// Before the tag is right, nothing looks at the public key. Else who answers in the
	// server's place could see from the time this takes whether it is a point, which says
	// of 255 passwords in 256 that they are wrong.
	if subtle.ConstantTimeCompare(k.tag[:], l.Record.Envelope[NonceSize:]) != 1 {
		return nil, ErrAuthentication
	}
	l.Record.ClientPublic = k.public
	secrets, err := c.agree(k, m.keyShare, l.ServerPublic)
	if err != nil {
		return nil, err
	}
	defer clear(secrets)
	s := &Session{ExportKey: k.export, ServerPublic: l.ServerPublic}
	var serverMAC [HashSize]byte
	s.SessionKey, serverMAC, s.KE3 = schedule(secrets, l.preamble(a.KE2[:KE2Size-HashSize]))
	if subtle.ConstantTimeCompare(serverMAC[:], m.mac[:]) != 1 {
		s.Wipe()
		return nil, ErrAuthentication
	}
	return s, nil
}

// unmask takes the server's public key and the envelope from m.
func (l *Login) unmask(m *fields, key [HashSize]byte) {
	l.MaskingNonce, l.Record.MaskingKey = m.maskingNonce, key
	set := func(b []byte) { copy(l.Record.Envelope[:], b[copy(l.ServerPublic[:], b):]) }
	set(m.masked[:])
	set(l.masked()) // a second time under the same pad
	clear(l.Record.MaskingKey[:])
}

// agree returns the three Diffie-Hellman points, in the order of § 6.4.3. share is a point;
// server may be none.
func (c *Client) agree(k *credentials, share, server evaluator.Point) ([]byte, error) {
	secrets := make([]byte, 0, 3*PointSize)
	for _, dh := range []struct {
		private *evaluator.Scalar
		public  evaluator.Point
	}{{&c.random.ephemeral, share}, {&c.random.ephemeral, server}, {&k.private, share}} {
		p, err := dh.private.Mul(dh.public)
		if err != nil {
			return nil, ErrAuthentication
		}
		secrets = append(secrets, p[:]...)
	}
	return secrets, nil
}
