// Package wycheproof has tests alone: the vectors of Project Wycheproof, most of
// them made to catch mistakes that others have made, against every backend and
// against the hash functions that package keys derives with. It is a module of its
// own, so that nobody who imports ours gets the 100 MB of vectors.
package wycheproof
