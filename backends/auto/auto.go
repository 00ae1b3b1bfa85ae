// Package auto chooses among the backends that need no configuration.
package auto

import (
	"fmt"
	"slices"
	"strings"

	"github.com/coffer-backup/coffer/backends"
	"github.com/coffer-backup/coffer/backends/aesni"
	"github.com/coffer-backup/coffer/backends/software"
	"github.com/coffer-backup/coffer/format"
)

// Backends returns the backends that need no configuration, the preferred one
// first. Those that cannot run on this machine are among them; they have no
// suites.
func Backends() []backends.Backend {
	return []backends.Backend{aesni.New(), software.New()}
}

// Select returns the preferred backend that has suite on this machine. For suite
// 0 it is the best backend of this machine, and the first of its Suites is the
// suite to take. The error wraps backends.ErrUnavailable.
func Select(suite format.Suite) (backends.Backend, error) {
	for _, b := range Backends() {
		suites := b.Suites()
		if slices.Contains(suites, suite) || suite == 0 && len(suites) > 0 {
			return b, nil
		}
	}
	return nil, fmt.Errorf("no backend for %v: %w", suite, backends.ErrUnavailable)
}

// ByName returns the backend of that name. The error of a backend that cannot run
// on this machine wraps backends.ErrUnavailable.
func ByName(name string) (backends.Backend, error) {
	var names []string
	for _, b := range Backends() {
		if b.Name() != name {
			names = append(names, b.Name())
			continue
		}
		if len(b.Suites()) == 0 {
			return nil, fmt.Errorf("backend %s cannot run on this machine: %w", name, backends.ErrUnavailable)
		}
		return b, nil
	}
	return nil, fmt.Errorf("unknown backend %q: want %s", name, strings.Join(names, " or "))
}
