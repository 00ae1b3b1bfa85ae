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
	workingDir       = -1 // for RenameNoReplace
)

// Lock does nothing on this system, where nothing is removed.
func Lock(*os.File) bool { return false }

func removeIfDead(*os.File, string) {}

// RenameNoReplace fails: this system has no such call.
func RenameNoReplace(_ int, _, _ string) error { return errors.ErrUnsupported }
