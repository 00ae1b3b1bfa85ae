package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"

	"github.com/coffer-backup/coffer/vectors"
)

// fixtures are values that cannot be made again alike, by the name of what they
// are for and a hash of what they were made from.
type fixtures struct {
	path    string
	values  map[string]vectors.Hex
	used    map[string]vectors.Hex
	refresh bool
}

func loadFixtures(path string) (*fixtures, error) {
	f := &fixtures{path: path, values: make(map[string]vectors.Hex), used: make(map[string]vectors.Hex)}
	text, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return f, nil
	}
	if err != nil {
		return nil, err
	}
	return f, json.Unmarshal(text, &f.values)
}

// get returns the fixture name, which make makes from input if it may.
func (f *fixtures) get(name string, input []byte, make func() []byte) []byte {
	sum := sha256.Sum256(input)
	key := name + " " + hex.EncodeToString(sum[:8])
	value, ok := f.values[key]
	if !ok {
		if !f.refresh {
			panic(fmt.Sprintf("fixture %q is missing: run gen -refresh", key))
		}
		value = make()
		f.values[key] = value
	}
	f.used[key] = value
	return value
}

// save keeps the fixtures that were used, if others are in the file.
func (f *fixtures) save() error {
	if !f.refresh {
		return nil
	}
	text, err := json.MarshalIndent(f.used, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(f.path, append(text, '\n'), 0o644)
}
