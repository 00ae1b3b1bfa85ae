package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/coffer-backup/coffer/internal/durable"
	"github.com/coffer-backup/coffer/keys"
	"github.com/coffer-backup/coffer/vault"
)

// A vaultState is what a machine that makes backups with the key of a record keeps: the
// keys, so that it needs neither vault nor password and can register them all again, and
// how far it saw the vault go, as a vault that goes back would forget attempts. Only a
// backup begins it.
//
//	~/.local/state/coffer/vaults/VAULT-ID/CREDENTIAL/key           the newest
//	~/.local/state/coffer/vaults/VAULT-ID/CREDENTIAL/key.KEY-ID    an older one
//	~/.local/state/coffer/vaults/VAULT-ID/CREDENTIAL/marks.json
type vaultState struct {
	dir   string
	marks vaultMarks
	own   []*keys.AccountKey // the newest last
}

type vaultMarks struct {
	// Registered: the vault has the newest key, as far as is known. It is false after
	// the record was destroyed.
	Registered bool   `json:"registered"`
	Ver        uint64 `json:"ver"`      // of the record
	Revision   uint32 `json:"revision"` // of the vault's descriptor
}

const maxMarks = 4096

func openState(id, credential string) (*vaultState, error) {
	base, err := stateDir()
	if err != nil {
		return nil, err
	}
	s := &vaultState{dir: filepath.Join(base, "coffer", "vaults", id, escapeCredential(credential))}
	if err := s.readKeys(); err != nil {
		return nil, err
	}
	text, err := readLimited("file", s.marksFile(), maxMarks)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &s.marks)
	}
	if err != nil {
		return nil, fmt.Errorf("what this machine knows of the vault, %s: %w", quoteName(s.marksFile()), err)
	}
	return s, nil
}

func (s *vaultState) readKeys() error {
	newest, err := readOwnKey(s.keyFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), olderKey) {
			continue
		}
		k, err := readOwnKey(filepath.Join(s.dir, e.Name()))
		if err != nil {
			return err
		}
		if k.ID() != newest.ID() {
			s.own = append(s.own, k)
		}
	}
	s.own = append(s.own, newest)
	return nil
}

func readOwnKey(path string) (*keys.AccountKey, error) {
	found, err := readKeyFile(path)
	if err != nil {
		return nil, err
	}
	account, ok := found[0].(accountKey)
	if !ok {
		return nil, usagef("%s is no account key: move it away", quoteName(path))
	}
	return account.AccountKey, nil
}

// stateDir is where programs keep what should outlive them and is not to be moved to
// other machines.
func stateDir() (string, error) {
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return dir, nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("%w: set XDG_STATE_HOME to the directory that should have the state of vaults", err)
	}
	return filepath.Join(home, ".local", "state"), nil
}

// escapeCredential returns the file name for a credential id: another one for another id,
// whatever the case of letters means to the file system.
func escapeCredential(id string) string {
	var b strings.Builder
	for i := range len(id) {
		c := id[i]
		if 'A' <= c && c <= 'Z' || c == '.' && (i == 0 || i == len(id)-1) {
			fmt.Fprintf(&b, "%%%02x", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// olderKey begins the names of the files with older keys.
const olderKey = "key."

func (s *vaultState) keyFile() string   { return filepath.Join(s.dir, "key") }
func (s *vaultState) marksFile() string { return filepath.Join(s.dir, "marks.json") }

// fileOf returns the file of a key that is here.
func (s *vaultState) fileOf(k *keys.AccountKey) string {
	if s.key().ID() == k.ID() {
		return s.keyFile()
	}
	return filepath.Join(s.dir, olderKey+keyID(k))
}

// key returns the one that backups are made with, or nil if none was made.
func (s *vaultState) key() *keys.AccountKey {
	if len(s.own) == 0 {
		return nil
	}
	return s.own[len(s.own)-1]
}

// saw notes how far the vault was, and warns if that is less than before. It writes
// nothing where no backup was made.
func (s *vaultState) saw(u *ui, d *vault.Descriptor, ver uint64) error {
	if ver < s.marks.Ver {
		u.warn("the vault went back to an old copy of this record: attempts since then may not be counted: tell its operator")
	}
	s.marks.Revision, s.marks.Ver = max(s.marks.Revision, d.Revision), max(s.marks.Ver, ver)
	return s.save()
}

// gone notes that the vault keeps nothing any more, so that the next backup registers
// the keys again.
func (s *vaultState) gone(u *ui) error {
	if s.key() == nil || !s.marks.Registered {
		return nil
	}
	u.warn("the account key itself stays in %s: the next backup with --vault registers it again", quoteName(s.keyFile()))
	s.marks.Registered = false
	return s.save()
}

// has notes what the vault has, where backups were made. If the key that they were made
// with is not there, the next one will not go on as if it were.
func (s *vaultState) has(ring *vault.Keyring) error {
	switch {
	case s.key() == nil:
		return nil
	case !contains(ring.Keys(), s.key()):
		s.marks.Registered = false
		return s.save()
	}
	return s.keep(ring)
}

func contains(all []*keys.AccountKey, k *keys.AccountKey) bool {
	return slices.ContainsFunc(all, func(x *keys.AccountKey) bool { return x.ID() == k.ID() })
}

// keep keeps the keys of ring, all of which the vault has, beside those that are here.
// Backups are made with its newest from now on.
func (s *vaultState) keep(ring *vault.Keyring) error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	all := slices.DeleteFunc(slices.Clone(s.own), func(k *keys.AccountKey) bool { return contains(ring.Keys(), k) })
	all = append(all, ring.Keys()...)
	for _, k := range all[:len(all)-1] { // before the newest takes the place of one of them
		path := filepath.Join(s.dir, olderKey+keyID(k))
		if _, err := os.Lstat(path); err == nil {
			continue
		}
		if err := writeKeyFile(path, keys.MarshalKeyFile(k)); err != nil {
			return err
		}
	}
	if newest := ring.Newest(); s.key() == nil || s.key().ID() != newest.ID() {
		if err := replaceFile(s.keyFile(), keys.MarshalKeyFile(newest)); err != nil {
			return err
		}
	}
	s.own, s.marks.Registered = all, true
	return s.save()
}

func (s *vaultState) save() error {
	if s.key() == nil {
		return nil
	}
	text, err := json.Marshal(s.marks)
	if err != nil {
		return err
	}
	return replaceFile(s.marksFile(), append(text, '\n'))
}

// replaceFile writes a file, there or not, which may hold a key.
func replaceFile(path string, content []byte) error {
	defer clear(content)
	f, err := durable.Create(path, &durable.Options{Replace: true})
	if err != nil {
		return err
	}
	defer f.Abort()
	if _, err := f.Write(content); err != nil {
		return err
	}
	return f.Commit()
}
