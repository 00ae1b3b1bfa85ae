package wire

import (
	"fmt"

	"github.com/coffer-backup/coffer/vault/internal/codec"
)

// A Request is one of the types of this file.
type Request interface {
	Call() Call
	fields(*codec.Codec)
}

// Start begins an attempt. § 4.2.1
type Start struct {
	Ticket  string
	Attempt [IDSize]byte
	KE1     [KE1Size]byte
}

// Finish ends an attempt with the proof that the password was right, and one command.
// § 4.2.2
type Finish struct {
	Token   [TokenSize]byte
	KE3     [KE3Size]byte
	Command []byte // sealed
}

// Abort ends an attempt as failed. § 4.2.3
type Abort struct {
	Token [TokenSize]byte
}

// RegBegin begins a registration. § 4.2.4
type RegBegin struct {
	Ticket       string
	Registration [IDSize]byte
	Commitment   [32]byte // SHA-256 of the secret of the steps that follow
	Descriptor   [32]byte // SHA-256 of the descriptor that the client goes by
	Blinded      [PointSize]byte
}

// RegPut uploads what is registered. § 4.2.5
type RegPut struct {
	Index        [IndexSize]byte
	Registration [IDSize]byte
	Secret       [32]byte
	Record       [RecordSize]byte
	OwnerKey     [32]byte // Ed25519
	KV           uint32   // the keyring's version
	Keyring      []byte   // wrapped
}

// RegTry begins a login on what is registered. § 4.2.6
type RegTry struct {
	Index        [IndexSize]byte
	Registration [IDSize]byte
	Secret       [32]byte
	Attempt      [IDSize]byte
	KE1          [KE1Size]byte
}

// RegDone ends a registration. § 4.2.7
type RegDone struct {
	Token     [TokenSize]byte
	KE3       [KE3Size]byte
	Signature *[SignatureSize]byte // by the owner key of the record that is replaced, or nil
}

// Owner is a request that the owner key signs. § 4.2.8
type Owner struct {
	Ticket    string
	Op        Op // OpFreeze, OpUnfreeze or OpDelete
	Gen       uint64
	Until     int64 // of OpFreeze, else 0
	Signature [SignatureSize]byte
}

// Status asks how a record is. § 4.2.9
type Status struct {
	Ticket string
}

// The calls of the requests.
func (*Start) Call() Call    { return CallStart }
func (*Finish) Call() Call   { return CallFinish }
func (*Abort) Call() Call    { return CallAbort }
func (*RegBegin) Call() Call { return CallRegBegin }
func (*RegPut) Call() Call   { return CallRegPut }
func (*RegTry) Call() Call   { return CallRegTry }
func (*RegDone) Call() Call  { return CallRegDone }
func (*Owner) Call() Call    { return CallOwner }
func (*Status) Call() Call   { return CallStatus }

func (r *Start) fields(c *codec.Codec) {
	c.Text(&r.Ticket, MaxTicket)
	c.Fixed(r.Attempt[:])
	c.Fixed(r.KE1[:])
}

func (r *Finish) fields(c *codec.Codec) {
	c.Fixed(r.Token[:])
	c.Fixed(r.KE3[:])
	c.Bytes(&r.Command, MaxCommand)
}

func (r *Abort) fields(c *codec.Codec) { c.Fixed(r.Token[:]) }

func (r *RegBegin) fields(c *codec.Codec) {
	c.Text(&r.Ticket, MaxTicket)
	c.Fixed(r.Registration[:])
	c.Fixed(r.Commitment[:])
	c.Fixed(r.Descriptor[:])
	c.Fixed(r.Blinded[:])
}

func (r *RegPut) fields(c *codec.Codec) {
	c.Fixed(r.Index[:])
	c.Fixed(r.Registration[:])
	c.Fixed(r.Secret[:])
	c.Fixed(r.Record[:])
	c.Fixed(r.OwnerKey[:])
	c.Uint32(&r.KV)
	c.Bytes(&r.Keyring, MaxKeyring)
}

func (r *RegTry) fields(c *codec.Codec) {
	c.Fixed(r.Index[:])
	c.Fixed(r.Registration[:])
	c.Fixed(r.Secret[:])
	c.Fixed(r.Attempt[:])
	c.Fixed(r.KE1[:])
}

func (r *RegDone) fields(c *codec.Codec) {
	c.Fixed(r.Token[:])
	c.Fixed(r.KE3[:])
	codec.Option(c, &r.Signature, func(s *[SignatureSize]byte) { c.Fixed(s[:]) })
}

func (r *Owner) fields(c *codec.Codec) {
	c.Text(&r.Ticket, MaxTicket)
	c.Uint8((*uint8)(&r.Op))
	c.Uint64(&r.Gen)
	c.Time(&r.Until)
	c.Fixed(r.Signature[:])
	if r.Op != OpFreeze && (r.Op != OpUnfreeze && r.Op != OpDelete || r.Until != 0) {
		c.Failf("%v is not for owners, or not until %d", r.Op, r.Until)
	}
}

func (r *Status) fields(c *codec.Codec) { c.Text(&r.Ticket, MaxTicket) }

// newRequest returns an empty request of each call.
var newRequest = map[Call]func() Request{
	CallStart:    func() Request { return new(Start) },
	CallFinish:   func() Request { return new(Finish) },
	CallAbort:    func() Request { return new(Abort) },
	CallRegBegin: func() Request { return new(RegBegin) },
	CallRegPut:   func() Request { return new(RegPut) },
	CallRegTry:   func() Request { return new(RegTry) },
	CallRegDone:  func() Request { return new(RegDone) },
	CallOwner:    func() Request { return new(Owner) },
	CallStatus:   func() Request { return new(Status) },
}

// AppendRequest appends the frame of r to b. It panics if a field is over its limit.
func AppendRequest(b []byte, r Request) []byte {
	return codec.Append(append(b, Version, byte(r.Call())), r.fields)
}

// ParseRequest reads a frame. The request has copies of its bytes.
func ParseRequest(b []byte) (Request, error) {
	switch {
	case len(b) > MaxRequest:
		return nil, fmt.Errorf("%w: a request of %d bytes, the limit is %d", ErrSyntax, len(b), MaxRequest)
	case len(b) < 2:
		return nil, fmt.Errorf("%w: a request of %d bytes", ErrSyntax, len(b))
	case b[0] != Version:
		return nil, fmt.Errorf("%w: version %d of the protocol, this is version %d", ErrSyntax, b[0], Version)
	}
	empty := newRequest[Call(b[1])]
	if empty == nil {
		return nil, fmt.Errorf("%w: %v is unknown", ErrSyntax, Call(b[1]))
	}
	r := empty()
	if err := codec.ParseAll(b[2:], r.fields); err != nil {
		return nil, fmt.Errorf("%v: %w", r.Call(), err)
	}
	return r, nil
}
