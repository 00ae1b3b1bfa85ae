//go:build !cgo

package pkcs11

import (
	"context"
	"crypto/ecdh"
	"crypto/ecdsa"
	"fmt"

	"github.com/coffer-backup/coffer/backends"
	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/keys"
)

var errNoCgo = fmt.Errorf("PKCS#11 tokens need a build with cgo: %w", backends.ErrUnavailable)

// A Token is an open token. Without cgo there is none.
type Token struct{ _ struct{} }

// Open returns backends.ErrUnavailable: this build has no cgo.
func Open(context.Context, Config) (*Token, error) { return nil, errNoCgo }

// List returns backends.ErrUnavailable: this build has no cgo.
func List(context.Context, Config) ([]TokenInfo, error) { return nil, errNoCgo }

func (*Token) Info(context.Context) (TokenInfo, error)            { return TokenInfo{}, errNoCgo }
func (*Token) Health() error                                      { return errNoCgo }
func (*Token) Probe(context.Context) ([]Mode, error)              { return nil, errNoCgo }
func (*Token) Bulk(context.Context) (backends.Backend, error)     { return nil, errNoCgo }
func (*Token) Key(context.Context, KeyRef) (*Key, error)          { return nil, errNoCgo }
func (*Token) GenerateKey(context.Context, KeySpec) (*Key, error) { return nil, errNoCgo }
func (*Token) VaultKeys(context.Context, VaultRef) (*VaultKeys, error) {
	return nil, errNoCgo
}
func (*Token) GenerateVaultKeys(context.Context, VaultRef) (*VaultKeys, error) {
	return nil, errNoCgo
}
func (*Token) Close() error { return errNoCgo }

// A Key is one in a token. Without cgo there is none.
type Key struct{ _ struct{} }

func (*Key) Kind() format.Kind              { return format.KindPKCS11 }
func (*Key) Mech() format.Mech              { return 0 }
func (*Key) Label() string                  { return "" }
func (*Key) ID() []byte                     { return nil }
func (*Key) CheckValue() CheckValue         { return CheckValue{} }
func (*Key) WithHints() keys.Recipient      { return nil }
func (*Key) Warnings() []string             { return nil }
func (*Key) SelfTest(context.Context) error { return errNoCgo }
func (*Key) Wrap(context.Context, format.Core, *keys.FileKey) (format.Slot, error) {
	return format.Slot{}, errNoCgo
}
func (*Key) Unwrap(context.Context, format.Core, format.Slot) (*keys.FileKey, error) {
	return nil, errNoCgo
}

// VaultKeys are keys in a token. Without cgo there are none.
type VaultKeys struct{ _ struct{} }

func (*VaultKeys) NewKey(context.Context) (ECKey, error) { return ECKey{}, errNoCgo }
func (*VaultKeys) ECDH(context.Context, ECKey, ...*ecdh.PublicKey) ([][]byte, error) {
	return nil, errNoCgo
}
func (*VaultKeys) Agree(context.Context, string, ...*ecdh.PublicKey) ([][]byte, error) {
	return nil, errNoCgo
}
func (*VaultKeys) MAC(context.Context, []byte) ([32]byte, error)    { return [32]byte{}, errNoCgo }
func (*VaultKeys) Sign(context.Context, [32]byte) ([64]byte, error) { return [64]byte{}, errNoCgo }
func (*VaultKeys) SigningKey() *ecdsa.PublicKey                     { return nil }
func (*VaultKeys) AgreementKey(string) *ecdh.PublicKey              { return nil }
func (*VaultKeys) Exposures(context.Context) ([]string, error)      { return nil, errNoCgo }
func (*VaultKeys) SelfTest(context.Context) error                   { return errNoCgo }
