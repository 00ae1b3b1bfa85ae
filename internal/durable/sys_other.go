//go:build !linux && !darwin

package durable

import (
	"errors"
	"os"
)

// The common ground of the other systems: no flock, and on Windows an open file
// cannot be renamed and a directory cannot be synced.
const (
	renamesOpenFiles = false
	syncsDirs        = false
)

// Lock does nothing on this system, where nothing is removed.
func Lock(*os.File) bool { return false }

func removeIfDead(string) {}

// renameNoReplace leaves the work to a hard link.
func renameNoReplace(_, _ string) error { return errors.ErrUnsupported }
