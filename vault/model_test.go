package vault

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/coffer-backup/coffer/vault/evaluator"
	"github.com/coffer-backup/coffer/vault/internal/machine"
	"github.com/coffer-backup/coffer/vault/store"
	"github.com/coffer-backup/coffer/vault/wire"
)

var modelSteps = flag.Int("model.steps", 1_000_000, "steps of the model test")

// A mutant is a fault that the model must find.
type mutant int

const (
	sound           mutant = iota
	evaluateUnknown        // evaluates although it is not known that the attempt was counted
	writeBlindly           // a late write does not look at what it replaces
	destroyAtZero          // the last attempt finds nothing
	finishAny              // a finish fits whatever attempt is there
	finishByID             // a finish fits every attempt of its id
	swapOnTicket           // a registration needs no leave of the record's owner
)

// A world is servers on one store, a victim, and a thief with tickets.
type world struct {
	mutant mutant
	rand   *rand.Rand
	store  *modelStore
	nodes  []*Server
	time   int64
	skew   []int64 // of the nodes' clocks
	ids    []*modelID
	jti    uint64
	step   int
	fault  string // what was violated
}

// A modelID is a credential id, and what is known of its record from the log.
type modelID struct {
	name     string
	subject  *subject
	gen      uint64 // of the record there is
	real     bool   // there is one
	starts   int    // since the last success of gen
	ended    map[uint64]bool
	ver      uint64
	counted  map[uint64][16]byte // attempts by the ver of their writes
	hashes   map[uint64][32]byte // evaluated, by the ver
	tickets  map[[16]byte]bool   // spent on an attempt
	password map[uint64]int      // who knows that of a gen
	logins   []*modelLogin
	pending  []*modelPending
}

type modelLogin struct {
	machine.Proof
	start   machine.Start
	right   bool // who began it knows the password
	command *wire.Command
	hash    [32]byte
	success int
}

type modelPending struct {
	machine.RegBegin
	secret [32]byte
	by     int // 0 is the victim
}

func newWorld(m mutant, seed uint64, ids, nodes int) *world {
	w := &world{mutant: m, rand: rand.New(rand.NewPCG(seed, 1)), store: newModelStore(m == writeBlindly), time: 1_800_000_000}
	for range nodes {
		i := len(w.nodes)
		w.skew = append(w.skew, 0)
		s := &Server{
			id: "model", store: w.store, log: slog.New(slog.DiscardHandler), nobody: newNobody("model"),
			policy: machine.Policy{Max: MinAttempts, Delays: []int64{20, 10}},
		}
		s.clock = newClock(func() time.Time { return time.Unix(w.time+w.skew[i], 0) })
		w.nodes = append(w.nodes, s)
	}
	for i := range ids {
		u := &subject{vault: "model", index: store.Index{byte(i), 1}, root: [32]byte{byte(i), 2}}
		w.ids = append(w.ids, &modelID{
			name: fmt.Sprint("id", i), subject: u, ended: map[uint64]bool{}, counted: map[uint64][16]byte{},
			hashes: map[uint64][32]byte{}, tickets: map[[16]byte]bool{}, password: map[uint64]int{},
		})
	}
	return w
}

func (w *world) violated(format string, args ...any) {
	if w.fault == "" {
		w.fault = fmt.Sprintf("step %d: ", w.step) + fmt.Sprintf(format, args...)
	}
}

func (w *world) random16() (b [16]byte) {
	for i := range b {
		b[i] = byte(w.rand.Uint32())
	}
	return b
}

func (w *world) ticket() machine.Ticket {
	w.jti++
	t := machine.Ticket{Expires: w.time + 600}
	for i := range 8 {
		t.Hash[i] = byte(w.jti >> (8 * i))
	}
	return t
}

func (w *world) virtual(id *modelID) machine.Row {
	return machine.Row{ID: id.name, Gen: uint64(id.subject.index[0]) + 1e9, Material: machine.Material{Keyring: make([]byte, 16)}}
}

// transact runs an event on some node, perhaps with a fault, and reports whether who
// asked got an answer.
func (w *world) transact(id *modelID, faults bool, event func(*Server, *machine.State, int64) machine.Outcome) (o machine.Outcome, ok bool) {
	n := w.rand.IntN(len(w.nodes))
	s := w.nodes[n]
	w.store.fault = noFault
	if faults && w.rand.IntN(8) == 0 {
		w.store.fault = modelFault(1 + w.rand.IntN(int(lastFault)))
	}
	now := s.clock.unix()
	var last machine.Outcome
	o, err := s.transact(context.Background(), id.subject, func(state *machine.State) machine.Outcome {
		last = event(s, state, now)
		return last
	})
	w.store.fault = noFault
	if err != nil && w.mutant == evaluateUnknown && errors.Is(err, errUnavailable) {
		return last, true
	}
	// An answer may be lost on its way, whatever happened.
	return o, err == nil && (!faults || w.rand.IntN(16) != 0)
}

