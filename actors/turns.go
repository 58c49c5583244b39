package actors

import (
	"slices"
	"sync/atomic"
	"time"
)

// turns is how long the last results of steps took to become the next step handed out: what passes in the process
// that drives, between two messages. One goroutine adds.
type turns struct {
	last  [512]atomic.Int64 // nanoseconds
	added atomic.Uint64
}

func (t *turns) add(d time.Duration) {
	n := t.added.Load()
	t.last[n%uint64(len(t.last))].Store(int64(d))
	t.added.Store(n + 1)
}

// median is 0 if there were none.
func (t *turns) median() time.Duration {
	n := min(t.added.Load(), uint64(len(t.last)))
	if n == 0 {
		return 0
	}
	all := make([]int64, n)
	for i := range all {
		all[i] = t.last[i].Load()
	}
	slices.Sort(all)
	return time.Duration(all[n/2])
}
