// Package process has tests alone: of a vault that is a process of its own, with HTTPS,
// a store on disk, and clients outside of it. The process is killed, has faults of its
// disk, is searched for secrets, and flooded.
//
// The tests are for Linux, which shows a process' memory and descriptors in files.
package process
