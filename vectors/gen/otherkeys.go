package main

import (
	"crypto/hpke"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"

	"github.com/coffer-backup/coffer/vectors"
	"github.com/coffer-backup/coffer/vectors/build"
)

// The keys of slots of kinds 3 to 5, as the token or service would have them.
var (
	tokenKey  = chosen("token key")
	xwingSeed = chosen("X-Wing seed")
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// rsaKey returns a private key of 2048 bits, PKCS #8.
func rsaKey(f *fixtures) []byte {
	return f.get("RSA key", nil, func() []byte {
		return must(x509.MarshalPKCS8PrivateKey(must(rsa.GenerateKey(rand.Reader, 2048))))
	})
}

// otherParams are those of such a slot.
func otherParams(kind uint16, mech byte) []byte {
	switch kind {
	case 3:
		return build.PKCS11Params(mech, "", "", nil)
	case 4:
		return build.TinkParams("backup")
	}
	return build.KEMParams()
}

// otherSlot makes a slot of kind 3, with its mech, 4 or 5, as § 4.5.6 says.
func otherSlot(f *fixtures, core, salt, fk []byte, kind uint16, mech byte) build.Entry {
	params := otherParams(kind, mech)
	bind := build.Bind(core, kind, salt, params)
	both := append(append([]byte(nil), fk...), bind...)
	iv := salt[:12]
	switch {
	case kind == 5:
		return build.Slot(kind, salt, params, f.get("HPKE", both, func() []byte {
			key := must(hpke.MLKEM768X25519().NewPrivateKey(xwingSeed))
			return must(hpke.Seal(key.PublicKey(), hpke.HKDFSHA256(), hpke.ChaCha20Poly1305(), append([]byte("coffer v1 hpke"), bind...), fk))
		}))
	case kind == 4:
		return build.Slot(kind, salt, params, build.Sized(append(build.TinkPrefix(), build.WrapGCM(tokenKey, iv, both, bind)...)))
	case mech == build.MechGCM:
		return build.Slot(kind, salt, params, build.Sized(build.WrapGCM(tokenKey, iv, both, nil)))
	case mech == build.MechKW:
		return build.Slot(kind, salt, params, build.Sized(build.WrapKW(tokenKey, both)))
	case mech == build.MechKWP:
		return build.Slot(kind, salt, params, build.Sized(build.WrapKWP(tokenKey, both)))
	}
	return build.Slot(kind, salt, params, build.Sized(f.get("RSA-OAEP", both, func() []byte {
		key := must(x509.ParsePKCS8PrivateKey(rsaKey(f))).(*rsa.PrivateKey)
		return must(rsa.EncryptOAEP(sha256.New(), rand.Reader, &key.PublicKey, both, nil))
	})))
}

// otherKeyCases are those of kinds 3 to 5, which a decoder may lack.
func otherKeyCases(s *set) {
	f := s.fixtures
	keyOf := func(kind uint16, mech byte) vectors.OtherKey {
		switch {
		case kind == 5:
			return vectors.OtherKey{Kind: 5, Type: "xwing-seed", Key: xwingSeed}
		case mech == build.MechRSAOAEP:
			return vectors.OtherKey{Kind: 3, Type: "rsa-pkcs8", Key: rsaKey(f)}
		}
		return vectors.OtherKey{Kind: int(kind), Type: "aes-256", Key: tokenKey}
	}
	slot := func(kind uint16, mech byte, label string) slotMaker {
		return func(d *draft, core []byte) build.Entry {
			return otherSlot(f, core, chosen(d.name+": "+label), d.recipe.FileKey, kind, mech)
		}
	}
	// need says what a decoder without this kind reports.
	need := func(d *draft, kind uint16, without vectors.Class) {
		d.Needs, d.ClassWithout = "kind-"+itoa(int(kind)), without
	}
	only := func(kind uint16, mech byte) func(d *draft) {
		return func(d *draft) {
			d.Inputs.AccountKeys, d.Inputs.OtherKeys = nil, []vectors.OtherKey{keyOf(kind, mech)}
			d.Inputs.AllowAnonymous = mech == build.MechRSAOAEP
			need(d, kind, vectors.NoKey)
		}
	}
	for _, k := range []struct {
		kind uint16
		mech byte
		name string
	}{{3, build.MechGCM, "gcm"}, {3, build.MechKW, "kw"}, {3, build.MechKWP, "kwp"}, {3, build.MechRSAOAEP, "rsa-oaep"}, {4, 0, "tink"}, {5, 0, "hpke"}} {
		s.keys("other-"+k.name, "a slot of kind "+itoa(int(k.kind))+", "+k.name, "3.3 4.5.6 3.3.2", vectors.OK, only(k.kind, k.mech), slot(k.kind, k.mech, "slot"))
		s.keys("moved-"+k.name, k.name+": a slot that was moved here from another file", "4.5.1 4.5.6 8.4.18", vectors.NoKey, only(k.kind, k.mech),
			func(d *draft, core []byte) build.Entry {
				salt := chosen(d.name + ": slot")
				e := otherSlot(f, append(append([]byte(nil), core[:8]...), make([]byte, 48)...), salt, d.recipe.FileKey, k.kind, k.mech)
				return e
			})
	}

	mine := accountOf(accountKey, "mine")
	both := func(kind uint16, mech byte, allow bool, class, without vectors.Class) func(d *draft) {
		return func(d *draft) {
			d.Inputs.AccountKeys = []vectors.Hex{chosen("another account key")}
			d.Inputs.OtherKeys = []vectors.OtherKey{keyOf(kind, mech)}
			d.Inputs.AllowAnonymous = allow
			need(d, kind, without)
			d.Class = class
		}
	}
	s.keys("anonymous-not-allowed", "an account key that does not fit, and a kind 5 slot that would: not allowed", "4.5.9 8.4.19", vectors.Limit,
		both(5, 0, false, vectors.Limit, vectors.NoKey), slot(5, 0, "slot"))
	s.keys("anonymous-allowed", "an account key that does not fit, and a kind 5 slot that does: allowed", "4.5.9", vectors.OK,
		both(5, 0, true, vectors.OK, vectors.NoKey), slot(5, 0, "slot"))
	s.keys("anonymous-rsa", "an account key that does not fit, and a mech 4 slot that would: not allowed", "4.5.9 8.4.19", vectors.Limit,
		both(3, build.MechRSAOAEP, false, vectors.Limit, vectors.NoKey), slot(3, build.MechRSAOAEP, "slot"))
	s.keys("anonymous-rsa-only", "no other key than one for a mech 4 slot: not allowed, as a token's key may be of any mech", "4.5.9 8.4.19", vectors.Limit,
		func(d *draft) {
			only(3, build.MechRSAOAEP)(d)
			d.Inputs.AllowAnonymous = false
		}, slot(3, build.MechRSAOAEP, "slot"))
	s.keys("anonymous-not-needed", "a kind 5 slot that is not allowed, and an account slot that opens", "4.5.9 4.5.7", vectors.OK,
		func(d *draft) {
			d.Inputs.OtherKeys = []vectors.OtherKey{keyOf(5, 0)}
			need(d, 5, vectors.OK)
		}, slot(5, 0, "slot"), mine)

	stranger := func(label string) slotMaker {
		return func(d *draft, core []byte) build.Entry {
			return build.Slot(3, chosen(d.name+": "+label), build.PKCS11Params(build.MechGCM, "", "", nil), build.Sized(make([]byte, 92)))
		}
	}
	s.keys("attempts-4", "the fourth kind 3 slot fits", "4.5.7 9.1", vectors.OK, only(3, build.MechGCM),
		stranger("1"), stranger("2"), stranger("3"), slot(3, build.MechGCM, "slot"))
	s.keys("attempts-5", "the fifth kind 3 slot fits, and four may be tried", "4.5.7 8.4.19 9.1", vectors.Limit, only(3, build.MechGCM),
		stranger("1"), stranger("2"), stranger("3"), stranger("4"), slot(3, build.MechGCM, "slot"))
}
