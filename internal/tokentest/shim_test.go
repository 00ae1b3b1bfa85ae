//go:build cgo

package tokentest

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/miekg/pkcs11"
)

// A bench is a session of a SoftHSM through a shim, with a key for GCM and one that
// wraps.
type bench struct {
	*ShimModule
	p          *pkcs11.Ctx
	session    pkcs11.SessionHandle
	gcm, kek   pkcs11.ObjectHandle
	slot       uint
	softhsmPIN string
}

func newBench(t *testing.T) *bench {
	t.Helper()
	soft := SoftHSM(t)
	soft.ImportAES("gcm", make([]byte, 32), Encrypt)
	soft.ImportAES("kek", make([]byte, 32), Wrap)
	b := &bench{ShimModule: Shim(t, soft.Module), softhsmPIN: soft.PIN}
	if b.p = pkcs11.New(b.Module); b.p == nil {
		t.Fatal("the shim was not loaded")
	}
	b.open(t)
	t.Cleanup(func() { b.Clear(); b.p.Finalize(); b.p.Destroy() })
	return b
}

func (b *bench) open(t *testing.T) {
	t.Helper()
	check(t, b.p.Initialize())
	slots, err := b.p.GetSlotList(true)
	check(t, err)
	b.slot = slots[0]
	b.session, err = b.p.OpenSession(b.slot, pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
	check(t, err)
	check(t, b.p.Login(b.session, pkcs11.CKU_USER, b.softhsmPIN))
	b.gcm, b.kek = b.find(t, "gcm"), b.find(t, "kek")
}

func (b *bench) find(t *testing.T, label string) pkcs11.ObjectHandle {
	t.Helper()
	check(t, b.p.FindObjectsInit(b.session, []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_LABEL, label)}))
	found, _, err := b.p.FindObjects(b.session, 2)
	check(t, err)
	check(t, b.p.FindObjectsFinal(b.session))
	if len(found) != 1 {
		t.Fatalf("%d keys %q", len(found), label)
	}
	return found[0]
}

func (b *bench) seal(key pkcs11.ObjectHandle, iv, plain []byte) (used, sealed []byte, err error) {
	params := pkcs11.NewGCMParams(iv, nil, 128)
	defer params.Free()
	if err := b.p.EncryptInit(b.session, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_AES_GCM, params)}, key); err != nil {
		return nil, nil, err
	}
	sealed, err = b.p.Encrypt(b.session, plain)
	return params.IV(), sealed, err
}

// secret makes a key of a session that is there to be wrapped.
func (b *bench) secret(t *testing.T) pkcs11.ObjectHandle {
	t.Helper()
	o, err := b.p.CreateObject(b.session, []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_SECRET_KEY),
		pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_GENERIC_SECRET),
		pkcs11.NewAttribute(pkcs11.CKA_EXTRACTABLE, true),
		pkcs11.NewAttribute(pkcs11.CKA_VALUE, make([]byte, 20)),
	})
	check(t, err)
	return o
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantCode(t *testing.T, err error, code uint) {
	t.Helper()
	var got pkcs11.Error
	if !errors.As(err, &got) || uint(got) != code {
		t.Errorf("%v, want CKR %#x", err, code)
	}
}

func TestShimCodes(t *testing.T) {
	b := newBench(t)
	before, all := b.Calls("C_GetSlotList"), b.Calls("")

	b.Set("C_GetSlotList DEVICE_REMOVED 1")
	_, err := b.p.GetSlotList(true)
	wantCode(t, err, pkcs11.CKR_DEVICE_REMOVED)
	_, err = b.p.GetSlotList(true) // two calls: the length first
	check(t, err)
	b.Set("C_GetSlotList DEVICE_REMOVED 1", "C_GetSlotList 0x31")
	_, err = b.p.GetSlotList(true)
	wantCode(t, err, pkcs11.CKR_DEVICE_REMOVED)
	_, err = b.p.GetSlotList(true)
	wantCode(t, err, pkcs11.CKR_DEVICE_MEMORY)
	if n := b.Calls("C_GetSlotList") - before; n != 5 || b.Calls("")-all != n {
		t.Errorf("%d calls of C_GetSlotList were counted of %d, want 5", n, b.Calls("")-all)
	}

	b.Set("* DEVICE_ERROR until-initialize")
	for range 2 {
		_, err = b.p.OpenSession(b.slot, pkcs11.CKF_SERIAL_SESSION)
		wantCode(t, err, pkcs11.CKR_DEVICE_ERROR)
	}
	check(t, b.p.Finalize())
	b.open(t)
}

