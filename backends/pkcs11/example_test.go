package pkcs11_test

import (
	"bytes"
	"context"
	"io"
	"log"
	"os"

	"github.com/coffer-backup/coffer/backends/pkcs11"
	"github.com/coffer-backup/coffer/engine"
	"github.com/coffer-backup/coffer/keys"
)

// The URI comes from the caller, with the PIN in a file that it names. The key was made
// once, by GenerateKey or "coffer hsm init".
func Example() {
	ctx := context.Background()
	uri, err := pkcs11.ParseURI("pkcs11:token=backups;object=coffer?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/etc/backup/pin")
	if err != nil {
		log.Fatal(err)
	}
	uri.PIN = func(context.Context) ([]byte, error) {
		pin, err := os.ReadFile(uri.PINFile)
		return bytes.TrimRight(pin, "\r\n"), err
	}
	token, err := pkcs11.Open(ctx, uri.Config)
	if err != nil {
		log.Fatal(err)
	}
	defer token.Close()
	key, err := token.Key(ctx, uri.Key)
	if err != nil {
		log.Fatal(err)
	}

	var container bytes.Buffer
	w, err := engine.NewWriter(ctx, &container, []keys.Recipient{key}, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer w.Abort()
	if _, err := io.WriteString(w, "only the token opens this"); err != nil {
		log.Fatal(err)
	}
	if err := w.Close(); err != nil {
		log.Fatal(err)
	}

	r, err := engine.NewReader(ctx, &container, []keys.Identity{key}, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()
	if _, err := io.Copy(os.Stdout, r); err != nil {
		log.Fatal(err)
	}
}
