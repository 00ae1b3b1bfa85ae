//go:build linux

package process_test

import (
	"context"
	"crypto/ed25519"
	crand "crypto/rand"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/coffer-backup/coffer/vault"
	"github.com/coffer-backup/coffer/vault/httpapi"
	"github.com/coffer-backup/coffer/vault/internal/machine"
	"github.com/coffer-backup/coffer/vault/wire"
)

// A record is one at the vault, as the client knows it that has it for itself.
type record struct {
	*book
	client   *client
	id       string
	password []byte
	keyring  []byte
	owner    ed25519.PrivateKey

	live     bool // the last registration was acknowledged
	died     bool // its end was
	gen, ver uint64
	kv       uint32

	guesses int         // points that were evaluated since the last success
	counted int         // attempts since then, by the last answer
	loose   []time.Time // those that may be counted besides, and until when that can happen
	open    bool        // one was not ended: others wait
	free    time.Time   // when the record is worth another look
}

// looseTime is how long a Start that nobody waits for can be on the way: its ticket
// expires.
const looseTime = ticketTime + 3*time.Second

func newRecord(b *book, c *client, n int) *record {
	r := &record{book: b, client: c, id: fmt.Sprintf("person-%d", n), password: []byte(crand.Text())}
	_, r.owner, _ = ed25519.GenerateKey(nil)
	return r
}

// episode is a registration where there is none, some wrong guesses, at times as many as
// are allowed, and a success if the record is still there.
func (r *record) episode(ctx context.Context) {
	r.free = time.Time{}
	if !r.live && !r.register(ctx, nil) {
		return
	}
	for range rand.IntN(maxAttempts + 3) {
		if !r.guess(ctx) {
			if r.live && r.open && chance(50) { // nobody has to wait with the account key
				r.register(ctx, &r.gen)
			}
			return
		}
	}
	if chance(7) {
		r.register(ctx, &r.gen)
		return
	}
	r.succeed(ctx)
}

// register makes the record what is there: over nothing, over what was destroyed, or over
// the record of that gen, as its owner may.
func (r *record) register(ctx context.Context, replaces *uint64) bool {
	n := &registration{
		credential: r.id, password: r.password, keyring: newKeyring(), kv: r.kv + 1, owner: r.owner, replaces: replaces,
	}
	n.prepare()
	begun := r.expect(n.opaque.Blinded(), r.id, n.id, machine.LogRegBegin)
	tried := r.expect(n.try.opaque.Blinded(), r.id, n.id, machine.LogRegTry)
	receipt, err := r.client.register(ctx, n)
	var code errCode
	switch {
	case errors.Is(err, vault.ErrRefused): // as in started
		r.expired.Add(1)
		return false
	case ctx.Err() != nil:
		return false
	case errors.As(err, &code) && code.Code == wire.Wait:
		r.later(code.Until)
		return false
	case err != nil:
		r.t.Errorf("%s: registering: %v", r.id, err)
		return false
	}
	begun.answered()
	tried.answered(machine.LogRegPut, machine.LogRegistered)
	if receipt.KV != n.kv || receipt.Ver <= r.ver || receipt.Gen == r.gen {
		r.t.Errorf("%s: receipt %+v after gen %x, ver %d", r.id, receipt, r.gen, r.ver)
	}
	r.gen, r.ver, r.kv, r.keyring = receipt.Gen, receipt.Ver, receipt.KV, n.keyring
	r.live, r.died, r.free = true, false, time.Time{}
	r.reset()
	return true
}

// reset is for when the vault gives all attempts back.
func (r *record) reset() {
	r.guesses, r.counted, r.open = 0, 0, false
	r.tighten()
}

// tighten forgets what cannot arrive any more.
func (r *record) tighten() {
	now := time.Now()
	r.loose = slices.DeleteFunc(r.loose, func(end time.Time) bool { return now.After(end) })
}

func newKeyring() []byte {
	b := make([]byte, 560)
	crand.Read(b)
	return b
}

// guess is an attempt with a wrong password, which ends in one of several ways. It
// reports whether another can follow.
func (r *record) guess(ctx context.Context) bool {
	n := rand.IntN(100)
	switch {
	case n < 4:
		return r.leave(ctx)
	case n < 14:
		return r.race(ctx)
	}
	a := r.newAttempt([]byte("wrong"))
	reply, err := r.client.call(ctx, r.client.startOf(a.attempt))
	l := r.started(a, reply, err)
	switch {
	case l == nil:
		return false
	case n < 16:
		r.vanish()
		return false
	case n < 30:
		return r.fail(ctx, a, &wire.Finish{Token: l.Token, Command: []byte("of one who does not know the key")})
	}
	return r.fail(ctx, a, &wire.Abort{Token: l.Token})
}

