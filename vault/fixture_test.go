package vault

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"log/slog"
	"sync"

	"github.com/coffer-backup/coffer/vault/evaluator"
	"github.com/coffer-backup/coffer/vault/internal/opaque3dh"
	"github.com/coffer-backup/coffer/vault/store"
	"github.com/coffer-backup/coffer/vault/store/storetest"
	"github.com/coffer-backup/coffer/vault/wire"
)

// config is what v's server is made of.
func (v *testVault) config(signed []byte) Config {
	v.t.Helper()
	ev, err := evaluator.NewSoftware(v.secrets)
	if err != nil {
		v.t.Fatal(err)
	}
	return Config{
		ID: v.issuer.Vault, Descriptor: signed, Evaluator: ev, Store: v.store, Log: slog.New(slog.DiscardHandler), Now: v.now,
		Issuers: map[string]ed25519.PublicKey{v.issuer.ID: v.issuer.Key.Public().(ed25519.PublicKey)},
	}
}

// node returns another server of the vault, of parts that change has changed.
func (v *testVault) node(change func(*Config)) *Server {
	v.t.Helper()
	c := v.config(v.signed)
	if change != nil {
		change(&c)
	}
	s, err := NewServer(v.t.Context(), c)
	if err != nil {
		v.t.Fatal(err)
	}
	return s
}

// ticket returns a new ticket.
func (v *testVault) ticket(who string, op TicketOp) string {
	v.t.Helper()
	text, err := v.issuer.Ticket(who, op, v.now())
	if err != nil {
		v.t.Fatal(err)
	}
	return text
}

// call returns what s answers: a frame that is signed, unless it says UNAVAILABLE.
func (v *testVault) call(s *Server, r wire.Request) (*wire.Reply, error) {
	request := wire.AppendRequest(nil, r)
	frame, err := s.Call(context.Background(), request)
	if err != nil {
		return nil, err
	}
	statement, err := s.descriptor.statementKey()
	if err != nil {
		return nil, err
	}
	k := &trusted{s.descriptor, s.hash, statement}
	return k.read(request, frame, r.Call())
}

// expect is call of what is answered by code.
func (v *testVault) expect(s *Server, r wire.Request, code wire.Code) *wire.Reply {
	v.t.Helper()
	reply, err := v.call(s, r)
	if err != nil {
		v.t.Fatalf("%v: %v, want %v", r.Call(), err, code)
	}
	if reply.Code != code {
		v.t.Fatalf("%v: %v (%d of %d left, until %d), want %v", r.Call(), reply.Code, reply.Left, reply.Max, reply.Until, code)
	}
	return reply
}

// refuse has s refuse what is no request, or has no ticket, in the one form.
func (v *testVault) refuse(s *Server, what string, r wire.Request) {
	v.t.Helper()
	if reply, err := v.call(s, r); err != ErrRefused {
		v.t.Errorf("%s: %v: %+v, %v", what, r.Call(), reply, err)
	}
}

// unwritten runs do, and checks that it wrote nothing.
func (v *testVault) unwritten(do func()) {
	v.t.Helper()
	length := func() int { return len(must(v.Server.store.Log(context.Background(), 0, 100_000))) }
	before, writes := length(), 0
	v.store.Inject(func(store.Index, store.Change) storetest.Fault { writes++; return storetest.NoFault })
	defer v.store.Inject(nil)
	if do(); writes > 0 || length() != before {
		v.t.Errorf("%d writes, and %d entries of the log", writes, length()-before)
	}
}

// A guess is an attempt, step by step, by who stretches no password.
type guess struct {
	*opaque3dh.Client
	v              *testVault
	client, server string // identities
	start          wire.Start
	login          *wire.Login
	session        *opaque3dh.Session // nil if the password is wrong
}

func unstretched(output []byte) ([]byte, error) { return output, nil }

func (v *testVault) guess(who string, password []byte) *guess {
	v.t.Helper()
	c, err := opaque3dh.NewClient(password)
	if err != nil {
		v.t.Fatal(err)
	}
	g := &guess{Client: c, v: v, client: who, server: serverIdentity + v.issuer.Vault}
	g.start.Ticket = v.ticket(who, TicketRecover)
	rand.Read(g.start.Attempt[:])
	ke1 := c.KE1()
	ke1.Append(g.start.KE1[:0])
	return g
}

// on begins the attempt.
func (g *guess) on(s *Server) *guess {
	g.v.t.Helper()
	g.take(g.v.expect(s, &g.start, wire.OK).Login)
	return g
}

