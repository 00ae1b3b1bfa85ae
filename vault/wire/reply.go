package wire

import (
	"fmt"

	"github.com/coffer-backup/coffer/vault/internal/codec"
)

// A Reply is what a vault answers. Which of the pointers is set depends on the call and
// the code alone. § 4.3
type Reply struct {
	Call Call
	Code Code
	Left uint8 // attempts left; 0 where nothing is told
	Max  uint8
	// Until is when the state that Code tells of ends, in Unix seconds, or 0.
	Until int64

	Login     *Login     // OK of Start and RegTry
	Begun     *Begun     // OK of RegBegin
	Receipt   *Receipt   // OK of RegDone and Owner
	State     *State     // OK and Frozen of Status
	Release   []byte     // OK and Conflict of Finish: sealed, see Release
	Tombstone *Tombstone // Dead
}

// A Login is the vault's half of an attempt. § 4.3.1
type Login struct {
	KE2   [KE2Size]byte
	Token [TokenSize]byte
	KSF   KSF
	AKE   uint16 // the id of the vault's AKE key of this record
}

// KSF has the parameters of Argon2id that a record was made with. § 2.2
type KSF struct {
	KiB  uint32 // of memory
	Time uint8
	Lane uint8
}

// Begun is the answer to RegBegin. § 4.3.2
type Begun struct {
	Index     [IndexSize]byte
	Evaluated [PointSize]byte
	AKE       uint16
	ServerKey [PointSize]byte // the public half of the AKE key
}

// A Receipt says what became of a record. § 4.3.3
type Receipt struct {
	Ver uint64 // grows with every change of the record
	Gen uint64 // names this registration
	KV  uint32 // the keyring's version
}

// State is the answer to Status. § 4.3.4
type State struct {
	Gen uint64
}

// A Tombstone stands where a record was. § 3.3
type Tombstone struct {
	Cause uint8
	Time  int64
	// Signature is of the statement key, over the bytes of § 5.4.
	Signature [SignatureSize]byte
}

func (r *Reply) fields(c *codec.Codec) {
	c.Uint8((*uint8)(&r.Code))
	c.Uint8(&r.Left)
	c.Uint8(&r.Max)
	c.Time(&r.Until)
	if !r.Code.known() {
		c.Failf("%v is unknown", r.Code)
	}
	ok := r.Code == OK
	part(c, &r.Login, ok && (r.Call == CallStart || r.Call == CallRegTry), (*Login).fields)
	part(c, &r.Begun, ok && r.Call == CallRegBegin, (*Begun).fields)
	part(c, &r.Receipt, ok && (r.Call == CallRegDone || r.Call == CallOwner), (*Receipt).fields)
	part(c, &r.State, (ok || r.Code == Frozen) && r.Call == CallStatus, (*State).fields)
	part(c, &r.Tombstone, r.Code == Dead, (*Tombstone).fields)
	if r.Call == CallFinish && (ok || r.Code == Conflict) {
		c.Bytes(&r.Release, MaxRelease)
	}
}

// part is a part of a reply that is there if it should be.
func part[T any](c *codec.Codec, p **T, there bool, fields func(*T, *codec.Codec)) {
	if !there {
		return
	}
	if c.Reading() {
		*p = new(T)
	}
	fields(*p, c)
}

func (l *Login) fields(c *codec.Codec) {
	c.Fixed(l.KE2[:])
	c.Fixed(l.Token[:])
	l.KSF.Fields(c)
	c.Uint16(&l.AKE)
}

// Fields describes k to package codec.
func (k *KSF) Fields(c *codec.Codec) {
	c.Uint32(&k.KiB)
	c.Uint8(&k.Time)
	c.Uint8(&k.Lane)
}

func (b *Begun) fields(c *codec.Codec) {
	c.Fixed(b.Index[:])
	c.Fixed(b.Evaluated[:])
	c.Uint16(&b.AKE)
	c.Fixed(b.ServerKey[:])
}

func (r *Receipt) fields(c *codec.Codec) {
	c.Uint64(&r.Ver)
	c.Uint64(&r.Gen)
	c.Uint32(&r.KV)
}

func (s *State) fields(c *codec.Codec) { c.Uint64(&s.Gen) }

func (t *Tombstone) fields(c *codec.Codec) {
	c.Uint8(&t.Cause)
	c.Time(&t.Time)
	c.Fixed(t.Signature[:])
}

// AppendReply appends the frame of r to b, with zeros in the place of its signature,
// its last SignatureSize bytes.
func AppendReply(b []byte, r *Reply) []byte {
	start := len(b)
	b = codec.Append(append(b, Version, byte(r.Call)), r.fields)
	free := r.Call.ReplySize() - SignatureSize - (len(b) - start)
	if free < 0 {
		panic("wire: internal error: a reply does not fit its frame")
	}
	return append(b, make([]byte, free+SignatureSize)...)
}

// ParseReply reads a frame that answers call. It does not check the signature.
func ParseReply(b []byte, call Call) (*Reply, error) {
	if len(b) != call.ReplySize() {
		return nil, fmt.Errorf("%w: a reply of %d bytes to %v, which is answered by %d", ErrSyntax, len(b), call, call.ReplySize())
	}
	if b[0] != Version || Call(b[1]) != call {
		return nil, fmt.Errorf("%w: a reply to %v in version %d of the protocol, this is %v in version %d", ErrSyntax, Call(b[1]), b[0], call, Version)
	}
	r := &Reply{Call: call}
	rest, err := codec.Parse(b[2:len(b)-SignatureSize], r.fields)
	if err != nil {
		return nil, fmt.Errorf("reply to %v: %w", call, err)
	}
	for _, zero := range rest {
		if zero != 0 {
			return nil, fmt.Errorf("reply to %v: %w: the padding is not zeros", call, ErrSyntax)
		}
	}
	return r, nil
}
