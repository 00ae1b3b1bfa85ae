package archive_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/coffer-backup/coffer/archive"
	"github.com/coffer-backup/coffer/engine"
	"github.com/coffer-backup/coffer/keys"
)

func Example() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	docs := filepath.Join(dir, "docs")
	if err := os.Mkdir(docs, 0o700); err != nil {
		fmt.Println(err)
		return
	}
	if err := os.WriteFile(filepath.Join(docs, "letter"), []byte("Dear Ann"), 0o600); err != nil {
		fmt.Println(err)
		return
	}

	ctx, key := context.Background(), keys.GenerateAccountKey()
	var backup bytes.Buffer
	w, err := engine.NewWriter(ctx, &backup, []keys.Recipient{key}, &engine.WriterOptions{Pad: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer w.Abort()
	report, err := archive.Create(ctx, w, []string{docs}, nil)
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(report.Entries, "entries,", report.Warnings, "warnings")

	r, err := engine.NewReader(ctx, &backup, []keys.Identity{key}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer r.Close()
	restored := filepath.Join(dir, "restored")
	if _, err := archive.Extract(ctx, r, restored, nil); err != nil {
		fmt.Println(err)
		return
	}
	letter, err := os.ReadFile(filepath.Join(restored, docs, "letter"))
	fmt.Printf("%s, %v\n", letter, err)
	// Output:
	// 2 entries, 0 warnings
	// Dear Ann, <nil>
}
