package build

import (
	"crypto/aes"
	"crypto/cipher"

	"golang.org/x/crypto/chacha20poly1305"
)

// MaxPayload is what every package but the last holds (§ 5.1.2).
const MaxPayload = 65536

// AEAD returns the AEAD of suite 1, or else of suite 2.
func AEAD(suite byte, key []byte) cipher.AEAD {
	if suite == 1 {
		return must(cipher.NewGCM(must(aes.NewCipher(key))))
	}
	return must(chacha20poly1305.New(key))
}

// PackageHeader is § 5.1. It is that of suite 2 unless suite is 1.
func PackageHeader(suite byte, nonce []byte, payload int, final bool) []byte {
	h := []byte{0x20, 1, 0, 0}
	if suite == 1 {
		h[1] = 0
	}
	le.PutUint16(h[2:], uint16(payload-1))
	h = append(h, nonce...)
	if final {
		h[4] |= 0x80
	}
	return h
}

// SealUnder seals payload as package number under a header, which need not be the
// right one (§ 5.1.1).
func SealUnder(aead cipher.AEAD, header, payload []byte, number uint32) []byte {
	n := append([]byte(nil), header[4:16]...)
	le.PutUint32(n[8:], le.Uint32(n[8:])^number)
	return aead.Seal(append([]byte(nil), header...), n, payload, header[:4])
}

// SealPackage seals one package.
func SealPackage(suite byte, key, nonce, payload []byte, number uint32, final bool) []byte {
	return SealUnder(AEAD(suite, key), PackageHeader(suite, nonce, len(payload), final), payload, number)
}

// Seal seals all of content, which must not be empty.
func Seal(suite byte, key, nonce, content []byte) (packages [][]byte) {
	aead := AEAD(suite, key)
	for number := uint32(0); len(content) > 0; number++ {
		n := min(len(content), MaxPayload)
		header := PackageHeader(suite, nonce, n, n == len(content))
		packages = append(packages, SealUnder(aead, header, content[:n], number))
		content = content[n:]
	}
	return packages
}
