package wire

import "github.com/coffer-backup/coffer/vault/internal/codec"

// A Command is what a client that has proved to know the password wants done. It
// travels sealed. § 4.4
type Command struct {
	Op           Op
	Gen          uint64       // OpPut: of the record that Keyring builds on
	KV           uint32       // OpPut: the version of Keyring, one more than the record's
	OwnerKey     [32]byte     // OpPut
	Keyring      []byte       // OpPut: wrapped
	Registration [IDSize]byte // OpSwap
	Upload       [32]byte     // OpSwap: the hash of what was uploaded
	Until        int64        // OpFreeze
}

func (m *Command) fields(c *codec.Codec) {
	c.Uint8((*uint8)(&m.Op))
	switch m.Op {
	case OpRelease, OpDelete:
	case OpPut:
		c.Uint64(&m.Gen)
		c.Uint32(&m.KV)
		c.Fixed(m.OwnerKey[:])
		c.Bytes(&m.Keyring, MaxKeyring)
	case OpSwap:
		c.Fixed(m.Registration[:])
		c.Fixed(m.Upload[:])
	case OpFreeze:
		c.Time(&m.Until)
	default:
		c.Failf("%v is no command", m.Op)
	}
}

// Append appends m as bytes to b.
func (m *Command) Append(b []byte) []byte { return codec.Append(b, m.fields) }

// ParseCommand is the inverse of Append.
func ParseCommand(b []byte) (*Command, error) {
	m := new(Command)
	return m, codec.ParseAll(b, m.fields)
}

// A Release is what a vault answers to a command. It travels sealed. § 4.4
type Release struct {
	Receipt
	Failures   uint8    // attempts that failed since the last success
	Descriptor [32]byte // SHA-256 of the descriptor that the record was made under
	Keyring    []byte   // wrapped; of OpRelease, else empty
}

func (r *Release) fields(c *codec.Codec) {
	r.Receipt.fields(c)
	c.Uint8(&r.Failures)
	c.Fixed(r.Descriptor[:])
	c.Bytes(&r.Keyring, MaxKeyring)
}

// Append appends r as bytes to b.
func (r *Release) Append(b []byte) []byte { return codec.Append(b, r.fields) }

// ParseRelease is the inverse of Append.
func ParseRelease(b []byte) (*Release, error) {
	r := new(Release)
	return r, codec.ParseAll(b, r.fields)
}
