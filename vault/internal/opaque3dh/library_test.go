// The library does not compile where an int has 32 bits.

//go:build !386 && !arm

package opaque3dh_test

import (
	"bytes"
	"crypto"
	"testing"

	"github.com/bytemare/opaque"
	"github.com/bytemare/opaque/message"
	"pgregory.net/rapid"

	"github.com/coffer-backup/coffer/vault/evaluator"
	"github.com/coffer-backup/coffer/vault/internal/opaque3dh"
)

// library is a run of github.com/bytemare/opaque, which does the client and a server to
// compare with.
type library struct {
	conf          *opaque.Configuration
	server        *opaque.Server
	password      []byte
	client, vault []byte // identities
	oprf, ake     evaluator.Scalar
}

func newLibrary(t *rapid.T) *library {
	identity := rapid.OneOf(rapid.Just([]byte(nil)), rapid.SliceOfN(rapid.Byte(), 0, 200))
	l := &library{
		conf: &opaque.Configuration{
			OPRF: opaque.P256Sha256, AKE: opaque.P256Sha256,
			KDF: crypto.SHA256, MAC: crypto.SHA256, Hash: crypto.SHA256,
			Context: rapid.SliceOfN(rapid.Byte(), 0, 100).Draw(t, "context"),
		},
		password: rapid.SliceOfN(rapid.Byte(), 1, 50).Draw(t, "password"),
		client:   identity.Draw(t, "client"),
		vault:    identity.Draw(t, "server"),
		oprf:     evaluator.NewScalar(),
		ake:      evaluator.NewScalar(),
	}
	var err error
	if l.server, err = l.conf.Server(); err != nil {
		t.Fatal(err)
	}
	private, err := l.server.Deserialize.DecodePrivateKey(l.ake[:])
	if err != nil {
		t.Fatal(err)
	}
	public := l.ake.Public()
	if err := l.server.SetKeyMaterial(&opaque.ServerKeyMaterial{
		Identity: l.vault, PrivateKey: private, PublicKeyBytes: public[:],
	}); err != nil {
		t.Fatal(err)
	}
	return l
}

// register has the library's client register with our response.
func (l *library) register(t *rapid.T) *message.RegistrationRecord {
	client, err := l.conf.Client()
	if err != nil {
		t.Fatal(err)
	}
	request, err := client.RegistrationInit(l.password)
	if err != nil {
		t.Fatal(err)
	}
	oprf, err := l.server.Deserialize.DecodePrivateKey(l.oprf[:])
	if err != nil {
		t.Fatal(err)
	}
	want, err := l.server.RegistrationResponse(request, nil, oprf)
	if err != nil {
		t.Fatal(err)
	}
	ours := opaque3dh.RegistrationResponse(l.mul(t, l.oprf, evaluator.Point(request.Serialize())), l.ake.Public())
	if !bytes.Equal(ours[:], want.Serialize()) {
		t.Fatalf("registration response %x, want %x", ours, want.Serialize())
	}
	response, err := client.Deserialize.RegistrationResponse(ours[:])
	if err != nil {
		t.Fatal(err)
	}
	record, _, err := client.RegistrationFinalize(response, l.client, l.vault)
	if err != nil {
		t.Fatal(err)
	}
	return record
}

func (l *library) mul(t *rapid.T, s evaluator.Scalar, p evaluator.Point) evaluator.Point {
	q, err := s.Mul(p)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// respond answers KE1 with the library's server, with the random values of login.
func (l *library) respond(t *rapid.T, login *opaque3dh.Login, record *message.RegistrationRecord) (*message.KE2, *opaque.ServerOutput) {
	d := l.server.Deserialize
	ke1, err := d.KE1(login.KE1.Append(nil))
	if err != nil {
		t.Fatal(err)
	}
	oprf, err := d.DecodePrivateKey(l.oprf[:])
	if err != nil {
		t.Fatal(err)
	}
	ephemeral, err := d.DecodePrivateKey(login.Ephemeral[:])
	if err != nil {
		t.Fatal(err)
	}
	ke2, out, err := l.server.GenerateKE2(ke1,
		&opaque.ClientRecord{RegistrationRecord: record, ClientIdentity: l.client},
		&opaque.ServerOptions{
			ClientOPRFKey: oprf,
			MaskingNonce:  login.MaskingNonce[:],
			AKE:           &opaque.AKEOptions{SecretKeyShare: ephemeral, Nonce: login.ServerNonce[:]},
		})
	if err != nil {
		t.Fatal(err)
	}
	return ke2, out
}

// TestLibrary registers and logs in with the library's client, and wants every byte
// that its server would have sent.
func TestLibrary(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := newLibrary(t)
		uploaded := l.register(t)
		record, err := opaque3dh.ParseRecord(uploaded.Serialize())
		if err != nil {
			t.Fatal(err)
		}
		client, err := l.conf.Client()
		if err != nil {
			t.Fatal(err)
		}
		first, err := client.GenerateKE1(l.password)
		if err != nil {
			t.Fatal(err)
		}
		ke1, err := opaque3dh.ParseKE1(first.Serialize())
		if err != nil {
			t.Fatal(err)
		}
		login := &opaque3dh.Login{
			Context: l.conf.Context, ClientIdentity: l.client, ServerIdentity: l.vault,
			Record: record, ServerPublic: l.ake.Public(), KE1: ke1,
			Evaluated: l.mul(t, l.oprf, ke1.Blinded), Static: l.mul(t, l.ake, ke1.KeyShare),
			MaskingNonce: evaluator.NewScalar(), ServerNonce: evaluator.NewScalar(), Ephemeral: evaluator.NewScalar(),
		}
		ours, err := opaque3dh.Respond(login)
		if err != nil {
			t.Fatal(err)
		}
		ke2, out := l.respond(t, login, uploaded)
		for what, pair := range map[string][2][]byte{
			"KE2":         {ours.KE2[:], ke2.Serialize()},
			"client MAC":  {ours.ClientMAC[:], out.ClientMAC},
			"session key": {ours.SessionKey[:], out.SessionSecret},
		} {
			if !bytes.Equal(pair[0], pair[1]) {
				t.Errorf("%s %x, the library's server has %x", what, pair[0], pair[1])
			}
		}
		l.finish(t, client, ours)
	})
}

// finish has the library's client take our KE2.
func (l *library) finish(t *rapid.T, client *opaque.Client, ours *opaque3dh.Reply) {
	ke2, err := client.Deserialize.KE2(ours.KE2[:])
	if err != nil {
		t.Fatal(err)
	}
	ke3, session, _, err := client.GenerateKE3(ke2, l.client, l.vault)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(ke3.Serialize(), ours.ClientMAC[:]) {
		t.Errorf("KE3 %x, want %x", ke3.Serialize(), ours.ClientMAC)
	}
	if !bytes.Equal(session, ours.SessionKey[:]) {
		t.Errorf("session key %x, want %x", session, ours.SessionKey)
	}
}
