//go:build !unix

package main

import "errors"

// checkInherited takes stdin only: other descriptors have no numbers here.
func checkInherited(fd int) error {
	if fd != 0 {
		return errors.New("there are no descriptors but stdin on this system: use --hsm-pin-file")
	}
	return nil
}
