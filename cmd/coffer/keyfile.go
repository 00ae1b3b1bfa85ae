package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/coffer-backup/coffer/internal/durable"
	"github.com/coffer-backup/coffer/keys"
)

// An accountKey is one that was typed or read.
type accountKey struct {
	*keys.AccountKey
	checked bool // it came with its checksum
}

// readKeyFile returns an account key, or the secret keys of recipients.
func readKeyFile(path string) (found []key, err error) {
	b, err := readLimited("key file", path, keys.MaxHybridFile)
	if err != nil {
		return nil, err
	}
	defer clear(b)
	all, err := keys.ParseIdentityFile(b)
	if err != nil {
		return nil, usagef("key file %s: %w", quoteName(path), err)
	}
	for _, k := range all {
		if account, ok := k.(*keys.AccountKey); ok {
			k = accountKey{account, keys.HasChecksum(b)}
		}
		found = append(found, k)
	}
	return found, nil
}

// writeNewKey makes an account key in a file that did not exist.
func writeNewKey(path string) (accountKey, error) {
	k := keys.GenerateAccountKey()
	return accountKey{k, true}, writeKeyFile(path, keys.MarshalKeyFile(k))
}

// writeKeyFile writes a file that did not exist, for its owner alone.
func writeKeyFile(path string, content []byte) error {
	defer clear(content)
	f, err := durable.Create(path, nil)
	if err != nil {
		return keyFileError(path, err)
	}
	defer f.Abort()
	if f.InPlace() {
		return usagef("%s is no regular file: a key would be lost there", quoteName(path))
	}
	if _, err := f.Write(content); err != nil {
		return err
	}
	if err := f.Commit(); err != nil {
		return keyFileError(path, err)
	}
	return nil
}

// errKeyFileExists replaces fs.ErrExist, whose advice is --force: a key file is
// never replaced.
var errKeyFileExists = errors.New("there is a file already, and a key file is never replaced: use it with --key-file, or choose another name")

func keyFileError(path string, err error) error {
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("%s: %w", quoteName(path), errKeyFileExists)
	}
	return fileError("key file", path, err)
}

// fileError says what the file is that could not be opened or read.
func fileError(what, path string, err error) error {
	if pe, ok := err.(*fs.PathError); ok {
		return fmt.Errorf("%s %s: %w", what, quoteName(path), pe.Err)
	}
	return err
}

// readLimited reads a file of at most limit bytes, and one byte more of a longer
// one, for whoever parses it to refuse.
func readLimited(what, path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fileError(what, path, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fileError(what, path, err)
	}
	return b, nil
}
