package vault

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/coffer-backup/coffer/vault/evaluator"
	"github.com/coffer-backup/coffer/vault/internal/machine"
	"github.com/coffer-backup/coffer/vault/store"
	"github.com/coffer-backup/coffer/vault/wire"
)

// A Config says what a Server is made of.
type Config struct {
	ID         string // the vault's
	Descriptor []byte // signed, of that vault
	Evaluator  evaluator.Evaluator
	Store      store.Store
	// Issuers has the keys of those whose tickets are accepted, by their key ids.
	Issuers map[string]ed25519.PublicKey
	// Notify is called with what the owner of a record should hear of, from Run. It is
	// called again, at times for what it was called for before, until it returns nil.
	// nil: nobody is told.
	Notify func(context.Context, Notice) error
	// Log gets what an operator should know. It has no secrets and no credential ids.
	// nil: slog.Default().
	Log *slog.Logger
	// Now is the clock. nil: time.Now.
	Now func() time.Time
	// ClockWasWrong has NewServer accept a store whose last entry is of the future: the
	// clock was ahead when it was written.
	ClockWasWrong bool
}

// Limits of what a server does at a time.
const (
	maxCalls    = 256
	queueTime   = time.Second
	unknownTime = 5 * time.Second // to find out what became of an update
	probeTime   = 5 * time.Second
)

// A Server answers the requests of clients. Run has to be running beside it.
type Server struct {
	id         string
	signed     []byte
	descriptor *Descriptor
	hash       [32]byte // of signed
	evaluator  evaluator.Evaluator
	store      store.Store
	gate       *gate
	policy     machine.Policy
	clock      *clock
	log        *slog.Logger
	notify     func(context.Context, Notice) error

	// own is the index of the server's own cells, which no credential id has: Row is the
	// newest head of the log, Pending is how far notices were sent.
	own      store.Index
	indexKey [32]byte                   // of the half of an index that proves it
	points   map[uint16]evaluator.Point // the AKE keys of the descriptor
	decoy    evaluator.Key              // what is evaluated where there is no record
	nobody   nobody                     // what is opened there
	fakeKey  evaluator.Point            // the client's key where there is no record
	calls    chan struct{}              // one in it for each call
	ailing   atomic.Bool                // the evaluator has failed: it has to prove itself first
	stepped  atomic.Bool                // the clock has, and that was logged
}

// NewServer checks that the parts fit and work together.
func NewServer(ctx context.Context, c Config) (*Server, error) {
	if c.Evaluator == nil || c.Store == nil || len(c.Issuers) == 0 {
		return nil, errors.New("vault: a server needs an evaluator, a store, and issuers of tickets")
	}
	d, err := ParseDescriptor(c.Descriptor, c.ID)
	if err != nil {
		return nil, err
	}
	s := &Server{
		id: c.ID, signed: c.Descriptor, descriptor: d, hash: descriptorHash(c.Descriptor),
		evaluator: c.Evaluator, store: c.Store, gate: newGate(c.ID, c.Issuers),
		policy: machine.Policy{Max: d.Max, Delays: d.Delays},
		clock:  newClock(c.Now), log: c.Log, notify: c.Notify,
		points: make(map[uint16]evaluator.Point), calls: make(chan struct{}, maxCalls), nobody: newNobody(c.ID),
	}
	if s.log == nil {
		s.log = slog.Default()
	}
	if err := s.checkKeys(); err != nil {
		return nil, err
	}
	if s.own, err = s.evaluator.MAC(ctx, []byte(labelHead)); err != nil {
		return nil, fmt.Errorf("vault: the evaluator: %w", err)
	}
	if err := s.checkLog(ctx, c.ClockWasWrong); err != nil {
		return nil, err
	}
	if s.decoy, err = s.evaluator.NewKey(ctx); err != nil {
		return nil, fmt.Errorf("vault: the evaluator: %w", err)
	}
	if err := s.probe(ctx); err != nil {
		return nil, fmt.Errorf("vault: the evaluator: %w", err)
	}
	if s.indexKey, err = s.evaluator.MAC(ctx, []byte(labelIndexKey)); err != nil {
		return nil, fmt.Errorf("vault: the evaluator: %w", err)
	}
	root, err := s.evaluator.MAC(ctx, []byte(labelFakeKey))
	if err != nil {
		return nil, fmt.Errorf("vault: the evaluator: %w", err)
	}
	fake := scalarFrom(root[:], labelFakeKey)
	s.fakeKey = fake.Public()
	return s, nil
}

