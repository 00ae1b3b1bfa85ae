package tink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// maxKeyset is how long a keyset file may be. A key takes some 200 bytes.
const maxKeyset = 64 << 10

// keyTypes are those of AEADs that compute here. KmsAeadKey and KmsEnvelopeAeadKey are
// not among them: they hold a URI, for which Tink would ask any client of a KMS that
// the program registered.
var keyTypes = []string{"AesGcmKey", "AesGcmSivKey", "AesCtrHmacAeadKey", "ChaCha20Poly1305Key", "XChaCha20Poly1305Key", "XAesGcmKey"}

const keyTypePrefix = "type.googleapis.com/google.crypto.tink."

// ReadKeyset reads a keyset file of Tink, JSON or binary, and tests its primary key.
// kek is what the keyset is encrypted under, without associated data. It is used once,
// and not kept. It is nil for a keyset in the clear, about which cleartext says that
// the user ought to be warned: whoever reads the file reads the backups.
//
// A keyset in the clear is refused if there is a kek. It would let whoever can write
// the file choose the key, which one that is encrypted does not.
//
// Errors never quote the file.
func ReadKeyset(file []byte, kek tink.AEAD) (key *Key, cleartext bool, err error) {
	return ReadKeysetWithAssociatedData(file, kek, nil)
}

// ReadKeysetWithAssociatedData is ReadKeyset for a keyset that was encrypted with
// associated data.
func ReadKeysetWithAssociatedData(file []byte, kek tink.AEAD, associatedData []byte) (key *Key, cleartext bool, err error) {
	primitive, err := readAEAD(file, kek, associatedData)
	if err != nil {
		return nil, false, fmt.Errorf("reading a Tink keyset: %w", err)
	}
	key, err = newLocal(primitive)
	return key, kek == nil && err == nil, err
}

func newLocal(primitive tink.AEAD) (*Key, error) {
	k := New(primitive, &Options{Name: "Tink keyset"})
	k.local = true
	if err := k.SelfTest(context.Background()); err != nil {
		return nil, err
	}
	return k, nil
}

// ReadKEK reads a keyset file in the clear, as ReadKeyset does, for use as the kek of
// another one.
func ReadKEK(file []byte) (tink.AEAD, error) {
	kek, err := readAEAD(file, nil, nil)
	if err != nil {
		return nil, fmt.Errorf("reading a Tink keyset: %w", err)
	}
	return kek, nil
}

func readAEAD(file []byte, kek tink.AEAD, associatedData []byte) (tink.AEAD, error) {
	if len(file) > maxKeyset {
		return nil, fmt.Errorf("%d bytes are over the limit of %d", len(file), maxKeyset)
	}
	handle, err := readHandle(file, kek, associatedData)
	if err != nil {
		return nil, err
	}
	for _, k := range handle.KeysetInfo().GetKeyInfo() {
		if !slices.ContainsFunc(keyTypes, func(name string) bool { return k.GetTypeUrl() == keyTypePrefix+name }) {
			return nil, fmt.Errorf("key %d is of a type that is no AEAD, or is in a KMS", k.GetKeyId())
		}
	}
	primitive, err := aead.New(handle)
	if err != nil {
		return nil, errors.New("one of its keys is not right") // what is, Tink may quote
	}
	return primitive, nil
}

// readHandle parses the file. Tink's own errors may quote it, and are not returned.
func readHandle(file []byte, kek tink.AEAD, associatedData []byte) (*keyset.Handle, error) {
	if kek == nil {
		handle, err := insecurecleartextkeyset.Read(newReader(file))
		if err == nil {
			return handle, nil
		}
		if encrypted, err := newReader(file).ReadEncrypted(); err == nil && len(encrypted.GetEncryptedKeyset()) > 0 && !isCleartext(file) {
			return nil, errors.New("it is encrypted, or damaged: the key that it is encrypted under is needed")
		}
		return nil, errors.New("it is no keyset, neither JSON nor binary, or one of its keys is not right")
	}
	witness := &kekWitness{AEAD: kek}
	handle, err := keyset.ReadWithAssociatedData(newReader(file), witness, associatedData)
	switch {
	case err == nil:
		return handle, nil
	case isCleartext(file):
		return nil, errors.New("it is not encrypted, though a key was given that it should be encrypted under")
	case witness.err != nil:
		return nil, fmt.Errorf("decrypting it: %w", witness.err)
	}
	return nil, errors.New("it is no encrypted keyset, neither JSON nor binary, or one of its keys is not right")
}

// A kekWitness keeps the error of a kek, which Tink does not wrap.
type kekWitness struct {
	tink.AEAD
	err error
}

func (w *kekWitness) Decrypt(ciphertext, associatedData []byte) (plaintext []byte, err error) {
	plaintext, w.err = w.AEAD.Decrypt(ciphertext, associatedData)
	return plaintext, w.err
}

func isCleartext(file []byte) bool {
	ks, _ := newReader(file).Read()
	return keyset.Validate(ks) == nil
}

// newReader tells the two encodings apart by their first byte: a binary keyset begins
// with the tag of its first or second field.
func newReader(file []byte) keyset.Reader {
	if text := bytes.TrimLeft(file, " \t\r\n"); len(text) > 0 && text[0] == '{' {
		return keyset.NewJSONReader(bytes.NewReader(text))
	}
	return keyset.NewBinaryReader(bytes.NewReader(file))
}
