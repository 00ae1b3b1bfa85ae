//go:build linux

package process_test

import (
	"context"
	crand "crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/argon2"

	"github.com/coffer-backup/coffer/keys"
	"github.com/coffer-backup/coffer/vault"
	"github.com/coffer-backup/coffer/vault/wire"
)

// TestSecretsStayOut searches a vault that has been used: its memory, its store, its log
// and all that was said to it and by it, for passwords, account keys and export keys.
func TestSecretsStayOut(t *testing.T) {
	p, secrets := newSoftware(t, func(c *config) { c.Record = true })
	p.run()
	n := newNeedles()
	use(t, p, n)
	// The search does find what an evaluator has.
	n.add("MAC key", secrets.MAC[:])
	found := search(t, p, n)
	if !found["MAC key"] {
		t.Error("the search does not find the MAC key in memory")
	}
	p.stop()
}

// use has clients register and recover, and adds their secrets to n.
func use(t *testing.T, p *process, n *needles) {
	people := 40
	if raceEnabled {
		people = 10
	}
	c := p.newClient()
	c.stretch = func(secret []byte) ([]byte, error) { // as the product's client
		return argon2.IDKey(secret, make([]byte, 16), uint32(cheapKSF.Time), cheapKSF.KiB, cheapKSF.Lanes, 32), nil
	}
	u := &usage{product: p.product(), client: c, needles: n}
	turn := make(chan string)
	var work sync.WaitGroup
	for range 4 {
		work.Go(func() {
			for id := range turn {
				if err := u.person(t.Context(), id); err != nil {
					t.Errorf("%s: %v", id, err)
				}
			}
		})
	}
	for i := range people {
		turn <- fmt.Sprintf("person-%d", i)
	}
	close(turn)
	work.Wait()
	t.Logf("%d registrations, %d recoveries, %d wrong passwords", u.registered, u.recovered, u.refused)
}

// A usage is what clients do.
type usage struct {
	product *vault.Client
	client  *client

	mu                             sync.Mutex
	needles                        *needles
	registered, recovered, refused int
}

func (u *usage) secret(name string, secret []byte) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.needles.secret(name, secret)
}

func (u *usage) newKey() *keys.AccountKey {
	key := keys.GenerateAccountKey()
	u.secret("account key", key.Bytes())
	u.mu.Lock()
	defer u.mu.Unlock()
	u.needles.add("account key, in groups", []byte(key.Text())[:39])
	return key
}

func (u *usage) newPassword() []byte {
	password := []byte(crand.Text() + crand.Text())
	u.secret("password", password)
	return password
}

// person is what one does with their record.
func (u *usage) person(ctx context.Context, id string) error {
	key, password, next := u.newKey(), u.newPassword(), u.newPassword()
	ring, err := vault.NewKeyring(key)
	if err != nil {
		return err
	}
	if _, err := u.product.Register(ctx, id, password, ring, nil); err != nil {
		return err
	}
	if err := u.export(ctx, id, password); err != nil {
		return err
	}
	var wrong *vault.WrongPasswordError
	if _, err := u.product.Recover(ctx, id, next); !errors.As(err, &wrong) {
		return fmt.Errorf("a wrong password: %w", err)
	}
	_, err = u.product.Put(ctx, id, password, func(ring *vault.Keyring) (*vault.Keyring, error) { return ring.Append(u.newKey()) })
	if err != nil {
		return err
	}
	if _, err := u.product.ChangePassword(ctx, id, password, next); err != nil {
		return err
	}
	if err := u.export(ctx, id, next); err != nil {
		return err
	}
	got, err := u.product.Recover(ctx, id, next)
	if err != nil {
		return err
	}
	if all := got.Keyring.Keys(); len(all) != 2 || all[0].ID() != key.ID() {
		return fmt.Errorf("%d keys came back", len(all))
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.registered += 2
	u.recovered += 5 // Put logs in twice, ChangePassword once
	u.refused++
	return nil
}

// export logs in to learn the export key, which the product's client does not tell.
func (u *usage) export(ctx context.Context, id string, password []byte) error {
	a := newAttempt(id, password)
	reply, err := u.client.ask(ctx, u.client.startOf(a))
	if err != nil {
		return err
	}
	session, err := u.client.open(a, reply.Login)
	if err != nil {
		return err
	}
	u.secret("export key", session.ExportKey[:])
	_, _, err = u.client.finish(ctx, a, reply.Login, session, &wire.Command{Op: wire.OpRelease})
	return err
}

// search searches all that there is of a process for n, none of which should be found,
// and for a mark, which should. It returns what was found in memory.
func search(t *testing.T, p *process, n *needles) map[string]bool {
	t.Helper()
	mark := make([]byte, 32)
	crand.Read(mark)
	n.secret("mark", mark)
	p.order("mark " + hex.EncodeToString(mark))
	c, a := p.newClient(), newAttempt("nobody", []byte("nothing"))
	copy(a.id[:], mark)
	if reply, err := c.ask(t.Context(), c.startOf(a)); err != nil {
		t.Fatal(err)
	} else if _, err := c.call(t.Context(), &wire.Abort{Token: reply.Login.Token}); err != nil {
		t.Fatal(err)
	}
	p.order("collect")
	memory := n.inMemory(t, p)
	for _, place := range []struct {
		name  string
		found map[string]bool
		mark  string
	}{
		{"memory", memory, "mark, raw"},
		{"store", n.inFile(t, p.file(storeFile)), "mark, raw"},
		{"log", n.inFile(t, p.file(logFile)), "mark, hex"},
		{"requests and replies", n.inFile(t, p.file(recordFile)), "mark, raw"},
	} {
		if !place.found[place.mark] {
			t.Errorf("%s: the search does not find the mark", place.name)
		}
		for _, name := range slices.Sorted(maps.Keys(place.found)) {
			for _, secret := range []string{"password", "account key", "export key", "OPRF key", "AKE key"} {
				if strings.HasPrefix(name, secret) {
					t.Errorf("%s: found: %s", place.name, name)
				}
			}
		}
	}
	return memory
}