// checkKeys compares the descriptor with the keys that the evaluator has.
func (s *Server) checkKeys() error {
	info := s.evaluator.Info()
	if string(s.descriptor.Statement) != string(info.Statement[:]) {
		return fmt.Errorf("%w: its statement key is not the evaluator's", ErrDescriptor)
	}
	for _, ake := range s.descriptor.AKE {
		has, ok := info.AKE[ake.ID]
		if !ok || string(has[:]) != string(ake.Key) {
			return fmt.Errorf("%w: the evaluator does not have its AKE key %d", ErrDescriptor, ake.ID)
		}
		s.points[ake.ID] = has
	}
	return nil
}

// probe has the evaluator do what an attempt takes.
func (s *Server) probe(ctx context.Context) error {
	point := s.decoy.Public
	if _, err := s.evaluator.Evaluate(ctx, s.decoy, point); err != nil {
		return err
	}
	if _, err := s.evaluator.Agree(ctx, s.descriptor.newest().ID, point); err != nil {
		return err
	}
	_, err := s.evaluator.Sign(ctx, sha256.Sum256(point[:]))
	return err
}

// Descriptor returns the signed descriptor.
func (s *Server) Descriptor(context.Context) ([]byte, error) { return s.signed, nil }

// Guarantees says in plain words what this configuration guarantees, a sentence each.
func (s *Server) Guarantees() []string {
	d := s.descriptor
	said := []string{
		fmt.Sprintf("A record is destroyed after %d wrong passwords in a row. Each is counted on disk before it is evaluated.", d.Max),
	}
	var wait time.Duration
	for _, seconds := range d.Delays[:min(len(d.Delays), int(d.Max)-1)] {
		wait += time.Duration(seconds) * time.Second
	}
	switch {
	case wait == 0:
		said = append(said, "THERE ARE NO DELAYS between attempts: whoever has tickets can destroy a record in a minute.")
	case wait < 24*time.Hour:
		said = append(said, fmt.Sprintf("THE DELAYS ARE SHORT: whoever has tickets can destroy a record in %v, which its owner may sleep through.", wait))
	default:
		said = append(said, fmt.Sprintf("Wrong passwords are followed by delays: to use up all attempts takes %v at least.", wait))
	}
	if s.notify == nil {
		said = append(said, "NOBODY IS TOLD of failed attempts: no notification hook is set.")
	}
	return append(said, s.evaluator.Info().Guarantees...)
}

// errUnavailable is why a call that may have been counted has no better answer.
var errUnavailable = errors.New("vault: unavailable")

// Call answers a request. See [Transport].
func (s *Server) Call(ctx context.Context, request []byte) (answer []byte, err error) {
	defer func() {
		if answer == nil && err == nil { // a panic, and the next attempt may end in it, too
			s.ailing.Store(true)
		}
	}()
	r, err := wire.ParseRequest(request)
	if err != nil {
		return nil, ErrRefused
	}
	reply, err := s.answer(ctx, r)
	switch {
	case errors.Is(err, ErrRefused), errors.Is(err, ErrOverloaded):
		return nil, err
	case err != nil:
		s.log.Error("a call could not be answered", "call", r.Call(), "error", err)
		return wire.AppendReply(nil, &wire.Reply{Call: r.Call(), Code: wire.Unavailable}), nil
	}
	reply.Call = r.Call()
	frame := wire.AppendReply(nil, reply)
	signature, err := s.evaluator.Sign(ctx, replyDigest(request, frame))
	if err != nil {
		s.log.Error("a reply could not be signed", "call", r.Call(), "error", s.failed(ctx, err))
		return wire.AppendReply(nil, &wire.Reply{Call: r.Call(), Code: wire.Unavailable}), nil
	}
	copy(frame[len(frame)-wire.SignatureSize:], signature[:])
	return frame, nil
}

