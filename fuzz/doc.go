// Package fuzz holds the fuzz targets of everything that reads bytes of others:
// headers, slots, packages, frames, whole containers, archives and key texts. It is
// tests alone; README.md lists the targets and says how a campaign is run.
//
// Whoever cannot forge gets no further than the first MAC, so most targets hold the
// keys: the fuzzer's bytes are sealed into containers that are authentic (package
// vectors/build), and what the engine says of them is compared with an oracle, which
// is SPEC.md written down as plainly as can be: whole files in memory, one rule a
// line, no code shared with the packages it judges.
//
// Each target is one function of one []byte. Fuzzing calls it and nothing else. Where
// the seeds and the corpora under testdata/fuzz are replayed as tests, each input is
// also held to its budget of memory and time, and may leave no goroutine behind.
package fuzz
