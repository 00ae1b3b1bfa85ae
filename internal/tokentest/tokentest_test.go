//go:build cgo

package tokentest

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"testing"
)

type importer interface {
	ImportAES(label string, key []byte, usage Usage)
	ImportRSA(label string, pkcs8 []byte)
	Destroy(label string)
}

func TestImport(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		token func(testing.TB) importer
	}{
		{"SoftHSM", func(t testing.TB) importer { return SoftHSM(t) }},
		{"NSS", func(t testing.TB) importer { return NSS(t) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			token := c.token(t)
			token.ImportAES("a", make([]byte, 32), Encrypt)
			token.ImportAES("b", make([]byte, 32), Wrap)
			token.ImportRSA("c", pkcs8)
			for _, label := range []string{"a", "b", "c"} {
				token.Destroy(label)
			}
		})
	}
}

func TestReinit(t *testing.T) {
	s := SoftHSM(t)
	s.Init("other")
	s.ImportAES("a", make([]byte, 32), Encrypt)
	s.Reinit(s.Label)
	s.ImportAES("b", make([]byte, 32), Encrypt)
	s.Destroy("b")
}
