package cpu

import (
	"sync"
	"time"

	"github.com/orrery-ai/orrery/device/cpu/simd"
)

// MeasurePeak is how many multiplications and additions all of so many threads do together in a second, measured for
// about d: the inner kernel of the matrix product, over and over on operands that lie in the first cache. What else a
// product does, packing and moving, is left out, so no product reaches it.
func MeasurePeak(threads int, d time.Duration) float64 {
	const (
		depth   = 128
		rows    = 2 * simd.GEMMRows
		columns = 2 * simd.GEMMCols
		times   = 100 // between looks at the clock: a tenth of a millisecond
	)
	rates := make([]float64, threads)
	var all sync.WaitGroup
	for i := range threads {
		all.Go(func() {
			a, b, c := make([]float32, rows*depth), make([]float32, columns*depth), make([]float32, rows*columns)
			n, start := 0, time.Now()
			elapsed := time.Duration(0)
			for ; n == 0 || elapsed < d; elapsed = time.Since(start) {
				for range times {
					simd.GEMMTwice(c, columns, a, b, depth, true)
				}
				n += times
			}
			rates[i] = float64(n) * 2 * rows * columns * depth / max(elapsed, 1).Seconds()
		})
	}
	all.Wait()
	sum := 0.0
	for _, r := range rates {
		sum += r
	}
	return sum
}
