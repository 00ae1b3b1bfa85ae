package main

import (
	"strconv"
	"strings"

	"github.com/coffer-backup/coffer/bench/comparison"
)

// parseSize reads sizes as they stand in names of benchmarks: 4096, 64KiB, 1MiB, 300MB.
func parseSize(s string) (float64, bool) {
	units := []struct {
		name string
		size float64
	}{
		{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
		{"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"B", 1}, {"", 1},
	}
	for _, u := range units {
		digits, ok := strings.CutSuffix(s, u.name)
		if n, err := strconv.ParseUint(digits, 10, 32); ok && err == nil && n > 0 {
			return float64(n) * u.size, true
		}
	}
	return 0, false
}

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
