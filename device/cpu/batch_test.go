package cpu

import (
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

func TestWhoHasNothingLeftTakesHalfOfWhatAnotherHas(t *testing.T) {
	var b batch
	b.divide(nil, 78, 4, 2)
	takes := func(part int, ranges ...[2]int) {
		t.Helper()
		for _, want := range ranges {
			if first, end := b.take(part); [2]int{first, end} != want {
				t.Fatalf("part %d gives [%d, %d), not %v", part, first, end, want)
			}
		}
	}
	steals := func(part int, want bool) {
		t.Helper()
		if first, end := b.take(part); first < end || b.steal(part) != want {
			t.Fatalf("part %d has [%d, %d) of its own, or there is something to take for it, where it should be %v", part, first, end, want)
		}
	}
	takes(0, [2]int{0, 4}, [2]int{4, 8}, [2]int{8, 12}, [2]int{12, 16}, [2]int{16, 20})
	for first := 40; first < 78; first += 4 {
		takes(1, [2]int{first, min(first+4, 78)})
	}
	steals(1, true) // three of the five steps that are left
	takes(1, [2]int{28, 32})
	takes(0, [2]int{20, 24}, [2]int{24, 28})
	steals(0, true) // one of two
	takes(0, [2]int{36, 40})
	takes(1, [2]int{32, 36})
	steals(1, false)
	steals(0, false)
	b.divide(nil, 3, 1, 2)
	takes(0, [2]int{0, 1})
	steals(0, true) // the last, which nobody came for, and that before it
	takes(0, [2]int{2, 3})
	steals(0, true)
	takes(0, [2]int{1, 2})
	steals(0, false)
}

// countJob counts how often each item is computed, and lets others run in between.
type countJob []atomic.Int32

func (j countJob) run(first, end int, _ *worker) {
	for i := first; i < end; i++ {
		j[i].Add(1)
	}
	runtime.Gosched()
}

func TestEachItemIsComputedOnceByWhoeverComes(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 8))
	var b batch
	for range 300 {
		n, step, parts := 1+r.IntN(500), 1+r.IntN(9), 1+r.IntN(6)
		j := make(countJob, n)
		b.divide(j, n, step, parts)
		var all sync.WaitGroup
		for part := range 1 + r.IntN(parts) { // the others never come
			all.Go(func() { b.work(part, nil) })
		}
		all.Wait()
		for i := range j {
			if times := j[i].Load(); times != 1 {
				t.Fatalf("item %d of %d in steps of %d and %d parts is computed %d times", i, n, step, parts, times)
			}
		}
	}
}
