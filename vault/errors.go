package vault

import (
	"errors"
	"fmt"
	"time"

	"github.com/coffer-backup/coffer/vault/wire"
)

// ErrForged is wrapped by errors about answers that the vault did not give, or that fit
// nothing which was registered: somebody is in between, or the vault is broken. A
// Transport returns it for what is no reply of a vault at all; nothing is sent again then.
var ErrForged = errors.New("vault: an answer is not to be trusted")

// A WrongPasswordError is returned for a password that opens nothing. A vault does not
// tell a wrong password from a credential id that has no record.
type WrongPasswordError struct {
	Left, Max uint8     // attempts
	Ready     time.Time // no attempt before; zero: at once
}

func (e *WrongPasswordError) Error() string {
	s := fmt.Sprintf("vault: the password is wrong, or nothing is kept under this credential id: %d of %d attempts are left", e.Left, e.Max)
	if !e.Ready.IsZero() {
		s += ", the next " + after(e.Ready)
	}
	return s
}

// A TombstoneError is returned for a record that was destroyed. The vault has signed
// that.
type TombstoneError struct {
	Cause uint8 // wire.CauseAttempts, wire.CauseOwner or wire.CauseOperator
	Time  time.Time
}

func (e *TombstoneError) Error() string {
	by := "by the vault's operator"
	switch e.Cause {
	case wire.CauseAttempts:
		by = "when the last attempt had failed"
	case wire.CauseOwner:
		by = "by its owner"
	}
	return fmt.Sprintf("vault: the record was destroyed %s, %s: who has the account key can register it again", by, e.Time.Local().Format(timeFormat))
}

// A StateError is returned if the vault did not do what was asked. Its Code says why.
type StateError struct {
	Call      wire.Call
	Code      wire.Code // not OK, and not Dead
	Left, Max uint8     // attempts; 0 where nothing is told
	Until     time.Time // when the state ends; zero: that is not told
}

func (e *StateError) Error() string { return fmt.Sprintf("vault: %v: %s", e.Call, e.text()) }

func (e *StateError) text() string {
	switch e.Code {
	case wire.Used:
		return "the ticket was used before: get another"
	case wire.Busy:
		return "another attempt is under way: try again " + after(e.Until)
	case wire.Wait:
		return "not yet: try again " + after(e.Until)
	case wire.Frozen:
		if e.Until.IsZero() {
			return "the record is frozen by the vault's operator"
		}
		return "the record is frozen: try again " + after(e.Until) + ", or unfreeze it with the account key"
	case wire.Stale:
		if e.Call == wire.CallOwner {
			return "nothing is kept under this credential id, or the account key is not the newest of its keyring"
		}
		return "it came too late, or another took its place: start again"
	case wire.Failed:
		return "the vault did not accept the proof: start again"
	case wire.Conflict:
		if e.Call == wire.CallRegPut {
			return "the record that is there is of a later time: check this machine's clock, or delete the record first"
		}
		return "the record was changed in the meantime: start again"
	case wire.NeedOwner:
		return "a record is there: to replace it takes its password or its account key"
	case wire.OldDescriptor:
		return "the vault goes by another descriptor than the one that it gives out: ask its operator"
	case wire.Unavailable:
		return "the vault cannot answer now: try again later; an attempt may have been counted"
	}
	return e.Code.String()
}

const timeFormat = "2006-01-02 15:04:05 MST"

// after says that it is after t, if t is known.
func after(t time.Time) string {
	if t.IsZero() {
		return "later"
	}
	return "after " + t.Local().Format(timeFormat)
}

// timeOf returns a time of the protocol, in which 0 is none.
func timeOf(seconds int64) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return time.Unix(seconds, 0)
}
