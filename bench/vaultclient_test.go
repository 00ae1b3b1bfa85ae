//go:build !386 && !arm

// Not for 386 and arm, where github.com/bytemare/ksf does not compile.

package bench

import (
	"context"
	"crypto"
	"crypto/aes"
	gcm "crypto/cipher"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/bytemare/opaque"

	"github.com/coffer-backup/coffer/backends/pkcs11"
	"github.com/coffer-backup/coffer/internal/tokentest"
	"github.com/coffer-backup/coffer/vault"
	"github.com/coffer-backup/coffer/vault/evaluator"
	"github.com/coffer-backup/coffer/vault/evaluator/hsm"
	"github.com/coffer-backup/coffer/vault/httpapi"
	"github.com/coffer-backup/coffer/vault/store/bolt"
	"github.com/coffer-backup/coffer/vault/wire"
)

// A testVault is a vault without delays, and what makes tickets for it.
type testVault struct {
	vault.Transport
	server *vault.Server
	store  *bolt.Store
	issuer vault.Issuer
	hash   [32]byte // of the descriptor
	users  int      // groups of records
}

// newVault starts a vault with its store in a file, behind HTTPS if over says so.
func newVault(b *testing.B, e evaluator.Evaluator, over string) *testVault {
	public, root, err := ed25519.GenerateKey(nil)
	must(b, err)
	issuers, issuer, err := ed25519.GenerateKey(nil)
	must(b, err)
	info := e.Info()
	d := vault.Descriptor{
		Version: 1, Root: vault.Base64(public), Revision: 1, Statement: info.Statement[:],
		KSF: vault.DefaultKSF(), Max: vault.MaxAttempts,
	}
	for id, key := range info.AKE {
		d.AKE = append(d.AKE, vault.AKE{ID: id, Key: key[:]})
	}
	signed, err := d.Sign(root)
	must(b, err)
	s, err := bolt.Open(filepath.Join(b.TempDir(), "store"), nil)
	must(b, err)
	b.Cleanup(func() { s.Close() })
	server, err := vault.NewServer(b.Context(), vault.Config{
		ID: d.ID(), Descriptor: signed, Evaluator: e, Store: s,
		Issuers: map[string]ed25519.PublicKey{"bench": issuers}, Log: slog.New(slog.DiscardHandler),
	})
	must(b, err)
	v := &testVault{
		Transport: server, server: server, store: s, hash: sha256.Sum256(signed),
		issuer: vault.Issuer{ID: "bench", Key: issuer, Vault: d.ID()},
	}
	if over == "https" {
		v.Transport = serve(b, server, d.ID())
	}
	return v
}

func newSoftware(b *testing.B) evaluator.Evaluator {
	e, err := evaluator.NewSoftware(evaluator.GenerateSoftware())
	must(b, err)
	return e
}

// newEvaluators returns one of each mode; b is no sub-benchmark, as SoftHSM takes no
// directory with its name.
func newEvaluators(b *testing.B) []evaluator.Evaluator {
	soft := tokentest.SoftHSM(b)
	token, err := pkcs11.Open(b.Context(), pkcs11.Config{
		Module: soft.Module, Token: soft.Label,
		PIN: func(context.Context) ([]byte, error) { return []byte(soft.PIN), nil },
	})
	must(b, err)
	b.Cleanup(func() { token.Close() })
	all := []evaluator.Evaluator{newSoftware(b)}
	for _, mode := range []string{evaluator.ModeHSM, evaluator.ModeSealed} {
		c := hsm.Config{Label: mode, Mode: mode}
		c.AKE, err = hsm.Generate(b.Context(), token, c)
		must(b, err)
		e, err := hsm.Open(b.Context(), token, c)
		must(b, err)
		all = append(all, e)
	}
	return all
}

