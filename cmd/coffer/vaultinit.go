package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/vault"
	"github.com/coffer-backup/coffer/vault/evaluator"
	"github.com/coffer-backup/coffer/vault/httpapi"
	"github.com/coffer-backup/coffer/vault/store/bolt"
)

// A vaultSpec is what a new vault should be.
type vaultSpec struct {
	mode     string
	hsm      hsmFlags
	label    string
	attempts uint8
	delays   []int64
	cost     format.PassphraseParams
	hosts    []string // nil: it has no address
	listen   string
	notify   string
}

func newVaultSpec() vaultSpec {
	k := vault.DefaultKSF()
	return vaultSpec{
		mode: evaluator.ModeSoftware, attempts: vault.DefaultAttempts, delays: vault.DefaultDelays(),
		cost: format.PassphraseParams{Time: uint32(k.Time), MemoryKiB: k.KiB, Parallelism: k.Lanes},
	}
}

// make makes the vault in an empty directory.
func (s *vaultSpec) make(ctx context.Context, d *vaultDir) error {
	public, root, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	issuerPublic, issuer, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	descriptor := &vault.Descriptor{
		Version: 1, Root: vault.Base64(public), Revision: 1, Max: s.attempts, Delays: s.delays,
		KSF: ksfOf(s.cost),
	}
	d.config = vaultConfig{
		Version: 1, ID: descriptor.ID(), Mode: s.mode, Listen: s.listen, Notify: s.notify, Label: s.label,
		Issuer: []issuerKey{{operator, vault.Base64(issuerPublic)}},
	}
	if len(s.hosts) > 0 {
		d.config.Host = s.hosts[0]
	}
	if d.made, err = s.makeSecrets(ctx, d); err != nil {
		return err
	}
	descriptor.Statement = d.made.Statement[:]
	for id, point := range d.made.AKE { // there is one
		descriptor.AKE = append(descriptor.AKE, vault.AKE{ID: id, Key: point[:]})
	}
	signed, err := descriptor.Sign(root)
	if err != nil {
		return usagef("%w", err)
	}
	return s.makeFiles(d, signed, root, issuer)
}

// makeSecrets makes those of the evaluator, and returns what is public of them.
func (s *vaultSpec) makeSecrets(ctx context.Context, d *vaultDir) (evaluator.Info, error) {
	if s.mode != evaluator.ModeSoftware {
		return s.makeTokenKeys(ctx, d)
	}
	secrets := evaluator.GenerateSoftware()
	e, err := evaluator.NewSoftware(secrets)
	if err != nil {
		return evaluator.Info{}, err
	}
	text, err := secrets.Append(nil)
	if err != nil {
		return evaluator.Info{}, err
	}
	return e.Info(), d.write(vaultSecretsFile, text)
}

// makeFiles writes the rest, and the configuration, without which it is no vault, last.
func (s *vaultSpec) makeFiles(d *vaultDir, descriptor []byte, root, issuer ed25519.PrivateKey) error {
	config, err := d.config.text()
	if err != nil {
		return err
	}
	files := []struct {
		name    string
		content []byte
	}{
		{vaultRootFile, signingKeyText("The vault's root key, which signs its descriptor: keep it offline, not on the vault's machine.", root)},
		{vaultIssuerFile, signingKeyText("Issues tickets of the vault: who has it can use up the attempts of every record, and read none.", issuer)},
		{vaultDescriptorFile, descriptor},
		{vaultConfigFile, config},
	}
	store, err := bolt.Open(d.file(vaultStoreFile), nil)
	if err != nil {
		return err
	}
	if err := store.Close(); err != nil {
		return err
	}
	if len(s.hosts) > 0 {
		certificate, key, err := httpapi.NewCertificate(s.hosts, time.Now())
		if err != nil {
			return err
		}
		if err := errors.Join(d.write(vaultCertKeyFile, key), d.write(vaultCertFile, certificate)); err != nil {
			return err
		}
	}
	for _, f := range files {
		if err := d.write(f.name, f.content); err != nil {
			return err
		}
	}
	return nil
}

// signingKeyText is a file with an Ed25519 key: lines of comment, and its seed in
// base64url.
func signingKeyText(comment string, key ed25519.PrivateKey) []byte {
	return fmt.Appendf(nil, "# %s\n%s\n", comment, base64.RawURLEncoding.EncodeToString(key.Seed()))
}

func readSigningKey(path string) (ed25519.PrivateKey, error) {
	text, err := readLimited("vault's file", path, maxVaultFile)
	if err != nil {
		return nil, err
	}
	defer clear(text)
	key, err := parseSigningKey(text)
	if err != nil {
		return nil, usagef("%s: %w", quoteName(path), err)
	}
	return key, nil
}

func parseSigningKey(text []byte) (ed25519.PrivateKey, error) {
	var seed []byte
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		b, err := base64.RawURLEncoding.Strict().DecodeString(line)
		if err != nil || len(b) != ed25519.SeedSize || seed != nil {
			return nil, errors.New("it is no key file of a vault: one line has 43 characters of base64url, the others begin with #")
		}
		seed = b
	}
	if seed == nil {
		return nil, errors.New("it has no key")
	}
	defer clear(seed)
	return ed25519.NewKeyFromSeed(seed), nil
}

// A hostName is labels of up to 63 characters. RFC 1123 § 2.1
var hostName = regexp.MustCompile(`^(?i:(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)$`)

// checkHost fails for what is no host of an address and a certificate.
func checkHost(host string) error {
	last := host[strings.LastIndexByte(host, '.')+1:]
	wrongIP := strings.Trim(last, "0123456789") == ""
	if net.ParseIP(host) != nil || hostName.MatchString(host) && len(host) <= 253 && !wrongIP {
		return nil
	}
	return fmt.Errorf("%q is no host name or IP address: want it without scheme, port, brackets and spaces, as in vault.example.org", host)
}

// checkListen fails for what is no address to listen on. Port 0 is any one that is free.
func checkListen(address string, lowest int) error {
	_, port, err := net.SplitHostPort(address)
	if n, err2 := strconv.Atoi(port); err == nil && (err2 != nil || n < lowest || n > 65535) {
		err = fmt.Errorf("%q: want a port from %d to 65535, as in :8443", address, lowest)
	}
	return err
}
