//go:build !cgo || purego

package main

// linked returns the compressors that not every build has.
func linked() []compressor { return nil }
