package main

import (
	"os"

	"github.com/spf13/pflag"

	"github.com/coffer-backup/coffer/keys/tink"
)

// maxKeyset is longer than any keyset file.
const maxKeyset = 64 << 10

// tinkFlags say which keyset of Tink to use.
type tinkFlags struct {
	keyset string
	kek    string
}

func (t *tinkFlags) register(fs *pflag.FlagSet) {
	fs.Var(single{&t.keyset, "FILE"}, "tink-keyset", "`FILE` with a keyset of Tink for AEAD ($COFFER_TINK_KEYSET)")
	fs.Var(single{&t.kek, "FILE"}, "tink-kek", "`FILE` with the keyset that the one of --tink-keyset is encrypted under ($COFFER_TINK_KEK, for $COFFER_TINK_KEYSET)")
}

// orEnvironment returns the keyset of the environment, with the KEK of t if it has one.
func (t tinkFlags) orEnvironment() tinkFlags {
	t.keyset = os.Getenv("COFFER_TINK_KEYSET")
	if t.kek == "" && t.keyset != "" {
		t.kek = os.Getenv("COFFER_TINK_KEK")
	}
	return t
}

func (t tinkFlags) files() (names []string) {
	for _, name := range []string{t.keyset, t.kek} {
		if name != "" {
			names = append(names, name)
		}
	}
	return names
}

// read returns the key, or nil if there is none.
func (t tinkFlags) read(u *ui) (*tink.Key, error) {
	if t.keyset == "" {
		if t.kek != "" {
			return nil, usagef("--tink-kek is given, but no --tink-keyset")
		}
		return nil, nil
	}
	file, err := readLimited("keyset file", t.keyset, maxKeyset)
	if err != nil {
		return nil, err
	}
	defer clear(file)
	if t.kek != "" {
		return t.readEncrypted(file)
	}
	k, cleartext, err := tink.ReadKeyset(file, nil)
	if err != nil {
		return nil, usagef("keyset file %s: %w", quoteName(t.keyset), err)
	}
	if cleartext {
		u.warn("keyset file %s is not encrypted: whoever reads it can read the backups", quoteName(t.keyset))
	}
	return k, nil
}

// A kekWitness tells whether it was the KEK that failed.
type kekWitness struct {
	aead
	failed bool
}

type aead interface {
	Encrypt(plaintext, associatedData []byte) ([]byte, error)
	Decrypt(ciphertext, associatedData []byte) ([]byte, error)
}

func (w *kekWitness) Decrypt(ciphertext, associatedData []byte) ([]byte, error) {
	plaintext, err := w.aead.Decrypt(ciphertext, associatedData)
	w.failed = err != nil
	return plaintext, err
}

func (t tinkFlags) readEncrypted(file []byte) (*tink.Key, error) {
	kekFile, err := readLimited("keyset file", t.kek, maxKeyset)
	if err != nil {
		return nil, err
	}
	defer clear(kekFile)
	kek, err := tink.ReadKEK(kekFile)
	if err != nil {
		return nil, usagef("keyset file %s: %w", quoteName(t.kek), err)
	}
	witness := &kekWitness{aead: kek}
	k, _, err := tink.ReadKeyset(file, witness)
	if witness.failed {
		return nil, usagef("keyset file %s: it is encrypted under another key than --tink-kek, or damaged", quoteName(t.keyset))
	} else if err != nil {
		return nil, usagef("keyset file %s: %w", quoteName(t.keyset), err)
	}
	return k, nil
}
