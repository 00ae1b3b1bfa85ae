package main

import (
	"bytes"
	"slices"
	"testing"

	"github.com/coffer-backup/coffer/keys"
	"github.com/coffer-backup/coffer/vault"
)

// A machine keeps every key that the vault ever had for it, and backs up with the newest.
func TestVaultStateKeys(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	var all []*keys.AccountKey
	for range 5 {
		all = append(all, keys.GenerateAccountKey())
	}
	ring := func(which ...int) *vault.Keyring {
		var some []*keys.AccountKey
		for _, i := range which {
			some = append(some, all[i])
		}
		r, err := vault.NewKeyring(some...)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	const id, credential = "some-vault", "ann"
	has := func(r *vault.Keyring) *vaultState {
		t.Helper()
		s, err := openState(id, credential)
		if err == nil {
			err = s.has(r)
		}
		if err == nil {
			s, err = openState(id, credential)
		}
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	check := func(s *vaultState, registered bool, newest int, older ...int) {
		t.Helper()
		if s.marks.Registered != registered || s.key().ID() != all[newest].ID() {
			t.Errorf("registered %t, key %x, want %t and key %d", s.marks.Registered, s.key().ID(), registered, newest)
		}
		var got, want []string
		for _, k := range s.own {
			got = append(got, keyID(k))
			if k := readOnly(t, s.fileOf(k)); !contains(s.own, k) {
				t.Errorf("key %s is not in its file", keyID(k))
			}
		}
		for _, i := range append(older, newest) {
			want = append(want, keyID(all[i]))
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%d keys are kept, want %d", len(got), len(want))
		}
	}

	if s := has(ring(0)); s.key() != nil {
		t.Error("a key is kept where no backup was made")
	}
	s, err := openState(id, credential)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.keep(ring(0, 1)); err != nil {
		t.Fatal(err)
	}
	check(s, true, 1, 0)
	check(has(ring(0, 1)), true, 1, 0)
	check(has(ring(0, 1, 2)), true, 2, 0, 1)
	check(has(ring(2)), true, 2, 0, 1)                                            // the vault has lost two: this machine has not
	check(has(ring(3)), false, 2, 0, 1)                                           // of somebody else
	check(has(ring(4, 2)), true, 2, 0, 1, 4)                                      // an older one, by another machine
	check(has(ring(3, 2, 1)), true, 1, 0, 2, 3, 4)                                // in another order
	check(has(ring(1, 0, 2)), true, 2, 0, 1, 3, 4)                                // and back
	if err := replaceFile(s.keyFile(), keys.MarshalKeyFile(all[0])); err != nil { // as if cut off
		t.Fatal(err)
	}
	check(has(ring(0)), true, 0, 1, 2, 3, 4)
}

func readOnly(t *testing.T, path string) *keys.AccountKey {
	t.Helper()
	k, err := readOwnKey(path)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// Only short passwords are warned of, by characters and not by bytes.
func TestWarnShort(t *testing.T) {
	for password, want := range map[string]bool{"1234567": true, "12345678": false, "äöüäöüä": true, "äöüäöüäö": false} {
		var b bytes.Buffer
		warnShort(&ui{stderr: &b}, []byte(password))
		if got := b.Len() > 0; got != want {
			t.Errorf("%q: warned: %t, want %t", password, got, want)
		}
	}
}