// take takes KE2.
func (g *guess) take(login *wire.Login) {
	g.v.t.Helper()
	session, err := g.Finish(&opaque3dh.Answer{
		ClientIdentity: []byte(g.client), ServerIdentity: []byte(g.server), KE2: login.KE2, Stretch: unstretched,
	})
	if err != nil && !errors.Is(err, opaque3dh.ErrAuthentication) {
		g.v.t.Fatal(err)
	}
	g.login, g.session = login, session
}

// ke3 returns what proves the password, or something else if it is wrong.
func (g *guess) ke3() (b [wire.KE3Size]byte) {
	if g.session != nil {
		return g.session.KE3
	}
	return b
}

// ends returns a request that ends the attempt with a command.
func (g *guess) ends(m *wire.Command) *wire.Finish {
	f := &wire.Finish{Token: g.login.Token, KE3: g.ke3()}
	var session [32]byte
	if g.session != nil {
		session = g.session.SessionKey
	}
	f.Command = seal(session, labelCommand, g.start.Attempt, m.Append(nil))
	return f
}

func (g *guess) aborts() *wire.Abort { return &wire.Abort{Token: g.login.Token} }

var release = &wire.Command{Op: wire.OpRelease}

// released opens what a reply to Finish released.
func (g *guess) released(r *wire.Reply) *wire.Release {
	g.v.t.Helper()
	plain, err := unseal(g.session.SessionKey, labelRelease, g.start.Attempt, r.Release)
	if err != nil {
		g.v.t.Fatal(err)
	}
	release, err := wire.ParseRelease(plain)
	if err != nil {
		g.v.t.Fatal(err)
	}
	return release
}

// An enrolment is a registration, step by step.
type enrolment struct {
	*guess
	owner ed25519.PrivateKey
	begin wire.RegBegin
	put   wire.RegPut
	try   wire.RegTry
	done  wire.RegDone
}

// keyring stands for a wrapped one.
var keyring = make([]byte, keyringSize)

// enrol prepares a registration.
func (v *testVault) enrol(who string, password []byte, kv uint32) *enrolment {
	v.t.Helper()
	e := &enrolment{guess: v.guess(who, password)}
	rand.Read(e.begin.Registration[:])
	rand.Read(e.put.Secret[:])
	_, e.owner, _ = ed25519.GenerateKey(nil)
	e.begin.Ticket, e.begin.Commitment = v.ticket(who, TicketRegister), sha256.Sum256(e.put.Secret[:])
	e.begin.Descriptor, e.begin.Blinded = v.hash, e.Blinded()
	e.put.Registration, e.put.KV, e.put.Keyring = e.begin.Registration, kv, keyring
	copy(e.put.OwnerKey[:], e.owner.Public().(ed25519.PublicKey))
	e.try = wire.RegTry{
		Registration: e.begin.Registration, Secret: e.put.Secret, Attempt: e.start.Attempt, KE1: e.start.KE1,
	}
	return e
}

// begun takes the answer to begin.
func (e *enrolment) begun(b *wire.Begun) {
	e.v.t.Helper()
	record, _, err := e.Register(&opaque3dh.Registration{
		ClientIdentity: []byte(e.client), ServerIdentity: []byte(e.server), Stretch: unstretched,
		Evaluated: b.Evaluated, ServerPublic: b.ServerKey,
	})
	if err != nil {
		e.v.t.Fatal(err)
	}
	e.put.Index, e.try.Index = b.Index, b.Index
	record.Append(e.put.Record[:0])
}

// tried takes the answer to try.
func (e *enrolment) tried(login *wire.Login) {
	e.v.t.Helper()
	e.take(login)
	e.done = wire.RegDone{Token: login.Token, KE3: e.ke3()}
}

// upTo does all but the last step.
func (e *enrolment) upTo(s *Server) *enrolment {
	e.v.t.Helper()
	e.begun(e.v.expect(s, &e.begin, wire.OK).Begun)
	e.v.expect(s, &e.put, wire.OK)
	e.tried(e.v.expect(s, &e.try, wire.OK).Login)
	return e
}

// sign has the owner of the record that is there allow what replaces it.
func (e *enrolment) sign(owner ed25519.PrivateKey, gen uint64) {
	m := ownerMessage(e.v.issuer.Vault, e.client, gen, wire.OpSwap, swapNonce(e.begin.Registration, uploadDigest(&e.put)), 0)
	e.done.Signature = (*[wire.SignatureSize]byte)(ed25519.Sign(owner, m))
}

// swap returns the command that makes the registration the record.
func (e *enrolment) swap() *wire.Command {
	return &wire.Command{Op: wire.OpSwap, Registration: e.begin.Registration, Upload: uploadDigest(&e.put)}
}

