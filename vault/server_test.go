package vault

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coffer-backup/coffer/vault/evaluator"
	"github.com/coffer-backup/coffer/vault/internal/machine"
	"github.com/coffer-backup/coffer/vault/internal/opaque3dh"
	"github.com/coffer-backup/coffer/vault/store"
	"github.com/coffer-backup/coffer/vault/store/bolt"
	"github.com/coffer-backup/coffer/vault/store/storetest"
	"github.com/coffer-backup/coffer/vault/wire"
)

// state returns what s has of a credential id.
func (v *testVault) state(s *Server, who string) *machine.State {
	v.t.Helper()
	u := must(s.subject(v.t.Context(), who))
	return must(u.open(must(s.store.View(v.t.Context(), u.index))))
}

// spend begins attempts and lets them vanish until so many are left.
func (v *testVault) spend(s *Server, who string, left uint8) {
	v.t.Helper()
	for {
		r := v.status(s, who)
		if r.Code != wire.OK || r.Left <= left {
			return
		}
		v.ahead += 25 * time.Hour
		v.expect(s, &v.guess(who, password2).start, wire.OK)
	}
}

// TestLastAttempt has the last attempt end in each way, with the server started anew
// before every step, on either store.
func TestLastAttempt(t *testing.T) {
	for _, name := range []string{"memory", "bolt"} {
		t.Run(name, func(t *testing.T) {
			path, file := filepath.Join(t.TempDir(), "store"), store.Store(storetest.NewMemory())
			restart := func(v *testVault, t *testing.T) {
				t.Helper()
				if err := file.Close(); err != nil {
					t.Fatal(err)
				}
				v.store = v.store.Open()
				if file = v.store; name == "bolt" {
					file = must(bolt.Open(path, nil))
				}
				v.Server = v.node(func(c *Config) { c.Store = file })
			}
			defer func() { _ = file.Close() }()
			v := newTestVault(t)
			v.revise(func(d *Descriptor) { d.Max, d.Delays = 5, DefaultDelays() })
			restart(v, t)
			v.registered(alice, password)
			last := func(password []byte) *guess {
				t.Helper()
				v.spend(v.Server, alice, 1)
				v.ahead += 25 * time.Hour
				restart(v, t)
				g := v.guess(alice, password).on(v.Server)
				restart(v, t)
				if r := v.status(v.Server, alice); r.Code != wire.OK || r.Left != 0 {
					t.Fatalf("%+v", r)
				}
				return g
			}
			g := last(password)
			if r := v.expect(v.Server, g.ends(release), wire.OK); r.Left != 5 || g.released(r).Failures != 4 {
				t.Errorf("the right password: %+v, %d failures", r, g.released(r).Failures)
			}
			// Nobody waits for it any more, and it is right, and late.
			g = last(password)
			v.ahead += 60*time.Second + 10*time.Minute - 5*time.Second
			sweep(t, v.Server)
			v.expect(v.Server, &v.guess(alice, password).start, wire.Wait)
			v.expect(v.Server, g.ends(release), wire.OK)

			g = last(password)
			v.ahead += 60*time.Second + 10*time.Minute + time.Second
			sweep(t, v.Server)
			if r := v.expect(v.Server, g.ends(release), wire.Dead); r.Tombstone.Cause != wire.CauseAttempts {
				t.Errorf("vanished: %+v", r.Tombstone)
			}
			v.registered(alice, password)
			g = last(password2)
			end := v.expect(v.Server, g.ends(release), wire.Dead).Tombstone
			if end.Cause != wire.CauseAttempts || end.Time != v.Server.clock.unix() {
				t.Errorf("the wrong password: %+v", end)
			}
			restart(v, t)
			dead(t, v, g)
		})
	}
}

