// Package evaluator says what keeps the secrets of a vault and computes with them.
//
// A vault has four lasting secrets: the AKE key of RFC 9807, the statement key that
// signs its replies, the MAC key from which it derives what seals its records, and,
// for each record, an OPRF key. An [Evaluator] has the first three and makes, uses and
// forgets OPRF keys, which the vault stores as blobs that only the evaluator opens.
//
// [Software] keeps them in this process. Package hsm has the two that use a PKCS#11
// token.
package evaluator

import "context"

// PointSize is the length of a point of P-256 in SEC 1 compressed form.
const PointSize = 33

// A Point is one of P-256, in SEC 1 compressed form. The identity has none.
type Point = [PointSize]byte

// MaxBlob is the greatest length of a blob, in bytes.
const MaxBlob = 256

// A Key is an OPRF key as a vault stores it.
type Key struct {
	// Blob is what the evaluator needs to use the key: it alone can open it.
	Blob []byte
	// Public is kG. Who stores it authenticates it: with another one in its place the
	// evaluation fails or is wrong.
	Public Point
}

// The modes. A record lives and dies with the mode it was made in.
const (
	ModeSoftware = "software"
	ModeSealed   = "sealed"
	ModeHSM      = "hsm"
)

// Info is what an evaluator says of itself.
type Info struct {
	Mode string
	// AKE has the public halves of the AKE keys by their ids, retired ones included.
	AKE map[uint16]Point
	// Statement is the public half of the key that signs.
	Statement Point
	// Guarantees says in plain words what this configuration guarantees and what not,
	// a sentence an entry.
	Guarantees []string
}

// An Evaluator computes with the secrets of a vault. Its methods can be called at the
// same time. Points that come in may be hostile: one that is not on the curve, or the
// identity, is an error, which wraps [ErrPoint]. Any other error means that the
// evaluator could not do its work, and is no property of the arguments.
type Evaluator interface {
	Info() Info
	// NewKey makes an OPRF key.
	NewKey(ctx context.Context) (Key, error)
	// Evaluate returns k·blinded, in which k is the secret of key.
	Evaluate(ctx context.Context, key Key, blinded Point) (Point, error)
	// Agree returns a·share, in which a is the AKE key of that id.
	Agree(ctx context.Context, ake uint16, share Point) (Point, error)
	// MAC returns HMAC-SHA256 of message under the MAC key.
	MAC(ctx context.Context, message []byte) ([32]byte, error)
	// Sign returns r ‖ s of ECDSA by the statement key over a SHA-256 digest.
	Sign(ctx context.Context, digest [32]byte) ([64]byte, error)
}
