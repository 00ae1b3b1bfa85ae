// Package mutant is compiled into the test binaries that the mutation check builds,
// and into nothing else. There every check goes through Reject or Accept, so that
// one build serves all mutants: the environment says which check is off.
package mutant

import (
	"os"
	"strconv"
	"sync/atomic"
)

// The variables of the environment.
const (
	EnvOff    = "COFFER_MUTANT_OFF"    // number of the check that is off
	EnvRecord = "COFFER_MUTANT_RECORD" // file to which the numbers of checks that rejected go
)

// Max is the number of checks that there may be.
const Max = 4096

var (
	off      = number(os.Getenv(EnvOff))
	record   = os.Getenv(EnvRecord)
	rejected [Max]atomic.Bool
)

func number(text string) int {
	if n, err := strconv.Atoi(text); err == nil {
		return n
	}
	return -1
}

// Reject is cond, which rejects if it is true. It is false if check i is off.
func Reject(i int, cond bool) bool { return cond && on(i) }

// Accept is cond, which rejects if it is false. It is true if check i is off.
func Accept(i int, cond bool) bool { return cond || !on(i) }

// on reports whether check i, which is about to reject, is on.
func on(i int) bool {
	if i == off {
		return false
	}
	if record != "" && !rejected[i].Swap(true) {
		note(i)
	}
	return true
}

// note writes at once, since tests end a process without notice.
func note(i int) {
	f, err := os.OpenFile(record, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err == nil {
		_, err = f.WriteString(strconv.Itoa(i) + "\n")
		f.Close()
	}
	if err != nil {
		panic("recording a check: " + err.Error())
	}
}
