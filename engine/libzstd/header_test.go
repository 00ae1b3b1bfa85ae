//go:build cgo && !purego

package libzstd

import "testing"

func TestFrameHeaderSize(t *testing.T) {
	const start = "\x28\xB5\x2F\xFD"
	for frame, want := range map[string]int{
		start + "\x20\x01" + "blocks":                6,
		start + "\x60\x01\x00" + "blocks":            7,
		start + "\xA0\x01\x00\x00\x00" + "blocks":    9,
		start + "\x80w\x01\x00\x00\x00" + "blocks":   10,
		start + "\xE0" + "12345678" + "blocks":       13,
		start + "\xE0" + "12345678":                  13,
		"":                                           0,
		start:                                        0, // cut
		start + "\xE0" + "1234567":                   0,
		"\x28\xB5\x2F\xFC\x20\x01blocks":             0, // another magic number
		start + "\x00wblocks":                        0, // no content size
		start + "\x24\x01blocks":                     0, // a checksum
		start + "\x21\x01\x01blocks":                 0, // a dictionary
		start + "\x28\x01blocks":                     0, // a reserved bit
		start + "\xC0w" + "12345678" + "long blocks": 0, // 2 MiB and more, in 8 bytes
	} {
		if n, err := frameHeaderSize([]byte(frame)); n != want || (err == nil) != (want > 0) {
			t.Errorf("%q: %d, %v, want %d", frame, n, err, want)
		}
	}
}