func sweep(t *testing.T, s *Server) {
	t.Helper()
	if err := s.sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// dead checks that nothing brings the record of alice back, of which g was the last
// attempt, but a registration, and that this one is new.
func dead(t *testing.T, v *testVault, g *guess) {
	row := v.state(v.Server, alice).Row
	if row.Status != machine.Dead || len(row.Key.Blob)+len(row.Keyring) > 0 || row.Record != [wire.RecordSize]byte{} || row.OwnerKey != [32]byte{} {
		t.Errorf("what is left: %+v", row)
	}
	_, key, _ := ed25519.GenerateKey(nil)
	gen := row.Gen
	for _, wait := range []time.Duration{0, time.Hour, 1000 * time.Hour} {
		v.ahead += wait
		sweep(t, v.Server)
		v.unwritten(func() {
			v.expect(v.Server, &v.guess(alice, password).start, wire.Dead)
			v.expect(v.Server, g.ends(release), wire.Dead)
			v.expect(v.Server, g.aborts(), wire.Dead)
			v.expect(v.Server, &wire.Status{Ticket: v.ticket(alice, TicketStatus)}, wire.Dead)
			for _, op := range []wire.Op{wire.OpFreeze, wire.OpUnfreeze, wire.OpDelete} {
				v.expect(v.Server, v.orders(alice, key, op, gen, 0), wire.Dead)
			}
			for _, order := range []Order{OrderFreeze, OrderUnfreeze} {
				if err := v.Operate(t.Context(), alice, order); err == nil {
					t.Errorf("order %v of the dead", order)
				}
			}
		})
	}
	ver := row.Ver
	e := v.enrol(alice, password2, 1).upTo(v.Server)
	r := v.expect(v.Server, &e.done, wire.OK).Receipt
	if r.Gen == gen || r.Ver <= ver {
		t.Errorf("%+v after gen %d, ver %d", r, gen, ver)
	}
	v.expect(v.Server, g.ends(release), wire.Stale)
	if s := v.status(v.Server, alice); s.Left != 5 || s.Until != 0 {
		t.Errorf("%+v", s)
	}
	v.expect(v.Server, v.guess(alice, password2).on(v.Server).ends(release), wire.OK)
}

// TestVirtual has the same things done to a record and where there is none, at the same
// times: the answers are the same, to the end and beyond.
func TestVirtual(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newTestVault(t)
		v.revise(func(d *Descriptor) { d.Max, d.Delays = 6, []int64{7200, 600, 300, 30, 10} })
		v.registered(alice, password)
		time.Sleep(time.Hour)
		who := []string{alice, "nobody"}
		same := func(what string, requests func(who string) wire.Request) {
			t.Helper()
			var all []string
			for _, who := range who {
				r, err := v.call(v.Server, requests(who))
				if err != nil {
					t.Fatal(err)
				}
				if r.Tombstone != nil {
					r.Tombstone.Signature = [wire.SignatureSize]byte{}
				}
				said := fmt.Sprintf("%v %v %d %d %d %+v", r.Call, r.Code, r.Left, r.Max, r.Until, r.Tombstone)
				if r.Login != nil {
					said += fmt.Sprint(r.Login.KSF, r.Login.AKE)
				}
				all = append(all, said)
			}
			if all[0] != all[1] {
				t.Errorf("%s: %q", what, all)
			}
		}
		status := func(who string) wire.Request { return &wire.Status{Ticket: v.ticket(who, TicketStatus)} }
		start := func(who string) wire.Request { return &v.guess(who, password2).start }
		same("before", status)
		for n := range 6 {
			guesses := map[string]*guess{}
			for _, name := range who {
				guesses[name] = v.guess(name, password2)
			}
			same("attempt", func(who string) wire.Request { return &guesses[who].start })
			same("again", func(who string) wire.Request { return &guesses[who].start })
			for _, g := range guesses {
				g.take(v.expect(v.Server, &g.start, wire.OK).Login)
			}
			same("during", status)
			same("another", start)
			time.Sleep(7 * time.Second)
			switch n % 3 {
			case 0:
				same("aborted", func(who string) wire.Request { return guesses[who].aborts() })
				same("aborted again", func(who string) wire.Request { return guesses[who].aborts() })
			case 1:
				same("finished", func(who string) wire.Request { return guesses[who].ends(release) })
				same("finished again", func(who string) wire.Request { return guesses[who].ends(release) })
			case 2:
				time.Sleep(60 * time.Second) // it vanishes
				sweep(t, v.Server)
			}
			same("after", status)
			same("too early", start)
			time.Sleep(3 * time.Hour)
			if n == 5 {
				sweep(t, v.Server)
			}
		}
		same("in the end", status)
		same("in the end", start)
		for _, who := range who {
			if r := v.status(v.Server, who); r.Code != wire.Dead || r.Tombstone.Cause != wire.CauseAttempts {
				t.Errorf("%s: %+v", who, r)
			}
		}
	})
}

