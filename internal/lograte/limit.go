// Package lograte bounds how many lines are logged of what strangers can cause: whoever can reach a port could fill a disk else.
package lograte

import (
	"sync"
	"time"
)

// Limit counts lines, of which so many are written in a period and the others only counted. The zero value is ready.
type Limit struct {
	mu     sync.Mutex
	since  time.Time // begin of the present period
	said   int       // lines written in it
	unsaid int       // and not written
}

// Allow counts a line, and says whether it is to be written, as up to most are in each period; and, with the first of a period, how many of the
// period before were not.
func (l *Limit) Allow(now time.Time, period time.Duration, most int) (ok bool, before int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Sub(l.since) >= period {
		before = l.unsaid
		l.since, l.said, l.unsaid = now, 0, 0
	}
	if l.said >= most {
		l.unsaid++
		return false, 0
	}
	l.said++
	return true, before
}
