// Package conformance runs a reader of containers, in any language, over the
// conformance vectors and tells where it departs from format/SPEC.md.
//
//	go run ./vectors/conformance/run -lacks kind-5 -- /usr/bin/python3 vectors/ref/decode.py
//
// From Go, for a program with other tests:
//
//	report, err := conformance.Run(ctx, []string{"./decode"}, nil)
//	for _, r := range report.Failed() {
//		fmt.Println(r)
//	}
//
// # For implementers
//
// What is run is a command that you write around your reader. It is called once for
// each case and mode, in the runner's working directory and environment:
//
//	COMMAND... CASE.json < container > plaintext
//
// The container is a regular file, positioned at its beginning, so that a reader
// with random access can seek in it. CASE.json is one object of what a caller gives
// to a reader, and never tells what is expected. What is absent was not given:
//
//	account_keys     array of hex, 32 bytes each
//	passphrases      array of hex
//	other_keys       array of {"kind": 3, 4 or 5, "type": TYPE, "key": hex}. TYPE is
//	                 aes-256 (32 bytes; kind 3 with mech 1, 2 and 3, kind 4),
//	                 rsa-pkcs8 (DER; kind 3 with mech 4) or xwing-seed (32 bytes; kind 5)
//	context          hex; what the container must be bound to
//	min_generation   the least generation to accept
//	max_memory       bytes for buffers; absent: the reader's default, at least 1 GiB
//	argon2           {"max_memory_kib", "max_runs", "max_work_kib"}; what is absent is
//	                 as § 4.5.8 says
//	allow_anonymous  true: slots that anyone can have made may be tried (§ 4.5.9)
//	archive          true: judge the plaintext by § 7, and against the catalog
//	reader           "stream" (§ 8.1) or "random" (§ 8.2)
//
// A key of other_keys stands for a token or service: kind 4 is then a Tink AEAD key
// of AES-GCM, whose ciphertext is a prefix of 5 bytes (1 and the key's id, which
// readers need not check), 12 bytes of IV, the ciphertext and the tag.
//
// A random-access reader opens the container at random and then reads and judges all
// of it in order, padding and table included. A reader that knows one of the two ways
// only is run with -reader.
//
// The command writes plaintext to stdout as it is released, says on stderr what it
// likes, and ends with the status of the class (§ 8.3):
//
//	0 ok          10 magic       14 limit       18 trailing
//	              11 version     15 auth        19 content
//	              12 header      16 context     20 damaged-copy
//	              13 no-key      17 truncated   21 ok, with the warning skew
//
// Any other status, a signal or no end in time is a failure of the command. Stdout
// must hold a prefix of the case's plaintext: no more than the case says was released
// before its fault, and all of it with the statuses 0, 20 and 21. Less is allowed
// before a fault, as a reader may hold back what it has.
//
// A reader that lacks what a case needs (vectors.Case.Needs), as "kind-5", is run
// with -lacks kind-5. It takes slots of that kind for unknown ones (§ 3.2.3), and the
// case says what it reports then.
package conformance

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/coffer-backup/coffer/vectors"
)

// A Mode is one of the two ways to read a container.
type Mode string

// The modes, as CASE.json calls them.
const (
	Stream Mode = "stream" // § 8.1
	Random Mode = "random" // § 8.2
)

// Modes lists both.
func Modes() []Mode { return []Mode{Stream, Random} }

// statuses are the exit statuses of the protocol.
var statuses = map[int]vectors.Class{
	0:  vectors.OK,
	10: vectors.Magic,
	11: vectors.Version,
	12: vectors.Header,
	13: vectors.NoKey,
	14: vectors.Limit,
	15: vectors.Auth,
	16: vectors.Context,
	17: vectors.Truncated,
	18: vectors.Trailing,
	19: vectors.Content,
	20: vectors.DamagedCopy,
	21: vectors.Skew,
}

// Status returns the exit status of a command that reports class. It is 1, a failure
// of the command, for what is no class.
func Status(class vectors.Class) int {
	for status, c := range statuses {
		if c == class {
			return status
		}
	}
	return 1
}

// Rules are what an answer is judged by.
type Rules struct {
	Mode  Mode
	Lacks []string // needs of cases that the reader does not meet
	Exact bool     // a reader that releases less before a fault is wrong, too
}

// Want returns the class that is expected, and how much plaintext may be released
// with it, in bytes.
func (r Rules) Want(c *vectors.Case) (class vectors.Class, released int) {
	random := r.Mode == Random
	class = c.ClassFor(random, r.lacks)
	switch {
	case class.Whole():
		return class, c.Plaintext.Length
	case class.Early():
		return class, 0
	}
	return class, c.ReleasedFor(random)
}

func (r Rules) lacks(need string) bool { return slices.Contains(r.Lacks, need) }

// Judge returns what is wrong with an answer: the class got, after released was
// given out. It is nil if the answer is right.
func (r Rules) Judge(c *vectors.Case, got vectors.Class, released []byte) error {
	want, _ := r.Want(c)
	var wrong error
	if got != want {
		wrong = fmt.Errorf("class %s, want %s", got, want)
	}
	return join(wrong, r.judgeReleased(c, released))
}

// judgeReleased judges the plaintext that was released.
func (r Rules) judgeReleased(c *vectors.Case, released []byte) error {
	want, limit := r.Want(c)
	plain := c.Plaintext.Bytes()
	n := min(len(released), len(plain))
	switch {
	case !bytes.Equal(released[:n], plain[:n]):
		return fmt.Errorf("what was released is no prefix of the plaintext: byte %d differs", firstDifference(released, plain))
	case len(released) > limit:
		return fmt.Errorf("more than %d bytes were released before %s", limit, want)
	case len(released) < limit && (want.Whole() || r.Exact):
		return fmt.Errorf("%d bytes were released instead of %d", len(released), limit)
	}
	return nil
}

func firstDifference(a, b []byte) int {
	for i := range a {
		if a[i] != b[i] {
			return i
		}
	}
	return len(a)
}

// join is errors.Join on one line.
func join(errs ...error) error {
	var texts []string
	for _, err := range errs {
		if err != nil {
			texts = append(texts, err.Error())
		}
	}
	if texts == nil {
		return nil
	}
	return errors.New(strings.Join(texts, "; "))
}
