// Package machine is the state machine of a record: the table of SPEC.md § 3, event by
// event. It counts the attempts. It has no clock, no store and no cryptography: a caller
// gives it the time and what it has checked, inside a transaction of the store, and acts
// on the [Outcome] when that is committed, not before.
//
// An event either changes the state, once, or leaves it as it is and says why. The same
// event again, on the state that it made, changes nothing and has the same outcome: so
// who does not know whether a transaction was committed looks at the state and asks
// again.
package machine

import (
	"crypto/subtle"
	"slices"

	"github.com/coffer-backup/coffer/vault/store"
	"github.com/coffer-backup/coffer/vault/wire"
)

// Times in seconds. § 3.1
const (
	AttemptTime      = 60      // others wait for an attempt that long
	lastMargin       = 10 * 60 // more, before a record is destroyed whose last attempt vanished
	registrationTime = 10 * 60
)

// NoticeLeft is how many attempts are left when the owner is told of a failure.
const NoticeLeft = 7

// The kinds of events in the log. Their numbers are on disk.
const (
	LogStart       uint8 = 1 // an attempt was counted, and may be evaluated
	LogSuccess     uint8 = 2
	LogFailed      uint8 = 3
	LogDestroyed   uint8 = 4
	LogFrozen      uint8 = 5
	LogUnfrozen    uint8 = 6
	LogPut         uint8 = 7
	LogRegBegin    uint8 = 8
	LogRegPut      uint8 = 9
	LogRegTry      uint8 = 10
	LogRegVerified uint8 = 11 // it waits for the old password or the owner key
	LogRegistered  uint8 = 12
	LogRegLapsed   uint8 = 13
)

// A Policy is what is fixed for a vault. § 3.1
type Policy struct {
	Max uint8
	// Delays has the seconds to wait after a failure that leaves 1, 2, … attempts.
	Delays []int64
}

// wait has r wait from then as long as a failure that leaves so many attempts demands.
func (p *Policy) wait(r *Row, from int64) {
	r.Ready = 0
	if r.Left > 0 && int(r.Left) <= len(p.Delays) && p.Delays[r.Left-1] > 0 {
		r.Ready = from + p.Delays[r.Left-1]
	}
}

// An Outcome is what an event led to.
type Outcome struct {
	Code  wire.Code
	Left  uint8
	Max   uint8
	Until int64
	// Changed: the state was changed, and is to be stored with what Log says.
	Changed bool
	Log     []store.Event // kind, attempt and what is left
	// Attempt and Material are of an attempt or a registration that may be evaluated.
	Attempt  *Attempt
	Material *Material
	Virtual  bool
	// Receipt, Failures and Material are of a command that was carried out, or was
	// before.
	Receipt  *wire.Receipt
	Failures uint8
	Gen      uint64 // of the row that was evaluated, and of Status
	Cause    uint8  // of Dead
	Died     int64
}

// told returns an outcome that changes nothing.
func told(code wire.Code, until int64) Outcome { return Outcome{Code: code, Until: until} }

// changed returns an outcome with an event of the log.
func (r *Row) changed(code wire.Code, kind uint8, attempt [16]byte) Outcome {
	return Outcome{
		Code: code, Left: r.Left, Max: r.Max, Changed: true,
		Log: []store.Event{{Kind: kind, Left: r.Left, Attempt: attempt}},
	}
}

func (r *Row) dead() Outcome { return Outcome{Code: wire.Dead, Cause: r.Cause, Died: r.Died} }

// frozen reports whether r is, at now. An owner's freeze ends by itself.
func (r *Row) frozen(now int64) bool {
	return r.Status == Frozen && (r.FrozenByOperator || now < r.FrozenUntil)
}

// frost returns when the freeze of r ends, or 0 if only an operator ends it.
func (r *Row) frost() int64 {
	if r.FrozenByOperator {
		return 0
	}
	return r.FrozenUntil
}

// open reports whether attempts on r can be, at now.
func (r *Row) open(now int64) bool {
	return r != nil && r.Status != Dead && !r.frozen(now)
}

// usedBefore reports whether the ticket was.
func (r *Row) usedBefore(t Ticket) bool {
	if r == nil {
		return false
	}
	if t.Expires <= r.Forgotten {
		return true
	}
	for _, u := range r.Used {
		if u.Hash == t.Hash {
			return true
		}
	}
	return false
}

// room returns 0 if fewer than max tickets are remembered, or when that will be. It
// forgets those that have expired, which is no change to be stored for itself.
func (r *Row) room(now int64, max int) int64 {
	if r == nil {
		return 0
	}
	kept := make([]Ticket, 0, MaxUsed)
	for _, u := range r.Used {
		if u.Expires >= now {
			kept = append(kept, u)
		} else if u.Expires > r.Forgotten {
			r.Forgotten = u.Expires
		}
	}
	r.Used = kept
	if len(kept) < max {
		return 0
	}
	expire := make([]int64, 0, MaxUsed)
	for _, u := range kept {
		expire = append(expire, u.Expires)
	}
	slices.Sort(expire)
	return expire[len(expire)-max] + 1
}

// use remembers t. There is room.
func (r *Row) use(t Ticket) { r.Used = append(r.Used, t) }

// Due returns when s wants to be swept, or 0.
func (s *State) Due() int64 {
	var due int64
	if r := s.Row; r != nil && r.Current != nil && r.Left == 0 {
		due = r.Current.Until + lastMargin
	}
	if p := s.Pending; p != nil && (due == 0 || p.Until < due) {
		due = p.Until
	}
	return due
}

// destroy overwrites what r is for.
func (r *Row) destroy(cause uint8, now int64) {
	clear(r.Keyring)
	clear(r.Key.Blob)
	r.Material = Material{}
	r.Status, r.Cause, r.Died = Dead, cause, now
	r.Left, r.Ready, r.Current = 0, 0, nil
	r.FrozenUntil, r.FrozenByOperator = 0, false
}

// freeze ends the attempt under way.
func (r *Row) freeze() {
	r.Status, r.Current = Frozen, nil
}

func (r *Row) unfreeze() {
	r.Status, r.FrozenUntil, r.FrozenByOperator = Active, 0, false
}

// again returns the outcome of what ended as d, if it was id, ver and hash.
func (r *Row) again(id [16]byte, ver uint64, hash [32]byte) (Outcome, bool) {
	d := r.Done
	if d == nil || d.ID != id || d.Ver != ver || d.Hash != hash || d.Code == wire.Failed {
		return Outcome{}, false
	}
	o := Outcome{Code: d.Code, Left: r.Left, Max: r.Max, Receipt: &d.Receipt, Failures: d.Failures}
	if r.Gen == d.Receipt.Gen && r.Status != Dead {
		o.Material = &r.Material
	}
	return o, true
}

func equal(a, b [32]byte) bool { return subtle.ConstantTimeCompare(a[:], b[:]) == 1 }
