package main

import (
	"strconv"

	"github.com/coffer-backup/coffer/bench/comparison"
)

// sizeName is a number of bytes in the largest binary unit that it reaches.
func sizeName(bytes float64) string {
	for _, u := range []struct {
		name string
		size float64
	}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if bytes >= u.size {
			return number(bytes/u.size) + " " + u.name
		}
	}
	return number(bytes) + " B"
}

// number gives at most three significant digits, and no zeros after them.
func number(v float64) string {
	short, err := strconv.ParseFloat(comparison.Digits(v), 64)
	if err != nil {
		return comparison.Digits(v)
	}
	return strconv.FormatFloat(short, 'f', -1, 64)
}
