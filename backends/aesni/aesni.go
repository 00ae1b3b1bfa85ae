// Package aesni is AES-256-GCM by the CPU's own instructions (AES-NI and
// PCLMULQDQ, or those of ARMv8), and nothing else: it refuses to run without
// them, so that AES never falls back to tables, which are slow and leak through
// the cache.
//
// The code is that of Go's standard library, so on a CPU with the instructions
// it is as fast as package software's AES.
package aesni

import (
	"context"
	"fmt"
	"runtime"

	"github.com/coffer-backup/coffer/backends"
	"github.com/coffer-backup/coffer/backends/internal/std"
	"github.com/coffer-backup/coffer/format"
	"golang.org/x/sys/cpu"
)

// Backend implements backends.Backend. The zero value is the backend of a CPU
// without the instructions.
type Backend struct{ present bool }

// New returns the backend for this CPU.
func New() *Backend { return &Backend{present: hasInstructions()} }

// hasInstructions asks for what the library's assembly asks for; GOARCH 386 and
// the build tag purego have the CPU flags but no such assembly.
func hasInstructions() bool {
	switch {
	case pureGo:
	case runtime.GOARCH == "amd64":
		return cpu.X86.HasAES && cpu.X86.HasPCLMULQDQ && cpu.X86.HasSSE41 && cpu.X86.HasSSSE3
	case runtime.GOARCH == "arm64":
		return cpu.ARM64.HasAES && cpu.ARM64.HasPMULL
	}
	return false
}

// Name returns "aesni".
func (*Backend) Name() string { return "aesni" }

// Suites returns AES-256-GCM, or nothing if the CPU lacks the instructions.
func (b *Backend) Suites() []format.Suite {
	if !b.present {
		return nil
	}
	return []format.Suite{format.AES256GCM}
}

// NewAEAD implements backends.Backend. It does not wait for anything.
func (b *Backend) NewAEAD(_ context.Context, suite format.Suite, key []byte) (backends.AEAD, error) {
	if !b.present {
		return nil, fmt.Errorf("aesni: the CPU has no AES instructions: %w", backends.ErrUnavailable)
	}
	if suite != format.AES256GCM {
		return nil, fmt.Errorf("aesni: %v: %w", suite, backends.ErrUnavailable)
	}
	return std.NewAEAD(suite, key)
}
