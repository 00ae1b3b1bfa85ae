package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"

	"github.com/coffer-backup/coffer/internal/durable"
	"github.com/coffer-backup/coffer/vault"
	"github.com/coffer-backup/coffer/vault/evaluator"
	"github.com/coffer-backup/coffer/vault/store/bolt"
)

// The files of a vault's directory.
const (
	vaultConfigFile     = "vault.json"
	vaultRootFile       = "root.key"
	vaultIssuerFile     = "issuer.key"
	vaultDescriptorFile = "descriptor"
	vaultSecretsFile    = "secrets" // mode software
	vaultStoreFile      = "store.db"
	vaultCertFile       = "tls.crt"
	vaultCertKeyFile    = "tls.key"
)

// operator is the key id of the issuer that init makes.
const operator = "operator"

// A vaultConfig is vault.json. Nothing in it is secret.
type vaultConfig struct {
	Version int    `json:"version"`
	ID      string `json:"id"`
	Mode    string `json:"mode"`
	Host    string `json:"host"`   // of the vault's address
	Listen  string `json:"listen"` // HOST:PORT
	// HSM is the URI of the token, Label what the labels of the vault's keys in it begin
	// with, and AKE has the AKE keys: not of the mode software.
	HSM    string      `json:"hsm,omitempty"`
	Label  string      `json:"label,omitempty"`
	AKE    []tokenAKE  `json:"ake,omitempty"`
	Issuer []issuerKey `json:"issuers"`
	Notify string      `json:"notify_command,omitempty"`
}

// A tokenAKE is an AKE key in a token, or one that only the token opens.
type tokenAKE struct {
	ID     uint16       `json:"id"`
	Public vault.Base64 `json:"public"`
	Blob   vault.Base64 `json:"blob,omitempty"` // of the mode sealed
}

// An issuerKey is the public key of somebody who may issue tickets.
type issuerKey struct {
	ID  string       `json:"id"`
	Key vault.Base64 `json:"key"` // Ed25519
}

// A vaultDir is a directory with all of a vault.
type vaultDir struct {
	path   string
	config vaultConfig
	made   evaluator.Info // of the secrets of a vault that was just made
}

const maxVaultFile = 64 << 10

func openVaultDir(path string) (*vaultDir, error) {
	d := &vaultDir{path: path}
	text, err := d.read(vaultConfigFile)
	if err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	err = dec.Decode(&d.config)
	if _, more := dec.Token(); err == nil && !errors.Is(more, io.EOF) {
		err = errors.New("there is more than one value")
	}
	if err == nil && d.config.Version != 1 {
		err = fmt.Errorf("it has version %d, this program knows version 1", d.config.Version)
	}
	if err != nil {
		return nil, usagef("%s: %w", quoteName(d.file(vaultConfigFile)), err)
	}
	return d, nil
}

func (c *vaultConfig) text() ([]byte, error) {
	text, err := json.MarshalIndent(c, "", "  ")
	return append(text, '\n'), err
}

func (d *vaultDir) file(name string) string { return filepath.Join(d.path, name) }

func (d *vaultDir) read(name string) ([]byte, error) {
	b, err := readLimited("vault's file", d.file(name), maxVaultFile)
	if err == nil && len(b) > maxVaultFile {
		err = usagef("%s: longer than %s", quoteName(d.file(name)), byteCount(maxVaultFile))
	}
	return b, err
}

// issuers returns who may issue tickets.
func (d *vaultDir) issuers() (map[string]ed25519.PublicKey, error) {
	all := make(map[string]ed25519.PublicKey)
	for _, i := range d.config.Issuer {
		if len(i.Key) != ed25519.PublicKeySize || i.ID == "" || all[i.ID] != nil {
			return nil, usagef("%s: issuer %q: it needs a name of its own and an Ed25519 key", quoteName(d.file(vaultConfigFile)), i.ID)
		}
		all[i.ID] = ed25519.PublicKey(i.Key)
	}
	return all, nil
}

// issuer returns the operator's own issuer of tickets.
func (d *vaultDir) issuer() (*vault.Issuer, error) {
	key, err := readSigningKey(d.file(vaultIssuerFile))
	if err != nil {
		return nil, err
	}
	return &vault.Issuer{ID: operator, Key: key, Vault: d.config.ID}, nil
}

// descriptor returns the vault's, signed and parsed.
func (d *vaultDir) descriptor() ([]byte, *vault.Descriptor, error) {
	signed, err := d.read(vaultDescriptorFile)
	if err != nil {
		return nil, nil, err
	}
	parsed, err := vault.ParseDescriptor(signed, d.config.ID)
	if err != nil {
		return nil, nil, usagef("%s does not go with the id in %s: %w", quoteName(d.file(vaultDescriptorFile)), quoteName(d.file(vaultConfigFile)), err)
	}
	return signed, parsed, nil
}

// A runningVault is a vault.Server with what it is made of.
type runningVault struct {
	*vault.Server
	store *bolt.Store
	token *tokenKey // nil: mode software
}