// TestVirtualAnswers: what a KE2 of no record is made from is the same each time
// (RFC 9807 § 6.3.2.2), at every server, for ever.
func TestVirtualAnswers(t *testing.T) {
	v := newTestVault(t)
	g := v.guess("nobody", password)
	u := must(v.subject(t.Context(), "nobody"))
	mask := u.key(labelFakeMask)
	var first *wire.Login
	for n := range 3 {
		g.start.Ticket = v.ticket("nobody", TicketRecover)
		login := v.expect(v.Server, &g.start, wire.OK).Login
		if n == 0 {
			first = login
		} else if login.KE2[0] != first.KE2[0] || !bytes.Equal(login.KE2[:opaque3dh.PointSize], first.KE2[:opaque3dh.PointSize]) {
			t.Error("the same point is evaluated in another way")
		} else if bytes.Equal(login.KE2[33:65], first.KE2[33:65]) || bytes.Equal(login.KE2[162:194], first.KE2[162:194]) {
			t.Error("a nonce came twice")
		}
		pad := must(hkdf.Expand(sha256.New, mask[:], string(login.KE2[33:65])+"CredentialResponsePad", 97))
		subtle.XORBytes(pad, pad, login.KE2[65:162])
		public := v.points[1]
		if !bytes.Equal(pad[:33], public[:]) || !bytes.Equal(pad[33:], make([]byte, 64)) {
			t.Errorf("under the mask: %x", pad)
		}
		v.expect(v.Server, &wire.Abort{Token: login.Token}, wire.Failed)
		v.Server = v.node(nil)
	}
	// It is its own: another's is another, and the decoy of the server is none.
	var all []string
	for n := range 3 {
		other := v.guess(fmt.Sprint("nobody-", n), password)
		other.start.KE1 = g.start.KE1
		all = append(all, string(v.expect(v.Server, &other.start, wire.OK).Login.KE2[:33]))
	}
	all = append(all, string(first.KE2[:33]))
	slices.Sort(all)
	if len(slices.Compact(all)) != 4 {
		t.Error("two who are nobody have the same key")
	}
}

// TestRotation has AKE keys come and go. A record keeps what it was made with; one whose
// key the descriptor has lost is not worth an attempt.
func TestRotation(t *testing.T) {
	v := newTestVault(t)
	v.registered(alice, password)
	early := v.guess("early", password).on(v.Server) // a virtual record of the time before
	v.expect(v.Server, early.aborts(), wire.Failed)
	before := v.enrol("late", password, 1)

	v.secrets.AKE[2] = evaluator.NewScalar()
	v.revise(func(d *Descriptor) { d.Max, d.KSF.KiB = 7, 20<<10 })
	v.unwritten(func() { v.expect(v.Server, &before.begin, wire.OldDescriptor) })
	before.begin.Descriptor = v.hash
	v.expect(v.Server, &before.begin, wire.OK) // with the same ticket
	v.registered("bob", password)
	for who, want := range map[string]struct {
		ake  uint16
		left uint8
	}{alice: {1, 9}, "early": {1, 8}, "bob": {2, 6}, "nobody": {2, 6}} {
		g := v.guess(who, password).on(v.Server)
		if l := g.login; l.AKE != want.ake || (l.KSF.KiB == 20<<10) != (want.ake == 2) {
			t.Errorf("%s: AKE key %d, %+v", who, l.AKE, l.KSF)
		}
		if r := v.status(v.Server, who); r.Left != want.left {
			t.Errorf("%s: %d left", who, r.Left)
		}
		code := wire.Failed
		if who == alice || who == "bob" {
			code = wire.OK
		}
		v.expect(v.Server, g.ends(release), code)
	}
	g := v.guess(alice, password).on(v.Server)

	drop := func(d *Descriptor) { d.AKE = d.AKE[1:] }
	v.revise(drop)
	v.ahead += 20 * time.Minute
	v.unwritten(func() {
		v.expect(v.Server, &v.guess(alice, password).start, wire.Unavailable)
		v.expect(v.Server, &v.guess("early", password).start, wire.Unavailable)
	})
	if err := v.Health(t.Context()); err != nil {
		t.Errorf("%v", err)
	}
	v.expect(v.Server, g.ends(release), wire.OK) // it is all said and done but for the count
	v.expect(v.Server, v.guess("bob", password).on(v.Server).ends(release), wire.OK)
	v.revise(func(*Descriptor) {})
	v.expect(v.Server, v.guess(alice, password).on(v.Server).ends(release), wire.OK)
	v.expect(v.Server, v.guess("early", password).on(v.Server).aborts(), wire.Failed)
}

