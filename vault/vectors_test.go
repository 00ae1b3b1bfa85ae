package vault

import (
	"bytes"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"flag"
	"math/big"
	"os"
	"testing"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"github.com/coffer-backup/coffer/keys"
	"github.com/coffer-backup/coffer/vault/wire"
)

var update = flag.Bool("update", false, "write testdata/vectors.json")

const vectorsFile = "testdata/vectors.json"

// hexBytes is hex in JSON.
type hexBytes []byte

func (h hexBytes) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, h), nil }

func (h *hexBytes) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

// vectors are what clients and servers of all kinds and ages must agree on. SPEC.md § 5
type vectors struct {
	VaultID    string `json:"vault_id"`
	Credential string `json:"credential"`

	RootSeed       hexBytes `json:"root_seed"`
	StatementKey   hexBytes `json:"statement_key"` // the scalar
	Descriptor     string   `json:"descriptor"`    // signed
	DescriptorHash hexBytes `json:"descriptor_hash"`

	AccountKeys    []hexBytes `json:"account_keys"` // the newest last
	OwnerSeed      hexBytes   `json:"owner_seed"`
	OwnerKey       hexBytes   `json:"owner_key"`
	OwnerGen       uint64     `json:"owner_gen,string"`
	OwnerOp        wire.Op    `json:"owner_op"`
	OwnerNonce     string     `json:"owner_nonce"`
	OwnerUntil     int64      `json:"owner_until"`
	OwnerMessage   hexBytes   `json:"owner_message"`
	OwnerSignature hexBytes   `json:"owner_signature"`

	ExportKey hexBytes `json:"export_key"`
	WrapSalt  hexBytes `json:"wrap_salt"`
	WrapKV    uint32   `json:"wrap_kv"`
	WrapKey   hexBytes `json:"wrap_key"`
	Wrapped   hexBytes `json:"wrapped"`

	Request     hexBytes `json:"request"`
	Reply       hexBytes `json:"reply"` // signed
	ReplyDigest hexBytes `json:"reply_digest"`

	TombstoneCause  uint8    `json:"tombstone_cause"`
	TombstoneTime   int64    `json:"tombstone_time"`
	TombstoneDigest hexBytes `json:"tombstone_digest"`

	SessionKey    hexBytes `json:"session_key"`
	Attempt       hexBytes `json:"attempt"`
	SealNonce     hexBytes `json:"seal_nonce"`
	Command       hexBytes `json:"command"`
	SealedCommand hexBytes `json:"sealed_command"`
	Release       hexBytes `json:"release"`
	SealedRelease hexBytes `json:"sealed_release"`
}

// The builder below knows the labels and the layouts by itself, so that a slip in the
// package does not become a vector.

func count(from byte, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = from + byte(i)
	}
	return b
}

// labelled is label ‖ each of the rest with its length, a uint16, before it.
func labelled(label string, rest ...string) []byte {
	b := []byte(label)
	for _, s := range rest {
		b = append(append(b, byte(len(s)>>8), byte(len(s))), s...)
	}
	return b
}

func sha(parts ...[]byte) []byte {
	sum := sha256.Sum256(bytes.Join(parts, nil))
	return sum[:]
}

func gcmSeal(key, nonce, plain, ad []byte) []byte {
	return must(cipher.NewGCM(must(aes.NewCipher(key)))).Seal(nil, nonce, plain, ad)
}

func u32(v uint32) []byte { return binary.BigEndian.AppendUint32(nil, v) }
func u64(v uint64) []byte { return binary.BigEndian.AppendUint64(nil, v) }

// rs turns an ASN.1 signature into r ‖ s.
func rs(der []byte) []byte {
	r, s := new(big.Int), new(big.Int)
	var inner cryptobyte.String
	input := cryptobyte.String(der)
	if !input.ReadASN1(&inner, asn1.SEQUENCE) || !inner.ReadASN1Integer(r) || !inner.ReadASN1Integer(s) {
		panic("no signature")
	}
	return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
}

