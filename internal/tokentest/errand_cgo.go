//go:build cgo

package tokentest

import (
	"crypto/ecdh"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"os"
	"unsafe"

	"github.com/miekg/pkcs11"
)

func (e errand) do() error {
	p := pkcs11.New(e.Module)
	if p == nil {
		return fmt.Errorf("loading %s failed", e.Module)
	}
	var opts []pkcs11.InitializeOption
	if e.InitArgs != "" {
		text := append([]byte(e.InitArgs), 0)
		opts = append(opts, pkcs11.InitializeWithReserved(unsafe.Pointer(&text[0])))
	}
	if err := p.Initialize(opts...); err != nil {
		return err
	}
	session, err := e.login(p)
	if err != nil {
		return err
	}
	if e.Wrap != 0 {
		wrapped, err := e.wrapEC(p, session)
		if err != nil {
			return err
		}
		if _, err := os.Stdout.Write(wrapped); err != nil {
			return err
		}
		return p.Finalize()
	}
	objects, err := e.objects()
	if err != nil {
		return err
	}
	for _, o := range objects {
		if _, err := p.CreateObject(session, o); err != nil {
			return fmt.Errorf("C_CreateObject: %w", err)
		}
	}
	if e.Destroy {
		if err := e.destroy(p, session); err != nil {
			return err
		}
	}
	return p.Finalize()
}

func (e errand) login(p *pkcs11.Ctx) (pkcs11.SessionHandle, error) {
	slots, err := p.GetSlotList(true)
	if err != nil {
		return 0, err
	}
	for _, slot := range slots {
		if info, err := p.GetTokenInfo(slot); err != nil || info.Label != e.Token {
			continue
		}
		session, err := p.OpenSession(slot, pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
		if err != nil {
			return 0, err
		}
		return session, p.Login(session, pkcs11.CKU_USER, e.PIN)
	}
	return 0, fmt.Errorf("there is no token %q", e.Token)
}

func (e errand) destroy(p *pkcs11.Ctx, session pkcs11.SessionHandle) error {
	if err := p.FindObjectsInit(session, []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_LABEL, e.Label)}); err != nil {
		return err
	}
	found, _, err := p.FindObjects(session, 100)
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("there is no key %q", e.Label)
	}
	if err == nil {
		err = p.FindObjectsFinal(session)
	}
	for _, o := range found {
		err = errors.Join(err, p.DestroyObject(session, o))
	}
	return err
}

// wrapEC wraps a private key that lasts as long as the session.
func (e errand) wrapEC(p *pkcs11.Ctx, session pkcs11.SessionHandle) ([]byte, error) {
	template := append(e.ecPrivate(), pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_PRIVATE_KEY),
		pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_EC),
		pkcs11.NewAttribute(pkcs11.CKA_TOKEN, false),
		pkcs11.NewAttribute(pkcs11.CKA_SENSITIVE, false),
		pkcs11.NewAttribute(pkcs11.CKA_EXTRACTABLE, true))
	key, err := p.CreateObject(session, template)
	if err != nil {
		return nil, fmt.Errorf("C_CreateObject: %w", err)
	}
	if err := p.FindObjectsInit(session, []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_LABEL, e.Label)}); err != nil {
		return nil, err
	}
	found, _, err := p.FindObjects(session, 2)
	if err != nil || len(found) != 1 {
		return nil, fmt.Errorf("%d keys %q: %w", len(found), e.Label, err)
	}
	if err := p.FindObjectsFinal(session); err != nil {
		return nil, err
	}
	return p.WrapKey(session, []*pkcs11.Mechanism{pkcs11.NewMechanism(e.Wrap, nil)}, found[0], key)
}

// p256 is the OID of P-256.
var p256 = []byte{6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7}

func (e errand) ecPoint() []byte {
	key, err := ecdh.P256().NewPrivateKey(e.EC)
	if err != nil {
		panic(err)
	}
	return key.PublicKey().Bytes()
}

func (e errand) ecPrivate() []*pkcs11.Attribute {
	private := []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_EC_PARAMS, p256),
		pkcs11.NewAttribute(pkcs11.CKA_VALUE, e.EC),
	}
	if e.InitArgs != "" { // NSS does not compute it
		const ckaNSSDB = 0xD5A0DB00
		private = append(private, pkcs11.NewAttribute(ckaNSSDB, e.ecPoint()))
	}
	return private
}

