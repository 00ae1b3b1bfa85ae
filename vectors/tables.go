package vectors

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

// KeyTexts is keytext.json: texts of account keys (§ 4.6).
type KeyTexts struct {
	Texts  []KeyText `json:"texts"`
	KeyIDs []KeyID   `json:"key_ids"`
}

// A KeyText is the content of a key file. Key is empty if it is to be refused.
type KeyText struct {
	Comment string   `json:"comment"`
	Spec    []string `json:"spec"`
	Text    Hex      `json:"text"`
	Key     Hex      `json:"key,omitempty"`
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
