package evaluator

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// A Token is what a [Sealed] evaluator leaves to a token. Its methods are those of
// [Evaluator].
type Token interface {
	MAC(ctx context.Context, message []byte) ([32]byte, error)
	Sign(ctx context.Context, digest [32]byte) ([64]byte, error)
}

// Sealed is the mode of that name: the MAC key and the statement key are in a token, and
// the scalars of AKE and OPRF keys are sealed under keys that the token derives with its
// MAC key, a key a scalar. A scalar is in the memory of this process for as long as one
// multiplication takes, and is overwritten then, as well as Go allows.
type Sealed struct {
	token Token
	ake   map[uint16]Key
	info  Info
}

var sealedGuarantees = []string{
	"The token keeps one key that seals every record and one that signs. Files and records that were copied are worth nothing without the token.",
	"Whoever can use the token, which is who controls this machine or has a PIN and the token, opens all records at once, and can then try passwords offline for as long as they like. Only the strength of each password stands against that.",
	"Keys are in the memory of this machine while they are used, for as long as one computation takes, and are overwritten then as well as can be.",
	"Attempts are counted by this program and not by the token: everyone without the token has only as many as are allowed.",
	"What is destroyed is gone from the store, but an old copy of the store and the token give it back.",
}

// NewSealed makes an evaluator over token, whose statement key has the public half
// statement. The AKE keys are from [SealAKE], by their ids; it opens each of them once.
func NewSealed(ctx context.Context, token Token, statement Point, ake map[uint16]Key) (*Sealed, error) {
	s := &Sealed{token: token, ake: map[uint16]Key{}, info: Info{
		Mode:       ModeSealed,
		AKE:        map[uint16]Point{},
		Statement:  statement,
		Guarantees: sealedGuarantees,
	}}
	if len(ake) == 0 {
		return nil, errors.New("evaluator: no AKE key")
	}
	for id, key := range ake {
		scalar, err := open(ctx, token, akeLabel(id), key)
		if err != nil {
			return nil, fmt.Errorf("evaluator: AKE key %d: %w", id, err)
		}
		scalar.Wipe()
		s.ake[id] = Key{Blob: slices.Clone(key.Blob), Public: key.Public}
		s.info.AKE[id] = key.Public
	}
	return s, nil
}

// Info says what the evaluator is.
func (s *Sealed) Info() Info {
	info := s.info
	info.AKE = maps.Clone(info.AKE)
	info.Guarantees = slices.Clone(info.Guarantees)
	return info
}

// NewKey makes an OPRF key.
func (s *Sealed) NewKey(ctx context.Context) (Key, error) {
	scalar := NewScalar()
	defer scalar.Wipe()
	return SealOPRF(ctx, s.token, &scalar)
}

// Evaluate returns k·blinded.
func (s *Sealed) Evaluate(ctx context.Context, key Key, blinded Point) (Point, error) {
	return s.multiply(ctx, labelOPRF, key, blinded)
}

// Agree returns a·share.
func (s *Sealed) Agree(ctx context.Context, ake uint16, share Point) (Point, error) {
	key, ok := s.ake[ake]
	if !ok {
		return Point{}, fmt.Errorf("evaluator: no AKE key has the id %d", ake)
	}
	return s.multiply(ctx, akeLabel(ake), key, share)
}

func (s *Sealed) multiply(ctx context.Context, label string, key Key, p Point) (Point, error) {
	q, err := decompress(p) // before the token has work with it
	if err != nil {
		return Point{}, err
	}
	scalar, err := open(ctx, s.token, label, key)
	if err != nil {
		return Point{}, fmt.Errorf("evaluator: opening a key: %w", err)
	}
	defer scalar.Wipe()
	return scalar.mul(q), nil
}

// MAC is the token's.
func (s *Sealed) MAC(ctx context.Context, message []byte) ([32]byte, error) {
	return s.token.MAC(ctx, message)
}

// Sign is the token's.
func (s *Sealed) Sign(ctx context.Context, digest [32]byte) ([64]byte, error) {
	return s.token.Sign(ctx, digest)
}

// A blob of a scalar:
//
//	version 1 ‖ salt 16 ‖ AES-256-GCM(MAC(label ‖ salt), nonce 0, scalar 32, AAD = public half) 48
//
// The salt makes the key one for this blob alone, and so a nonce is not needed.
const (
	blobVersion = 1
	saltSize    = 16
	blobSize    = 1 + saltSize + ScalarSize + tagSize
	tagSize     = 16
)

// Labels of what the MAC key seals. No label that a vault passes to MAC begins with one
// of these.
const (
	labelOPRF = "coffer vault v1 oprf scalar"
	labelAKE  = "coffer vault v1 ake scalar"
)

func akeLabel(id uint16) string {
	return string(binary.BigEndian.AppendUint16([]byte(labelAKE), id))
}

var errBlob = errors.New("the blob does not open: it was changed, or is of another vault")

// SealOPRF seals the scalar of an OPRF key, for a [Sealed] evaluator over this token.
// The scalar stays the caller's to wipe.
func SealOPRF(ctx context.Context, token Token, scalar *Scalar) (Key, error) {
	return seal(ctx, token, labelOPRF, scalar)
}

// SealAKE seals the scalar of the AKE key of that id.
func SealAKE(ctx context.Context, token Token, id uint16, scalar *Scalar) (Key, error) {
	return seal(ctx, token, akeLabel(id), scalar)
}

func seal(ctx context.Context, token Token, label string, scalar *Scalar) (Key, error) {
	if !scalar.valid() {
		return Key{}, errors.New("evaluator: a scalar must be from 1 to the order of P-256 less 1")
	}
	blob := make([]byte, 1+saltSize, blobSize)
	blob[0] = blobVersion
	_, _ = rand.Read(blob[1:]) // it never fails
	aead, err := blobAEAD(ctx, token, label, blob[1:])
	if err != nil {
		return Key{}, fmt.Errorf("evaluator: sealing a key: %w", err)
	}
	key := Key{Public: scalar.Public()}
	key.Blob = aead.Seal(blob, make([]byte, aead.NonceSize()), scalar[:], key.Public[:])
	return key, nil
}

func open(ctx context.Context, token Token, label string, key Key) (Scalar, error) {
	if len(key.Blob) != blobSize || key.Blob[0] != blobVersion {
		return Scalar{}, errBlob
	}
	salt, sealed := key.Blob[1:1+saltSize], key.Blob[1+saltSize:]
	aead, err := blobAEAD(ctx, token, label, salt)
	if err != nil {
		return Scalar{}, err
	}
	var scalar Scalar
	if _, err := aead.Open(scalar[:0], make([]byte, aead.NonceSize()), sealed, key.Public[:]); err != nil {
		return Scalar{}, errBlob
	}
	return scalar, nil
}

func blobAEAD(ctx context.Context, token Token, label string, salt []byte) (cipher.AEAD, error) {
	key, err := token.MAC(ctx, append([]byte(label), salt...))
	if err != nil {
		return nil, err
	}
	defer clear(key[:])
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
