package vault

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"fmt"
	"math/big"

	"filippo.io/nistec"

	"github.com/coffer-backup/coffer/vault/wire"
)

// statementKey returns the key that the descriptor's replies are signed with.
func (d *Descriptor) statementKey() (*ecdsa.PublicKey, error) {
	p, err := nistec.NewP256Point().SetBytes(d.Statement)
	if err != nil {
		return nil, fmt.Errorf("%w: its statement key: %w", ErrDescriptor, err)
	}
	return ecdsa.ParseUncompressedPublicKey(elliptic.P256(), p.Bytes())
}

// verifySignature reports whether signature, r ‖ s, is of key over digest.
func verifySignature(key *ecdsa.PublicKey, digest [32]byte, signature [wire.SignatureSize]byte) bool {
	r, s := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])
	return ecdsa.Verify(key, digest[:], r, s)
}

// verify reports whether signature is of the statement key.
func (s *Server) verify(digest [32]byte, signature [wire.SignatureSize]byte) bool {
	key, err := s.descriptor.statementKey()
	return err == nil && verifySignature(key, digest, signature)
}