// An entered attempt is one that the book has.
type entered struct {
	*attempt
	*guess
}

func (r *record) newAttempt(password []byte) entered {
	a := newAttempt(r.id, password)
	return entered{a, r.expect(a.opaque.Blinded(), r.id, a.id, machine.LogStart)}
}

// started looks at the answer to a Start. It returns nil if the vault does not let the
// attempt be.
func (r *record) started(a entered, reply *wire.Reply, err error) *wire.Login {
	switch {
	case errors.Is(err, vault.ErrRefused): // the ticket expired while the vault was away
		r.expired.Add(1)
		r.loose = append(r.loose, time.Now().Add(looseTime))
		return nil
	case errors.Is(err, httpapi.ErrUnreachable): // nobody knows
		r.loose = append(r.loose, time.Now().Add(looseTime))
		return nil
	case err != nil:
		r.t.Errorf("%s: %v", r.id, err)
		return nil
	case reply.Code != wire.OK:
		r.refused(reply)
		return nil
	}
	a.answered()
	r.attempts.Add(1)
	if r.guesses++; r.guesses > maxAttempts {
		r.t.Errorf("%s: guess %d without a success between", r.id, r.guesses)
	}
	r.counted++
	r.count(reply)
	r.open = false
	return reply.Login
}

// count compares how many attempts the vault has counted.
func (r *record) count(reply *wire.Reply) {
	n := maxAttempts - int(reply.Left)
	if reply.Max != maxAttempts || n < r.counted || n > r.counted+len(r.loose) {
		r.t.Errorf("%s: %v: %d attempts of %d are counted, it were %d, and up to %d more", r.id, reply.Call, n, reply.Max, r.counted, len(r.loose))
	}
	if n > r.counted {
		r.open = true
	}
	r.counted = n
	r.tighten()
}

// refused looks at why the vault lets no attempt be.
func (r *record) refused(reply *wire.Reply) {
	stuck := r.open || len(r.loose) > 0
	switch {
	case reply.Code == wire.Dead && r.died:
	case reply.Code == wire.Busy && stuck, reply.Code == wire.Wait && reply.Left == 0 && stuck:
		r.vanish()
	case reply.Code == wire.Wait && reply.Left > 0: // until it has forgotten a ticket
		r.later(reply.Until)
	default:
		r.t.Errorf("%s: Start is answered by %v, left %d, after %d attempts", r.id, reply.Code, reply.Left, r.counted)
	}
}

func (r *record) later(seconds int64) { r.free = time.Unix(seconds+1, 0) }

// vanish leaves an attempt open: others have to wait for a minute, or for the record's
// end.
func (r *record) vanish() {
	r.open, r.free = true, time.Now().Add(time.Minute+time.Second)
	if r.counted+len(r.loose) >= maxAttempts {
		r.free = time.Now().Add(time.Hour)
	}
}

// leave goes away in the midst of a Start.
func (r *record) leave(ctx context.Context) bool {
	a := r.newAttempt([]byte("wrong"))
	short, cancel := context.WithTimeout(ctx, rand.N(4*time.Millisecond))
	defer cancel()
	reply, err := r.client.once(short, wire.CallStart, wire.AppendRequest(nil, r.client.startOf(a.attempt)))
	if err == nil && reply.Code == wire.Unavailable {
		err = httpapi.ErrUnreachable
	}
	l := r.started(a, reply, err)
	if l == nil {
		return err != nil
	}
	return r.fail(ctx, a, &wire.Abort{Token: l.Token})
}

// race has two attempts at a time. One is let be, and the other has to wait for it, or had
// to wait before.
func (r *record) race(ctx context.Context) bool {
	type answer struct {
		entered
		reply *wire.Reply
		err   error
	}
	answers := make(chan answer)
	for range 2 {
		a := r.newAttempt([]byte("wrong"))
		go func() {
			reply, err := r.client.call(ctx, r.client.startOf(a.attempt))
			answers <- answer{a, reply, err}
		}()
	}
	granted := func(x answer) bool { return x.err == nil && x.reply.Code == wire.OK }
	one, other := <-answers, <-answers
	if granted(other) {
		one, other = other, one
	}
	switch {
	case granted(other):
		r.t.Errorf("%s: two attempts at a time", r.id)
		return false
	case !granted(one):
		if other.err != nil { // why the one has to wait, maybe
			one, other = other, one
		}
		r.started(one.entered, one.reply, one.err)
		r.started(other.entered, other.reply, other.err)
		return false
	case other.err != nil, other.reply.Code == wire.Busy:
	case other.reply.Code == wire.Wait && other.reply.Left > 0 && other.reply.Until <= time.Now().Unix():
		// It came first, and the record has forgotten a ticket since.
	default:
		r.t.Errorf("%s: beside another, an attempt is answered by %v, left %d, until %d", r.id, other.reply.Code, other.reply.Left, other.reply.Until)
	}
	l := r.started(one.entered, one.reply, nil)
	return r.fail(ctx, one.entered, &wire.Abort{Token: l.Token})
}

