package opaque3dh

import "github.com/coffer-backup/coffer/vault/evaluator"

// Draw is what a client would draw at random.
type Draw struct {
	Blind, Ephemeral evaluator.Scalar
	Nonce, Envelope  [NonceSize]byte
}

// NewClientOf is NewClient without chance.
func NewClientOf(password []byte, d *Draw) (*Client, error) {
	return newClient(password, &random{blind: d.Blind, ephemeral: d.Ephemeral, nonce: d.Nonce, envelope: d.Envelope})
}

// DeriveKeyPair is for the seeds of the vectors' key shares.
func DeriveKeyPair(seed []byte) evaluator.Scalar { return deriveKeyPair(seed, labelKeyPair) }

// Reseal puts another server's key, which need not be a point, under the envelope of l.
// Only who knows the password can.
func Reseal(l *Login, c *Client, server evaluator.Point, evaluated evaluator.Point, stretch Stretch) error {
	randomized, err := c.randomize(evaluated, stretch)
	if err != nil {
		return err
	}
	l.ServerPublic = server
	copy(l.Record.Envelope[NonceSize:], l.credentials(randomized).tag[:])
	return nil
}
