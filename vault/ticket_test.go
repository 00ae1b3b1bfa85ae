package vault

import (
	"crypto"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coffer-backup/coffer/vault/internal/machine"
	"github.com/coffer-backup/coffer/vault/wire"
)

// ticketed are the calls that need a ticket, and what for.
func (v *testVault) ticketed(ticket string) map[TicketOp]wire.Request {
	begin := v.enrol(alice, password, 2).begin
	start := v.guess(alice, password).start
	owner := wire.Owner{Ticket: ticket, Op: wire.OpDelete}
	begin.Ticket, start.Ticket = ticket, ticket
	return map[TicketOp]wire.Request{
		TicketRecover: &start, TicketRegister: &begin, TicketOwner: &owner, TicketStatus: &wire.Status{Ticket: ticket},
	}
}

// A forger makes tickets of any form.
type forger struct {
	header, claims map[string]any
	raw            func(header, claims string) (string, string) // changes their JSON
	sign           func(input string) []byte
}

func (v *testVault) forger(op TicketOp) *forger {
	now := v.now().Unix()
	return &forger{
		header: map[string]any{"alg": "EdDSA", "typ": ticketType, "kid": v.issuer.ID},
		claims: map[string]any{
			"aud": v.issuer.Vault, "sub": alice, "op": op, "iat": now, "exp": now + 600,
			"jti": rand.Text() + rand.Text(),
		},
		sign: func(input string) []byte { return ed25519.Sign(v.issuer.Key, []byte(input)) },
	}
}

