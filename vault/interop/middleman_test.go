package interop_test

import (
	"context"
	"crypto/sha256"
	"strings"
	"testing"

	"github.com/coffer-backup/coffer/vault"
	"github.com/coffer-backup/coffer/vault/evaluator"
	"github.com/coffer-backup/coffer/vault/wire"
)

// loginAt is where the vault's half of an attempt begins in a reply, and begunAt where its
// answer to a registration does.
const (
	loginAt = 2 + 3 + 8
	begunAt = loginAt
)

// Whatever somebody in between changes, even with the statement key, the client in
// JavaScript notices, and does on the wire as with a wrong password.
func TestMiddlemanOfJS(t *testing.T) {
	w := newWorld(t, startNode(t), newSoftware(t, evaluator.GenerateSoftware()))
	another := evaluator.NewScalar()
	point := another.Public()
	forged := w.d
	forged.AKE = []vault.AKE{{ID: 1, Key: point[:]}}
	stretch := func(mib, passes byte) func(_, reply []byte) {
		return func(_, reply []byte) {
			copy(reply[loginAt+wire.KE2Size+wire.TokenSize:], []byte{0, 0, mib << 2, 0, passes})
		}
	}
	reflected := func(request, reply []byte) {
		copy(reply[loginAt:], request[len(request)-wire.KE1Size:][:wire.PointSize])
	}
	for name, c := range map[string]struct {
		relay
		signed bool
		kind   string
	}{
		"signature": {relay: relay{change: flip(wire.ReplySize - 1)}, kind: "forged"},
		"token":     {relay: relay{change: flip(loginAt + wire.KE2Size + 60)}, kind: "forged"},
		"padding":   {relay: relay{change: flip(wire.ReplySize - wire.SignatureSize - 1)}, signed: true, kind: "forged"},
		"AKE-key":   {relay: relay{descriptor: w.sign(&forged)}, kind: "forged"},
		"memory":    {relay: relay{change: stretch(18, 3)}, signed: true, kind: "forged"},
		"cost":      {relay: relay{change: stretch(19, 1)}, signed: true, kind: "forged"},
		"passes":    {relay: relay{change: stretch(20, 17)}, signed: true, kind: "forged"},
		"reflected": {relay: relay{change: reflected}, signed: true, kind: "forged"},
		"KE2":       {relay: relay{change: flip(loginAt + 40)}, signed: true, kind: "wrong password"},
	} {
		*w.relay = relay{Transport: w.relay.Transport}
		ring, _ := newRing(t, 1)
		if _, err := w.client.Register(t.Context(), name, []byte("x"), ring, nil); err != nil {
			t.Fatal(err)
		}
		*w.relay = relay{Transport: w.relay.Transport, descriptor: c.descriptor, change: w.between(wire.CallStart, c.change, c.signed)}
		a := w.js("recover", vault.TicketRecover, name, "x")
		if a.Kind != c.kind || len(w.relay.calls) != 2 || w.relay.calls[1] != wire.CallAbort {
			t.Errorf("%s: %+v after %v", name, a, w.relay.calls)
		}
	}
}

func TestMiddlemanOfJSRegistration(t *testing.T) {
	w := newWorld(t, startNode(t), newSoftware(t, evaluator.GenerateSoftware()))
	another := evaluator.NewScalar()
	point := another.Public()
	for name, change := range map[string]func(request, reply []byte){
		"AKE key": func(_, reply []byte) { copy(reply[begunAt+wire.IndexSize+wire.PointSize+2:], point[:]) },
		"AKE id":  flip(begunAt + wire.IndexSize + wire.PointSize + 1),
		"reflected": func(request, reply []byte) {
			copy(reply[begunAt+wire.IndexSize:], request[len(request)-wire.PointSize:])
		},
	} {
		*w.relay = relay{Transport: w.relay.Transport, change: w.between(wire.CallRegBegin, change, true)}
		a := w.js("register", vault.TicketRegister, "ann", "x", strings.Repeat("00", 32))
		if a.Kind != "forged" || len(w.relay.calls) != 1 {
			t.Errorf("%s: %+v after %v", name, a, w.relay.calls)
		}
	}
	*w.relay = relay{Transport: w.relay.Transport, descriptor: []byte(strings.Replace(string(w.sign(&w.d)), `"max":10`, `"max":11`, 1))}
	if a := w.js("register", vault.TicketRegister, "ann", "x", strings.Repeat("00", 32)); a.Kind != "forged" || len(w.relay.calls) != 0 {
		t.Errorf("a descriptor that was changed: %+v after %v", a, w.relay.calls)
	}
}

// between returns a change of the replies to a call, signed again by the vault's key if
// that is asked for.
func (w *world) between(call wire.Call, change func(request, reply []byte), signed bool) func(request, reply []byte) {
	if change == nil {
		return nil
	}
	return func(request, reply []byte) {
		if wire.Call(request[1]) != call {
			return
		}
		change(request, reply)
		if !signed {
			return
		}
		asked := sha256.Sum256(request)
		b := append([]byte("coffer vault v1 reply"), asked[:]...)
		place := reply[len(reply)-wire.SignatureSize:]
		signature, err := w.ev.Sign(context.Background(), sha256.Sum256(append(b, reply[:len(reply)-len(place)]...)))
		if err != nil {
			w.t.Error(err)
		}
		copy(place, signature[:])
	}
}

// flip returns a change of a bit of a reply.
func flip(at int) func(_, reply []byte) { return func(_, reply []byte) { reply[at] ^= 1 } }
