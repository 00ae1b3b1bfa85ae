package format_test

import (
	"encoding/binary"
	"os"
	"runtime"
	"testing"

	"github.com/coffer-backup/coffer/format"
)

// TestParseHeaderAllocations: what a block makes its reader allocate is bounded,
// whatever it says.
func TestParseHeaderAllocations(t *testing.T) {
	full := testHeader()
	full.Size, full.Entries = 8192, nil
	for i := range format.MaxEntries {
		full.Entries = append(full.Entries, accountSlot(byte(i+1)).Entry())
	}
	hostile := must(testHeader().AppendBinary(nil))
	binary.LittleEndian.PutUint32(hostile[76:], 4096-136)
	binary.LittleEndian.PutUint16(hostile[80:], 0xFFFF)
	for name, block := range map[string][]byte{
		"worked example":  must(os.ReadFile("testdata/worked-example.coffer"))[:4096],
		"every kind":      must(testHeader().AppendBinary(nil)),
		"32 slots":        must(full.AppendBinary(nil)),
		"hostile lengths": fixCRC(hostile),
	} {
		const runs = 100
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range runs {
			format.ParseHeader(block)
		}
		runtime.ReadMemStats(&after)
		if got := (after.TotalAlloc - before.TotalAlloc) / runs; got > 16<<10 {
			t.Errorf("%s: %d bytes are allocated", name, got)
		}
	}
}