func (f *forger) ticket() string {
	header, claims := string(must(json.Marshal(f.header))), string(must(json.Marshal(f.claims)))
	if f.raw != nil {
		header, claims = f.raw(header, claims)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	input := b64([]byte(header)) + "." + b64([]byte(claims))
	return input + "." + b64(f.sign(input))
}

// forgeries are tickets that no vault must take. Each is a good one but for one thing.
func forgeries(v *testVault) map[string]func(*forger) {
	now := v.now().Unix()
	_, other, _ := ed25519.GenerateKey(nil)
	public := v.issuer.Key.Public().(ed25519.PublicKey)
	set := func(part func(*forger) map[string]any, name string, value any) func(*forger) {
		return func(f *forger) {
			if part(f)[name] = value; value == nil {
				delete(part(f), name)
			}
		}
	}
	header := func(name string, value any) func(*forger) {
		return set(func(f *forger) map[string]any { return f.header }, name, value)
	}
	claim := func(name string, value any) func(*forger) {
		return set(func(f *forger) map[string]any { return f.claims }, name, value)
	}
	times := func(iat, exp any) func(*forger) {
		return func(f *forger) { f.claims["iat"], f.claims["exp"] = iat, exp }
	}
	doubled := func(extra string) func(*forger) {
		return func(f *forger) {
			f.raw = func(header, claims string) (string, string) { return header, claims[:len(claims)-1] + extra + "}" }
		}
	}
	return map[string]func(*forger){
		"expired": times(now-800, now-121), "expired just now": times(now-720, now-120), "of the future": times(now+121, now+500),
		"too long": times(now, now+601), "backwards": times(now+10, now+9), "no iat": claim("iat", nil), "no exp": claim("exp", nil),
		"huge": times(now, 1e300), "a time of no number": times("NaN", now),
		"another vault": claim("aud", newTestVault(v.t).issuer.Vault), "no vault": claim("aud", nil), "an empty vault": claim("aud", ""),
		"two vaults": claim("aud", []string{v.issuer.Vault, "x"}), "the vault twice": claim("aud", []string{v.issuer.Vault, v.issuer.Vault}),
		"no vaults": claim("aud", []string{}), "a part of the vault's id": claim("aud", v.issuer.Vault[:42]),
		"no subject": claim("sub", nil), "an empty subject": claim("sub", ""), "a space": claim("sub", "alice smith"), "a slash": claim("sub", "a/b"),
		"not ASCII": claim("sub", "ælice"), "a zero byte": claim("sub", "alice\x00"), "a long subject": claim("sub", strings.Repeat("a", 129)),
		"a number for a subject": claim("sub", 7),
		"no op":                  claim("op", nil), "an unknown op": claim("op", "admin"), "ops": claim("op", []string{"recover", "register", "owner", "status"}),
		"no id": claim("jti", nil), "a short id": claim("jti", "123456789012345"), "a long id": claim("jti", strings.Repeat("x", 65)),
		"no kid": header("kid", nil), "an unknown kid": header("kid", "other"), "a number for a kid": header("kid", 1), "a path for a kid": header("kid", "../app"),
		"no typ": header("typ", nil), "another typ": header("typ", "JWT"), "an empty typ": header("typ", ""),
		"no alg": header("alg", nil), "alg none": func(f *forger) {
			f.header["alg"] = "none"
			f.sign = func(string) []byte { return nil }
		},
		"alg none, signed": header("alg", "none"), "alg ES256": header("alg", "ES256"), "alg eddsa": header("alg", "eddsa"),
		"alg HS256 under the public key": func(f *forger) {
			f.header["alg"] = "HS256"
			f.sign = func(input string) []byte {
				h := hmac.New(sha256.New, public)
				h.Write([]byte(input))
				return h.Sum(nil)
			}
		},
		"alg RS256": func(f *forger) {
			f.header["alg"] = "RS256"
			f.sign = func(input string) []byte {
				sum := sha256.Sum256([]byte(input))
				return must(rsa.SignPKCS1v15(nil, must(rsa.GenerateKey(rand.Reader, 2048)), crypto.SHA256, sum[:]))
			}
		},
		"a key of its own": func(f *forger) {
			f.header["jwk"] = map[string]any{"kty": "OKP", "crv": "Ed25519", "x": other.Public()}
			f.sign = func(input string) []byte { return ed25519.Sign(other, []byte(input)) }
		},
		"another key": func(f *forger) { f.sign = func(input string) []byte { return ed25519.Sign(other, []byte(input)) } },
		"no signature": func(f *forger) {
			f.sign = func(string) []byte { return nil }
		},
		"a short signature":        func(f *forger) { sign := f.sign; f.sign = func(s string) []byte { return sign(s)[:63] } },
		"a long signature":         func(f *forger) { sign := f.sign; f.sign = func(s string) []byte { return append(sign(s), 0) } },
		"what is critical":         header("crit", []string{"exp"}),
		"the subject twice":        doubled(`,"sub":"bob"`),
		"the operation twice":      doubled(`,"op":"recover"`),
		"the operation in capital": doubled(`,"OP":"recover"`),
		"the vault twice, too":     doubled(`,"aud":"` + v.issuer.Vault + `"`),
		"more claims, twice":       doubled(`,"x":{"x":1},"y":1,"x":2`),
		"the key id twice": func(f *forger) {
			f.raw = func(h, c string) (string, string) { return `{"kid":"x",` + h[1:], c }
		},
		"no JSON":           func(f *forger) { f.raw = func(h, c string) (string, string) { return h, c[1:] } },
		"JSON and more":     func(f *forger) { f.raw = func(h, c string) (string, string) { return h, c + "{}" } },
		"a header and more": func(f *forger) { f.raw = func(h, c string) (string, string) { return h + "{}", c } },
		"null":              func(f *forger) { f.raw = func(h, _ string) (string, string) { return h, "null" } },
	}
}

// TestTicketsRefused: whatever is wrong with a ticket, for whatever it is, the answer is
// the same, and nothing changes.
func TestTicketsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newTestVault(t)
		v.registered(alice, password)
		v.unwritten(func() {
			for op := range v.ticketed("") {
				for what, forge := range forgeries(v) {
					f := v.forger(op)
					forge(f)
					v.refuse(v.Server, what, v.ticketed(f.ticket())[op])
				}
				for _, other := range []TicketOp{TicketRecover, TicketRegister, TicketOwner, TicketStatus} {
					if other != op {
						v.refuse(v.Server, "for "+string(other), v.ticketed(v.ticket(alice, other))[op])
					}
				}
				good := v.ticket(alice, op)
				parts := strings.Split(good, ".")
				for what, text := range map[string]string{
					"none": "", "dots": "..", "two parts": parts[0] + "." + parts[1], "four parts": good + "." + parts[2],
					"no signature": parts[0] + "." + parts[1] + ".", "padding": good + "=", "a line": good + "\n", "a space": " " + good,
					"other base64": strings.ReplaceAll(strings.ReplaceAll(good, "-", "+"), "_", "/") + "+", "JSON": `{"payload":""}`,
					"much": good + strings.Repeat("A", wire.MaxTicket-len(good)),
				} {
					v.refuse(v.Server, what, v.ticketed(text)[op])
				}
				for _, i := range []int{0, len(parts[0]) + 1, len(good) - 10, len(good) - 1} {
					changed := []byte(good)
					if changed[i]++; changed[i] == good[i] {
						continue
					}
					v.refuse(v.Server, fmt.Sprint("byte ", i), v.ticketed(string(changed))[op])
				}
			}
		})
		// What is forged is good but for the forgery.
		for op, code := range map[TicketOp]wire.Code{TicketRecover: wire.OK, TicketRegister: wire.OK, TicketOwner: wire.Stale, TicketStatus: wire.OK} {
			v.expect(v.Server, v.ticketed(v.forger(op).ticket())[op], code)
		}
	})
}

