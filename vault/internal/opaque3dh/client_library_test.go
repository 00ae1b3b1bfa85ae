//go:build !386 && !arm

package opaque3dh_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/bytemare/ksf"
	"github.com/bytemare/opaque"
	"github.com/bytemare/opaque/message"
	"golang.org/x/crypto/argon2"
	"pgregory.net/rapid"

	"github.com/coffer-backup/coffer/vault/evaluator"
	"github.com/coffer-backup/coffer/vault/internal/opaque3dh"
)

// twins are our client and the library's, with the same password and the same random
// values.
type twins struct {
	*library
	draw    *opaque3dh.Draw
	options *opaque.ClientOptions
	stretch opaque3dh.Stretch
}

func newTwins(t *rapid.T) *twins {
	w := &twins{library: newLibrary(t), stretch: identity, draw: &opaque3dh.Draw{
		Blind: evaluator.NewScalar(), Ephemeral: evaluator.NewScalar(),
		Nonce: evaluator.NewScalar(), Envelope: evaluator.NewScalar(),
	}}
	blind, err := w.server.Deserialize.DecodePrivateKey(w.draw.Blind[:])
	if err != nil {
		t.Fatal(err)
	}
	ephemeral, err := w.server.Deserialize.DecodePrivateKey(w.draw.Ephemeral[:])
	if err != nil {
		t.Fatal(err)
	}
	w.options = &opaque.ClientOptions{
		OPRFBlind:                 blind,
		AKE:                       &opaque.AKEOptions{SecretKeyShare: ephemeral, Nonce: w.draw.Nonce[:]},
		RegistrationEnvelopeNonce: w.draw.Envelope[:],
	}
	if rapid.Bool().Draw(t, "argon2id") {
		passes, kib := rapid.Uint32Range(1, 2).Draw(t, "passes"), rapid.Uint32Range(8, 64).Draw(t, "KiB")
		w.conf.KSF = ksf.Argon2id
		w.options.KSFSalt, w.options.KSFLength = make([]byte, 16), 32
		w.options.KSFParameters = []uint64{uint64(passes), uint64(kib), 1}
		w.stretch = func(output []byte) ([]byte, error) {
			return argon2.IDKey(output, make([]byte, 16), passes, kib, 1, 32), nil
		}
	}
	return w
}

// clients returns ours and the library's, which takes the options that begin a run with
// its first call, and refuses them afterwards.
func (w *twins) clients(t *rapid.T) (*opaque3dh.Client, *opaque.Client) {
	ours, err := opaque3dh.NewClientOf(w.password, w.draw)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := w.conf.Client()
	if err != nil {
		t.Fatal(err)
	}
	return ours, theirs
}

// later are the options of the library's second call.
func (w *twins) later() *opaque.ClientOptions {
	o := *w.options
	o.OPRFBlind, o.AKE = nil, nil
	return &o
}

func same(t *rapid.T, what string, ours, theirs []byte) {
	if !bytes.Equal(ours, theirs) {
		t.Errorf("%s %x, the library has %x", what, ours, theirs)
	}
}

// register returns the record that both clients make, and the export key.
func (w *twins) register(t *rapid.T) (*message.RegistrationRecord, []byte) {
	ours, theirs := w.clients(t)
	request, err := theirs.RegistrationInit(w.password, w.options)
	if err != nil {
		t.Fatal(err)
	}
	blinded := ours.Blinded()
	same(t, "registration request", blinded[:], request.Serialize())

	oprf, err := w.server.Deserialize.DecodePrivateKey(w.oprf[:])
	if err != nil {
		t.Fatal(err)
	}
	response, err := w.server.RegistrationResponse(request, nil, oprf)
	if err != nil {
		t.Fatal(err)
	}
	want, wantExport, err := theirs.RegistrationFinalize(response, w.client, w.vault, w.later())
	if err != nil {
		t.Fatal(err)
	}
	raw := response.Serialize()
	record, export, err := ours.Register(&opaque3dh.Registration{
		ClientIdentity: w.client, ServerIdentity: w.vault, Stretch: w.stretch,
		Evaluated: evaluator.Point(raw[:opaque3dh.PointSize]), ServerPublic: evaluator.Point(raw[opaque3dh.PointSize:]),
	})
	if err != nil {
		t.Fatal(err)
	}
	same(t, "record", record.Append(nil), want.Serialize())
	same(t, "export key at the registration", export[:], wantExport)
	uploaded, err := w.server.Deserialize.RegistrationRecord(record.Append(nil))
	if err != nil {
		t.Fatal(err)
	}
	return uploaded, export[:]
}

