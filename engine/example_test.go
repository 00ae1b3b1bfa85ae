package engine_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/coffer-backup/coffer/engine"
	"github.com/coffer-backup/coffer/keys"
)

// What a Reader gives is authentic, but only the end without an error says that it
// is all.
func ExampleReader() {
	key := keys.GenerateAccountKey()
	var backup bytes.Buffer
	w, err := engine.NewWriter(context.Background(), &backup, []keys.Recipient{key}, nil)
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

	for _, stored := range [][]byte{backup.Bytes(), backup.Bytes()[:backup.Len()-1]} {
		r, err := engine.NewReader(context.Background(), bytes.NewReader(stored), []keys.Identity{key}, nil)
		if err != nil {
			fmt.Println(err)
			return
		}
		defer r.Close()
		var plain bytes.Buffer
		_, err = io.Copy(&plain, r)
		switch {
		case err == nil:
			fmt.Printf("%s: whole\n", &plain)
		case errors.Is(err, engine.ErrTruncated):
			fmt.Printf("%s: the container is cut short, so this may not be all\n", &plain)
		default:
			fmt.Println(err)
		}
	}
	// Output:
	// to be kept: whole
	// to be kept: the container is cut short, so this may not be all
}