// TestTicketsTaken has tickets at the edge of what is allowed.
func TestTicketsTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newTestVault(t)
		now := v.now().Unix()
		for what, forge := range map[string]func(*forger){
			"a list of one vault": func(f *forger) { f.claims["aud"] = []string{v.issuer.Vault} },
			"a short id":          func(f *forger) { f.claims["jti"] = "1234567890123456" },
			"a long id":           func(f *forger) { f.claims["jti"] = strings.Repeat("y", 64) },
			"all characters":      func(f *forger) { f.claims["sub"] = "azAZ09._~@+-" },
			"a long subject":      func(f *forger) { f.claims["sub"] = strings.Repeat("a", 128) },
			"nearly expired":      func(f *forger) { f.claims["iat"], f.claims["exp"] = now-700, now-115 },
			"nearly of the past":  func(f *forger) { f.claims["iat"], f.claims["exp"] = now+115, now+715 },
			"no time at all":      func(f *forger) { f.claims["iat"], f.claims["exp"] = now, now },
			"more claims":         func(f *forger) { f.claims["iss"], f.claims["nbf"] = "app", now+10_000 },
		} {
			f := v.forger(TicketStatus)
			forge(f)
			if r, err := v.call(v.Server, &wire.Status{Ticket: f.ticket()}); err != nil || r.Code != wire.OK {
				t.Errorf("%s: %+v, %v", what, r, err)
			}
		}
	})
}

// TestTicketOnce has one ticket at three servers at once, for attempts of different
// people: one of them begins.
func TestTicketOnce(t *testing.T) {
	v := newTestVault(t)
	v.registered(alice, password)
	nodes := []*Server{v.Server, v.node(nil), v.node(nil)}
	for op, kind := range map[TicketOp]uint8{TicketRecover: machine.LogStart, TicketRegister: machine.LogRegBegin} {
		before, text := v.count(kind), v.ticket(alice, op)
		var mu sync.Mutex
		codes := map[wire.Code]int{}
		var wg sync.WaitGroup
		for n := range 9 {
			request := v.ticketed(text)[op]
			wg.Go(func() {
				r, err := v.call(nodes[n%3], request)
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					t.Error(err)
				} else {
					codes[r.Code]++
				}
			})
		}
		wg.Wait()
		if codes[wire.OK] != 1 || codes[wire.Used] != 8 || v.count(kind) != before+1 {
			t.Errorf("%s: %v, and %d in the log", op, codes, v.count(kind)-before)
		}
	}
}

