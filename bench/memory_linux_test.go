package bench

import (
	"bytes"
	"fmt"
	"os"
	"runtime/debug"
)

// watchMemory returns what tells how far the memory of the process rose above what
// it was when watchMemory was called: by the kernel's count, which misses no peak and
// sees memory of C too.
func watchMemory() (stop func() int64) {
	debug.FreeOSMemory()
	if os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) != nil {
		return sampleMemory()
	}
	before, err := residentPeak()
	if err != nil {
		return sampleMemory()
	}
	return func() int64 {
		after, err := residentPeak()
		if err != nil {
			panic(err) // it could be read before
		}
		return after - before
	}
}

// residentPeak is the highest resident memory since clear_refs, in bytes.
func residentPeak() (n int64, err error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	_, line, _ := bytes.Cut(status, []byte("\nVmHWM:"))
	_, err = fmt.Sscanf(string(line), "%d kB", &n)
	return n << 10, err
}
