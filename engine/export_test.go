package engine

// NewZstdCompressor is for the suite that every compressor runs.
var NewZstdCompressor = newZstdCompressor
