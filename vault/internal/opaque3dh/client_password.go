package opaque3dh

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"github.com/bytemare/ecc"

	"github.com/coffer-backup/coffer/vault/evaluator"
)

// Labels of RFC 9497 with this suite, and of the client in RFC 9807.
const (
	labelHashToGroup  = "HashToGroup-OPRFV1-\x00-P256-SHA256"
	labelHashToScalar = "DeriveKeyPairOPRFV1-\x00-P256-SHA256"
	labelFinalize     = "Finalize"
	labelKeyPair      = "OPAQUE-DeriveDiffieHellmanKeyPair" // § 6.4.1.1 of RFC 9807
	labelMaskingKey   = "MaskingKey"                        // § 4.1.2, and those that follow
	labelAuthKey      = "AuthKey"
	labelExportKey    = "ExportKey"
	labelPrivateKey   = "PrivateKey"
)

// hashToGroup is HashToGroup of RFC 9497. The library does it with big integers, whose
// time depends a little on the password: who can measure that is on the client's machine.
func hashToGroup(password []byte) evaluator.Point {
	return evaluator.Point(ecc.P256Sha256.HashToGroup(password, []byte(labelHashToGroup)).Encode())
}

// deriveKeyPair is DeriveKeyPair of § 3.2.1 of RFC 9497.
func deriveKeyPair(seed []byte, info string) evaluator.Scalar {
	in := appendVector(slices.Clone(seed), []byte(info))
	defer clear(in)
	for counter := byte(0); ; counter++ {
		s := ecc.P256Sha256.HashToScalar(append(in, counter), []byte(labelHashToScalar))
		if !s.IsZero() { // once in 2²⁵⁶
			return evaluator.Scalar(s.Encode())
		}
	}
}

// inverse returns 1/s modulo the order, by an exponentiation whose exponent is public.
func inverse(s *evaluator.Scalar) evaluator.Scalar {
	i := ecc.P256Sha256.NewScalar()
	if err := i.Decode(s[:]); err != nil {
		panic("opaque3dh: internal error: " + err.Error()) // s is below the order
	}
	return evaluator.Scalar(i.Invert().Encode())
}

// randomize returns the randomized password (§ 5.2.3 and § 6.3.2.3).
func (c *Client) randomize(evaluated evaluator.Point, stretch Stretch) ([]byte, error) {
	if c.random.blind == (evaluator.Scalar{}) {
		return nil, errors.New("opaque3dh: the client is wiped")
	}
	if evaluated == c.ke1.Blinded {
		return nil, fmt.Errorf("%w: evaluated element", ErrReflected)
	}
	output, err := c.finalize(evaluated)
	if err != nil {
		return nil, err
	}
	defer clear(output)
	stretched, err := stretch(output)
	if err != nil {
		return nil, fmt.Errorf("opaque3dh: stretching: %w", err)
	}
	defer clear(stretched)
	secret := slices.Concat(output, stretched)
	defer clear(secret)
	return extract(secret), nil
}

// finalize is Finalize of § 3.3.1 of RFC 9497.
func (c *Client) finalize(evaluated evaluator.Point) ([]byte, error) {
	unblind := inverse(&c.random.blind)
	defer unblind.Wipe()
	element, err := unblind.Mul(evaluated)
	if err != nil {
		return nil, fmt.Errorf("opaque3dh: evaluated element: %w", err)
	}
	in := make([]byte, 0, 2+len(c.password)+2+PointSize+len(labelFinalize))
	in = appendVector(appendVector(in, c.password), element[:])
	in = append(in, labelFinalize...)
	output := sha256.Sum256(in)
	clear(in)
	return output[:], nil
}

func maskingKey(randomized []byte) [HashSize]byte {
	return [HashSize]byte(expand(randomized, labelMaskingKey, HashSize))
}

// credentials are what the randomized password makes of an envelope's nonce (§ 4.1).
type credentials struct {
	redacted
	private     evaluator.Scalar
	public      evaluator.Point
	tag, export [HashSize]byte
}

// credentials are for the identities, the server's public key and the envelope's nonce
// of l. The key need not be a point.
func (l *Login) credentials(randomized []byte) *credentials {
	nonce := l.Record.Envelope[:NonceSize]
	derived := func(label string) []byte { return expand(randomized, string(nonce)+label, HashSize) }
	k := &credentials{export: [HashSize]byte(derived(labelExportKey))}

	seed := derived(labelPrivateKey)
	k.private = deriveKeyPair(seed, labelKeyPair)
	k.public = k.private.Public()
	clear(seed)

	client, server := l.ClientIdentity, l.ServerIdentity
	if client == nil {
		client = k.public[:]
	}
	if server == nil {
		server = l.ServerPublic[:]
	}
	message := slices.Concat(nonce, l.ServerPublic[:])
	message = appendVector(appendVector(message, server), client)
	key := derived(labelAuthKey)
	k.tag = [HashSize]byte(mac(key, message))
	clear(key)
	return k
}

func (k *credentials) wipe() {
	k.private.Wipe()
	clear(k.export[:])
}
