// Package opaque3dh is RFC 9807 (OPAQUE-3DH) with P-256, SHA-256, HKDF and HMAC: the
// client's part, which is [Client], and the server's, without what needs lasting secrets:
// the OPRF evaluation and the Diffie-Hellman of the server's AKE key are done by an
// evaluator.Evaluator and come in as points.
//
//	ke1, err := opaque3dh.ParseKE1(message)
//	evaluated, err := ev.Evaluate(ctx, key, ke1.Blinded)
//	static, err := ev.Agree(ctx, ake, ke1.KeyShare)
//	reply, err := opaque3dh.Respond(&opaque3dh.Login{…})
//
// reply.KE2 goes to the client. The password was right if, and only if, the KE3 that
// comes back is equal to reply.ClientMAC, compared in constant time, and only then may
// reply.SessionKey be used.
//
// What is random in the server's part comes in as an argument, and nothing is kept. Whether a record is
// real or made up (§ 6.3.2.2) makes no difference here: the caller chooses, in constant
// time. Errors about points wrap evaluator.ErrPoint.
package opaque3dh

import (
	"fmt"
	"log/slog"

	"github.com/coffer-backup/coffer/vault/evaluator"
)

// Sizes, in bytes, of RFC 9807 with this suite.
const (
	PointSize = evaluator.PointSize // Npk, Noe
	NonceSize = 32                  // Nn
	HashSize  = 32                  // Nh, Nm, Nx

	EnvelopeSize             = NonceSize + HashSize                              // § 4.1.1: 64
	RecordSize               = PointSize + HashSize + EnvelopeSize               // § 5.1: 129
	RegistrationResponseSize = 2 * PointSize                                     // § 5.1: 66
	KE1Size                  = PointSize + NonceSize + PointSize                 // § 6.1: 98
	KE2Size                  = credentialSize + NonceSize + PointSize + HashSize // § 6.1: 259
	KE3Size                  = HashSize                                          // § 6.1: 32

	maskedSize     = PointSize + EnvelopeSize           // § 6.3.2.2: 97
	credentialSize = PointSize + NonceSize + maskedSize // § 6.3.2.2: 162
)

// A Record is what a client uploads when it registers, and a server keeps. Its masking
// key and envelope are as secret as a hash of the password.
type Record struct {
	redacted
	ClientPublic evaluator.Point
	MaskingKey   [HashSize]byte
	Envelope     [EnvelopeSize]byte // nonce ‖ tag
}

// ParseRecord parses a record and checks its point.
func ParseRecord(b []byte) (Record, error) {
	var r Record
	if err := split("record", b, r.ClientPublic[:], r.MaskingKey[:], r.Envelope[:]); err != nil {
		return Record{}, err
	}
	if err := evaluator.CheckPoint(r.ClientPublic); err != nil {
		return Record{}, fmt.Errorf("opaque3dh: client's public key: %w", err)
	}
	return r, nil
}

// Append appends the bytes of r.
func (r *Record) Append(b []byte) []byte {
	b = append(b, r.ClientPublic[:]...)
	b = append(b, r.MaskingKey[:]...)
	return append(b, r.Envelope[:]...)
}

// KE1 is the first message of a login.
type KE1 struct {
	Blinded  evaluator.Point // the blinded password
	Nonce    [NonceSize]byte
	KeyShare evaluator.Point // the client's ephemeral key
}

// ParseKE1 parses a message and checks its points.
func ParseKE1(b []byte) (KE1, error) {
	var k KE1
	if err := split("KE1", b, k.Blinded[:], k.Nonce[:], k.KeyShare[:]); err != nil {
		return KE1{}, err
	}
	if err := evaluator.CheckPoint(k.Blinded); err != nil {
		return KE1{}, fmt.Errorf("opaque3dh: blinded element: %w", err)
	}
	if err := evaluator.CheckPoint(k.KeyShare); err != nil {
		return KE1{}, fmt.Errorf("opaque3dh: client's key share: %w", err)
	}
	return k, nil
}

// Append appends the bytes of k: those that ParseKE1 took.
func (k *KE1) Append(b []byte) []byte {
	b = append(b, k.Blinded[:]...)
	b = append(b, k.Nonce[:]...)
	return append(b, k.KeyShare[:]...)
}

// RegistrationResponse is the answer to a registration request, which is a blinded
// element and nothing else.
func RegistrationResponse(evaluated, serverPublic evaluator.Point) [RegistrationResponseSize]byte {
	var b [RegistrationResponseSize]byte
	copy(b[:], evaluated[:])
	copy(b[PointSize:], serverPublic[:])
	return b
}

// split fills fields with b, one after the other.
func split(what string, b []byte, fields ...[]byte) error {
	size := 0
	for _, f := range fields {
		size += len(f)
	}
	if len(b) != size {
		return fmt.Errorf("opaque3dh: %s of %d bytes, it has %d", what, len(b), size)
	}
	for _, f := range fields {
		b = b[copy(f, b):]
	}
	return nil
}

// redacted is embedded by what must not be printed.
type redacted struct{}

const redactedText = "[redacted]"

// Format redacts in fmt.
func (redacted) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redactedText)) }

// LogValue redacts in log/slog.
func (redacted) LogValue() slog.Value { return slog.StringValue(redactedText) }

// MarshalText redacts in encoders.
func (redacted) MarshalText() ([]byte, error) { return []byte(redactedText), nil }
