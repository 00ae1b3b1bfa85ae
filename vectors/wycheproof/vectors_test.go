package wycheproof_test

import (
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"testing"

	"github.com/c2sp/wycheproof"
)

// Bytes are in hex in the files.
type hexBytes []byte

func (b *hexBytes) UnmarshalText(text []byte) (err error) {
	*b, err = hex.AppendDecode(nil, text)
	return err
}

// load returns the groups of tests in a file.
func load[Group any](t *testing.T, file string) []Group {
	t.Helper()
	text, err := fs.ReadFile(wycheproof.TestVectors, file)
	if err != nil {
		t.Fatal(err)
	}
	var content struct{ TestGroups []Group }
	if err := json.Unmarshal(text, &content); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return content.TestGroups
}

// counts is how many vectors were run, by what is to be said of them. Tests compare
// it with what the file is known to hold: vectors that are lost on the way would
// not fail otherwise.
type counts struct{ valid, invalid int }

// add counts a vector and reports whether it is valid. There is no third result
// in the files that we run.
func (c *counts) add(t *testing.T, result string) (valid bool) {
	t.Helper()
	switch result {
	case "valid":
		c.valid++
	case "invalid":
		c.invalid++
	default:
		t.Fatalf("a vector has the result %q", result)
	}
	return result == "valid"
}
