package pkcs11

import "crypto/ecdh"

// A VaultRef names the keys in a token with which a vault keeps the keys of others, each
// by its label. What is empty is not there.
type VaultRef struct {
	Wrapping  string   // AES-256, under which ECKeys leave the token
	MAC       string   // 32 bytes for HMAC-SHA256
	Signing   string   // a pair of P-256 for ECDSA
	Agreement []string // pairs of P-256 for ECDH
}

// An ECKey is a pair of P-256 that a token made and does not keep. The token alone can
// open the blob, which it does for as long as an operation takes.
type ECKey struct {
	Blob   []byte
	Public *ecdh.PublicKey
}