// registered makes a record.
func (v *testVault) registered(who string, password []byte) *enrolment {
	v.t.Helper()
	e := v.enrol(who, password, 1).upTo(v.Server)
	v.expect(v.Server, &e.done, wire.OK)
	return e
}

// status returns the answer to Status.
func (v *testVault) status(s *Server, who string) *wire.Reply {
	v.t.Helper()
	r, err := v.call(s, &wire.Status{Ticket: v.ticket(who, TicketStatus)})
	if err != nil {
		v.t.Fatal(err)
	}
	return r
}

// orders returns a request that the owner key signs.
func (v *testVault) orders(who string, owner ed25519.PrivateKey, op wire.Op, gen uint64, until int64) *wire.Owner {
	v.t.Helper()
	r := &wire.Owner{Ticket: v.ticket(who, TicketOwner), Op: op, Gen: gen, Until: until}
	nonce, err := idOfTicket(r.Ticket)
	if err != nil {
		v.t.Fatal(err)
	}
	copy(r.Signature[:], ed25519.Sign(owner, ownerMessage(v.issuer.Vault, who, gen, op, nonce, until)))
	return r
}

// A frail evaluator or store does what fault says before it does its work.
type frail struct {
	mu    sync.Mutex
	fault func(ctx context.Context, method string) error
	calls map[string]int
}

func (f *frail) set(fault func(ctx context.Context, method string) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = fault
}

func (f *frail) count(method string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[method]
}

func (f *frail) try(ctx context.Context, method string) error {
	f.mu.Lock()
	if f.calls == nil {
		f.calls = map[string]int{}
	}
	f.calls[method]++
	fault := f.fault
	f.mu.Unlock()
	if fault == nil {
		return nil
	}
	return fault(ctx, method)
}

type frailEvaluator struct {
	frail
	evaluator.Evaluator
}

func (f *frailEvaluator) NewKey(ctx context.Context) (evaluator.Key, error) {
	if err := f.try(ctx, "NewKey"); err != nil {
		return evaluator.Key{}, err
	}
	return f.Evaluator.NewKey(ctx)
}

func (f *frailEvaluator) Evaluate(ctx context.Context, key evaluator.Key, blinded evaluator.Point) (evaluator.Point, error) {
	if err := f.try(ctx, "Evaluate"); err != nil {
		return evaluator.Point{}, err
	}
	return f.Evaluator.Evaluate(ctx, key, blinded)
}

func (f *frailEvaluator) Agree(ctx context.Context, ake uint16, share evaluator.Point) (evaluator.Point, error) {
	if err := f.try(ctx, "Agree"); err != nil {
		return evaluator.Point{}, err
	}
	return f.Evaluator.Agree(ctx, ake, share)
}

func (f *frailEvaluator) MAC(ctx context.Context, message []byte) ([32]byte, error) {
	if err := f.try(ctx, "MAC"); err != nil {
		return [32]byte{}, err
	}
	return f.Evaluator.MAC(ctx, message)
}

func (f *frailEvaluator) Sign(ctx context.Context, digest [32]byte) ([64]byte, error) {
	if err := f.try(ctx, "Sign"); err != nil {
		return [64]byte{}, err
	}
	return f.Evaluator.Sign(ctx, digest)
}

// frailNode returns a server whose evaluator is frail.
func (v *testVault) frailNode() (*Server, *frailEvaluator) {
	v.t.Helper()
	f := new(frailEvaluator)
	s := v.node(func(c *Config) { f.Evaluator, c.Evaluator = c.Evaluator, f })
	return s, f
}

type frailStore struct {
	frail
	store.Store
}

func (f *frailStore) View(ctx context.Context, index store.Index) (store.Cells, error) {
	if err := f.try(ctx, "View"); err != nil {
		return store.Cells{}, err
	}
	return f.Store.View(ctx, index)
}

func (f *frailStore) Update(ctx context.Context, index store.Index, change func(store.Cells) (store.Change, error)) error {
	if err := f.try(ctx, "Update"); err != nil {
		return err
	}
	return f.Store.Update(ctx, index, change)
}

func (f *frailStore) Due(ctx context.Context, now int64, max int) ([]store.Index, error) {
	if err := f.try(ctx, "Due"); err != nil {
		return nil, err
	}
	return f.Store.Due(ctx, now, max)
}

func (f *frailStore) Log(ctx context.Context, after uint64, max int) ([]store.Entry, error) {
	if err := f.try(ctx, "Log"); err != nil {
		return nil, err
	}
	return f.Store.Log(ctx, after, max)
}
