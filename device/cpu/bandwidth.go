package cpu

import (
	"math"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"github.com/orrery-ai/orrery/device/cpu/simd"
	"github.com/orrery-ai/orrery/internal/offheap"
)

const (
	sweepBytes = 512 << 20 // more than caches hold
	sweepChunk = 64 << 10  // between looks at the clock
	pageBytes  = 4096
)

// MeasureBandwidth is how fast all threads together read memory, in bytes/s, measured for about d.
//
// Half of the time at most goes into taking the memory, 512 MiB or an eighth of the program's memory limit;
// on a machine where that is too slow, less memory is read, again and again.
func MeasureBandwidth(d time.Duration) float64 {
	size := int64(sweepBytes)
	if limit := debug.SetMemoryLimit(-1); limit < math.MaxInt64 {
		size = min(size, limit/8)
	}
	threads := runtime.GOMAXPROCS(0)
	chunks := max(1, int(size)/sweepChunk/threads)
	results := make([]float64, threads)
	var all sync.WaitGroup
	for i := range threads {
		all.Go(func() {
			if b, err := offheap.MapHuge(chunks * sweepChunk); err == nil {
				results[i] = sweep(b, d/2)
				offheap.Unmap(b)
			}
		})
	}
	all.Wait()
	sum := 0.0
	for _, r := range results {
		sum += r
	}
	return sum
}

// sweep takes the memory of b and reads it, each for at most the time given, and returns bytes/s.
func sweep(b []byte, limit time.Duration) float64 {
	taken := 0
	for start := time.Now(); taken < len(b) && (taken == 0 || time.Since(start) < limit); taken += sweepChunk {
		for i := 0; i < sweepChunk; i += pageBytes {
			b[taken+i] = 1 // a page that was never written takes no memory
		}
	}
	read, sum := 0, uint64(0)
	start := time.Now()
	for elapsed := time.Duration(0); ; elapsed = time.Since(start) {
		if read > 0 && elapsed >= limit {
			runtime.KeepAlive(sum)
			return float64(read) / elapsed.Seconds()
		}
		at := read % taken
		sum += simd.Sum(b[at : at+sweepChunk])
		read += sweepChunk
	}
}
