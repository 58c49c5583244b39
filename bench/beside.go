package bench

import (
	"sync"
	"time"

	"github.com/orrery-ai/orrery/device/cpu/simd"
)

// readPlain reads b once, on so many threads, doing as little with it as can be done, and returns how long that took.
func readPlain(b []byte, threads int) time.Duration {
	var all sync.WaitGroup
	part := len(b) / threads
	start := time.Now()
	for i := range threads {
		all.Go(func() { simd.Sum(b[i*part : (i+1)*part]) })
	}
	all.Wait()
	return time.Since(start)
}
