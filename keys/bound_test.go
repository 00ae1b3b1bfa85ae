package keys_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/keys"
)

// What is bound is the file key and § 4.5.1, and comes off only where both are right.
func TestBound(t *testing.T) {
	slot := format.Slot{Kind: format.KindPKCS11, Params: []byte{1, 0, 0}}
	slot.Salt[5] = 7
	fk := keys.NewFileKey()
	bound := keys.Bound(testCore, slot, fk)
	if want := append(fk.Bytes(), specBind(testCore[:], slot)...); !bytes.Equal(bound, want) || len(bound) != keys.BoundSize {
		t.Fatalf("bound is %x, want %x", bound, want)
	}
	if b := keys.Bind(testCore, slot); !bytes.Equal(b[:], bound[32:]) {
		t.Errorf("Bind gives %x", b)
	}
	if got, err := keys.Unbind(testCore, slot, bound); err != nil || !bytes.Equal(got.Bytes(), fk.Bytes()) {
		t.Errorf("unbound: %v", err)
	}
	other, core := slot, testCore
	other.Salt[0] ^= 1
	core[9] ^= 1
	flipped := bytes.Clone(bound)
	flipped[63] ^= 1
	for name, unbind := range map[string]func() (*keys.FileKey, error){
		"another slot":      func() (*keys.FileKey, error) { return keys.Unbind(testCore, other, bound) },
		"another container": func() (*keys.FileKey, error) { return keys.Unbind(core, slot, bound) },
		"another bind":      func() (*keys.FileKey, error) { return keys.Unbind(testCore, slot, flipped) },
		"too short":         func() (*keys.FileKey, error) { return keys.Unbind(testCore, slot, bound[:32]) },
		"too long":          func() (*keys.FileKey, error) { return keys.Unbind(testCore, slot, append(bytes.Clone(bound), 0)) },
		"nothing":           func() (*keys.FileKey, error) { return keys.Unbind(testCore, slot, nil) },
	} {
		if fk, err := unbind(); fk != nil || !errors.Is(err, keys.ErrNoMatch) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