// fail ends an attempt as failed. It reports whether another can follow.
func (r *record) fail(ctx context.Context, a entered, end wire.Request) bool {
	reply, err := r.client.call(ctx, end)
	switch {
	case ctx.Err() != nil:
		return false
	case err != nil:
		r.t.Errorf("%s: %v", r.id, err)
		return false
	case reply.Code == wire.Failed && reply.Left > 0:
		a.answered(machine.LogFailed)
		r.count(reply)
		return true
	case reply.Code == wire.Dead && r.counted == maxAttempts && reply.Tombstone.Cause == wire.CauseAttempts:
		a.answered(machine.LogFailed, machine.LogDestroyed)
		r.die()
	default:
		r.t.Errorf("%s: %v is answered by %v, left %d, after %d attempts", r.id, reply.Call, reply.Code, reply.Left, r.counted)
	}
	return false
}

func (r *record) die() {
	r.live, r.died, r.kv = false, true, 0
	r.reset()
	r.destroyed.Add(1)
}

// succeed logs in with the right password, for one of the commands.
func (r *record) succeed(ctx context.Context) {
	a := r.newAttempt(r.password)
	reply, err := r.client.call(ctx, r.client.startOf(a.attempt))
	l := r.started(a, reply, err)
	if l == nil {
		return
	}
	session, err := r.client.open(a.attempt, l)
	if err != nil {
		r.t.Errorf("%s: the right password: %v", r.id, err)
		return
	}
	m, kind := &wire.Command{Op: wire.OpRelease}, machine.LogSuccess
	switch n := rand.IntN(10); {
	case n == 0:
		m, kind = &wire.Command{Op: wire.OpDelete}, machine.LogDestroyed
	case n < 3:
		m = &wire.Command{Op: wire.OpPut, Gen: r.gen, KV: r.kv + 1, OwnerKey: [32]byte(r.owner.Public().(ed25519.PublicKey)), Keyring: newKeyring()}
		kind = machine.LogPut
	}
	reply, release, err := r.client.finish(ctx, a.attempt, l, session, m)
	switch {
	case ctx.Err() != nil:
	case err != nil || reply.Code != wire.OK:
		r.t.Errorf("%s: %v with the right password: %+v, %v", r.id, m.Op, reply, err)
	default:
		a.answered(machine.LogSuccess, kind)
		r.released(m, release)
	}
}

// released compares what a command has released with what was acknowledged before.
func (r *record) released(m *wire.Command, got *wire.Release) {
	if n := int(got.Failures); n != r.counted-1 || got.Ver <= r.ver || got.Gen != r.gen {
		r.t.Errorf("%s: %d failures, %+v after %d attempts, gen %x, ver %d", r.id, n, got.Receipt, r.counted, r.gen, r.ver)
	}
	r.ver = got.Ver
	r.reset()
	switch m.Op {
	case wire.OpDelete:
		r.die()
	case wire.OpPut:
		r.kv, r.keyring = m.KV, m.Keyring
	default:
		r.recovered.Add(1)
		if string(got.Keyring) != string(r.keyring) || got.KV != r.kv {
			r.t.Errorf("%s: the keyring of version %d is not that of version %d, which was acknowledged", r.id, got.KV, r.kv)
		}
	}
}

// verify is the end: what was acknowledged is there, and what was destroyed is not.
func (r *record) verify(ctx context.Context) {
	reply, err := r.client.status(ctx, r.id)
	switch {
	case err != nil:
		r.t.Errorf("%s: %v", r.id, err)
	case r.died && reply.Code != wire.Dead, r.live && reply.Code != wire.OK, r.live && reply.State.Gen != r.gen:
		r.t.Errorf("%s: %+v, live %v, destroyed %v, gen %x", r.id, reply, r.live, r.died, r.gen)
	case r.died:
		r.succeed(ctx) // which is refused
	case r.live:
		if r.count(reply); !r.open {
			r.succeed(ctx)
		}
	}
}
