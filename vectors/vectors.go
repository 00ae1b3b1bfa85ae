// Package vectors is the conformance vectors of the container format: whole
// containers, most of them with one fault, and what a reader must say of each. The
// data are for any language; this package gives them to Go programs.
//
//	manifest, err := vectors.Load()
//	for _, c := range manifest.Cases {
//		container, err := vectors.Files.ReadFile(c.File)
//		…
//	}
//
// README.md describes the files. Package conformance, below this one, runs a
// command of yours over all of them.
package vectors

import (
	"bytes"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

// Files holds manifest.json, the other tables, and the containers under v1/.
//
//go:embed *.json v1
var Files embed.FS

// A Class is a reader's verdict (SPEC.md § 8.3), or ok.
type Class string

// The classes.
const (
	OK          Class = "ok"
	Magic       Class = "magic"
	Version     Class = "version"
	Header      Class = "header"
	NoKey       Class = "no-key"
	Limit       Class = "limit"
	Auth        Class = "auth"
	Context     Class = "context"
	Truncated   Class = "truncated"
	Trailing    Class = "trailing"
	Content     Class = "content"
	DamagedCopy Class = "damaged-copy" // after the data, which are whole
	Skew        Class = "skew"         // ok, with the warning of § 3.4.4
)

// Whole reports whether a reader that says c has released all the plaintext.
func (c Class) Whole() bool { return c == OK || c == Skew || c == DamagedCopy }

// Early reports whether c is decided before the body is opened, so that no reader has
// released anything.
func (c Class) Early() bool {
	switch c {
	case Magic, Version, Header, NoKey, Limit, Context:
		return true
	}
	return false
}

// Hex is bytes, in hex in JSON.
type Hex []byte

// MarshalText returns the hex digits.
func (h Hex) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, h), nil }

// UnmarshalText parses hex digits.
func (h *Hex) UnmarshalText(text []byte) (err error) {
	*h, err = hex.AppendDecode(nil, text)
	return err
}

// A Manifest is manifest.json.
type Manifest struct {
	Version int    `json:"version"` // of the container format
	Cases   []Case `json:"cases"`
}

// A Case is a container and what to say of it.
type Case struct {
	File    string   `json:"file"`    // in Files, "v1/AREA_CASE.coffer"
	Comment string   `json:"comment"` // the fault, or what is special
	Spec    []string `json:"spec"`    // the numbers of SPEC.md that it shows, as "8.4.7"
	Inputs  Inputs   `json:"inputs"`
	// Class is the verdict of a stream reader, and of a random-access reader too
	// unless RandomClass says otherwise.
	Class       Class `json:"class"`
	RandomClass Class `json:"random_class,omitempty"`
	// Needs is a slot kind that few decoders open: "kind-3", "kind-4" or "kind-5".
	// To others such slots are of an unknown kind, and the verdict is ClassWithout.
	Needs        string `json:"needs,omitempty"`
	ClassWithout Class  `json:"class_without,omitempty"`
	// Plaintext is what the container was made from.
	Plaintext Plaintext `json:"plaintext"`
	// Released is how many bytes of it a stream reader has released when it
	// reports the fault. A reader may release less, never more.
	Released int `json:"released"`
	// RandomReleased is that for a random-access reader that reads all, in order.
	RandomReleased *int `json:"random_released,omitempty"`
}

// Inputs is what the caller of a reader gives it besides the container.
type Inputs struct {
	AccountKeys    []Hex      `json:"account_keys,omitempty"` // 32 bytes each
	Passphrases    []Hex      `json:"passphrases,omitempty"`
	OtherKeys      []OtherKey `json:"other_keys,omitempty"`
	Context        Hex        `json:"context,omitempty"`
	MinGeneration  uint64     `json:"min_generation,omitempty"`
	MaxMemory      int64      `json:"max_memory,omitempty"` // bytes; 0: the reader's default, at least 1 GiB
	Argon2         *Argon2    `json:"argon2,omitempty"`     // nil: the policy of § 4.5.8
	AllowAnonymous bool       `json:"allow_anonymous,omitempty"`
	Archive        bool       `json:"archive,omitempty"` // judge the plaintext by § 7, and against the catalog
}

// Argon2 is a caller's policy (§ 4.5.8). A field of 0 is the default.
type Argon2 struct {
	MaxMemoryKiB uint32 `json:"max_memory_kib,omitempty"`
	MaxRuns      int    `json:"max_runs,omitempty"`
	MaxWorkKiB   uint64 `json:"max_work_kib,omitempty"`
}

// An OtherKey opens slots of kinds 3 to 5 without the token or service that would
// hold the key.
type OtherKey struct {
	Kind int    `json:"kind"`
	Type string `json:"type"` // "aes-256", "rsa-pkcs8" (DER), "xwing-seed" (32 bytes)
	Key  Hex    `json:"key"`
}

// A Plaintext is a pattern, repeated to a length.
type Plaintext struct {
	Repeat Hex `json:"repeat"`
	Length int `json:"length"`
}

// Bytes returns the plaintext.
func (p Plaintext) Bytes() []byte {
	if p.Length == 0 {
		return nil
	}
	return bytes.Repeat(p.Repeat, (p.Length+len(p.Repeat)-1)/len(p.Repeat))[:p.Length]
}

// ClassFor returns the verdict of a reader, random-access or not, that lacks the
// given needs.
func (c *Case) ClassFor(random bool, lacks func(need string) bool) Class {
	if c.Needs != "" && lacks != nil && lacks(c.Needs) {
		return c.ClassWithout
	}
	if random && c.RandomClass != "" {
		return c.RandomClass
	}
	return c.Class
}

// ReleasedFor returns how many bytes a reader may have released.
func (c *Case) ReleasedFor(random bool) int {
	if random && c.RandomReleased != nil {
		return *c.RandomReleased
	}
	return c.Released
}

// Load parses manifest.json.
func Load() (*Manifest, error) { return loadTable[Manifest]("manifest.json") }

func loadTable[T any](file string) (*T, error) {
	text, err := Files.ReadFile(file)
	if err != nil {
		return nil, err
	}
	table := new(T)
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(table); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return table, nil
}
