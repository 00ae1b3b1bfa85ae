package bench

import (
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// sampleMemory returns what tells how far the memory of the Go runtime rose above
// what it was when sampleMemory was called. It looks once a millisecond and does not
// see memory of C.
func sampleMemory() (stop func() int64) {
	debug.FreeOSMemory()
	before := goMemory()
	done, peak := make(chan struct{}), make(chan int64)
	go func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		highest := before
		for {
			select {
			case <-tick.C:
				highest = max(highest, goMemory())
			case <-done:
				peak <- max(highest, goMemory())
				return
			}
		}
	}()
	return func() int64 {
		close(done)
		return <-peak - before
	}
}

// goMemory is what the Go runtime has from the system.
func goMemory() int64 {
	s := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(s)
	return int64(s[0].Value.Uint64() - s[1].Value.Uint64())
}
