package vault

import (
	"context"
	"encoding/binary"
	"errors"

	"github.com/coffer-backup/coffer/vault/internal/machine"
	"github.com/coffer-backup/coffer/vault/store"
)

// A Notice is what the owner of a record should hear of.
type Notice struct {
	Credential string
	What       NoticeKind
	Left       uint8 // attempts
	Time       int64 // Unix seconds
}

// A NoticeKind says what happened.
type NoticeKind string

// The kinds of notices.
const (
	NoticeFailed     NoticeKind = "failed"     // a password was wrong, or an attempt was not ended
	NoticeDestroyed  NoticeKind = "destroyed"  // the record is gone
	NoticeFrozen     NoticeKind = "frozen"     //
	NoticeUnfrozen   NoticeKind = "unfrozen"   //
	NoticeRegistered NoticeKind = "registered" // what was there, if anything, was replaced
	NoticeWaiting    NoticeKind = "waiting"    // somebody with a ticket tried to replace it, and could not
	NoticeChanged    NoticeKind = "changed"    // the keyring
)

var noticeOf = map[uint8]NoticeKind{
	machine.LogFailed: NoticeFailed, machine.LogDestroyed: NoticeDestroyed, machine.LogFrozen: NoticeFrozen,
	machine.LogUnfrozen: NoticeUnfrozen, machine.LogRegistered: NoticeRegistered, machine.LogRegVerified: NoticeWaiting,
	machine.LogPut: NoticeChanged,
}

// Limits of what waits to be told: a hook that fails for one owner keeps nothing from the
// others.
const (
	maxLate   = 10_000
	firstLate = 1 // seconds until it is tried again, twice as many each time
	lastLate  = 10 * 60
	dropLate  = 24 * 60 * 60 // and then it is given up
)

// A teller reads the log and tells owners. An attempt of which nothing was heard is told
// as failed when others need not wait for it any more. How far it is lies in the store
// when all before was told, so that after a crash some is told again, and none forgotten.
type teller struct {
	*Server
	read, saved uint64
	begun       bool
	open        map[attempt]store.Entry // those under way, of which a failure will be told
	last        map[store.Index]uint64  // the ver of each record's last one
	late        []*lateNotice
}

// An attempt is named by the write that began it: clients choose the ids.
type attempt struct {
	index store.Index
	ver   uint64
}

// A lateNotice could not be told.
type lateNotice struct {
	store.Entry
	kind  NoticeKind
	next  int64 // when it is tried again
	pause int64
}

func newTeller(s *Server) *teller {
	return &teller{Server: s, open: make(map[attempt]store.Entry), last: make(map[store.Index]uint64)}
}

// round tells what the log has that is new.
func (t *teller) round(ctx context.Context) error {
	if t.notify == nil {
		return nil
	}
	if !t.begun {
		cells, err := t.store.View(ctx, t.own)
		if err != nil {
			return err
		}
		if len(cells.Pending) == 8 {
			t.saved = binary.BigEndian.Uint64(cells.Pending)
		}
		t.read, t.begun = t.saved, true
	}
	err := t.again(ctx)
	for len(t.late) < maxLate {
		entries, err := t.store.Log(ctx, t.read, roundCount)
		if err != nil {
			return err
		}
		for _, e := range entries {
			t.entry(ctx, e)
			t.read = e.Seq
		}
		if len(entries) < roundCount {
			break
		}
	}
	t.overdue(ctx)
	return errors.Join(err, t.save(ctx))
}

func (t *teller) entry(ctx context.Context, e store.Entry) {
	switch e.Kind {
	case machine.LogStart:
		delete(t.last, e.Index) // that one has vanished
		if e.Left <= machine.NoticeLeft {
			t.open[attempt{e.Index, e.Ver}] = e
			t.last[e.Index] = e.Ver
		}
		return
	case machine.LogSuccess, machine.LogFailed:
		// It ends the last attempt, since no other can be. Those before it have vanished.
		delete(t.open, attempt{e.Index, t.last[e.Index]})
		delete(t.last, e.Index)
		if e.Left > machine.NoticeLeft {
			return
		}
	}
	if kind := noticeOf[e.Kind]; kind != "" {
		t.say(ctx, e, kind)
	}
}

// overdue tells of attempts that were not ended.
func (t *teller) overdue(ctx context.Context) {
	now := t.clock.unix()
	for this, e := range t.open {
		if now < e.Time+machine.AttemptTime {
			continue
		}
		t.say(ctx, e, NoticeFailed)
		delete(t.open, this)
		if t.last[e.Index] == e.Ver {
			delete(t.last, e.Index)
		}
	}
}

// say tells an owner, or does it later.
func (t *teller) say(ctx context.Context, e store.Entry, kind NoticeKind) {
	if err := t.tell(ctx, e, kind); err != nil {
		t.late = append(t.late, &lateNotice{Entry: e, kind: kind, next: t.clock.unix() + firstLate, pause: firstLate})
	}
}

// again tells what could not be told before. It returns why that still cannot be.
func (t *teller) again(ctx context.Context) (err error) {
	now, kept := t.clock.unix(), t.late[:0]
	for _, l := range t.late {
		if now >= l.next && ctx.Err() == nil {
			fault := t.tell(ctx, l.Entry, l.kind)
			if fault == nil {
				continue
			}
			err = fault
			if l.pause = min(2*l.pause, lastLate); now-l.Time > dropLate {
				t.log.Error("an owner was not told", "what", l.kind, "entry", l.Seq, "error", fault)
				continue
			}
			l.next = now + l.pause
		}
		kept = append(kept, l)
	}
	clear(t.late[len(kept):])
	t.late = kept
	return err
}

// save notes how far all was told.
func (t *teller) save(ctx context.Context) error {
	done := t.read
	for _, e := range t.open {
		done = min(done, e.Seq-1)
	}
	for _, l := range t.late {
		done = min(done, l.Seq-1)
	}
	if done == t.saved {
		return nil
	}
	err := t.store.Update(ctx, t.own, func(store.Cells) (store.Change, error) {
		return store.Change{Pending: binary.BigEndian.AppendUint64(nil, done)}, nil
	})
	if err == nil {
		t.saved = done
	}
	return err
}

func (t *teller) tell(ctx context.Context, e store.Entry, kind NoticeKind) error {
	u, err := t.subjectAt(ctx, e.Index)
	if err != nil {
		return err
	}
	cells, err := t.store.View(ctx, e.Index)
	if err != nil {
		return err
	}
	state, err := u.open(cells)
	if err != nil || state.Row == nil || state.Row.Virtual {
		return err // nobody owns what is not there
	}
	ctx, cancel := context.WithTimeout(ctx, notifyTime)
	defer cancel()
	return t.notify(ctx, Notice{Credential: state.Row.ID, What: kind, Left: e.Left, Time: e.Time})
}