func (s *Server) answer(ctx context.Context, r wire.Request) (*wire.Reply, error) {
	switch r := r.(type) {
	case *wire.Start:
		return s.start(ctx, r)
	case *wire.Finish:
		return s.finish(ctx, r)
	case *wire.Abort:
		return s.abort(ctx, r)
	case *wire.RegBegin:
		return s.regBegin(ctx, r)
	case *wire.RegPut:
		return s.regPut(ctx, r)
	case *wire.RegTry:
		return s.regTry(ctx, r)
	case *wire.RegDone:
		return s.regDone(ctx, r)
	case *wire.Owner:
		return s.owner(ctx, r)
	case *wire.Status:
		return s.status(ctx, r)
	}
	return nil, ErrRefused
}

// admit verifies a ticket and takes a place among the calls at work, which leave gives
// back.
func (s *Server) admit(ctx context.Context, text string, op TicketOp) (*ticket, error) {
	t, err := s.gate.verify(text, op, s.clock.now())
	if err != nil {
		return nil, ErrRefused
	}
	return t, s.enter(ctx)
}

func (s *Server) enter(ctx context.Context) error {
	select {
	case s.calls <- struct{}{}:
		return nil
	default:
	}
	timer := time.NewTimer(queueTime)
	defer timer.Stop()
	select {
	case s.calls <- struct{}{}:
		return nil
	case <-timer.C:
		return ErrOverloaded
	case <-ctx.Done():
		return ErrOverloaded
	}
}

func (s *Server) leave() { <-s.calls }

// healthy reports whether attempts can be counted: one that cannot be evaluated should
// cost nobody anything, and no delay should end because of a clock that was set.
func (s *Server) healthy() error {
	if off := s.clock.stepped(); off != 0 {
		if !s.stepped.Swap(true) {
			s.log.Error("the clock was set: no attempts until the vault is restarted", "by", off)
		}
		return fmt.Errorf("%w, and it was set by %v, or the machine slept: start the vault again", ErrClock, off)
	}
	if s.stepped.Swap(false) {
		s.log.Info("the clock is right again")
	}
	if s.ailing.Load() {
		return fmt.Errorf("%w: the evaluator has failed, and has not proved itself since", errUnavailable)
	}
	return nil
}

// recover has an evaluator that has failed prove itself. It is for Run: a call would
// spend the time on it that its own evaluation takes.
func (s *Server) recover(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	if err := s.probe(ctx); err != nil {
		return fmt.Errorf("the evaluator: %w", err)
	}
	s.ailing.Store(false)
	s.log.Info("the evaluator works again")
	return nil
}

// Health returns nil, or why no attempts are taken at present. It asks the store, and
// not the evaluator: that it fails shows in the first call that meets it, and Run finds out
// when it has passed.
func (s *Server) Health(ctx context.Context) error {
	if err := s.healthy(); err != nil {
		return err
	}
	_, err := s.store.View(ctx, s.own) // a store that has closed itself says so
	return err
}

// failed notes that the evaluator could not do its work, unless its caller gave up. That
// it took too long is its own fault.
func (s *Server) failed(ctx context.Context, err error) error {
	if !errors.Is(ctx.Err(), context.Canceled) {
		s.ailing.Store(true)
	}
	return fmt.Errorf("the evaluator: %w", err)
}

// reply makes a reply of what an outcome has for every call.
func (s *Server) reply(ctx context.Context, o machine.Outcome, credential string) (*wire.Reply, error) {
	r := &wire.Reply{Code: o.Code, Left: o.Left, Max: o.Max, Until: o.Until}
	if o.Code == wire.Dead {
		signature, err := s.evaluator.Sign(ctx, tombstoneDigest(s.id, credential, o.Cause, o.Died))
		if err != nil {
			return nil, s.failed(ctx, err)
		}
		r.Left, r.Until = 0, 0
		r.Tombstone = &wire.Tombstone{Cause: o.Cause, Time: o.Died, Signature: signature}
	}
	return r, nil
}

// newGen returns the name of a registration.
func newGen() (gen uint64) {
	var b [8]byte
	rand.Read(b[:]) // never fails
	for _, x := range b {
		gen = gen<<8 | uint64(x)
	}
	return gen
}
