//go:build cgo && !purego

package main

import "github.com/coffer-backup/coffer/engine/libzstd"

// linked returns the compressors that not every build has.
func linked() []compressor {
	return []compressor{{"libzstd", "libzstd " + libzstd.Version, libzstd.New}}
}
