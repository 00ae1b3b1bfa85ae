//go:build !cgo

package wycheproof_test

import (
	"testing"

	"github.com/coffer-backup/coffer/backends"
)

func softHSM(t *testing.T) backends.Backend {
	t.Skip("without cgo there are no tokens")
	return nil
}
