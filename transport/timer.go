package transport

import (
	"sync"
	"time"
)

// timers keeps stopped timers for waits on the hot path, which would otherwise allocate one each. A
// timer that is stopped has nothing left in its channel (Go 1.23 and later).
var timers = sync.Pool{New: func() any {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}}

func startTimer(deadline time.Time) *time.Timer {
	t := timers.Get().(*time.Timer)
	t.Reset(time.Until(deadline))
	return t
}

func stopTimer(t *time.Timer) {
	t.Stop()
	timers.Put(t)
}
