package trace

import (
	"errors"
	"time"
)

var started = time.Now()

// Now is the process's monotonic clock, in nanoseconds, always above 0. All recorders of a process go by it.
func Now() int64 { return int64(time.Since(started)) + 1 }

// Exchange is one question for the time of another process, on both clocks.
type Exchange struct {
	Asked, Answered int64 // on our clock
	Theirs          int64 // on theirs, somewhere between
}

// Offset is what has to be added to another process's clock to have ours.
type Offset struct {
	Add   int64
	Error int64 // the estimate is off by no more than that, but for the drift of the clocks since
}

// Align estimates the offset of another clock from some exchanges, as NTP does (Mills, RFC 5905, section 8): it
// supposes that the answer was given in the middle of the quickest one, and cannot be wrong by more than half of it.
func Align(exchanges []Exchange) (Offset, error) {
	if len(exchanges) == 0 {
		return Offset{}, errors.New("nobody was asked for the time")
	}
	best := exchanges[0]
	for _, x := range exchanges[1:] {
		if x.Answered-x.Asked < best.Answered-best.Asked {
			best = x
		}
	}
	half := (best.Answered - best.Asked + 1) / 2
	return Offset{Add: best.Asked + half - best.Theirs, Error: half}, nil
}
