// Package bench holds the benchmarks of the engine and of what it is made of, next
// to those of its peers. It is a module of its own, so that nobody who imports ours
// gets the peers' modules. It is tests alone; README.md says how each suite is run
// and compared, and what was measured.
//
//	go test -run xxx -bench . ./bench                                       # everything at the default point
//	go test -run xxx -bench Writer/corpus=chat ./bench                      # one suite, one value of a key
//	go test -run xxx -bench . -benchtime 1x -short ./bench -size 4MiB       # does it run at all
//
// Flags of this package go behind its path, those of go test before it:
//
//	-size 64MiB     bytes of each corpus
//	-maxsize 1GiB   how far BenchmarkGrowth goes, by steps of 4 up to 16 GiB,
//	                and BenchmarkOpen, by steps of 32 up to 1 GiB
//	-files 100000   files in BenchmarkArchive
//	-full           all combinations of the keys, not one at a time
//
// Names are benchstat's: BenchmarkSuite/key=value/…, the keys in one order for each
// suite. A suite that has more keys than can be crossed varies one at a time from
// the default point: corpus chat, compressor klauspost, level fast, with the check,
// as many workers as cores, segments of 1 MiB, the suite and backend that are chosen
// on this machine. Corpus, compressor and level depend on one another, and are always
// crossed.
//
// B/s are bytes of plaintext. The other metrics:
//
//	ratio        plaintext bytes for a sealed, or compressed, one
//	of-sio       speed as a multiple of github.com/minio/sio's
//	of-binding   speed as a multiple of the token's, called through miekg/pkcs11
//	of-c         speed as a multiple of the token's, called by a program in C
//	of-one-core  speed of two cores as a multiple of one's
//	p50-ns       median of the latency, p99-ns what 1 of 100 calls exceeds
//	peak-bytes   how far the memory of the process rose above what it was before
//	files/s      files archived or restored
//
// Speeds drift on shared machines. Where two things are compared and the factor
// is what counts, both run in turn inside of one benchmark, the order
// alternating, and it reports the factor alone.
//
// One value a run for -cpu: testing.B.Loop measures before the testing package goes
// through a list of them. Where cores are what is compared, the benchmark sets
// GOMAXPROCS itself.
//
// The compressor libzstd is there if cgo is and the build tag purego is not.
package bench
