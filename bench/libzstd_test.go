//go:build cgo && !purego

package bench

import "github.com/coffer-backup/coffer/engine/libzstd"

// accelerated are the compressors that need cgo.
var accelerated = []compressor{{"libzstd", libzstd.New}}