// start opens all of a vault. The caller closes it.
func (d *vaultDir) start(ctx context.Context, h hsmFlags, c vault.Config) (*runningVault, error) {
	r := new(runningVault)
	if err := r.open(ctx, d, h, &c); err != nil {
		r.close(ctx)
		return nil, err
	}
	return r, nil
}

func (r *runningVault) open(ctx context.Context, d *vaultDir, h hsmFlags, c *vault.Config) (err error) {
	if c.Issuers, err = d.issuers(); err != nil {
		return err
	}
	if c.Descriptor, _, err = d.descriptor(); err != nil {
		return err
	}
	if c.Evaluator, r.token, err = d.evaluator(ctx, h); err != nil {
		return err
	}
	if r.store, err = bolt.Open(d.file(vaultStoreFile), &bolt.Options{Existing: true}); err != nil {
		return err
	}
	c.ID, c.Store = d.config.ID, r.store
	if r.Server, err = vault.NewServer(ctx, *c); err != nil {
		return d.misfit(err)
	}
	return nil
}

// misfit says which files do not go together, so that a server cannot start with them.
func (d *vaultDir) misfit(err error) error {
	keys := quoteName(d.file(vaultSecretsFile))
	if d.config.Mode != evaluator.ModeSoftware {
		keys = "the token's keys labelled " + quoteName(d.config.Label)
	}
	switch {
	case errors.Is(err, vault.ErrDescriptor):
		return usagef("%s does not go with %s: %w", quoteName(d.file(vaultDescriptorFile)), keys, err)
	case errors.Is(err, vault.ErrClock):
		return fmt.Errorf("%w: use --clock-was-wrong", err)
	}
	return fmt.Errorf("starting with %s and %s: %w", quoteName(d.file(vaultStoreFile)), keys, err)
}

func (r *runningVault) close(ctx context.Context) {
	if r.store != nil {
		if err := r.store.Close(); err != nil {
			slog.Error("closing the store", "error", err)
		}
	}
	if r.token != nil {
		r.token.close(ctx)
	}
}

// evaluator opens what keeps the vault's secrets.
func (d *vaultDir) evaluator(ctx context.Context, h hsmFlags) (evaluator.Evaluator, *tokenKey, error) {
	if d.config.Mode != evaluator.ModeSoftware {
		return d.tokenEvaluator(ctx, h)
	}
	secrets, err := d.secrets()
	if err != nil {
		return nil, nil, err
	}
	e, err := evaluator.NewSoftware(secrets)
	return e, nil, err
}

// secrets returns those of the mode software.
func (d *vaultDir) secrets() (*evaluator.SoftwareSecrets, error) {
	text, err := d.read(vaultSecretsFile)
	if err != nil {
		return nil, err
	}
	defer clear(text)
	secrets, err := evaluator.ParseSoftware(text)
	if err != nil {
		return nil, usagef("%s: %w", quoteName(d.file(vaultSecretsFile)), err)
	}
	return secrets, nil
}

// misplaced says which files are where, or as, they should not be.
func (d *vaultDir) misplaced(certificateKey string) (said []string) {
	root, issuer := d.file(vaultRootFile), d.file(vaultIssuerFile)
	if _, err := os.Stat(root); err == nil {
		said = append(said, fmt.Sprintf("THE ROOT KEY IS ON THIS MACHINE, in %s: whoever copies it can pass for this vault for ever. Move it offline, the vault does not need it.", quoteName(root)))
	}
	if _, err := os.Stat(issuer); err == nil {
		said = append(said, fmt.Sprintf("A key that issues tickets is in %s: whoever copies it can use up the attempts of every record. It is better kept where tickets are issued.", quoteName(issuer)))
	}
	if runtime.GOOS == "windows" { // its modes say nothing
		return said
	}
	for _, name := range []string{d.file(vaultSecretsFile), d.file(vaultStoreFile), root, issuer, certificateKey} {
		if info, err := os.Stat(name); err == nil && info.Mode().Perm()&0o077 != 0 {
			said = append(said, fmt.Sprintf("OTHER USERS MAY USE %s: its mode is %v. Close it by chmod 600, and change what others may have read.", quoteName(name), info.Mode()))
		}
	}
	return said
}

// newVaultDir makes the directory, which must not exist or be empty.
func newVaultDir(path string) (*vaultDir, error) {
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, err
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	if len(entries) > 0 {
		return nil, usagef("%s is not empty: a vault is never made over what is there", quoteName(path))
	}
	return &vaultDir{path: path}, os.Chmod(path, 0o700)
}

// write writes a file that is not there, for the owner alone.
func (d *vaultDir) write(name string, content []byte) error {
	return writeKeyFile(d.file(name), content)
}

// replace puts another content into a file, or leaves it as it was.
func (d *vaultDir) replace(name string, content []byte) error {
	return d.commit(name, content, &durable.Options{Replace: true})
}

func (d *vaultDir) commit(name string, content []byte, opts *durable.Options) error {
	f, err := durable.Create(d.file(name), opts)
	if err != nil {
		return err
	}
	defer f.Abort()
	if _, err := f.Write(content); err != nil {
		return err
	}
	return f.Commit()
}
