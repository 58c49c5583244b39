package transport

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// A spinGuard stops an endpoint from spinning where there are fewer cores than threads that want to run:
// whoever spins there takes the time of the one he waits for, a slice of the scheduler's at a time. He
// notices by having been stopped himself.
type spinGuard struct {
	began time.Time
	until atomic.Int64 // nobody spins before this time, in nanoseconds since began

	mu    sync.Mutex
	pause time.Duration // the last one
}

const (
	// stoppedFor is how much time between two tries of a socket says that the thread did not run.
	stoppedFor = 500 * time.Microsecond
	// minPause and maxPause are how long nobody spins after that. Pauses double while the cause lasts. To
	// find out whether it does costs a slice, of 3 or 4 ms with Linux.
	minPause = 10 * time.Millisecond
	maxPause = 80 * time.Millisecond
	// looksPerYield is how often the clock is looked at, in about 10 µs, between two occasions for others to run: goroutines, for which the runtime wakes a thread each time, and
	// threads of other processes, such as of one who drives the steps, and who was woken on this very processor: their slice would come after ours.
	looksPerYield = 16
)

func (g *spinGuard) maySpin(now time.Time) bool { return int64(now.Sub(g.began)) >= g.until.Load() }

// MaySpin says whether to spin at all, where before is zero, or to go on after a try at that time: not if the
// thread has been stopped since.
func (g *spinGuard) MaySpin(before, now time.Time) bool {
	switch {
	case before.IsZero():
		return g.maySpin(now)
	case now.Sub(before) > stoppedFor:
		g.stopped(now)
		return false
	}
	return true
}

// stopped is told that a spinning thread has been stopped, as it found out now.
func (g *spinGuard) stopped(now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	at := now.Sub(g.began)
	if since := at - time.Duration(g.until.Load()); since < 0 {
		return // another thread said so
	} else if g.pause > 0 && since < 4*g.pause {
		g.pause = min(2*g.pause, maxPause)
	} else {
		g.pause = minPause
	}
	g.until.Store(int64(at + g.pause))
}

// spin calls done, tries times between two looks at the clock, until it is true or the end has come. Meanwhile is
// called as often as the clock is looked at.
func (g *spinGuard) spin(now, end time.Time, tries int, done func() bool, meanwhile func()) {
	for looks := 1; ; looks++ {
		for range tries {
			if done() {
				return
			}
		}
		before := now
		if now = time.Now(); !g.MaySpin(before, now) || !now.Before(end) {
			return
		}
		meanwhile()
		if looks%looksPerYield == 0 {
			yield()
			runtime.Gosched()
		}
	}
}
