package evaluatortest

import (
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/subtle"
	"embed"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"math/big"
	"slices"
	"testing"

	"github.com/coffer-backup/coffer/vault/evaluator"
	"github.com/coffer-backup/coffer/vault/internal/opaque3dh"
)

// The vectors of P-256 of RFC 9807, appendix C, and of RFC 9497, appendix A.3.1, in
// the JSON of github.com/bytemare/opaque v0.18.0.
//
//go:embed testdata
var testdata embed.FS

// Hex is bytes that are hexadecimal in JSON.
type Hex []byte

// UnmarshalText is for package json.
func (h *Hex) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

// An OPAQUEVector is one of RFC 9807. Those that are fake have inputs and a KE2 only.
type OPAQUEVector struct {
	Config struct {
		Context Hex
		Fake    string
	}
	Inputs struct {
		ClientIdentity       Hex `json:"client_identity"`
		ClientPublic         Hex `json:"client_public_key"` // fake alone
		CredentialIdentifier Hex `json:"credential_identifier"`
		KE1                  Hex // fake alone
		MaskingKey           Hex `json:"masking_key"` // fake alone
		MaskingNonce         Hex `json:"masking_nonce"`
		OPRFSeed             Hex `json:"oprf_seed"`
		ServerIdentity       Hex `json:"server_identity"`
		ServerKeyShareSeed   Hex `json:"server_keyshare_seed"`
		ServerNonce          Hex `json:"server_nonce"`
		ServerPrivate        Hex `json:"server_private_key"`
		ServerPublic         Hex `json:"server_public_key"`
	}
	Outputs struct {
		KE1, KE2, KE3        Hex
		RegistrationRequest  Hex `json:"registration_request"`
		RegistrationResponse Hex `json:"registration_response"`
		RegistrationUpload   Hex `json:"registration_upload"`
		SessionKey           Hex `json:"session_key"`
	}
}

// Fake reports whether the record of v is made up.
func (v *OPAQUEVector) Fake() bool { return v.Config.Fake == "True" }

// OPRFKey returns the OPRF key that v derives from a seed and the credential identifier
// (§ 6.3.2.2 of RFC 9807).
func (v *OPAQUEVector) OPRFKey(t testing.TB) evaluator.Scalar {
	t.Helper()
	seed, err := hkdf.Expand(sha256.New, v.Inputs.OPRFSeed, string(v.Inputs.CredentialIdentifier)+"OprfKey", 32)
	if err != nil {
		t.Fatal(err)
	}
	return deriveKeyPair(seed, "OPAQUE-DeriveKeyPair")
}

// Login returns what KE2 of v is made from, but for the two points that an evaluator
// computes.
func (v *OPAQUEVector) Login(t testing.TB) *opaque3dh.Login {
	t.Helper()
	record, message := v.Outputs.RegistrationUpload, v.Outputs.KE1
	if v.Fake() {
		record = append(append(record, v.Inputs.ClientPublic...), v.Inputs.MaskingKey...)
		record = append(record, make([]byte, opaque3dh.EnvelopeSize)...)
		message = v.Inputs.KE1
	}
	l := &opaque3dh.Login{
		Context:        v.Config.Context,
		ClientIdentity: v.Inputs.ClientIdentity,
		ServerIdentity: v.Inputs.ServerIdentity,
		ServerPublic:   evaluator.Point(v.Inputs.ServerPublic),
		MaskingNonce:   [opaque3dh.NonceSize]byte(v.Inputs.MaskingNonce),
		ServerNonce:    [opaque3dh.NonceSize]byte(v.Inputs.ServerNonce),
		Ephemeral:      deriveKeyPair(v.Inputs.ServerKeyShareSeed, "OPAQUE-DeriveDiffieHellmanKeyPair"),
	}
	var err error
	if l.Record, err = opaque3dh.ParseRecord(record); err != nil {
		t.Fatal(err)
	}
	if l.KE1, err = opaque3dh.ParseKE1(message); err != nil {
		t.Fatal(err)
	}
	return l
}

// An OPRFVector is one of RFC 9497.
type OPRFVector struct {
	Key                Hex
	Blinded, Evaluated Hex
}

// OPAQUE returns the vectors of RFC 9807.
func OPAQUE(t testing.TB) []OPAQUEVector {
	t.Helper()
	var vectors []OPAQUEVector
	read(t, "testdata/rfc9807.json", &vectors)
	if len(vectors) != 3 {
		t.Fatalf("%d vectors of RFC 9807, there are 3", len(vectors))
	}
	return vectors
}

// OPRF returns the vectors of RFC 9497.
func OPRF(t testing.TB) []OPRFVector {
	t.Helper()
	var suites []struct {
		Key     Hex `json:"skSm"`
		Vectors []struct{ BlindedElement, EvaluationElement Hex }
	}
	read(t, "testdata/rfc9497.json", &suites)
	var vectors []OPRFVector
	for _, s := range suites {
		for _, v := range s.Vectors {
			vectors = append(vectors, OPRFVector{s.Key, v.BlindedElement, v.EvaluationElement})
		}
	}
	if len(vectors) != 2 {
		t.Fatalf("%d vectors of RFC 9497, there are 2", len(vectors))
	}
	return vectors
}

func read(t testing.TB, file string, v any) {
	t.Helper()
	b, err := testdata.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

// deriveKeyPair is DeriveKeyPair of § 3.2.1 of RFC 9497. It would try again if the scalar
// were 0.
func deriveKeyPair(seed []byte, info string) evaluator.Scalar {
	in := binary.BigEndian.AppendUint16(seed[:len(seed):len(seed)], uint16(len(info)))
	in = append(append(in, info...), 0)
	return hashToScalar(in, "DeriveKeyPairOPRFV1-\x00-P256-SHA256")
}

// hashToScalar is hash_to_field of RFC 9380, § 5.2, with the order of P-256 and the 48
// bytes of expand_message_xmd (§ 5.3.1) that it takes.
func hashToScalar(message []byte, dst string) (s evaluator.Scalar) {
	const size = 48
	prime := append([]byte(dst), byte(len(dst)))
	b0 := sha256.Sum256(slices.Concat(make([]byte, sha256.BlockSize), message, []byte{0, size, 0}, prime))
	b1 := sha256.Sum256(slices.Concat(b0[:], []byte{1}, prime))
	mixed := make([]byte, sha256.Size)
	subtle.XORBytes(mixed, b0[:], b1[:])
	b2 := sha256.Sum256(slices.Concat(mixed, []byte{2}, prime))
	n := new(big.Int).SetBytes(slices.Concat(b1[:], b2[:])[:size])
	n.Mod(n, elliptic.P256().Params().N).FillBytes(s[:])
	return s
}
