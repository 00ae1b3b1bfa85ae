package evaluator

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Software is the mode of that name: a [Sealed] evaluator without a token. All its
// secrets are in the memory of this process.
type Software struct{ Sealed }

var softwareGuarantees = []string{
	"No token: the secrets of this vault are in a file on this machine and in its memory.",
	"Whoever reads this machine's files can try passwords offline against every record, for as long as they like. Only the strength of each password stands against that.",
	"Attempts are counted by this program: everyone without the file of secrets has only as many as are allowed.",
	"Records that were copied without the file of secrets are worth nothing, so keep backups of the two apart.",
	"What is destroyed is gone from the store, but an old copy of the store and the file of secrets give it back.",
}

// SoftwareSecrets are the lasting secrets of a vault in software mode. fmt, log/slog and
// encoders redact them.
type SoftwareSecrets struct {
	redacted
	MAC       [32]byte
	Statement Scalar
	AKE       map[uint16]Scalar
}

// GenerateSoftware makes secrets with one AKE key, of the id 1.
func GenerateSoftware() *SoftwareSecrets {
	s := &SoftwareSecrets{Statement: NewScalar(), AKE: map[uint16]Scalar{1: NewScalar()}}
	_, _ = rand.Read(s.MAC[:]) // it never fails
	return s
}

// NewSoftware makes an evaluator with these secrets.
func NewSoftware(s *SoftwareSecrets) (*Software, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	statement, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), s.Statement[:])
	if err != nil {
		return nil, fmt.Errorf("evaluator: statement key: %w", err)
	}
	ctx := context.Background() // nothing waits
	token := &memory{mac: s.MAC, statement: statement}
	ake := map[uint16]Key{}
	for id, scalar := range s.AKE {
		if ake[id], err = SealAKE(ctx, token, id, &scalar); err != nil {
			return nil, err
		}
	}
	sealed, err := NewSealed(ctx, token, s.Statement.Public(), ake)
	if err != nil {
		return nil, err
	}
	sealed.info.Mode = ModeSoftware
	sealed.info.Guarantees = softwareGuarantees
	return &Software{*sealed}, nil
}

// memory is a token that is none.
type memory struct {
	redacted
	mac       [32]byte
	statement *ecdsa.PrivateKey
}

func (m *memory) MAC(ctx context.Context, message []byte) (mac [32]byte, err error) {
	if err := ctx.Err(); err != nil {
		return mac, err
	}
	h := hmac.New(sha256.New, m.mac[:])
	h.Write(message)
	h.Sum(mac[:0])
	return mac, nil
}

func (m *memory) Sign(ctx context.Context, digest [32]byte) (signature [64]byte, err error) {
	if err := ctx.Err(); err != nil {
		return signature, err
	}
	r, s, err := ecdsa.Sign(rand.Reader, m.statement, digest[:])
	if err != nil {
		return signature, fmt.Errorf("evaluator: signing: %w", err)
	}
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return signature, nil
}

// The file of secrets, one encoding a set of secrets: a line each, the AKE keys by their
// ids.
//
//	coffer vault secrets v1
//	mac BASE64URL
//	statement BASE64URL
//	ake 1 BASE64URL
const (
	fileHead = "coffer vault secrets v1"
	maxFile  = 4096
	maxAKE   = 64
)

// Append appends s as a file, which is at most 4 KiB long.
func (s *SoftwareSecrets) Append(b []byte) ([]byte, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	line := func(name string, secret [32]byte) {
		b = append(append(b, name...), ' ')
		b = append(base64.RawURLEncoding.AppendEncode(b, secret[:]), '\n')
	}
	b = append(b, fileHead+"\n"...)
	line("mac", s.MAC)
	line("statement", s.Statement)
	for _, id := range slices.Sorted(maps.Keys(s.AKE)) {
		line("ake "+strconv.Itoa(int(id)), s.AKE[id])
	}
	return b, nil
}

func (s *SoftwareSecrets) check() error {
	if s.MAC == [32]byte{} {
		return errors.New("evaluator: the MAC key is missing")
	}
	if !s.Statement.valid() {
		return errors.New("evaluator: the statement key is no scalar of P-256")
	}
	if len(s.AKE) == 0 || len(s.AKE) > maxAKE {
		return fmt.Errorf("evaluator: %d AKE keys, there must be 1 to %d", len(s.AKE), maxAKE)
	}
	for id, scalar := range s.AKE {
		if !scalar.valid() {
			return fmt.Errorf("evaluator: AKE key %d is no scalar of P-256", id)
		}
	}
	return nil
}

// ParseSoftware reads a file of secrets.
func ParseSoftware(file []byte) (*SoftwareSecrets, error) {
	if len(file) > maxFile {
		return nil, fmt.Errorf("evaluator: reading secrets: file of more than %d bytes", maxFile)
	}
	lines, ok := bytes.CutPrefix(file, []byte(fileHead+"\n"))
	if !ok {
		return nil, fmt.Errorf("evaluator: reading secrets: the first line is not %q", fileHead)
	}
	s := &SoftwareSecrets{AKE: map[uint16]Scalar{}}
	n := 1
	for line := range bytes.Lines(lines) {
		n++
		if !s.parseLine(line) {
			return nil, fmt.Errorf("evaluator: reading secrets: line %d is not one of such a file", n)
		}
	}
	again, err := s.Append(make([]byte, 0, maxFile))
	if err != nil {
		return nil, fmt.Errorf("evaluator: reading secrets: %w", err)
	}
	defer clear(again)
	if !bytes.Equal(again, file) {
		return nil, errors.New("evaluator: reading secrets: lines are doubled, in another order or written in another way")
	}
	return s, nil
}

// parseLine takes a line into s. That the file is the one encoding of s is looked at
// afterwards.
func (s *SoftwareSecrets) parseLine(line []byte) bool {
	i := bytes.LastIndexByte(line, ' ')
	if i < 0 {
		return false
	}
	var secret [32]byte
	text := bytes.TrimSuffix(line[i+1:], []byte("\n"))
	if base64.RawURLEncoding.DecodedLen(len(text)) != 32 {
		return false
	}
	if _, err := base64.RawURLEncoding.Decode(secret[:], text); err != nil {
		return false
	}
	defer clear(secret[:])
	switch name := string(line[:i]); name {
	case "mac":
		s.MAC = [32]byte(secret[:])
	case "statement":
		s.Statement = Scalar(secret[:])
	default:
		digits, ok := strings.CutPrefix(name, "ake ")
		id, err := strconv.ParseUint(digits, 10, 16)
		if !ok || err != nil {
			return false
		}
		s.AKE[uint16(id)] = Scalar(secret[:])
	}
	return true
}
