package corpus

import (
	"fmt"
	"strconv"
	"strings"
)

// ParseSize reads a number of bytes, up to 1 TiB, as 4096, 64KiB, 1GiB or 300MB.
func ParseSize(s string) (int64, error) {
	unit := int64(1)
	number := strings.TrimSuffix(s, "B")
	for _, u := range []struct {
		suffix string
		bytes  int64
	}{{"Ki", 1 << 10}, {"Mi", 1 << 20}, {"Gi", 1 << 30}, {"k", 1e3}, {"M", 1e6}, {"G", 1e9}} {
		if before, ok := strings.CutSuffix(number, u.suffix); ok {
			number, unit = before, u.bytes
			break
		}
	}
	n, err := strconv.ParseUint(number, 10, 41)
	if err != nil || int64(n) > 1<<40/unit {
		return 0, fmt.Errorf("size %q is not a number of bytes up to 1024GiB", s)
	}
	return int64(n) * unit, nil
}
