package machine

import (
	"github.com/coffer-backup/coffer/vault/evaluator"
	"github.com/coffer-backup/coffer/vault/internal/codec"
	"github.com/coffer-backup/coffer/vault/wire"
)

// A State is what a vault has under one index. Row is nil if it has nothing, and
// Pending if no registration is under way.
type State struct {
	Row     *Row
	Pending *Pending
}

// MaxUsed is how many tickets a record remembers. A ticket is remembered until it has
// expired, so this bounds how often a record is asked in ten minutes. The last places are
// for attempts and for the owner key, and the very last for the owner key alone, whose
// requests only its holder can sign: who has nothing but tickets cannot take them.
const (
	MaxUsed      = 16
	usedStart    = 12
	usedRegBegin = 8
)

// A Status is what a row stands for.
type Status uint8

// The statuses. Their numbers are on disk.
const (
	Active Status = 1
	Frozen Status = 2
	Dead   Status = 3
)

// A Row is a record, or where one was, or stands for a credential id that has none and
// was asked for.
type Row struct {
	Ver     uint64 // grows with every write
	Gen     uint64 // random, new with every registration
	Virtual bool   // there is no record
	Status  Status
	Max     uint8
	Left    uint8
	Ready   int64 // no attempt starts before

	FrozenUntil      int64 // of Frozen, by its owner
	FrozenByOperator bool
	Cause            uint8 // of Dead
	Died             int64

	Current *Attempt // the one that may still succeed
	Done    *Done    // the last that ended
	Used    []Ticket
	// Forgotten is the greatest Expires of the tickets that were used and are not in Used
	// any more: others that expire no later may be among them, by another clock.
	Forgotten int64

	ID string // the credential id
	Material
}

// A Material is what a registration leaves: all that an attempt needs, and what it is
// for.
type Material struct {
	Record     [wire.RecordSize]byte
	Key        evaluator.Key
	AKE        uint16 // the id of the AKE key that Record was made with
	KSF        wire.KSF
	Descriptor [32]byte // the hash of the one that it was made under
	KV         uint32
	Keyring    []byte
	OwnerKey   [32]byte
}

// An Attempt has begun.
type Attempt struct {
	ID     [wire.IDSize]byte // the client's choice
	Ver    uint64            // of the write that began it: no other attempt has the same
	Hash   [32]byte          // SHA-256 of its KE1
	Ticket [16]byte          // as in Ticket
	Until  int64             // others wait that long
}

// Done is how an attempt, an owner's request or a registration ended, so that who did
// not get the answer is told again.
type Done struct {
	ID       [wire.IDSize]byte // of the attempt; of an owner's request the ticket's hash
	Ver      uint64            // Attempt.Ver, or 0
	Hash     [32]byte          // of what was asked
	Code     wire.Code
	Receipt  wire.Receipt
	Failures uint8
}

// A Ticket was used.
type Ticket struct {
	Hash    [16]byte // the beginning of SHA-256 of its id
	Expires int64    // when it would be refused anyway
}

// A Stage is how far a registration is.
type Stage uint8

// The stages. Their numbers are on disk.
const (
	Keyed    Stage = 1 // it has an OPRF key
	Stored   Stage = 2 // and a record
	Verified Stage = 3 // which a login has succeeded on
)

// A Pending is a registration under way.
type Pending struct {
	Registration [wire.IDSize]byte
	Blinded      [32]byte // SHA-256 of the point that it began with
	Commitment   [32]byte // SHA-256 of the secret that the steps show
	Ticket       [16]byte
	Stage        Stage
	BaseGen      uint64 // of the row when it began
	BaseKV       uint32
	Until        int64
	Current      *Attempt // its one login
	Upload       [32]byte // the hash of what was uploaded, which the owner of the row signs
	Material
}

// Fields describes r, without Ver, to package codec.
func (r *Row) Fields(c *codec.Codec) {
	c.Uint64(&r.Gen)
	c.Bool(&r.Virtual)
	c.Uint8((*uint8)(&r.Status))
	c.Uint8(&r.Max)
	c.Uint8(&r.Left)
	c.Time(&r.Ready)
	c.Time(&r.FrozenUntil)
	c.Bool(&r.FrozenByOperator)
	c.Uint8(&r.Cause)
	c.Time(&r.Died)
	codec.Option(c, &r.Current, func(a *Attempt) { a.fields(c) })
	codec.Option(c, &r.Done, func(d *Done) { d.fields(c) })
	codec.List(c, &r.Used, MaxUsed, func(t *Ticket) {
		c.Fixed(t.Hash[:])
		seconds := uint32(t.Expires) // until 2106: sixteen of them are much of a row
		c.Uint32(&seconds)
		t.Expires = int64(seconds)
	})
	c.Time(&r.Forgotten)
	c.Text(&r.ID, 128)
	r.Material.fields(c)
	if r.Status < Active || r.Status > Dead || r.Left > r.Max {
		c.Failf("a row of status %d, %d attempts of %d left", r.Status, r.Left, r.Max)
	}
}

// Fields describes p to package codec.
func (p *Pending) Fields(c *codec.Codec) {
	c.Fixed(p.Registration[:])
	c.Fixed(p.Blinded[:])
	c.Fixed(p.Commitment[:])
	c.Fixed(p.Ticket[:])
	c.Uint8((*uint8)(&p.Stage))
	c.Uint64(&p.BaseGen)
	c.Uint32(&p.BaseKV)
	c.Time(&p.Until)
	codec.Option(c, &p.Current, func(a *Attempt) { a.fields(c) })
	c.Fixed(p.Upload[:])
	p.Material.fields(c)
	if p.Stage < Keyed || p.Stage > Verified {
		c.Failf("a registration of stage %d", p.Stage)
	}
}

func (m *Material) fields(c *codec.Codec) {
	c.Fixed(m.Record[:])
	c.Bytes(&m.Key.Blob, evaluator.MaxBlob)
	c.Fixed(m.Key.Public[:])
	c.Uint16(&m.AKE)
	m.KSF.Fields(c)
	c.Fixed(m.Descriptor[:])
	c.Uint32(&m.KV)
	c.Bytes(&m.Keyring, wire.MaxKeyring)
	c.Fixed(m.OwnerKey[:])
}

func (a *Attempt) fields(c *codec.Codec) {
	c.Fixed(a.ID[:])
	c.Uint64(&a.Ver)
	c.Fixed(a.Hash[:])
	c.Fixed(a.Ticket[:])
	c.Time(&a.Until)
}

func (d *Done) fields(c *codec.Codec) {
	c.Fixed(d.ID[:])
	c.Uint64(&d.Ver)
	c.Fixed(d.Hash[:])
	c.Uint8((*uint8)(&d.Code))
	c.Uint64(&d.Receipt.Ver)
	c.Uint64(&d.Receipt.Gen)
	c.Uint32(&d.Receipt.KV)
	c.Uint8(&d.Failures)
}
