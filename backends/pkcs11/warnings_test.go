//go:build cgo

package pkcs11_test

import (
	"strings"
	"testing"

	p11 "github.com/miekg/pkcs11"

	"github.com/coffer-backup/coffer/backends/pkcs11"
)

// Keys that others made are used, and what is wrong with them is said.
func TestWarnings(t *testing.T) {
	r := newRig(t, 0)
	addKey(t, r, "all", p11.CKA_SENSITIVE, p11.CKA_ENCRYPT, p11.CKA_DECRYPT, p11.CKA_WRAP, p11.CKA_UNWRAP)
	addKey(t, r, "leaky", p11.CKA_ENCRYPT, p11.CKA_DECRYPT, p11.CKA_SENSITIVE, p11.CKA_EXTRACTABLE)
	addKey(t, r, "readable", p11.CKA_ENCRYPT, p11.CKA_DECRYPT)
	made, err := r.token.GenerateKey(t.Context(), pkcs11.KeySpec{Label: "made"})
	if err != nil {
		t.Fatal(err)
	}
	if w := made.Warnings(); len(w) != 0 {
		t.Errorf("a key of GenerateKey: %q", w)
	}
	for label, says := range map[string]string{"all": "may decrypt, and wrap", "leaky": "CKA_EXTRACTABLE", "readable": "CKA_SENSITIVE"} {
		k, err := r.token.Key(t.Context(), pkcs11.KeyRef{Label: label})
		if err != nil {
			t.Fatal(err)
		}
		if w := strings.Join(k.Warnings(), "\n"); len(k.Warnings()) != 1 || !strings.Contains(w, says) {
			t.Errorf("%s: %q", label, w)
		}
	}
}