// TestTicketOfAll: what a ticket was used for, it is used up for all.
func TestTicketOfAll(t *testing.T) {
	v := newTestVault(t)
	owner := v.registered(alice, password).owner
	gen := v.status(v.Server, alice).State.Gen
	freeze := v.orders(alice, owner, wire.OpFreeze, gen, v.now().Unix()+1)
	v.expect(v.Server, freeze, wire.OK)
	other := v.orders(alice, owner, wire.OpDelete, gen, 0)
	jti := must(idOfTicket(freeze.Ticket))
	for _, op := range []TicketOp{TicketRecover, TicketRegister} {
		f := v.forger(op)
		f.claims["jti"] = jti
		v.unwritten(func() { v.expect(v.Server, v.ticketed(f.ticket())[op], wire.Used) })
	}
	f := v.forger(TicketOwner)
	f.claims["jti"] = jti
	other.Ticket = f.ticket()
	copy(other.Signature[:], ed25519.Sign(owner, ownerMessage(v.issuer.Vault, alice, gen, other.Op, jti, 0)))
	v.unwritten(func() { v.expect(v.Server, other, wire.Used) })
}

// TestTicketsFull: a record remembers so many tickets, and others wait until it has
// forgotten some. Who has nothing but tickets keeps no owner out by that.
func TestTicketsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newTestVault(t)
		owner := v.registered(alice, password).owner
		gen := v.status(v.Server, alice).State.Gen
		free := v.now().Unix() + int64((MaxTicketTime+ticketSkew)/time.Second) + 1 // when the first place is
		full := func(what string, r wire.Request, after int64) {
			t.Helper()
			v.unwritten(func() {
				if r := v.expect(v.Server, r, wire.Wait); r.Until != free+after {
					t.Errorf("%s: wait for %d s, want %d", what, r.Until-v.now().Unix(), free+after-v.now().Unix())
				}
			})
		}
		begin := func() wire.Request { return &v.enrol(alice, password, 2).begin }
		start := func() wire.Request { return &v.guess(alice, password).start }
		order := func() wire.Request { return v.orders(alice, owner, wire.OpUnfreeze, gen, 0) }
		login := func() { v.expect(v.Server, v.guess(alice, password).on(v.Server).ends(release), wire.OK) }
		for n := 1; n < machine.MaxUsed; n++ { // each a second after the one before; the first was the registration
			time.Sleep(time.Second)
			if n == 8 {
				full("a registration", begin(), 0)
			}
			if n < 12 {
				login()
				continue
			}
			full("an attempt", start(), int64(n)-12)
			v.expect(v.Server, order(), wire.OK)
		}
		for range 2 {
			full("a registration", begin(), machine.MaxUsed-8)
			full("an attempt", start(), machine.MaxUsed-12)
			full("an owner", order(), 0)
			time.Sleep(time.Until(time.Unix(free-1, 0)))
		}
		time.Sleep(time.Second)
		v.expect(v.Server, order(), wire.OK)
		full("an owner", order(), 1)
		time.Sleep(machine.MaxUsed * time.Second)
		login()
	})
}

// TestTicketAgain: a ticket that was used is worth nothing as long as it is valid.
func TestTicketAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newTestVault(t)
		v.registered(alice, password)
		g := v.guess(alice, password).on(v.Server)
		v.expect(v.Server, g.ends(release), wire.OK)
		const step = 10
		for at := 0; at < 900; at += step {
			again := v.guess(alice, password)
			again.start.Ticket = g.start.Ticket
			r, err := v.call(v.Server, &again.start)
			switch {
			case at >= int((MaxTicketTime+ticketSkew)/time.Second):
				if err != ErrRefused {
					t.Fatalf("after %d s: %+v, %v", at, r, err)
				}
			case err != nil || r.Code != wire.Used:
				t.Fatalf("after %d s: %+v, %v", at, r, err)
			}
			if at%300 == 0 { // has the record forget what it can
				v.expect(v.Server, v.guess(alice, password).on(v.Server).ends(release), wire.OK)
			}
			time.Sleep(step * time.Second)
		}
	})
}