// TestClientLibrary registers and logs in with both clients and both servers, and wants
// the same bytes everywhere.
func TestClientLibrary(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newTwins(t)
		uploaded, export := w.register(t)
		ours, theirs := w.clients(t)
		ke1 := ours.KE1()
		first, err := theirs.GenerateKE1(w.password, w.options)
		if err != nil {
			t.Fatal(err)
		}
		same(t, "KE1", ke1.Append(nil), first.Serialize())

		record, err := opaque3dh.ParseRecord(uploaded.Serialize())
		if err != nil {
			t.Fatal(err)
		}
		login := &opaque3dh.Login{
			Context: w.conf.Context, ClientIdentity: w.client, ServerIdentity: w.vault,
			Record: record, ServerPublic: w.ake.Public(), KE1: ke1,
			Evaluated: w.mul(t, w.oprf, ke1.Blinded), Static: w.mul(t, w.ake, ke1.KeyShare),
			MaskingNonce: evaluator.NewScalar(), ServerNonce: evaluator.NewScalar(), Ephemeral: evaluator.NewScalar(),
		}
		ke2, out := w.respond(t, login, uploaded)
		reply, err := opaque3dh.Respond(login)
		if err != nil {
			t.Fatal(err)
		}
		same(t, "KE2", reply.KE2[:], ke2.Serialize())

		answer := &opaque3dh.Answer{
			Context: w.conf.Context, ClientIdentity: w.client, ServerIdentity: w.vault,
			KE2: [opaque3dh.KE2Size]byte(ke2.Serialize()), Stretch: w.stretch,
		}
		s, err := ours.Finish(answer)
		if err != nil {
			t.Fatal(err)
		}
		ke3, session, wantExport, err := theirs.GenerateKE3(ke2, w.client, w.vault, w.later())
		if err != nil {
			t.Fatal(err)
		}
		same(t, "KE3", s.KE3[:], ke3.Serialize())
		same(t, "session key", s.SessionKey[:], session)
		same(t, "session key of the server", s.SessionKey[:], out.SessionSecret)
		same(t, "export key", s.ExportKey[:], wantExport)
		same(t, "export key, and that of the registration,", s.ExportKey[:], export)
		if err := w.server.LoginFinish(&message.KE3{ClientMac: s.KE3[:]}, out.ClientMAC); err != nil {
			t.Errorf("the library's server refuses our KE3: %v", err)
		}
		if s.ServerPublic != w.ake.Public() {
			t.Error("the server's public key is another one")
		}
	})
}

// TestClientLibraryRefuses changes KE2 for both clients. Where the library says that the
// password is wrong, so does ours.
func TestClientLibraryRefuses(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newTwins(t)
		uploaded, _ := w.register(t)
		ours, theirs := w.clients(t)
		if _, err := theirs.GenerateKE1(w.password, w.options); err != nil {
			t.Fatal(err)
		}
		login := &opaque3dh.Login{
			KE1: ours.KE1(), MaskingNonce: evaluator.NewScalar(), ServerNonce: evaluator.NewScalar(), Ephemeral: evaluator.NewScalar(),
		}
		ke2, _ := w.respond(t, login, uploaded)
		raw := [opaque3dh.KE2Size]byte(ke2.Serialize())
		raw[rapid.IntRange(0, len(raw)-1).Draw(t, "byte")] ^= rapid.ByteRange(1, 255).Draw(t, "change")

		s, err := ours.Finish(&opaque3dh.Answer{
			Context: w.conf.Context, ClientIdentity: w.client, ServerIdentity: w.vault, KE2: raw, Stretch: w.stretch,
		})
		if s != nil || err == nil {
			t.Fatal("KE2 is taken")
		}
		changed, theirErr := theirs.Deserialize.KE2(raw[:])
		if theirErr == nil {
			_, _, _, theirErr = theirs.GenerateKE3(changed, w.client, w.vault, w.later())
		}
		if theirErr == nil {
			t.Fatal("the library takes KE2")
		}
		if got, want := errors.Is(err, opaque3dh.ErrAuthentication), errors.Is(theirErr, opaque.ErrAuthentication); got != want {
			t.Errorf("%v, the library says: %v", err, theirErr)
		}
	})
}
