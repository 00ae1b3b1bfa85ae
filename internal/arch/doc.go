// Package arch has tests alone: they keep the imports of our packages pointing
// one way, and what an embedder gets short.
package arch
