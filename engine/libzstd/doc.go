// Package libzstd compresses by the C library of zstd. At the levels fast and balanced
// it takes half to two thirds of the time that the engine's own compressor takes; at
// small it takes longer, for an output that is 6 % smaller. Both make the same kind of frames
// (format/SPEC.md § 6.1), so that whoever reads a container neither needs this
// package nor sees that it was used; decompressing stays in Go.
//
//	opts := &engine.WriterOptions{Level: engine.Fast, SegmentSize: 1 << 20}
//	opts.NewCompressor = func() (engine.Compressor, error) {
//		return libzstd.New(opts.Level, opts.SegmentSize)
//	}
//	w, err := engine.NewWriter(ctx, dst, to, opts)
//
// It is there in builds with cgo and without the tag purego. In others the package
// is empty, so a file that imports it has the constraint
//
//	//go:build cgo && !purego
//
// The library is compiled from the sources in github.com/DataDog/zstd, which takes half
// a minute the first time, and runs in the process: it is given the plaintext that is
// to be sealed, and never bytes that come from a store. A Compressor is for one
// goroutine and allocates nothing for a segment. It holds memory of C: about 0.3 MiB at
// level fast, 1 at balanced, 5 at small. That is given back when the garbage collector
// finds the Compressor unused; there is nothing to close.
package libzstd
