package main

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// pin has this process, and so all that it starts, run on n cores, until unpin.
func pin(n int) (unpin func() error, err error) {
	var allowed, first unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		return nil, err
	}
	if allowed.Count() < n {
		return nil, fmt.Errorf("there are only %d", allowed.Count())
	}
	for cpu := 0; first.Count() < n; cpu++ {
		if allowed.IsSet(cpu) {
			first.Set(cpu)
		}
	}
	return func() error { return setAffinity(&allowed) }, setAffinity(&first)
}

// setAffinity sets that of all threads. A new one has that of its maker: the second time
// finds those that were made meanwhile.
func setAffinity(cores *unix.CPUSet) error {
	for range 2 {
		threads, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return err
		}
		for _, thread := range threads {
			id, err := strconv.Atoi(thread.Name())
			if err != nil {
				return err
			}
			if err := unix.SchedSetaffinity(id, cores); err != nil && err != unix.ESRCH {
				return err
			}
		}
	}
	return nil
}

// watch follows the memory of processes. What it returns gives the sum of their largest
// resident sets, once they have ended. Of a process that has ended the kernel's count
// (ru_maxrss) is never less than the memory of the one that started it, which is more
// than what age and zstd -d take. Up to there processes are asked while they run, which
// misses what they grow by in the last 20 ms. One that ended before has the count.
func watch(processes []*exec.Cmd) (sum func() int64) {
	var group sync.WaitGroup
	peaks := make([]int64, len(processes))
	for i, c := range processes {
		group.Go(func() {
			status := fmt.Sprintf("/proc/%d/status", c.Process.Pid)
			for pause := time.Millisecond; ; pause = min(2*pause, 20*time.Millisecond) {
				peak := peakResident(status)
				if peak == 0 { // it has ended
					return
				}
				peaks[i] = peak
				time.Sleep(pause)
			}
		})
	}
	return func() (total int64) {
		group.Wait()
		ours := peakResident("/proc/self/status")
		for i, c := range processes {
			if u, ok := c.ProcessState.SysUsage().(*syscall.Rusage); ok {
				if counted := int64(u.Maxrss) << 10; counted > ours || peaks[i] == 0 {
					peaks[i] = counted
				}
			}
			total += peaks[i]
		}
		return total
	}
}

var residentPeak = regexp.MustCompile(`(?m)^VmHWM:\s*(\d+) kB$`)

// peakResident returns the largest resident set that a process has had, or 0.
func peakResident(status string) int64 {
	text, _ := os.ReadFile(status)
	m := residentPeak.FindSubmatch(text)
	if m == nil {
		return 0
	}
	n, _ := strconv.ParseInt(string(m[1]), 10, 64)
	return n << 10
}

// fileSystem returns what path is stored on, and how many bytes are free there.
func fileSystem(path string) (kind string, free int64, err error) {
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err != nil {
		return "", 0, &os.PathError{Op: "statfs", Path: path, Err: err}
	}
	kind = fmt.Sprintf("disk (file system %#x)", uint32(s.Type))
	if s.Type == unix.TMPFS_MAGIC {
		kind = "memory (tmpfs)"
	}
	return kind, int64(s.Bavail) * int64(s.Bsize), nil
}

var modelName = regexp.MustCompile(`(?m)^model name\s*: (.*)$`)

// machine returns the CPU's name, the memory's bytes and the kernel's version.
func machine() (cpu string, memory int64, kernel string) {
	cpu = runtime.GOARCH
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if m := modelName.FindSubmatch(info); m != nil {
			cpu = string(m[1])
		}
	}
	var s unix.Sysinfo_t
	if unix.Sysinfo(&s) == nil {
		memory = int64(s.Totalram) * int64(s.Unit)
	}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		kernel = unix.ByteSliceToString(u.Release[:])
	}
	return cpu, memory, kernel
}