// observe follows the log: what is in it happened, in this order. login is whose Finish
// was just sent, and may says that who sent it, or what arrived late, was entitled to
// succeed or to replace a record.
func (w *world) observe(login *modelLogin, may bool) {
	for _, e := range w.store.fresh() {
		id := w.ids[e.Index[0]]
		if e.Ver < id.ver {
			w.violated("%s: ver %d after %d", id.name, e.Ver, id.ver)
		}
		id.ver = e.Ver
		switch e.Kind {
		case machine.LogStart:
			if id.gen == 0 {
				id.gen = e.Gen
			}
			if id.starts++; id.starts > MinAttempts {
				w.violated("%s: %d attempts since the last success", id.name, id.starts)
			}
			if e.Gen != id.gen || id.ended[e.Gen] {
				w.violated("%s: an attempt on a registration that has ended", id.name)
			}
			if _, ok := id.counted[e.Ver]; ok {
				w.violated("%s: two attempts are ver %d", id.name, e.Ver)
			}
			id.counted[e.Ver] = e.Attempt
		case machine.LogSuccess:
			if !may {
				w.violated("%s: success without the password", id.name)
			} else if login != nil {
				if login.success++; login.success > 1 {
					w.violated("%s: an attempt succeeded twice", id.name)
				}
			}
			id.starts = 0
		case machine.LogRegistered:
			if id.real && !id.ended[id.gen] && !may {
				w.violated("%s: a record was replaced without its owner", id.name)
			}
			id.ended[id.gen] = true
			id.gen, id.real, id.starts = e.Gen, true, 0
		case machine.LogDestroyed:
			id.ended[id.gen] = true
		}
		if len(id.counted) > 4096 {
			clear(id.counted)
			clear(id.hashes)
		}
	}
}

// start makes an attempt: a new one, the last one again, or one that differs from it.
func (w *world) start(id *modelID, by int, faults bool) *modelLogin {
	e := machine.Start{Attempt: w.random16(), Ticket: w.ticket(), Virtual: w.virtual(id)}
	e.Hash[0], e.Hash[1] = byte(w.rand.Uint32()), byte(w.rand.Uint32())
	if faults && len(id.logins) > 0 {
		old := id.logins[w.rand.IntN(len(id.logins))].start
		switch w.rand.IntN(6) {
		case 0:
			e = old
		case 1:
			e.Attempt = old.Attempt
		case 2:
			e.Attempt, e.Hash = old.Attempt, old.Hash
		case 3:
			e.Ticket = old.Ticket
		}
		e.Virtual = w.virtual(id)
	}
	o, ok := w.transact(id, faults, func(s *Server, state *machine.State, now int64) machine.Outcome {
		o := s.policy.Start(state, now, e)
		if w.mutant == destroyAtZero && o.Code == wire.OK && state.Row.Left == 0 {
			state.Row.Status, state.Row.Current = machine.Dead, nil
			o.Log = append(o.Log, store.Event{Kind: machine.LogDestroyed})
		}
		return o
	})
	w.observe(nil, false)
	if !ok || o.Code != wire.OK {
		return nil
	}
	ver := o.Attempt.Ver
	if attempt, counted := id.counted[ver]; !counted || attempt != e.Attempt {
		if len(id.counted) > 0 {
			w.violated("%s: an attempt was evaluated that was not counted", id.name)
		}
	}
	if h, evaluated := id.hashes[ver]; evaluated && h != e.Hash {
		w.violated("%s: two guesses were evaluated for one attempt", id.name)
	}
	id.hashes[ver] = e.Hash
	knows, there := id.password[o.Gen]
	l := &modelLogin{
		Proof: machine.Proof{Attempt: e.Attempt, Gen: o.Gen, Ver: ver}, start: e,
		right: there && knows == by && !o.Virtual,
	}
	id.logins = append(id.logins, l)
	if len(id.logins) > 8 {
		id.logins = id.logins[1:]
	}
	return l
}

