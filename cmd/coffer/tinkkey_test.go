package main

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"os"

	"github.com/rogpeppe/go-internal/testscript"
)

const (
	gcmKeyType = "type.googleapis.com/google.crypto.tink.AesGcmKey"
	gcmKeyID   = 1
)

// gcmKeyValue is the message AesGcmKey: field 3 is the key.
func gcmKeyValue(key []byte) []byte { return field(3, key) }

// field is a field of a protocol buffer with bytes, a string or a message.
func field(n byte, value []byte) []byte { return append([]byte{n<<3 | 2, byte(len(value))}, value...) }

// keysetJSON is a keyset in the clear with one key of AES-256-GCM.
func keysetJSON(key []byte) []byte {
	return fmt.Appendf(nil, `{"primaryKeyId":%d,"key":[{"keyData":{"typeUrl":%q,"value":%q,"keyMaterialType":"SYMMETRIC"},"status":"ENABLED","keyId":%[1]d,"outputPrefixType":"TINK"}]}`,
		gcmKeyID, gcmKeyType, base64.StdEncoding.EncodeToString(gcmKeyValue(key)))
}

// encryptedKeysetJSON is the same, encrypted under the key of another such keyset.
func encryptedKeysetJSON(kek, key []byte) ([]byte, error) {
	data := append(append(field(1, []byte(gcmKeyType)), field(2, gcmKeyValue(key))...), 3<<3, 1) // symmetric
	entry := append(field(1, data), 2<<3, 1, 3<<3, gcmKeyID, 4<<3, 1)                            // enabled, id, prefix TINK
	keyset := append([]byte{1 << 3, gcmKeyID}, field(2, entry)...)

	block, err := aes.NewCipher(kek)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	sealed := aead.Seal([]byte{1, 0, 0, 0, gcmKeyID}, nil, keyset, nil)
	return fmt.Appendf(nil, `{"encryptedKeyset":%q}`, base64.StdEncoding.EncodeToString(sealed)), nil
}

// cmdKeyset: keyset FILE [KEK]: makes a keyset whose key is a hash of the file's name,
// in the clear or encrypted under the one that the keyset called KEK has.
func cmdKeyset(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: keyset FILE [KEK]")
	}
	named := func(name string) []byte {
		key := sha256.Sum256([]byte(name))
		return key[:]
	}
	file := keysetJSON(named(args[0]))
	if len(args) == 2 {
		var err error
		file, err = encryptedKeysetJSON(named(args[1]), named(args[0]))
		ts.Check(err)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), file, 0o600))
}
