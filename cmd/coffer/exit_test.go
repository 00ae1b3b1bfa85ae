package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/coffer-backup/coffer/archive"
	"github.com/coffer-backup/coffer/backends/pkcs11"
	"github.com/coffer-backup/coffer/engine"
	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/keys"
)

// The README has the same table as the help.
func TestExitTableInReadme(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range exitTable {
		if row := fmt.Sprintf("| %d | %s |\n", s.code, s.meaning); !strings.Contains(string(readme), row) {
			t.Errorf("README.md lacks the row %q", row)
		}
	}
}

func TestClassify(t *testing.T) {
	_, keyErr := keys.ParseAccountKey("x")
	_, headErr := format.ParsePrefix([]byte("x"))
	wrap := func(err error) error {
		return fmt.Errorf("doing it: %w", &engine.Error{Part: "package 1", Err: fmt.Errorf("more: %w", err)})
	}
	for _, test := range []struct {
		err  error
		want exitStatus
	}{
		{nil, statusOK},
		{errors.New("another"), statusFailed},
		{fs.ErrNotExist, statusFailed},
		{wrap(engine.ErrLimit), statusFailed},
		{wrap(&format.SyntaxError{Err: format.ErrVersion}), statusFailed},
		{archive.ErrNotEmpty, statusFailed},
		{usagef("no %s", "way"), statusUsage},
		{keyErr, statusUsage},
		{archive.ErrNotArchive, statusUsage},
		{&incompleteError{"not all"}, statusIncomplete},
		{wrap(keys.ErrNoMatch), statusNoKey},
		{wrap(&pkcs11.Error{Token: "t", Op: "logging in", Err: pkcs11.ErrPIN}), statusNoKey},
		{wrap(&pkcs11.Error{Token: "t", Op: "finding the key", Err: pkcs11.ErrKeyNotFound}), statusFailed},
		{wrap(&pkcs11.Error{Token: "t", Op: "wrapping", Err: pkcs11.ErrTimeout}), statusFailed},
		{wrap(&pkcs11.Error{Token: "t", Op: "asking for the PIN", Err: usagef("no terminal")}), statusUsage},
		{wrap(&engine.PolicyError{Kind: format.KindHPKE, Anonymous: true}), statusFailed},
		{headErr, statusDamaged},
		{wrap(engine.ErrAuth), statusDamaged},
		{wrap(engine.ErrTruncated), statusDamaged},
		{wrap(engine.ErrTrailingData), statusDamaged},
		{wrap(engine.ErrContext), statusDamaged},
		{wrap(engine.ErrDamagedCopy), statusDamaged},
		{wrap(&format.SyntaxError{Err: io.ErrUnexpectedEOF}), statusDamaged},
		{&archive.EntryError{Path: "x", Err: archive.ErrUnsafe}, statusDamaged},
		{errOtherContent, statusDamaged},
		{errHeaderCopy, statusDamaged},
		{errInterrupted, statusInterrupted},
	} {
		if got := classify(test.err); got != test.want {
			t.Errorf("%v: status %d, want %d", test.err, got.code, test.want.code)
		}
	}
}
