//go:build !linux

package bench

func watchMemory() (stop func() int64) { return sampleMemory() }
