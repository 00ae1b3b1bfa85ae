package tink_test

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/tink-crypto/tink-go/v2/testing/fakekms"

	"github.com/coffer-backup/coffer/engine"
	"github.com/coffer-backup/coffer/keys"
	"github.com/coffer-backup/coffer/keys/tink"
)

// A backup for a key in a KMS, and for an account key that is kept elsewhere.
func ExampleFromKMS() {
	// In the place of the client of a real service, see the package comment.
	client, err := fakekms.NewClient("fake-kms://")
	if err != nil {
		fmt.Println(err)
		return
	}
	uri, err := fakekms.NewKeyURI()
	if err != nil {
		fmt.Println(err)
		return
	}
	key, err := tink.FromKMS(client, uri, &tink.Options{Name: "backup key"})
	if err != nil {
		fmt.Println(err)
		return
	}
	paper := keys.GenerateAccountKey()

	ctx := context.Background()
	var backup bytes.Buffer
	w, err := engine.NewWriter(ctx, &backup, []keys.Recipient{key.WithAlias("backups-2026"), paper}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer w.Abort()
	fmt.Fprint(w, "to be kept")
	if err := w.Close(); err != nil {
		fmt.Println(err)
		return
	}

	r, err := engine.NewReader(ctx, &backup, []keys.Identity{key}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer r.Close()
	plain, err := io.ReadAll(r)
	fmt.Printf("%s, by the slot of %v: %v\n", plain, r.Info().SlotKind, err)
	// Output:
	// to be kept, by the slot of Tink or KMS: <nil>
}
