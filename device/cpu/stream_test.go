package cpu

import (
	"fmt"
	"slices"
	"sync"
	"testing"
)

// rangesJob notes the ranges that it is given.
type rangesJob struct {
	mu     sync.Mutex
	ranges [][2]int
}

func (j *rangesJob) run(first, end int, _ *worker) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.ranges = append(j.ranges, [2]int{first, end})
}

func TestRangesCoverEachItemOnceAndKeepThoseTogetherThatGoTogether(t *testing.T) {
	for _, threads := range []int{1, 2, 5} {
		d := New(threads)
		s := newStream(d.pool)
		for _, n := range []int{1, 3, 4, 511, 512, 2048, 128_256} {
			for _, together := range []int{1, 4} {
				for _, cost := range []float64{0, 1, 80, 1e6, 1e300} {
					what := fmt.Sprintf("%d items of %v ns on %d threads, %d together", n, cost, threads, together)
					var j rangesJob
					s.runBy(&j, n, together, cost)
					slices.SortFunc(j.ranges, func(a, b [2]int) int { return a[0] - b[0] })
					at := 0
					for _, r := range j.ranges {
						if r[0] != at || r[1] <= at || r[0]%together != 0 {
							t.Fatalf("%s: ranges %v", what, j.ranges)
						}
						at = r[1]
					}
					if at != n {
						t.Fatalf("%s: ranges %v", what, j.ranges)
					}
					if work := float64(n) * cost; threads > 1 && n > threads*together && work > 2*grain && len(j.ranges) < 2 {
						t.Fatalf("%s: one range", what)
					}
				}
			}
		}
		d.Close()
	}
}
