package opaque3dh

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/coffer-backup/coffer/vault/evaluator"
)

// Labels of RFC 9807.
const (
	labelPad       = "CredentialResponsePad" // § 6.3.2.2
	labelPrefix    = "OPAQUE-"               // § 6.4.2.1, and those that follow
	labelPreamble  = "OPAQUEv1-"
	labelHandshake = "HandshakeSecret"
	labelSession   = "SessionKey"
	labelServerMAC = "ServerMAC"
	labelClientMAC = "ClientMAC"
)

// A Login is what KE2 is made from. It is secret.
type Login struct {
	redacted
	// Context is agreed by both sides, at most 65,535 bytes, as are the identities. Public
	// clients have none.
	Context []byte
	// ClientIdentity and ServerIdentity are those of the registration. nil: the public
	// key.
	ClientIdentity, ServerIdentity []byte

	Record       Record
	ServerPublic evaluator.Point // of the AKE key
	KE1          KE1
	Evaluated    evaluator.Point // the OPRF key · KE1.Blinded
	Static       evaluator.Point // the AKE key · KE1.KeyShare

	// MaskingNonce and ServerNonce are random, and Ephemeral is from evaluator.NewScalar:
	// new ones for each login.
	MaskingNonce, ServerNonce [NonceSize]byte
	Ephemeral                 evaluator.Scalar
}

// A Reply is KE2 and what the server keeps of it.
type Reply struct {
	redacted
	KE2 [KE2Size]byte
	// ClientMAC is what KE3 must be.
	ClientMAC [KE3Size]byte
	// SessionKey is both sides' after KE3.
	SessionKey [HashSize]byte
}

// Respond answers a KE1 (§ 6.3.2.2 and § 6.4.4).
func Respond(l *Login) (*Reply, error) {
	if max(len(l.Context), len(l.ClientIdentity), len(l.ServerIdentity)) > 0xffff {
		return nil, errors.New("opaque3dh: context or identity of more than 65,535 bytes")
	}
	r := new(Reply)
	share := l.Ephemeral.Public()
	ke2 := append(r.KE2[:0], l.Evaluated[:]...)
	ke2 = append(ke2, l.MaskingNonce[:]...)
	ke2 = append(ke2, l.masked()...)
	ke2 = append(ke2, l.ServerNonce[:]...)
	ke2 = append(ke2, share[:]...)

	secrets, err := l.agree()
	if err != nil {
		return nil, err
	}
	defer clear(secrets)
	session, serverMAC, clientMAC := schedule(secrets, l.preamble(ke2))
	r.SessionKey, r.ClientMAC = session, clientMAC
	copy(r.KE2[len(ke2):], serverMAC[:])
	return r, nil
}

// schedule is § 6.4.2.2: what follows from the Diffie-Hellman points and the transcript.
func schedule(secrets, preamble []byte) (session, serverMAC, clientMAC [HashSize]byte) {
	transcript := sha256.New()
	transcript.Write(preamble)
	sum := transcript.Sum(nil)
	prk := extract(secrets)
	handshake := derive(prk, labelHandshake, sum)
	defer clear(prk)
	defer clear(handshake)
	session = [HashSize]byte(derive(prk, labelSession, sum))
	serverMAC = [HashSize]byte(mac(derive(handshake, labelServerMAC, nil), sum))
	transcript.Write(serverMAC[:])
	clientMAC = [HashSize]byte(mac(derive(handshake, labelClientMAC, nil), transcript.Sum(nil)))
	return session, serverMAC, clientMAC
}

// masked returns the server's public key and the envelope under a pad, so that who
// sees a reply cannot tell a real record from one that is made up.
func (l *Login) masked() []byte {
	var info [NonceSize + len(labelPad)]byte
	copy(info[copy(info[:], l.MaskingNonce[:]):], labelPad)
	pad := expand(l.Record.MaskingKey[:], string(info[:]), maskedSize)
	subtle.XORBytes(pad, pad, l.ServerPublic[:])
	subtle.XORBytes(pad[PointSize:], pad[PointSize:], l.Record.Envelope[:])
	return pad
}

// agree returns the three Diffie-Hellman points, in the order of § 6.4.4.
func (l *Login) agree() ([]byte, error) {
	ephemeral, err := l.Ephemeral.Mul(l.KE1.KeyShare)
	if err != nil {
		return nil, fmt.Errorf("opaque3dh: client's key share: %w", err)
	}
	client, err := l.Ephemeral.Mul(l.Record.ClientPublic)
	if err != nil {
		return nil, fmt.Errorf("opaque3dh: client's public key: %w", err)
	}
	secrets := append(make([]byte, 0, 3*PointSize), ephemeral[:]...)
	secrets = append(secrets, l.Static[:]...)
	return append(secrets, client[:]...), nil
}

// preamble is the transcript of § 6.4.2.1; ke2 is KE2 without its MAC.
func (l *Login) preamble(ke2 []byte) []byte {
	client, server := l.ClientIdentity, l.ServerIdentity
	if client == nil {
		client = l.Record.ClientPublic[:]
	}
	if server == nil {
		server = l.ServerPublic[:]
	}
	b := make([]byte, 0, len(labelPreamble)+6+len(l.Context)+len(client)+len(server)+KE1Size+KE2Size)
	b = append(b, labelPreamble...)
	b = appendVector(b, l.Context)
	b = appendVector(b, client)
	b = l.KE1.Append(b)
	b = appendVector(b, server)
	return append(b, ke2...)
}

func appendVector(b, v []byte) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(v))), v...)
}

// derive is Derive-Secret of § 6.4.2.1.
func derive(secret []byte, label string, transcript []byte) []byte {
	info := make([]byte, 0, 4+len(labelPrefix)+len(label)+len(transcript))
	info = binary.BigEndian.AppendUint16(info, HashSize)
	info = append(info, byte(len(labelPrefix)+len(label)))
	info = append(append(info, labelPrefix...), label...)
	info = append(append(info, byte(len(transcript))), transcript...)
	return expand(secret, string(info), HashSize)
}

func mac(key, message []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(message)
	return h.Sum(nil)
}

func extract(secret []byte) []byte {
	prk, err := hkdf.Extract(sha256.New, secret, nil)
	if err != nil {
		panic("opaque3dh: internal error: " + err.Error()) // only for a hash that is not allowed
	}
	return prk
}

func expand(prk []byte, info string, size int) []byte {
	out, err := hkdf.Expand(sha256.New, prk, info, size)
	if err != nil {
		panic("opaque3dh: internal error: " + err.Error()) // only for more than 255 blocks
	}
	return out
}
