package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/coffer-backup/coffer/internal/durable"
	"github.com/coffer-backup/coffer/keys"
	"github.com/coffer-backup/coffer/vault"
)

// A vaultState is what a machine that makes backups with the key of a record keeps: the
// key, so that it needs neither vault nor password, and how far it saw the vault go, as a
// vault that goes back would forget attempts. Only a backup begins it.
//
//	~/.local/state/coffer/vaults/VAULT-ID/CREDENTIAL/key
//	~/.local/state/coffer/vaults/VAULT-ID/CREDENTIAL/marks.json
type vaultState struct {
	dir   string
	marks vaultMarks
	key   *keys.AccountKey // nil: none
}

type vaultMarks struct {
	// Registered: the vault has the key, as far as is known. It is false after the
	// record was destroyed.
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
	found, err := readKeyFile(s.keyFile())
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	default:
		account, ok := found[0].(accountKey)
		if !ok {
			return nil, usagef("%s is no account key: move it away", quoteName(s.keyFile()))
		}
		s.key = account.AccountKey
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

func (s *vaultState) keyFile() string   { return filepath.Join(s.dir, "key") }
func (s *vaultState) marksFile() string { return filepath.Join(s.dir, "marks.json") }

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
// the key again.
func (s *vaultState) gone(u *ui) error {
	if s.key == nil || !s.marks.Registered {
		return nil
	}
	u.warn("the account key itself stays in %s: the next backup with --vault registers it again", quoteName(s.keyFile()))
	s.marks.Registered = false
	return s.save()
}

func (s *vaultState) save() error {
	if s.key == nil {
		return nil
	}
	text, err := json.Marshal(s.marks)
	if err != nil {
		return err
	}
	f, err := durable.Create(s.marksFile(), &durable.Options{Replace: true})
	if err != nil {
		return err
	}
	defer f.Abort()
	if _, err := f.Write(append(text, '\n')); err != nil {
		return err
	}
	return f.Commit()
}

// begin keeps the key, which the vault has.
func (s *vaultState) begin(key *keys.AccountKey) error {
	if s.key == nil {
		if err := os.MkdirAll(s.dir, 0o700); err != nil {
			return err
		}
		if err := writeKeyFile(s.keyFile(), keys.MarshalKeyFile(key)); err != nil {
			return err
		}
		s.key = key
	}
	s.marks.Registered = true
	return s.save()
}