func (e errand) objects() ([][]*pkcs11.Attribute, error) {
	// A new ID each, because NSS replaces a key by the next one of its ID.
	id := make([]byte, 16)
	rand.Read(id)
	common := func(class, keyType uint, private bool, more ...*pkcs11.Attribute) []*pkcs11.Attribute {
		return append([]*pkcs11.Attribute{
			pkcs11.NewAttribute(pkcs11.CKA_CLASS, class),
			pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, keyType),
			pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true),
			pkcs11.NewAttribute(pkcs11.CKA_PRIVATE, private),
			pkcs11.NewAttribute(pkcs11.CKA_LABEL, e.Label),
			pkcs11.NewAttribute(pkcs11.CKA_ID, id),
		}, more...)
	}
	secret := []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_SENSITIVE, true),
		pkcs11.NewAttribute(pkcs11.CKA_EXTRACTABLE, false),
	}
	switch {
	case e.AES != nil:
		encrypt := e.Usage == Encrypt
		return [][]*pkcs11.Attribute{common(pkcs11.CKO_SECRET_KEY, pkcs11.CKK_AES, true, append(secret,
			pkcs11.NewAttribute(pkcs11.CKA_VALUE, e.AES),
			pkcs11.NewAttribute(pkcs11.CKA_ENCRYPT, encrypt),
			pkcs11.NewAttribute(pkcs11.CKA_DECRYPT, encrypt),
			pkcs11.NewAttribute(pkcs11.CKA_WRAP, !encrypt),
			pkcs11.NewAttribute(pkcs11.CKA_UNWRAP, !encrypt),
		)...)}, nil
	case e.MAC != nil:
		return [][]*pkcs11.Attribute{common(pkcs11.CKO_SECRET_KEY, pkcs11.CKK_GENERIC_SECRET, true, append(secret,
			pkcs11.NewAttribute(pkcs11.CKA_VALUE, e.MAC),
			pkcs11.NewAttribute(pkcs11.CKA_SIGN, true),
		)...)}, nil
	case e.EC != nil:
		return [][]*pkcs11.Attribute{
			common(pkcs11.CKO_PRIVATE_KEY, pkcs11.CKK_EC, true, append(append(secret, e.ecPrivate()...),
				pkcs11.NewAttribute(pkcs11.CKA_SIGN, e.Usage == Sign),
				pkcs11.NewAttribute(pkcs11.CKA_DERIVE, e.Usage == Derive),
			)...),
			common(pkcs11.CKO_PUBLIC_KEY, pkcs11.CKK_EC, false,
				pkcs11.NewAttribute(pkcs11.CKA_EC_PARAMS, p256),
				pkcs11.NewAttribute(pkcs11.CKA_EC_POINT, append([]byte{4, 65}, e.ecPoint()...)),
			),
		}, nil
	case e.RSA != nil:
		key, err := x509.ParsePKCS8PrivateKey(e.RSA)
		if err != nil {
			return nil, err
		}
		k, ok := key.(*rsa.PrivateKey)
		if !ok {
			return nil, errors.New("it is no RSA key")
		}
		public := []*pkcs11.Attribute{
			pkcs11.NewAttribute(pkcs11.CKA_MODULUS, k.N.Bytes()),
			pkcs11.NewAttribute(pkcs11.CKA_PUBLIC_EXPONENT, big.NewInt(int64(k.E)).Bytes()),
		}
		private := append(append(secret, public...),
			pkcs11.NewAttribute(pkcs11.CKA_PRIVATE_EXPONENT, k.D.Bytes()),
			pkcs11.NewAttribute(pkcs11.CKA_PRIME_1, k.Primes[0].Bytes()),
			pkcs11.NewAttribute(pkcs11.CKA_PRIME_2, k.Primes[1].Bytes()),
			pkcs11.NewAttribute(pkcs11.CKA_EXPONENT_1, k.Precomputed.Dp.Bytes()),
			pkcs11.NewAttribute(pkcs11.CKA_EXPONENT_2, k.Precomputed.Dq.Bytes()),
			pkcs11.NewAttribute(pkcs11.CKA_COEFFICIENT, k.Precomputed.Qinv.Bytes()),
			pkcs11.NewAttribute(pkcs11.CKA_DECRYPT, true),
			pkcs11.NewAttribute(pkcs11.CKA_SIGN, false),
			pkcs11.NewAttribute(pkcs11.CKA_UNWRAP, false),
		)
		return [][]*pkcs11.Attribute{
			common(pkcs11.CKO_PRIVATE_KEY, pkcs11.CKK_RSA, true, private...),
			common(pkcs11.CKO_PUBLIC_KEY, pkcs11.CKK_RSA, false, public...),
		}, nil
	}
	return nil, nil
}