// finish ends an attempt, or plays one again that was ended before.
func (w *world) finish(id *modelID, l *modelLogin, op wire.Op, faults bool) machine.Outcome {
	if l.command == nil {
		l.command = &wire.Command{Op: op, Until: w.time + 100}
		if op == wire.OpPut {
			l.command.Keyring = []byte("new") // on whichever version there is: see below
		}
		if op == wire.OpSwap && len(id.pending) > 0 {
			l.command.Registration = id.pending[len(id.pending)-1].Registration
			l.command.Upload[0] = l.command.Registration[0]
		}
		l.hash[0], l.hash[1] = byte(w.rand.Uint32()), byte(w.rand.Uint32())
	}
	proof, gen := l.Proof, newGen()
	o, _ := w.transact(id, faults, func(s *Server, state *machine.State, now int64) machine.Outcome {
		if r := state.Row; r != nil && r.Current != nil {
			switch {
			case w.mutant == finishAny:
				proof = machine.Proof{Attempt: r.Current.ID, Ver: r.Current.Ver, Gen: r.Gen}
			case w.mutant == finishByID && r.Current.ID == l.Attempt:
				proof.Ver = r.Current.Ver
			}
		}
		if l.command.Op == wire.OpPut && l.command.KV == 0 && state.Row != nil {
			l.command.Gen, l.command.KV = state.Row.Gen, state.Row.KV+uint32(w.rand.IntN(3))
		}
		if q := state.Pending; q != nil && l.command.Op == wire.OpSwap {
			id.password[gen] = id.registrant(q.Registration)
		}
		return s.policy.Finish(state, now, machine.Finish{Proof: proof, Hash: l.hash, Command: l.command, NewGen: gen})
	})
	w.observe(l, l.right)
	return o
}

func (id *modelID) registrant(registration [16]byte) int {
	for _, p := range id.pending {
		if p.Registration == registration {
			return p.by
		}
	}
	return -1
}

// register does some steps of a registration, each perhaps twice.
func (w *world) register(id *modelID, by int, faults, signs bool) {
	p := &modelPending{by: by}
	p.Registration, p.Ticket, p.Virtual = w.random16(), w.ticket(), w.virtual(id)
	p.Material.Key = evaluator.Key{Blob: []byte("key")}
	p.secret[0] = byte(by + 1)
	p.Commitment = p.secret // the hash is the caller's business
	if id.pending = append(id.pending, p); len(id.pending) > 8 {
		id.pending = id.pending[1:]
	}
	again := func(event func(*Server, *machine.State, int64) machine.Outcome) (o machine.Outcome, ok bool) {
		for range 1 + w.rand.IntN(2) {
			o, ok = w.transact(id, faults, event)
			w.observe(nil, false)
		}
		return o, ok
	}
	again(func(s *Server, state *machine.State, now int64) machine.Outcome {
		return s.policy.RegBegin(state, now, p.RegBegin)
	})
	kv := uint32(1 + w.rand.IntN(5))
	again(func(s *Server, state *machine.State, now int64) machine.Outcome {
		return s.policy.RegPut(state, now, machine.RegPut{Registration: p.Registration, Commitment: p.secret, KV: kv, Keyring: []byte("ring"), Upload: [32]byte{p.Registration[0]}})
	})
	if faults && w.rand.IntN(3) == 0 { // somebody else comes between
		w.time += int64(w.rand.IntN(700))
	}
	try := machine.RegTry{Registration: p.Registration, Commitment: p.secret, Attempt: w.random16()}
	o, ok := again(func(s *Server, state *machine.State, now int64) machine.Outcome {
		return s.policy.RegTry(state, now, try)
	})
	if !ok || o.Code != wire.OK {
		return
	}
	e := machine.RegDone{Proof: machine.Proof{Attempt: try.Attempt, Ver: o.Attempt.Ver}, NewGen: newGen()}
	if signs || w.mutant == swapOnTicket {
		e.Signed = func(*machine.Row, *machine.Pending) bool { return true }
	}
	id.password[e.NewGen] = by
	for range 1 + w.rand.IntN(2) {
		w.transact(id, faults, func(s *Server, state *machine.State, now int64) machine.Outcome {
			return s.policy.RegDone(state, now, e)
		})
		w.observe(nil, signs)
	}
	if len(id.password) > 64 {
		for gen := range id.password {
			if gen != id.gen && gen != e.NewGen {
				delete(id.password, gen)
			}
		}
	}
}