func buildVectors() *vectors {
	v := &vectors{
		Credential: "alice@example.org", RootSeed: count(0x00, 32), StatementKey: count(0x20, 32),
		AccountKeys: []hexBytes{count(0x40, 32), count(0x60, 32)},
		OwnerGen:    0x0102030405060708, OwnerOp: wire.OpFreeze, OwnerNonce: "ticket-0123456789", OwnerUntil: 1900000000,
		ExportKey: count(0x80, 32), WrapSalt: count(0xa0, 32), WrapKV: 1893456000,
		TombstoneCause: wire.CauseAttempts, TombstoneTime: 1800000000,
		SessionKey: count(0xc0, 32), Attempt: count(0xe0, 16), SealNonce: count(0xf0, 12),
	}
	root := ed25519.NewKeyFromSeed(v.RootSeed)
	public := root.Public().(ed25519.PublicKey)
	b64 := base64.RawURLEncoding.EncodeToString
	v.VaultID = b64(sha([]byte("coffer vault v1"), public))
	statement := must(ecdsa.ParseRawPrivateKey(elliptic.P256(), v.StatementKey))
	ake := must(ecdsa.ParseRawPrivateKey(elliptic.P256(), count(0x01, 32)))
	line := `{"version":1,"root":"` + b64(public) + `","revision":3,"statement":"` + b64(compressed(statement)) +
		`","ake":[{"id":1,"key":"` + b64(compressed(ake)) + `"}],"ksf":{"name":"argon2id","m_kib":65536,"t":3,"p":4},` +
		`"max":10,"delays":[86400,86400,28800,7200,1800,300,30],"notice":"an example"}`
	v.Descriptor = line + "\n" + b64(ed25519.Sign(root, append([]byte("coffer vault v1 descriptor"), line...))) + "\n"
	v.DescriptorHash = sha([]byte(v.Descriptor))

	newest := v.AccountKeys[len(v.AccountKeys)-1]
	v.OwnerSeed = must(hkdf.Key(sha256.New, newest, nil, string(labelled("coffer vault v1 owner", v.VaultID, v.Credential)), 32))
	owner := ed25519.NewKeyFromSeed(v.OwnerSeed)
	v.OwnerKey = hexBytes(owner.Public().(ed25519.PublicKey))
	v.OwnerMessage = bytes.Join([][]byte{
		labelled("coffer vault v1 owned", v.VaultID, v.Credential), u64(v.OwnerGen), {4}, labelled("", v.OwnerNonce), u64(uint64(v.OwnerUntil)),
	}, nil)
	v.OwnerSignature = ed25519.Sign(owner, v.OwnerMessage)

	plain := append([]byte{1, 2}, bytes.Join([][]byte{v.AccountKeys[0], v.AccountKeys[1]}, nil)...)
	plain = append(plain, make([]byte, 512-len(plain))...)
	v.WrapKey = must(hkdf.Key(sha256.New, v.ExportKey, v.WrapSalt, string(labelled("coffer vault v1 wrap", v.VaultID, v.Credential)), 32))
	v.Wrapped = append(v.WrapSalt[:32:32], gcmSeal(v.WrapKey, make([]byte, 12), plain, append(u32(v.WrapKV), v.DescriptorHash...))...)

	v.Request = append([]byte{1, 9}, labelled("", "the ticket")...)
	reply := append([]byte{1, 9, 1, 8, 10}, u64(1800000030)...)
	reply = append(reply, u64(v.OwnerGen)...)
	reply = append(reply, make([]byte, 768-64-len(reply))...)
	v.ReplyDigest = sha([]byte("coffer vault v1 reply"), sha(v.Request), reply)
	v.Reply = append(reply, rs(must(statement.Sign(nil, v.ReplyDigest, crypto.SHA256)))...)
	v.TombstoneDigest = sha(labelled("coffer vault v1 tombstone", v.VaultID, v.Credential), []byte{1}, u64(1800000000))

	v.Command = bytes.Join([][]byte{{2}, u64(v.OwnerGen), u32(v.WrapKV), v.OwnerKey, labelled("", string(v.Wrapped))}, nil)
	v.Release = bytes.Join([][]byte{u64(12), u64(v.OwnerGen), u32(v.WrapKV), {2}, v.DescriptorHash, labelled("", string(v.Wrapped))}, nil)
	v.SealedCommand = v.seal("coffer vault v1 command", v.Command)
	v.SealedRelease = v.seal("coffer vault v1 release", v.Release)
	return v
}

func (v *vectors) seal(label string, plain []byte) []byte {
	key := must(hkdf.Expand(sha256.New, v.SessionKey, label+string(v.Attempt), 32))
	return append(v.SealNonce[:12:12], gcmSeal(key, v.SealNonce, plain, v.Attempt)...)
}