// serve puts HTTPS on loopback before a server, with connections that stay.
func serve(b *testing.B, server *vault.Server, id string) vault.Transport {
	certificate, key, err := httpapi.NewCertificate([]string{"127.0.0.1"}, time.Now())
	must(b, err)
	pair, err := tls.X509KeyPair(certificate, key)
	must(b, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(b, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- httpapi.Serve(ctx, l, httpapi.Handler(server, &httpapi.HandlerOptions{Log: slog.New(slog.DiscardHandler)}), &tls.Config{Certificates: []tls.Certificate{pair}}, nil)
	}()
	t, _, err := httpapi.Dial("https://"+l.Addr().String()+"/#"+id, &httpapi.Options{CA: certificate})
	must(b, err)
	b.Cleanup(func() {
		t.Close()
		cancel()
		if err := <-ended; err != nil {
			b.Error(err)
		}
	})
	return t
}

var password = []byte("correct horse battery staple")

func newOPAQUE() (*opaque.Client, error) {
	return opaque.NewClient(&opaque.Configuration{ // KSF 0: passwords are not stretched
		OPRF: opaque.P256Sha256, AKE: opaque.P256Sha256, KDF: crypto.SHA256, MAC: crypto.SHA256, Hash: crypto.SHA256,
	})
}

func (v *testVault) server3DH() []byte { return []byte("coffer-vault:" + v.issuer.Vault) }

// ask returns the reply to a request, which has to be OK.
func (v *testVault) ask(ctx context.Context, r wire.Request) (*wire.Reply, error) {
	frame, err := v.Call(ctx, wire.AppendRequest(nil, r))
	if err != nil {
		return nil, err
	}
	reply, err := wire.ParseReply(frame, r.Call())
	if err == nil && reply.Code != wire.OK {
		err = fmt.Errorf("%v: %v", r.Call(), reply.Code)
	}
	return reply, err
}

// register keeps a keyring of the small size under a credential id.
func (v *testVault) register(ctx context.Context, credential string) error {
	ticket, err := v.issuer.Ticket(credential, vault.TicketRegister, time.Now())
	if err != nil {
		return err
	}
	client, err := newOPAQUE()
	if err != nil {
		return err
	}
	m, err := client.RegistrationInit(password)
	if err != nil {
		return err
	}
	begin := &wire.RegBegin{Ticket: ticket, Descriptor: v.hash}
	put := &wire.RegPut{KV: 1, Keyring: make([]byte, 32+512+16)}
	rand.Read(begin.Registration[:])
	rand.Read(put.Secret[:])
	begin.Commitment = sha256.Sum256(put.Secret[:])
	copy(begin.Blinded[:], m.Serialize())
	reply, err := v.ask(ctx, begin)
	if err != nil {
		return err
	}
	response, err := client.Deserialize.RegistrationResponse(append(reply.Begun.Evaluated[:], reply.Begun.ServerKey[:]...))
	if err != nil {
		return err
	}
	record, _, err := client.RegistrationFinalize(response, []byte(credential), v.server3DH())
	if err != nil {
		return err
	}
	put.Index, put.Registration = reply.Begun.Index, begin.Registration
	copy(put.Record[:], record.Serialize())
	if _, err := v.ask(ctx, put); err != nil {
		return err
	}
	try := &wire.RegTry{Index: put.Index, Registration: put.Registration, Secret: put.Secret}
	l, err := newLogin(credential)
	if err != nil {
		return err
	}
	try.Attempt, try.KE1 = l.attempt, l.ke1
	if reply, err = v.ask(ctx, try); err != nil {
		return err
	}
	ke3, _, err := l.finish(v, reply.Login)
	if err != nil {
		return err
	}
	_, err = v.ask(ctx, &wire.RegDone{Token: reply.Login.Token, KE3: ke3})
	return err
}

// A clientLogin is a client's side of an attempt, begun.
type clientLogin struct {
	client     *opaque.Client
	credential string
	attempt    [wire.IDSize]byte
	ke1        [wire.KE1Size]byte
	ticket     string
}

func newLogin(credential string) (*clientLogin, error) {
	client, err := newOPAQUE()
	if err != nil {
		return nil, err
	}
	m, err := client.GenerateKE1(password)
	if err != nil {
		return nil, err
	}
	l := &clientLogin{client: client, credential: credential}
	rand.Read(l.attempt[:])
	copy(l.ke1[:], m.Serialize())
	return l, nil
}

func (l *clientLogin) finish(v *testVault, in *wire.Login) (ke3 [wire.KE3Size]byte, session []byte, err error) {
	ke2, err := l.client.Deserialize.KE2(in.KE2[:])
	if err != nil {
		return ke3, nil, err
	}
	m, session, _, err := l.client.GenerateKE3(ke2, []byte(l.credential), v.server3DH())
	if err != nil {
		return ke3, nil, err
	}
	copy(ke3[:], m.Serialize())
	return ke3, session, nil
}

// recover has the vault give the keyring back.
func (l *clientLogin) recover(ctx context.Context, v *testVault) error {
	reply, err := v.ask(ctx, &wire.Start{Ticket: l.ticket, Attempt: l.attempt, KE1: l.ke1})
	if err != nil {
		return err
	}
	ke3, session, err := l.finish(v, reply.Login)
	if err != nil {
		return err
	}
	key, err := hkdf.Expand(sha256.New, session, "coffer vault v1 command"+string(l.attempt[:]), 32)
	if err != nil {
		return err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return err
	}
	aead, err := gcm.NewGCMWithRandomNonce(block)
	if err != nil {
		return err
	}
	command := aead.Seal(nil, nil, (&wire.Command{Op: wire.OpRelease}).Append(nil), l.attempt[:])
	_, err = v.ask(ctx, &wire.Finish{Token: reply.Login.Token, KE3: ke3, Command: command})
	return err
}
