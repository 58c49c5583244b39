package cpu

import (
	"math"

	"github.com/orrery-ai/orrery/device"
)

// argmaxPart is how many elements of a row are looked through at a time.
const argmaxPart = 1 << 13

type argmaxJob struct {
	x     device.Tensor
	parts int     // of a row
	best  []int32 // [T][parts]: the place of the largest of each part, or -1
}

// Argmax implements [device.Stream].
func (s *stream) Argmax(to []int32, x device.Tensor) {
	if len(to) != x.Rows || x.Cols == 0 {
		mismatch("Argmax", "[%d][%d] into %d", x.Rows, x.Cols, len(to))
	}
	j := &s.argmax
	j.x, j.parts = x, (x.Cols+argmaxPart-1)/argmaxPart
	j.best = grown(j.best, x.Rows*j.parts)
	s.run(j, len(j.best), 0.6*argmaxPart)
	for t := range to {
		to[t] = j.best[t*j.parts]
		for _, at := range j.best[t*j.parts : (t+1)*j.parts] {
			if to[t] < 0 || at < 0 {
				to[t] = -1
				break
			}
			if x.Row(t)[at] > x.Row(t)[to[t]] {
				to[t] = at
			}
		}
		if to[t] >= 0 && math.IsInf(float64(x.Row(t)[to[t]]), 0) {
			to[t] = -1
		}
	}
}

func (j *argmaxJob) run(first, end int, _ *worker) {
	for i := first; i < end; i++ {
		row, from := j.x.Row(i/j.parts), i%j.parts*argmaxPart
		best, most := int32(from), row[from]
		for k, v := range row[from:min(from+argmaxPart, len(row))] {
			if v > most {
				best, most = int32(from+k), v
			} else if v != v {
				best = -1
				break
			}
		}
		j.best[i] = best
	}
}

// grown is x with n elements; what it held may be lost.
func grown[T any](x []T, n int) []T {
	if cap(x) < n {
		return make([]T, n)
	}
	return x[:n]
}
