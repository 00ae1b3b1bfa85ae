//go:build cgo

package pkcs11_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/coffer-backup/coffer/backends"
	"github.com/coffer-backup/coffer/backends/pkcs11"
	"github.com/coffer-backup/coffer/engine"
	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/internal/tokentest"
	"github.com/coffer-backup/coffer/keys"
)

// TestChain takes modes away from a token: the next one is found by doing.
func TestChain(t *testing.T) {
	const gcm, kw, kwp = "mech 0x1087 hide", "mech 0x2109 hide", "mech 0x210B as 0x210A"
	for _, c := range []struct {
		name  string
		rules []string
		want  format.Mech // 0: there is none
	}{
		{"all", []string{kwp}, format.MechAESGCM},
		{"GCM is gone", []string{gcm, kwp}, format.MechAESKW},
		{"GCM takes other IVs", []string{"C_EncryptInit other-iv", kwp}, format.MechAESKW},
		{"KW is gone", []string{gcm, kw, kwp}, format.MechAESKWP},
		{"nothing", []string{gcm, kw}, 0}, // SoftHSM has OAEP with SHA-1 alone
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, 5*time.Second)
			r.shim.Set(c.rules...)
			r.proved(t, c.want)
			key, err := r.token.GenerateKey(t.Context(), pkcs11.KeySpec{Label: "mine"})
			if c.want == 0 {
				if err == nil {
					t.Errorf("a key for %v was made", key.Mech())
				}
				return
			}
			if err != nil || key.Mech() != c.want {
				t.Fatalf("GenerateKey: %v, %v, want %v", key, err, c.want)
			}
			roundTrip(t, key)
			found, err := r.token.Key(t.Context(), pkcs11.KeyRef{Label: "mine", Check: key.CheckValue()})
			if err != nil || found.Mech() != c.want {
				t.Errorf("Key: %v, %v", found, err)
			}
		})
	}
}

// proved demands that want is the first mode that the token proved.
func (r *rig) proved(t *testing.T, want format.Mech) {
	t.Helper()
	modes, err := r.token.Probe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range modes {
		switch {
		case m.Mech == want:
			if m.Err != nil {
				t.Errorf("%v: %v", m.Mech, m.Err)
			}
			return
		case m.Err == nil:
			t.Errorf("%v was proved", m.Mech)
		}
	}
	if want != 0 || len(modes) != 4 {
		t.Errorf("the modes are %v, want %v", modes, want)
	}
}

func roundTrip(t *testing.T, key *pkcs11.Key) {
	t.Helper()
	fk, core := keys.NewFileKey(), format.Core{7}
	slot, err := key.Wrap(t.Context(), core, fk)
	if err != nil {
		t.Fatal(err)
	}
	got, err := key.Unwrap(t.Context(), core, slot)
	if err != nil || !bytes.Equal(got.Bytes(), fk.Bytes()) {
		t.Errorf("opening what was wrapped: %v", err)
	}
	if err := key.SelfTest(t.Context()); err != nil {
		t.Errorf("SelfTest: %v", err)
	}
}

// TestChainOfNSS has AES-GCM and AES-KWP fail by themselves.
func TestChainOfNSS(t *testing.T) {
	nss := tokentest.NSS(t)
	shim := tokentest.Shim(t, nss.Module)
	token, err := pkcs11.Open(t.Context(), pkcs11.Config{Module: shim.Module, InitArgs: nss.InitArgs, Token: nss.Label, PIN: pin(nss.PIN)})
	if err != nil {
		t.Fatal(err)
	}
	defer token.Close()
	r := &rig{token: token}
	r.proved(t, format.MechAESKW)
	shim.Set("mech 0x2109 hide")
	r.proved(t, format.MechRSAOAEP)
	key, err := token.GenerateKey(t.Context(), pkcs11.KeySpec{Label: "mine"})
	if err != nil || key.Mech() != format.MechRSAOAEP {
		t.Fatalf("GenerateKey: %v, %v", key, err)
	}
	roundTrip(t, key)
}

