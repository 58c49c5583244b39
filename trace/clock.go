package trace

import (
	"errors"
	"math"
	"time"
)

var started = time.Now()

// Now is the process's monotonic clock, in nanoseconds, always above 0. All recorders of a process go by it.
func Now() int64 { return int64(time.Since(started)) + 1 }

// At is the clock at a time that was read in this process.
func At(t time.Time) int64 { return int64(t.Sub(started)) + 1 }

// Exchange is one question for the time of another process, on both clocks.
type Exchange struct {
	Asked, Answered int64 // on our clock
	Theirs          int64 // on theirs, somewhere between
}

// Offset is what has to be added to another process's clock to have ours, at one time.
type Offset struct {
	At    int64 // on their clock
	Add   int64
	Error int64 // Add is wrong by no more than that
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
	return Offset{At: best.Theirs, Add: best.Asked + half - best.Theirs, Error: half}, nil
}

// between is what has to be added at a time, if the clocks drift apart evenly. For times in order it gives times in
// order, unless one clock runs more than twice as fast as the other.
func between(a, b Offset, at int64) int64 {
	if b.At <= a.At {
		return a.Add
	}
	part := float64(at-a.At) / float64(b.At-a.At)
	return a.Add + int64(math.Floor(part*float64(b.Add-a.Add)))
}
