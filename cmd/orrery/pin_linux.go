package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

const canPin = true

// pin keeps this process on one processor. Threads that it starts later inherit that; those that the runtime
// has started already are moved, until none is found that was not.
func pin(cpu int) error {
	var set unix.CPUSet
	set.Set(cpu)
	moved := map[int]bool{}
	for {
		tasks, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return err
		}
		before := len(moved)
		for _, t := range tasks {
			tid, err := strconv.Atoi(t.Name())
			if err != nil || moved[tid] {
				continue
			}
			if err := unix.SchedSetaffinity(tid, &set); err != nil && err != unix.ESRCH { // a thread may have ended
				return fmt.Errorf("pinning to processor %d: %w", cpu, err)
			}
			moved[tid] = true
		}
		if len(moved) == before {
			break
		}
	}
	// Who computes shares the processor with who takes messages in, and is not to be waited for.
	runtime.GOMAXPROCS(2)
	return nil
}
