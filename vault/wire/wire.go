// Package wire is the bytes between a vault and its clients: the frames of SPEC.md
// § 4, without cryptography and without a network. A request is one frame of up to
// [MaxRequest] bytes; a reply is one frame of [ReplySize] bytes, or of [ReleaseSize] if
// it answers Finish, whatever it says, so that its length tells nothing.
//
// [ParseRequest] and [ParseReply] trust nothing that they read. There is one encoding
// for each frame.
package wire

import (
	"fmt"

	"github.com/coffer-backup/coffer/vault/internal/codec"
)

// Version is the version of the frames, their first byte. § 4
const Version = 1

// Lengths in bytes. § 4
const (
	MaxRequest  = 16 << 10
	ReplySize   = 768
	ReleaseSize = 5120

	IDSize        = 16 // of attempts and registrations
	IndexSize     = 32
	KE1Size       = 98
	KE2Size       = 259
	KE3Size       = 32
	RecordSize    = 129
	PointSize     = 33
	SignatureSize = 64
	TokenSize     = IndexSize + IDSize + 12 + (8 + 8 + 1 + 32 + 32) + 16

	MaxTicket  = 2048
	MaxKeyring = 32 + 4096 + 16 // salt, padded keyring, tag
	MaxCommand = MaxKeyring + 128
	MaxRelease = MaxKeyring + 128
)

// ErrSyntax is wrapped by the errors about bytes that are no frame.
var ErrSyntax = codec.ErrSyntax

// A Call says what a request asks for. § 4.1
type Call uint8

// The calls. § 4.1
const (
	CallStart    Call = 1
	CallFinish   Call = 2
	CallAbort    Call = 3
	CallRegBegin Call = 4
	CallRegPut   Call = 5
	CallRegTry   Call = 6
	CallRegDone  Call = 7
	CallOwner    Call = 8
	CallStatus   Call = 9
)

var callNames = [...]string{
	CallStart: "Start", CallFinish: "Finish", CallAbort: "Abort", CallRegBegin: "RegBegin", CallRegPut: "RegPut",
	CallRegTry: "RegTry", CallRegDone: "RegDone", CallOwner: "Owner", CallStatus: "Status",
}

func (c Call) String() string {
	if int(c) < len(callNames) && callNames[c] != "" {
		return callNames[c]
	}
	return fmt.Sprintf("call %d", uint8(c))
}

// ReplySize returns the length of the replies to c.
func (c Call) ReplySize() int {
	if c == CallFinish {
		return ReleaseSize
	}
	return ReplySize
}

// A Code says how a call went. § 4.3
type Code uint8

// The codes. § 4.3
const (
	OK            Code = 1
	Used          Code = 2  // the ticket was used before
	Busy          Code = 3  // an attempt is under way, until Until
	Wait          Code = 4  // no attempt before Until
	Frozen        Code = 5  // until Until
	Dead          Code = 6  // destroyed: see Tombstone
	Failed        Code = 7  // the attempt has failed
	Stale         Code = 8  // the attempt or the registration is over
	Conflict      Code = 9  // the record has changed since the request's base
	NeedOwner     Code = 10 // a live record is there: its password or owner key is needed
	Unavailable   Code = 11 // try again later; the attempt may be counted
	OldDescriptor Code = 12 // the registration was made for another descriptor
)

var codeNames = [...]string{
	OK: "OK", Used: "USED", Busy: "BUSY", Wait: "WAIT", Frozen: "FROZEN", Dead: "DEAD", Failed: "FAILED", Stale: "STALE",
	Conflict: "CONFLICT", NeedOwner: "NEED-OWNER", Unavailable: "UNAVAILABLE", OldDescriptor: "OLD-DESCRIPTOR",
}

func (c Code) known() bool { return int(c) < len(codeNames) && codeNames[c] != "" }

func (c Code) String() string {
	if c.known() {
		return codeNames[c]
	}
	return fmt.Sprintf("code %d", uint8(c))
}

// An Op is what a command or an owner's request does. § 4.4
type Op uint8

// The operations. § 4.4
const (
	OpRelease  Op = 1 // commands only
	OpPut      Op = 2 // commands only
	OpSwap     Op = 3
	OpFreeze   Op = 4
	OpDelete   Op = 5
	OpUnfreeze Op = 6 // owners only
)

var opNames = [...]string{
	OpRelease: "release", OpPut: "put", OpSwap: "swap", OpFreeze: "freeze", OpDelete: "delete", OpUnfreeze: "unfreeze",
}

func (o Op) String() string {
	if int(o) < len(opNames) && opNames[o] != "" {
		return opNames[o]
	}
	return fmt.Sprintf("op %d", uint8(o))
}

// The causes of a record's end. § 3.3
const (
	CauseAttempts uint8 = 1 // the last attempt failed
	CauseOwner    uint8 = 2
	CauseOperator uint8 = 3
)