// login is the victim's, without a fault: if the attempt is accepted it succeeds, the
// last one too.
func (w *world) login(id *modelID) {
	l := w.start(id, 0, false)
	if l == nil || !l.right {
		return
	}
	if o := w.finish(id, l, wire.OpRelease, false); o.Code != wire.OK || o.Material == nil {
		w.violated("%s: the right password got %v", id.name, o.Code)
	}
}

func (w *world) act() {
	w.step++
	id := w.ids[w.rand.IntN(len(w.ids))]
	thief := 1
	switch n := w.rand.IntN(100); {
	case n < 25:
		w.start(id, thief, true)
	case n < 35:
		w.start(id, 0, true)
	case n < 50: // Finish needs a KE3 that was right once
		if len(id.logins) > 0 {
			if l := id.logins[w.rand.IntN(len(id.logins))]; l.right {
				ops := []wire.Op{wire.OpRelease, wire.OpRelease, wire.OpRelease, wire.OpPut, wire.OpPut, wire.OpPut, wire.OpFreeze, wire.OpSwap, wire.OpSwap, wire.OpDelete}
				w.finish(id, l, ops[w.rand.IntN(len(ops))], true)
			}
		}
	case n < 60:
		if len(id.logins) > 0 {
			l := id.logins[w.rand.IntN(len(id.logins))]
			w.transact(id, true, func(s *Server, state *machine.State, now int64) machine.Outcome {
				return s.policy.Fail(state, now, l.Proof)
			})
			w.observe(nil, false)
		}
	case n < 66:
		w.register(id, 0, true, w.rand.IntN(2) == 0 && id.password[id.gen] == 0)
	case n < 70:
		w.register(id, thief, true, false)
	case n < 76:
		w.login(id)
	case n < 80:
		ops := []wire.Op{wire.OpFreeze, wire.OpUnfreeze, wire.OpUnfreeze, wire.OpDelete}
		e := machine.Owner{Op: ops[w.rand.IntN(len(ops))], Gen: id.gen, Until: w.time + 60, Ticket: w.ticket(), Signed: func([32]byte) bool { return true }}
		w.transact(id, true, func(s *Server, state *machine.State, now int64) machine.Outcome { return s.policy.Owner(state, now, e) })
		w.observe(nil, false)
	case n < 82:
		e := machine.Operator{Op: []wire.Op{wire.OpFreeze, wire.OpUnfreeze, wire.OpUnfreeze}[w.rand.IntN(3)]}
		w.transact(id, true, func(s *Server, state *machine.State, now int64) machine.Outcome {
			return s.policy.Operator(state, now, e)
		})
		w.observe(nil, false)
	case n < 86:
		w.transact(id, true, func(s *Server, state *machine.State, now int64) machine.Outcome { return s.policy.Sweep(state, now) })
		w.observe(nil, false)
	case n < 90:
		w.store.arrive(w.rand)
		w.observe(nil, true) // whatever arrives was allowed when it was sent
	case n < 98:
		w.time += int64(w.rand.IntN(120))
	case n < 99:
		w.time += int64(w.rand.IntN(2000))
	default:
		w.skew[w.rand.IntN(len(w.skew))] = int64(w.rand.IntN(7200) - 3600)
	}
}

// TestModel plays random interleavings of a victim, a thief, faults of the store and
// clocks, and looks at the log for what must never be.
func TestModel(t *testing.T) {
	steps := *modelSteps
	if testing.Short() {
		steps /= 20
	}
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // a step leaves little but garbage
	const worlds = 20
	var mu sync.Mutex
	kinds := map[uint8]int{}
	t.Run("worlds", func(t *testing.T) {
		for seed := range worlds {
			t.Run(strconv.Itoa(seed), func(t *testing.T) {
				t.Parallel()
				w := newWorld(sound, uint64(seed), 1+seed%3, 1+seed%3)
				for range steps / worlds {
					if w.act(); w.fault != "" {
						t.Fatal(w.fault)
					}
				}
				if _, err := store.Verify(store.Entry{}, w.store.log); err != nil {
					t.Fatal(err)
				}
				mu.Lock()
				defer mu.Unlock()
				for _, e := range w.store.log {
					kinds[e.Kind]++
				}
			})
		}
	})
	for kind := machine.LogStart; kind <= machine.LogRegLapsed; kind++ {
		if kinds[kind] == 0 {
			t.Errorf("no event of kind %d: %v", kind, kinds)
		}
	}
	t.Logf("events by kind: %v", kinds)
}