func compressed(key *ecdsa.PrivateKey) []byte {
	b := must(key.PublicKey.Bytes()) // 4 ‖ x ‖ y
	return append([]byte{2 | b[64]&1}, b[1:33]...)
}

// TestVectorsFile: the file is what the builder makes. A change of it changes the
// protocol.
func TestVectorsFile(t *testing.T) {
	text := append(must(json.MarshalIndent(buildVectors(), "", "  ")), '\n')
	if *update {
		if err := os.WriteFile(vectorsFile, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	file := must(os.ReadFile(vectorsFile))
	if !bytes.Equal(file, text) {
		t.Error("the builder makes other vectors than those of " + vectorsFile)
	}
}

// TestVectors has the package do what the vectors say, from the file.
func TestVectors(t *testing.T) {
	v := new(vectors)
	if err := json.Unmarshal(must(os.ReadFile(vectorsFile)), v); err != nil {
		t.Fatal(err)
	}
	same := func(what string, got, want []byte) {
		t.Helper()
		if !bytes.Equal(got, want) {
			t.Errorf("%s: %x, want %x", what, got, want)
		}
	}
	d := must(ParseDescriptor([]byte(v.Descriptor), v.VaultID))
	same("signed descriptor", must(d.Sign(ed25519.NewKeyFromSeed(v.RootSeed))), []byte(v.Descriptor))
	hash := descriptorHash([]byte(v.Descriptor))
	same("descriptor's hash", hash[:], v.DescriptorHash)

	var all []*keys.AccountKey
	for _, b := range v.AccountKeys {
		all = append(all, must(keys.AccountKeyFrom(b)))
	}
	ring := must(NewKeyring(all...))
	owner := ownerKey(ring.Newest(), v.VaultID, v.Credential)
	same("owner key's seed", owner.Seed(), v.OwnerSeed)
	message := ownerMessage(v.VaultID, v.Credential, v.OwnerGen, v.OwnerOp, v.OwnerNonce, v.OwnerUntil)
	same("owner's message", message, v.OwnerMessage)
	same("owner's signature", ed25519.Sign(owner, message), v.OwnerSignature)

	p := place{v.VaultID, v.Credential, v.WrapKV, hash}
	public := p.ownerKey(ring)
	same("owner key", public[:], v.OwnerKey)
	key := p.key(v.WrapSalt, v.ExportKey)
	same("wrapping key", key[:], v.WrapKey)
	same("wrapped", p.wrapWith(v.WrapSalt, ring, v.ExportKey), v.Wrapped)
	if got, err := p.unwrap(v.Wrapped, v.ExportKey); err != nil || !sameRing(got, ring) {
		t.Errorf("unwrapping: %v", err)
	}

	digest := replyDigest(v.Request, v.Reply)
	same("reply's digest", digest[:], v.ReplyDigest)
	k := &trusted{d, hash, must(d.statementKey())}
	if r, err := k.read(v.Request, v.Reply, wire.CallStatus); err != nil || r.Left != 8 || r.Max != 10 || r.State.Gen != v.OwnerGen {
		t.Errorf("reply: %+v, %v", r, err)
	}
	digest = tombstoneDigest(v.VaultID, v.Credential, v.TombstoneCause, v.TombstoneTime)
	same("tombstone's digest", digest[:], v.TombstoneDigest)

	session, attempt := [32]byte(v.SessionKey), [16]byte(v.Attempt)
	command := must(wire.ParseCommand(must(unseal(session, labelCommand, attempt, v.SealedCommand))))
	same("command", command.Append(nil), v.Command)
	same("command's keyring", command.Keyring, v.Wrapped)
	release := must(wire.ParseRelease(must(unseal(session, labelRelease, attempt, v.SealedRelease))))
	same("release", release.Append(nil), v.Release)
	if release.Failures != 2 || release.Ver != 12 {
		t.Errorf("release: %+v", release)
	}
	for _, label := range []string{labelCommand, labelRelease} {
		same(label, must(unseal(session, label, attempt, seal(session, label, attempt, v.Release))), v.Release)
	}
	if _, err := unseal(session, labelRelease, attempt, v.SealedCommand); err == nil {
		t.Error("a command opens as a release")
	}
}