// TestBulkRefused has tokens that do not compute the GCM that they are asked for. They
// are refused for bulk with the reason, nothing is computed elsewhere, and they wrap.
func TestBulkRefused(t *testing.T) {
	r := newRig(t, 5*time.Second)
	for _, c := range []struct{ rule, says string }{
		{"C_EncryptInit replace-iv", "IV"},
		{"C_EncryptInit other-iv", ""},
		{"C_Encrypt max 65535", ""},
		{"C_Encrypt max 4096", ""},
		{"C_Encrypt short", ""},
		{"mech 0x1087 hide", ""},
	} {
		t.Run(c.rule, func(t *testing.T) {
			r.shim.Set(c.rule)
			bulk, err := r.token.Bulk(t.Context())
			var typed *pkcs11.Error
			if bulk != nil || !errors.As(err, &typed) || !strings.Contains(err.Error(), r.Label) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("Bulk: %v, %v, want a refusal that says %q", bulk, err, c.says)
			}
			t.Log(err)
			if err := r.wrap(t.Context(), "kw"); err != nil {
				t.Errorf("wrapping with AES-KW: %v", err)
			}
			// A slot that is said to be wrapped opens on a token that is well.
			err = r.wrap(t.Context(), "gcm")
			if wraps := strings.Contains(c.rule, "max"); wraps && err != nil {
				t.Errorf("wrapping with AES-GCM: %v", err)
			}
			r.shim.Clear()
			r.works(t)
		})
	}
}

// TestEngine fails a token in the midst of a container. The Writer says so, and what
// it wrote until then is not taken for a container; the Reader blames the token, not
// the data.
func TestEngine(t *testing.T) {
	r := newRig(t, 5*time.Second)
	plain := bytes.Repeat([]byte("all that there is to keep "), 200_000)
	for _, fault := range []string{"C_Encrypt DEVICE_ERROR", "C_Encrypt SESSION_HANDLE_INVALID", "C_Encrypt short", "* TOKEN_NOT_PRESENT", "C_Encrypt GENERAL_ERROR"} {
		for _, at := range []int{0, len(plain) / 2, len(plain)} {
			var dst bytes.Buffer
			err := r.seal(t, &dst, plain, at, fault)
			var typed *pkcs11.Error
			if !errors.As(err, &typed) {
				t.Errorf("%s at %d: writing gives %v", fault, at, err)
			}
			r.shim.Clear()
			if got, err := readAll(t.Context(), dst.Bytes(), []keys.Identity{r.keys["gcm"]}, nil); err == nil || errors.As(err, &typed) || len(got) > at {
				t.Errorf("%s at %d: half a container gives %d bytes, %v", fault, at, len(got), err)
			}
		}
	}

	var dst bytes.Buffer
	if err := r.seal(t, &dst, plain, len(plain)); err != nil {
		t.Fatal(err)
	}
	bulk, err := r.token.Bulk(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, backend := range []backends.Backend{bulk, nil} {
		got, err := readAll(t.Context(), dst.Bytes(), []keys.Identity{r.keys["gcm"]}, &engine.ReaderOptions{Backend: backend})
		if err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	}
	for _, fault := range []string{"C_Decrypt DEVICE_ERROR", "C_DecryptInit SESSION_HANDLE_INVALID", "C_Decrypt short", "C_Decrypt GENERAL_ERROR"} {
		reader, err := engine.NewReader(t.Context(), &dst, []keys.Identity{r.keys["gcm"]}, &engine.ReaderOptions{Backend: bulk, Workers: 1})
		if err != nil {
			t.Fatal(err)
		}
		r.shim.Set(fault)
		_, err = io.Copy(io.Discard, reader)
		var typed *pkcs11.Error
		if !errors.As(err, &typed) || errors.Is(err, engine.ErrAuth) {
			t.Errorf("%s: reading gives %v", fault, err)
		}
		r.shim.Clear()
		reader.Close()
		dst.Reset()
		if err := r.seal(t, &dst, plain, len(plain)); err != nil {
			t.Fatal(err)
		}
	}
	r.works(t)
}

// seal writes a container whose key is wrapped and whose body is sealed in the token.
// The rules are set after so many bytes.
func (r *rig) seal(t *testing.T, dst io.Writer, plain []byte, at int, rules ...string) error {
	t.Helper()
	bulk, err := r.token.Bulk(t.Context())
	if err != nil {
		return err
	}
	w, err := engine.NewWriter(t.Context(), dst, []keys.Recipient{r.keys["gcm"]}, &engine.WriterOptions{Backend: bulk, Level: engine.Store})
	if err != nil {
		return err
	}
	defer w.Abort()
	if _, err := w.Write(plain[:at]); err != nil {
		return err
	}
	r.shim.Set(rules...)
	if _, err := w.Write(plain[at:]); err != nil {
		return err
	}
	return w.Close()
}
