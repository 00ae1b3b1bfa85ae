package opaque3dh

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/coffer-backup/coffer/vault/evaluator"
)

var (
	// ErrAuthentication says that the password is wrong, or that what answered is not the
	// server that has the record. Nobody can tell one from the other, and so no error says
	// which check failed.
	ErrAuthentication = errors.New("opaque3dh: the password is wrong, or the server is another one")
	// ErrReflected is for an answer that has a point of the client's in the place of the
	// server's.
	ErrReflected = errors.New("opaque3dh: the client's own point came back")
)

// MaxPassword is the greatest length of a password, in bytes.
const MaxPassword = 0xffff

// A Client is the client's part of a registration,
//
//	c, err := opaque3dh.NewClient(password)
//	defer c.Wipe()
//	request := c.Blinded()
//	record, export, err := c.Register(&opaque3dh.Registration{…})
//
// or of a login:
//
//	c, err := opaque3dh.NewClient(password)
//	defer c.Wipe()
//	ke1 := c.KE1()
//	session, err := c.Finish(&opaque3dh.Answer{…})
//
// The record and session.KE3 go to the server. Each registration and each login takes a
// new Client: so that nobody can see whether it is the same password again.
//
// Errors about points that the server sent wrap evaluator.ErrPoint or are ErrReflected:
// the server does not do what it should. ErrAuthentication is all that a wrong password
// brings about.
type Client struct {
	redacted
	password []byte
	random   random
	ke1      KE1
}

// random is what a Client draws.
type random struct {
	redacted
	blind, ephemeral evaluator.Scalar
	nonce            [NonceSize]byte // of KE1
	envelope         [NonceSize]byte
}

// NewClient blinds a password, of which it keeps a copy.
func NewClient(password []byte) (*Client, error) {
	r := &random{blind: evaluator.NewScalar(), ephemeral: evaluator.NewScalar()}
	_, _ = rand.Read(r.nonce[:]) // it never fails
	_, _ = rand.Read(r.envelope[:])
	defer r.wipe()
	return newClient(password, r)
}

func newClient(password []byte, r *random) (*Client, error) {
	if len(password) > MaxPassword {
		return nil, fmt.Errorf("opaque3dh: password of %d bytes, at most %d are allowed", len(password), MaxPassword)
	}
	blinded, err := r.blind.Mul(hashToGroup(password))
	if err != nil {
		return nil, fmt.Errorf("opaque3dh: password: %w", err) // as likely as a guessed key
	}
	return &Client{
		password: bytes.Clone(password),
		random:   *r,
		ke1:      KE1{Blinded: blinded, Nonce: r.nonce, KeyShare: r.ephemeral.Public()},
	}, nil
}

// Blinded returns the request of a registration (§ 5.1).
func (c *Client) Blinded() evaluator.Point { return c.ke1.Blinded }

// KE1 returns the first message of a login.
func (c *Client) KE1() KE1 { return c.ke1 }

// Wipe overwrites the secrets, as far as that is possible in Go. c is of no use
// afterwards.
func (c *Client) Wipe() {
	clear(c.password)
	c.random.wipe()
}

func (r *random) wipe() {
	r.blind.Wipe()
	r.ephemeral.Wipe()
}

// A Stretch makes guesses slow (§ 10.8): it is Argon2id, or another function that
// every login on the record uses again. It does not keep its argument.
type Stretch func(oprfOutput []byte) ([]byte, error)

// A Registration is what a record is made from, besides the password.
type Registration struct {
	// ClientIdentity and ServerIdentity are at most 65,535 bytes. nil: the public key.
	ClientIdentity, ServerIdentity []byte

	Evaluated    evaluator.Point // the OPRF key · Blinded
	ServerPublic evaluator.Point // of the AKE key: the caller sees to it that it is the right one
	Stretch      Stretch
}

// Register returns the record to upload (§ 5.2.3), and the export key. An error of Stretch is
// wrapped.
func (c *Client) Register(r *Registration) (Record, [HashSize]byte, error) {
	fail := func(err error) (Record, [HashSize]byte, error) { return Record{}, [HashSize]byte{}, err }
	if err := checkLengths(r.ClientIdentity, r.ServerIdentity); err != nil {
		return fail(err)
	}
	if err := evaluator.CheckPoint(r.ServerPublic); err != nil {
		return fail(fmt.Errorf("opaque3dh: server's public key: %w", err))
	}
	randomized, err := c.randomize(r.Evaluated, r.Stretch)
	if err != nil {
		return fail(err)
	}
	defer clear(randomized)
	l := &Login{ClientIdentity: r.ClientIdentity, ServerIdentity: r.ServerIdentity, ServerPublic: r.ServerPublic}
	copy(l.Record.Envelope[:], c.random.envelope[:])
	k := l.credentials(randomized)
	defer k.wipe()
	l.Record.ClientPublic, l.Record.MaskingKey = k.public, maskingKey(randomized)
	copy(l.Record.Envelope[NonceSize:], k.tag[:])
	return l.Record, k.export, nil
}

// checkLengths is for what the protocol gives a length of two bytes.
func checkLengths(fields ...[]byte) error {
	for _, f := range fields {
		if len(f) > 0xffff {
			return errors.New("opaque3dh: context or identity of more than 65,535 bytes")
		}
	}
	return nil
}
