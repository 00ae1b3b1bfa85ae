//go:build !cgo || purego

package bench

var accelerated []compressor
