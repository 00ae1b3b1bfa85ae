package vectors

import (
	"bytes"
	"slices"
	"strings"
)

// A KDF is kdf.json: every value on the way from the file key to what protects
// the body, and from a user's key to a slot.
type KDF struct {
	Schedules []Schedule   `json:"schedules"`
	Slots     []SlotVector `json:"slots"`
}

// A Schedule is the key schedule of one file (§ 4.1).
type Schedule struct {
	Comment     string    `json:"comment"`
	Spec        []string  `json:"spec"`
	FileKey     Hex       `json:"fk"`
	Salt        Hex       `json:"salt"`
	Context     Plaintext `json:"context"`
	Core        Hex       `json:"core"`
	PRK         Hex       `json:"prk"`
	ContextHash Hex       `json:"sha256_context"`
	CoreHash    Hex       `json:"sha256_core"`
	MACKey      Hex       `json:"k_mac"`
	ContextTag  Hex       `json:"context_tag"` // as if there were a context, if there is none
	BodyKey     Hex       `json:"bk"`
	Nonce       Hex       `json:"n"`
}

// A SlotVector is a slot and what it is made from (§ 4.5). Kinds 3 to 5 have no
// KEK, Pad, C, WrapKey and Tag.
type SlotVector struct {
	Comment string   `json:"comment"`
	Spec    []string `json:"spec"`
	Kind    int      `json:"kind"`
	Key     Hex      `json:"key"` // account key, passphrase, AES key, PKCS #8 RSA key or X-Wing seed
	FileKey Hex      `json:"fk"`
	Core    Hex      `json:"core"`
	Salt    Hex      `json:"slot_salt"`
	Bind    Hex      `json:"bind"`
	KEK     Hex      `json:"kek,omitempty"`
	Pad     Hex      `json:"pad,omitempty"`
	C       Hex      `json:"c,omitempty"`
	WrapKey Hex      `json:"k_wrap,omitempty"`
	Tag     Hex      `json:"tag,omitempty"`
	Slot    Hex      `json:"slot"` // the whole entry: kind, len and data
}

// LoadKDF parses kdf.json.
func LoadKDF() (*KDF, error) { return loadTable[KDF]("kdf.json") }

// DARE is dare.json: whole DARE 2.0 streams.
type DARE struct {
	Streams []Stream `json:"streams"`
}

// A Stream is a DARE stream (§ 5). Sealed is there if it is short.
type Stream struct {
	Spec         []string  `json:"spec"`
	Suite        int       `json:"suite"`
	Key          Hex       `json:"key"`
	Nonce        Hex       `json:"nonce"`
	Plaintext    Plaintext `json:"plaintext"`
	SealedLength int       `json:"sealed_length"`
	SealedSHA256 Hex       `json:"sealed_sha256"`
	Sealed       Hex       `json:"sealed,omitempty"`
}

// LoadDARE parses dare.json.
func LoadDARE() (*DARE, error) { return loadTable[DARE]("dare.json") }

// KeyTexts is keytext.json: texts of account keys (§ 4.6), and of recipients and their
// secret keys (§ 4.7).
type KeyTexts struct {
	Texts      []KeyText    `json:"texts"`
	KeyIDs     []KeyID      `json:"key_ids"`
	HybridKeys []HybridKey  `json:"hybrid_keys"`
	Recipients []HybridText `json:"recipients"` // recipients files
	Identities []HybridText `json:"identities"` // key files of secret keys
}

// A KeyText is the content of a key file: Text, and Then if it is there. Key is empty
// if it is to be refused.
type KeyText struct {
	Comment string     `json:"comment"`
	Spec    []string   `json:"spec"`
	Text    Hex        `json:"text"`
	Then    *Plaintext `json:"then,omitempty"`
	Key     Hex        `json:"key,omitempty"`
}

// Bytes returns the content.
func (t *KeyText) Bytes() []byte {
	if t.Then == nil {
		return t.Text
	}
	return append(bytes.Clone(t.Text), t.Then.Bytes()...)
}

// A HybridKey is a key of kind 5 and its texts.
type HybridKey struct {
	Spec         []string `json:"spec"`
	Seed         Hex      `json:"seed"`
	PublicSHA256 Hex      `json:"public_sha256"`
	Recipient    string   `json:"recipient"`
	Identity     string   `json:"identity"`
}

// A HybridText is a file: the texts of the keys Of, with a LF between them, and in that
// Put in the place of Cut bytes at At.
type HybridText struct {
	Comment string   `json:"comment"`
	Spec    []string `json:"spec"`
	Of      []int    `json:"of,omitempty"` // indices of HybridKeys
	At      int      `json:"at,omitempty"`
	Cut     int      `json:"cut,omitempty"`
	Put     Hex      `json:"put,omitempty"`
	Keys    []int    `json:"keys,omitempty"` // that are in it, in order; none if it is to be refused
}

// RecipientsFile returns the file of one of t.Recipients.
func (t *KeyTexts) RecipientsFile(v *HybridText) []byte {
	return t.file(v, func(k *HybridKey) string { return k.Recipient })
}

// IdentityFile returns the file of one of t.Identities.
func (t *KeyTexts) IdentityFile(v *HybridText) []byte {
	return t.file(v, func(k *HybridKey) string { return k.Identity })
}

func (t *KeyTexts) file(v *HybridText, text func(*HybridKey) string) []byte {
	var texts []string
	for _, i := range v.Of {
		texts = append(texts, text(&t.HybridKeys[i]))
	}
	all := []byte(strings.Join(texts, "\n"))
	return slices.Replace(all, v.At, v.At+v.Cut, v.Put...)
}

// A KeyID is the hint of an account key.
type KeyID struct {
	Spec  []string `json:"spec"`
	Key   Hex      `json:"key"`
	KeyID Hex      `json:"key_id"`
}

// LoadKeyTexts parses keytext.json.
func LoadKeyTexts() (*KeyTexts, error) { return loadTable[KeyTexts]("keytext.json") }

// Paddings is padding.json: values of T (§ 6.4.2).
type Paddings struct {
	Spec    []string  `json:"spec"`
	Lengths []Padding `json:"lengths"`
}

// Padding is one of them.
type Padding struct {
	Length int64 `json:"x"`
	Padded int64 `json:"t"`
}

// LoadPaddings parses padding.json.
func LoadPaddings() (*Paddings, error) { return loadTable[Paddings]("padding.json") }
