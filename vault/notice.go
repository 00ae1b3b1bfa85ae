package vault

import (
	"context"
	"encoding/binary"

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

// An attempt is told from others by its record, too: clients choose the ids.
type attempt struct {
	index store.Index
	id    [16]byte
}

// A teller reads the log and tells owners. An attempt of which nothing was heard is told
// as failed when others need not wait for it any more. How far it is lies in the store
// when all before was told, so that after a crash some is told again, and none forgotten.
type teller struct {
	*Server
	read, saved uint64
	begun       bool
	open        map[attempt]store.Entry // those under way, of which a failure will be told
}

func newTeller(s *Server) *teller {
	return &teller{Server: s, open: make(map[attempt]store.Entry)}
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
	for more := true; more; {
		entries, err := t.store.Log(ctx, t.read, roundCount)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if err := t.entry(ctx, e); err != nil {
				return err
			}
			t.read = e.Seq
		}
		more = len(entries) == roundCount
	}
	return t.overdue(ctx)
}

func (t *teller) entry(ctx context.Context, e store.Entry) error {
	this := attempt{e.Index, e.Attempt}
	switch e.Kind {
	case machine.LogStart:
		if e.Left <= machine.NoticeLeft {
			t.open[this] = e
		}
		return nil
	case machine.LogSuccess:
		delete(t.open, this)
		return nil
	case machine.LogFailed:
		if e.Left > machine.NoticeLeft {
			return nil
		}
	}
	kind := noticeOf[e.Kind]
	if kind == "" {
		return nil
	}
	if err := t.tell(ctx, e, kind); err != nil {
		return err
	}
	delete(t.open, this)
	return nil
}

// overdue tells of attempts that were not ended, and notes how far all was told.
func (t *teller) overdue(ctx context.Context) error {
	now, done := t.clock.unix(), t.read
	for this, e := range t.open {
		if now < e.Time+machine.AttemptTime {
			done = min(done, e.Seq-1)
			continue
		}
		if err := t.tell(ctx, e, NoticeFailed); err != nil {
			return err
		}
		delete(t.open, this)
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