func TestShimHang(t *testing.T) {
	b := newBench(t)
	b.Set("C_GetTokenInfo hang 1")
	done := make(chan error)
	go func() {
		_, err := b.p.GetTokenInfo(b.slot)
		done <- err
	}()
	select {
	case <-done:
		t.Fatal("it did not hang")
	case <-time.After(50 * time.Millisecond):
	}
	b.Clear()
	check(t, <-done)
}

func TestShimAbort(t *testing.T) {
	b := newBench(t)
	if os.Getenv("COFFER_TOKENTEST_ABORT") == "1" {
		b.Set("C_GetTokenInfo abort")
		b.p.GetTokenInfo(b.slot)
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestShimAbort$")
	cmd.Env = append(os.Environ(), "COFFER_TOKENTEST_ABORT=1")
	out, err := cmd.CombinedOutput()
	if err == nil || !bytes.Contains(out, []byte("SIGABRT")) {
		t.Errorf("%v, want SIGABRT:\n%s", err, out)
	}
}

func TestShimGCM(t *testing.T) {
	b := newBench(t)
	iv, plain := make([]byte, 12), make([]byte, 100)
	_, want, err := b.seal(b.gcm, iv, plain)
	check(t, err)

	b.Set("C_Encrypt short")
	if _, got, err := b.seal(b.gcm, iv, plain); err != nil || !bytes.Equal(got, want[:len(want)-1]) {
		t.Errorf("short: %x, %v, want %x", got, err, want[:len(want)-1])
	}
	b.Set("C_EncryptInit replace-iv")
	if used, got, err := b.seal(b.gcm, iv, plain); err != nil || bytes.Equal(used, iv) || bytes.Equal(got, want) {
		t.Errorf("replace-iv: IV %x, %x, %v", used, got, err)
	}
	b.Set("C_EncryptInit other-iv")
	if used, got, err := b.seal(b.gcm, iv, plain); err != nil || !bytes.Equal(used, iv) || bytes.Equal(got, want) {
		t.Errorf("other-iv: IV %x, %x, %v", used, got, err)
	}
	b.Set("C_Encrypt max 100")
	if _, got, err := b.seal(b.gcm, iv, plain); err != nil || !bytes.Equal(got, want) {
		t.Errorf("max: %x, %v, want %x", got, err, want)
	}
	b.Set("C_Encrypt max 99")
	_, _, err = b.seal(b.gcm, iv, plain)
	wantCode(t, err, pkcs11.CKR_DATA_LEN_RANGE)
}

func TestShimMechanisms(t *testing.T) {
	b := newBench(t)
	b.Set("mech 0x1087 hide", "mech 0x210B as 0x210A")
	_, _, err := b.seal(b.gcm, make([]byte, 12), nil)
	wantCode(t, err, pkcs11.CKR_MECHANISM_INVALID)

	secret := b.secret(t)
	kwp := []*pkcs11.Mechanism{pkcs11.NewMechanism(0x210B, nil)}
	wrapped, err := b.p.WrapKey(b.session, kwp, b.kek, secret)
	if err != nil || len(wrapped) != 32 {
		t.Errorf("KWP: %x, %v, want 32 bytes", wrapped, err)
	}
	b.Clear()
	_, err = b.p.WrapKey(b.session, kwp, b.kek, secret)
	wantCode(t, err, pkcs11.CKR_MECHANISM_INVALID)
}

// TestUsage holds that an imported key does what it is for, and nothing else.
func TestUsage(t *testing.T) {
	b := newBench(t)
	_, _, err := b.seal(b.kek, make([]byte, 12), nil)
	wantCode(t, err, pkcs11.CKR_KEY_FUNCTION_NOT_PERMITTED)
	_, err = b.p.WrapKey(b.session, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_AES_KEY_WRAP, nil)}, b.gcm, b.secret(t))
	wantCode(t, err, pkcs11.CKR_KEY_FUNCTION_NOT_PERMITTED)
	for _, key := range []pkcs11.ObjectHandle{b.gcm, b.kek} {
		_, err := b.p.GetAttributeValue(b.session, key, []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_VALUE, nil)})
		wantCode(t, err, pkcs11.CKR_ATTRIBUTE_SENSITIVE)
	}
}
