package vault_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/coffer-backup/coffer/keys"
	"github.com/coffer-backup/coffer/vault"
	"github.com/coffer-backup/coffer/vault/evaluator"
	"github.com/coffer-backup/coffer/vault/store/bolt"
)

// A program that embeds a vault makes its secrets and its descriptor once, and keeps
// them: the root key offline, the secrets apart from the store. The evaluator of package
// hsm has them in a token.
func Example() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	dir, err := os.MkdirTemp("", "vault")
	check(err)
	defer os.RemoveAll(dir)

	// Once.
	secrets := evaluator.GenerateSoftware()
	ev, err := evaluator.NewSoftware(secrets)
	check(err)
	statement, ake := ev.Info().Statement, ev.Info().AKE[1]
	rootPublic, root, err := ed25519.GenerateKey(nil)
	check(err)
	issuerPublic, issuerKey, err := ed25519.GenerateKey(nil)
	check(err)
	d := &vault.Descriptor{
		Version: 1, Root: vault.Base64(rootPublic), Revision: 1, Statement: statement[:],
		AKE: []vault.AKE{{ID: 1, Key: ake[:]}}, KSF: vault.DefaultKSF(),
		Max: vault.DefaultAttempts, Delays: vault.DefaultDelays(),
	}
	signed, err := d.Sign(root)
	check(err)

	// At each start.
	store, err := bolt.Open(filepath.Join(dir, "vault.db"), nil)
	check(err)
	defer store.Close()
	server, err := vault.NewServer(ctx, vault.Config{
		ID: d.ID(), Descriptor: signed, Evaluator: ev, Store: store,
		Issuers: map[string]ed25519.PublicKey{"app": issuerPublic},
	})
	check(err)
	ran := make(chan struct{})
	go func() { server.Run(ctx); close(ran) }()
	defer func() { stop(); <-ran }()

	// A client: here in the same process, else over what httpapi.Dial returns.
	issuer := &vault.Issuer{ID: "app", Key: issuerKey, Vault: d.ID()}
	client, err := vault.NewClient(server, d.ID(), &vault.ClientOptions{
		Tickets: func(_ context.Context, credential string, op vault.TicketOp) (string, error) {
			return issuer.Ticket(credential, op, time.Now()) // of a user who has logged in
		},
	})
	check(err)
	key := keys.GenerateAccountKey()
	ring, err := vault.NewKeyring(key)
	check(err)
	_, err = client.Register(ctx, "ann", []byte("nine jolly herons"), ring, nil)
	check(err)

	_, err = client.Recover(ctx, "ann", []byte("nine jolly herrings"))
	var wrong *vault.WrongPasswordError
	fmt.Println(errors.As(err, &wrong), wrong.Left, "of", wrong.Max)

	got, err := client.Recover(ctx, "ann", []byte("nine jolly herons"))
	check(err)
	fmt.Println(got.Keyring.Newest().ID() == key.ID(), got.Failures)
	// Output:
	// true 9 of 10
	// true 1
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// A vault says something to people, or changes what it asks of clients, by a descriptor
// with a greater revision, signed where the root key is.
func ExampleDescriptor_Sign() {
	root := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)) // of the file with the root key
	ev, err := evaluator.NewSoftware(evaluator.GenerateSoftware())
	check(err)
	statement, ake := ev.Info().Statement, ev.Info().AKE[1]
	d := &vault.Descriptor{
		Version: 1, Root: vault.Base64(root.Public().(ed25519.PublicKey)), Revision: 1, Statement: statement[:],
		AKE: []vault.AKE{{ID: 1, Key: ake[:]}}, KSF: vault.DefaultKSF(), Max: 10, Delays: vault.DefaultDelays(),
	}
	old, err := d.Sign(root)
	check(err)

	d, err = vault.ParseDescriptor(old, d.ID())
	check(err)
	d.Revision++
	d.Notice = "The vault is closed for repairs on Sunday."
	signed, err := d.Sign(root)
	check(err)
	now, err := vault.ParseDescriptor(signed, d.ID())
	check(err)
	fmt.Println(now.Revision, now.Notice)
	// Output: 2 The vault is closed for repairs on Sunday.
}