// TestOwnerRequests: what an owner key signs is for one thing.
func TestOwnerRequests(t *testing.T) {
	v := newTestVault(t)
	owner := v.registered(alice, password).owner
	bob := v.registered("bob", password)
	gen := v.status(v.Server, alice).State.Gen
	until := v.now().Unix() + 3600
	freeze := v.orders(alice, owner, wire.OpFreeze, gen, until)
	_, other, _ := ed25519.GenerateKey(nil)
	v.unwritten(func() {
		for what, change := range map[string]func(r *wire.Owner){
			"gen": func(r *wire.Owner) { r.Gen++ }, "op": func(r *wire.Owner) { r.Op, r.Until = wire.OpUnfreeze, 0 }, "delete": func(r *wire.Owner) { r.Op, r.Until = wire.OpDelete, 0 },
			"until": func(r *wire.Owner) { r.Until++ }, "ticket": func(r *wire.Owner) { r.Ticket = v.ticket(alice, TicketOwner) },
			"record": func(r *wire.Owner) { r.Ticket = v.ticket("bob", TicketOwner) }, "signature": func(r *wire.Owner) { r.Signature[0] ^= 1 },
			"nobody": func(r *wire.Owner) { r.Ticket = v.ticket("nobody", TicketOwner) }, "zeros": func(r *wire.Owner) { r.Signature = [64]byte{} },
		} {
			r := *freeze
			change(&r)
			if reply, err := v.call(v.Server, &r); err == nil && reply.Code != wire.Stale || err != nil && err != ErrRefused {
				t.Errorf("another %s: %+v, %v", what, reply, err)
			}
		}
		v.expect(v.Server, v.orders(alice, other, wire.OpDelete, gen, 0), wire.Stale)
		v.expect(v.Server, v.orders(alice, bob.owner, wire.OpDelete, gen, 0), wire.Stale)
		vault := newTestVault(t)
		vault.issuer.Key, vault.issuer.ID = v.issuer.Key, v.issuer.ID
		v.refuse(v.Server, "another vault's", vault.orders(alice, owner, wire.OpDelete, gen, 0))
	})
	receipt := v.expect(v.Server, freeze, wire.OK).Receipt
	v.unwritten(func() {
		if r := v.expect(v.Server, freeze, wire.OK).Receipt; *r != *receipt {
			t.Errorf("%+v, first %+v", r, receipt)
		}
	})
	v.expect(v.Server, v.orders(alice, owner, wire.OpUnfreeze, gen, 0), wire.OK)
	v.unwritten(func() { v.expect(v.Server, freeze, wire.Used) }) // somebody plays it again
	// While it is BUSY, waits, and has no attempt left, an owner comes through.
	v.spend(v.Server, alice, 0)
	v.expect(v.Server, v.orders(alice, owner, wire.OpFreeze, gen, v.now().Unix()+60), wire.OK)
	v.ahead += time.Hour
	sweep(t, v.Server)
	if r := v.expect(v.Server, &v.guess(alice, password).start, wire.Wait); r.Left != 0 || r.Until != 0 {
		t.Errorf("%+v", r)
	}
	e := v.enrol(alice, password2, 2).upTo(v.Server)
	e.sign(owner, gen)
	v.expect(v.Server, &e.done, wire.OK)
	v.expect(v.Server, v.guess(alice, password2).on(v.Server).ends(release), wire.OK)
	v.unwritten(func() { v.expect(v.Server, v.orders(alice, owner, wire.OpDelete, gen, 0), wire.Stale) })
}

// TestCellsAreBound: a record is what it is in its place, and at its version.
func TestCellsAreBound(t *testing.T) {
	v := newTestVault(t)
	v.registered(alice, password)
	v.registered("bob", password)
	a, b := must(v.subject(t.Context(), alice)), must(v.subject(t.Context(), "bob"))
	cells := must(v.store.View(t.Context(), a.index))
	if _, err := b.open(cells); err == nil {
		t.Error("a record opens in the place of another")
	}
	for i := range cells.Row {
		changed := cells
		changed.Row = with(cells.Row, i, cells.Row[i]^1)
		if _, err := a.open(changed); err == nil {
			t.Fatalf("byte %d changed, and it opens", i)
		}
	}
	if ver := binary.BigEndian.Uint64(cells.Row[1:]); must(a.open(cells)).Row.Ver != ver {
		t.Error("another version than is written on it")
	}
}
