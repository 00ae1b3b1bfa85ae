package vault

import (
	"crypto/rand"
	"errors"
	"fmt"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
	"golang.org/x/text/unicode/norm"

	"github.com/coffer-backup/coffer/vault/internal/opaque3dh"
	"github.com/coffer-backup/coffer/vault/wire"
)

// MaxPassword is the greatest length of a password, in bytes of its NFC.
const MaxPassword = 1024

// normalize returns a copy of a password as OPAQUE gets it.
func normalize(password []byte) ([]byte, error) {
	if !utf8.Valid(password) {
		return nil, errors.New("vault: the password is not UTF-8")
	}
	nfc := norm.NFC.Append(make([]byte, 0, len(password)+MaxPassword), password...)
	if len(nfc) == 0 || len(nfc) > MaxPassword {
		clear(nfc)
		return nil, fmt.Errorf("vault: the password has %d bytes, not 1 to %d", len(nfc), MaxPassword)
	}
	return nfc, nil
}

// stretch is Argon2id with the salt and the length of RFC 9807 § 10.8.
func (k ksf) stretch(secret []byte) ([]byte, error) {
	return argon2.IDKey(secret, make([]byte, 16), uint32(k.Time), k.KiB, k.Lane, 32), nil
}

var errWrongPassword = errors.New("vault: the password is wrong")

// An exchange is the client's part of OPAQUE (RFC 9807): of one registration, or of one
// attempt.
type exchange struct {
	*opaque3dh.Client
	client, server []byte // identities
	attempt        [wire.IDSize]byte
}

func newExchange(vault, credential string, password []byte) (*exchange, error) {
	if err := CheckCredential(credential); err != nil {
		return nil, err
	}
	nfc, err := normalize(password)
	if err != nil {
		return nil, err
	}
	defer clear(nfc)
	client, err := opaque3dh.NewClient(nfc)
	if err != nil {
		return nil, fmt.Errorf("vault: %w", err)
	}
	x := &exchange{Client: client, client: []byte(credential), server: []byte(serverIdentity + vault)}
	rand.Read(x.attempt[:]) // never fails
	return x, nil
}

// start returns the first message of an attempt.
func (x *exchange) start() (b [wire.KE1Size]byte) {
	ke1 := x.KE1()
	ke1.Append(b[:0])
	return b
}

// register returns what to upload, and the export key.
func (x *exchange) register(b *wire.Begun, k ksf) (record [wire.RecordSize]byte, export [32]byte, err error) {
	r, export, err := x.Register(&opaque3dh.Registration{
		ClientIdentity: x.client, ServerIdentity: x.server, Evaluated: b.Evaluated, ServerPublic: b.ServerKey, Stretch: k.stretch,
	})
	if err != nil {
		return record, export, fmt.Errorf("%w: %w", ErrForged, err)
	}
	r.Append(record[:0])
	return record, export, nil
}

// finish takes KE2. An error but errWrongPassword says that the vault does not do what it
// should.
func (x *exchange) finish(by *trusted, in *wire.Login) (*login, error) {
	k := ksf(in.KSF)
	if err := k.check(); err != nil {
		return nil, err
	}
	session, err := x.Finish(&opaque3dh.Answer{
		ClientIdentity: x.client, ServerIdentity: x.server, KE2: in.KE2, Stretch: k.stretch,
	})
	switch {
	case errors.Is(err, opaque3dh.ErrAuthentication):
		return nil, errWrongPassword
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrForged, err)
	}
	defer session.Wipe()
	if string(by.ake(in.AKE)) != string(session.ServerPublic[:]) {
		return nil, fmt.Errorf("%w: the record was made with an AKE key that is not the descriptor's", ErrForged)
	}
	return &login{
		by: by, credential: string(x.client), attempt: x.attempt, token: in.Token,
		ke3: session.KE3, session: session.SessionKey, export: session.ExportKey,
	}, nil
}
