package gated

import (
	"sync"
	"time"
)

// watchEvery is how often a watcher looks.
const watchEvery = time.Millisecond

// watcher looks after a step that waits for messages while the goroutine of the queue may be held up, by the driver for example, which waits for the GPU when memory is
// taken or given back: it tells the host what was signalled, without which no answer might ever come, and gives the abort word when patience ends.
type watcher struct {
	queue *Queue
	arm   chan struct{} // a step has begun to wait
	over  chan struct{} // closed by end
	done  sync.WaitGroup

	mu    sync.Mutex
	lanes []*lane
	since time.Time // when the step began to wait; zero if none does
}

// watch starts a watcher.
func (q *Queue) watch() *watcher {
	w := &watcher{queue: q, arm: make(chan struct{}, 1), over: make(chan struct{})}
	w.done.Go(w.run)
	return w
}

func (w *watcher) run() {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-w.arm:
		case <-w.over:
			return
		}
		for w.look(time.Now()) {
			select {
			case <-tick.C:
			case <-w.over:
				return
			}
		}
	}
}

// look does what there is to do; false if no step waits any more.
func (w *watcher) look(now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.since.IsZero() {
		return false
	}
	w.queue.pump(w.lanes, now)
	if !w.queue.patient(w.since, now) {
		w.queue.abort(w.lanes)
	}
	return true
}

// add has a lane looked after.
func (w *watcher) add(l *lane) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lanes = append(w.lanes, l)
}

// begin says that the step waits from now on.
func (w *watcher) begin() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.since.IsZero() {
		return
	}
	w.since = time.Now()
	select {
	case w.arm <- struct{}{}:
	default:
	}
}

// again says that the step before has ended, and the one behind it may wait from now on.
func (w *watcher) again() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.since.IsZero() {
		w.since = time.Now()
	}
}

// rest says that nothing waits.
func (w *watcher) rest() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.since = time.Time{}
}

// end ends the watcher.
func (w *watcher) end() {
	close(w.over)
	w.done.Wait()
}
