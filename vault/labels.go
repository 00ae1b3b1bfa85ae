package vault

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"

	"github.com/coffer-backup/coffer/vault/wire"
)

// What is hashed, signed or derived begins with its label, so that nothing made for one
// purpose fits another. SPEC.md § 5
const (
	labelID         = "coffer vault v1"            // a vault's id
	labelDescriptor = "coffer vault v1 descriptor" // signed by the root key
	labelReply      = "coffer vault v1 reply"      // signed by the statement key
	labelTombstone  = "coffer vault v1 tombstone"  // signed by the statement key
	labelHead       = "coffer vault v1 log head"   // signed by the statement key
	labelOwnerSeed  = "coffer vault v1 owner"      // of the owner key, from an account key
	labelOwner      = "coffer vault v1 owned"      // signed by the owner key
	labelUpload     = "coffer vault v1 upload"     // hashed of what is registered
	labelCommand    = "coffer vault v1 command"    // from the session key
	labelRelease    = "coffer vault v1 release"    // from the session key
	labelWrap       = "coffer vault v1 wrap"       // from the export key
	labelIndex      = "coffer vault v1 index"      // by the MAC key
	labelIndexKey   = "coffer vault v1 proof"      // by the MAC key
	labelRow        = "coffer vault v1 row"        // by the MAC key
	labelSealRow    = "coffer vault v1 seal row"   // from a record's root, as those below
	labelSealPend   = "coffer vault v1 seal pending"
	labelToken      = "coffer vault v1 token"
	labelFakeOPRF   = "coffer vault v1 fake oprf"
	labelFakeMask   = "coffer vault v1 fake mask"
	labelFakeKey    = "coffer vault v1 fake key"
	labelFakeGen    = "coffer vault v1 fake gen"

	serverIdentity = "coffer-vault:" // before the vault's id: the server's identity in OPAQUE
)

// lp appends x with its length before it.
func lp(b []byte, x string) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(x))), x...)
}

// idOf returns the id of the vault whose root key that is.
func idOf(root ed25519.PublicKey) string {
	sum := sha256.Sum256(append([]byte(labelID), root...))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// replyDigest is what the statement key signs of a reply: reply is the whole frame, of
// which the signature's place is left out.
func replyDigest(request, reply []byte) [32]byte {
	asked := sha256.Sum256(request)
	b := append([]byte(labelReply), asked[:]...)
	return sha256.Sum256(append(b, reply[:len(reply)-wire.SignatureSize]...))
}

func tombstoneDigest(vault, credential string, cause uint8, died int64) [32]byte {
	b := lp(lp([]byte(labelTombstone), vault), credential)
	return sha256.Sum256(binary.BigEndian.AppendUint64(append(b, cause), uint64(died)))
}

// uploadDigest is the hash of what a registration uploads: who allows it to take a
// record's place allows that, and not whatever comes under its id.
func uploadDigest(m *wire.RegPut) [32]byte {
	b := append([]byte(labelUpload), m.Record[:]...)
	b = binary.BigEndian.AppendUint32(append(b, m.OwnerKey[:]...), m.KV)
	return sha256.Sum256(lp(b, string(m.Keyring)))
}

// swapNonce is the nonce of ownerMessage for OpSwap, whose until is the version of the
// keyring that is replaced, or 0 if its owner does not know it.
func swapNonce(registration [wire.IDSize]byte, upload [32]byte) string {
	return string(registration[:]) + string(upload[:])
}

// ownerMessage is what the owner key signs. nonce is the id of the ticket, or swapNonce.
func ownerMessage(vault, credential string, gen uint64, op wire.Op, nonce string, until int64) []byte {
	b := lp(lp([]byte(labelOwner), vault), credential)
	b = append(binary.BigEndian.AppendUint64(b, gen), byte(op))
	return binary.BigEndian.AppendUint64(lp(b, nonce), uint64(until))
}