// TestModelFinds plants faults that the model has to find.
func TestModelFinds(t *testing.T) {
	for m := evaluateUnknown; m <= swapOnTicket; m++ {
		found := ""
		for seed := uint64(0); found == "" && seed < 20; seed++ {
			w := newWorld(m, seed, 2, 2)
			for range 20_000 {
				if w.act(); w.fault != "" {
					found = w.fault
					break
				}
			}
		}
		if found == "" {
			t.Errorf("mutant %d was not found", m)
		}
		t.Logf("mutant %d: %s", m, found)
	}
}

// A modelFault is what happens to a write.
type modelFault int

const (
	noFault   modelFault = iota
	lost                 // it does not happen, and that is not known
	committed            // it happens, and that is not known
	late                 // it may happen later, if nothing else has
	blind                // it happens, and looking for it fails
	lastFault = blind
)

// A modelStore is a store whose writes can fail.
type modelStore struct {
	fault   modelFault
	blindly bool
	cells   map[store.Index]store.Cells
	log     []store.Entry
	seen    int
	waiting []func() // writes that are late
}

func newModelStore(blindly bool) *modelStore {
	return &modelStore{blindly: blindly, cells: map[store.Index]store.Cells{}}
}

var errModel = fmt.Errorf("model: %w", store.ErrUnknown)

func (s *modelStore) Update(_ context.Context, index store.Index, change func(store.Cells) (store.Change, error)) error {
	base := s.cells[index]
	c, err := change(base)
	if err != nil || c.None() {
		return err
	}
	switch s.fault {
	case lost:
		return errModel
	case late:
		s.waiting = append(s.waiting, func() {
			if s.blindly || bytes.Equal(s.cells[index].Row, base.Row) {
				s.apply(index, c)
			}
		})
		return errModel
	}
	s.apply(index, c)
	if s.fault != noFault {
		return errModel
	}
	return nil
}

func (s *modelStore) apply(index store.Index, c store.Change) {
	cells := s.cells[index]
	set := func(cell *[]byte, b []byte) {
		if b != nil {
			*cell = append([]byte(nil), b...)
		}
		if len(*cell) == 0 {
			*cell = nil
		}
	}
	set(&cells.Row, c.Row)
	set(&cells.Pending, c.Pending)
	s.cells[index] = cells
	for _, e := range c.Log {
		var last store.Entry
		if len(s.log) > 0 {
			last = s.log[len(s.log)-1]
		}
		s.log = append(s.log, store.Next(last, e))
	}
}

// arrive lets a write happen that was late, or drops it.
func (s *modelStore) arrive(r *rand.Rand) {
	for _, write := range s.waiting {
		if r.IntN(2) == 0 {
			write()
		}
	}
	s.waiting = nil
}

// fresh returns the entries of the log that are new.
func (s *modelStore) fresh() []store.Entry {
	entries := s.log[s.seen:]
	s.seen = len(s.log)
	return entries
}

func (s *modelStore) View(_ context.Context, index store.Index) (store.Cells, error) {
	if s.fault == blind {
		return store.Cells{}, errors.New("model: cannot read")
	}
	return s.cells[index], nil
}

func (s *modelStore) Due(context.Context, int64, int) ([]store.Index, error) { return nil, nil }

func (s *modelStore) Log(context.Context, uint64, int) ([]store.Entry, error) { return nil, nil }

func (s *modelStore) Close() error { return nil }

// FuzzModel plays what the input says.
func FuzzModel(f *testing.F) {
	for seed := range 8 {
		b := make([]byte, 4096)
		r := rand.NewChaCha8([32]byte{byte(seed)})
		r.Read(b)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, plan []byte) {
		w := newWorld(sound, 0, 2, 2)
		source := &planned{plan: plan}
		w.rand = rand.New(source)
		for !source.done() {
			if w.act(); w.fault != "" {
				t.Fatal(w.fault)
			}
		}
	})
}

// planned is a source of random numbers that is not.
type planned struct {
	plan []byte
	at   int
}

func (p *planned) done() bool { return p.at >= len(p.plan) }

// Uint64 puts a byte of the plan at both ends, as different functions look there. After
// the plan it goes on somehow: who draws until a number fits must come to an end.
func (p *planned) Uint64() (n uint64) {
	p.at++
	if p.at > len(p.plan) {
		return uint64(p.at) * 0x9e3779b97f4a7c15
	}
	n = uint64(p.plan[p.at-1])
	return n<<56 | n<<24 | n
}
