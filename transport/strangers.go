package transport

import (
	"log/slog"
	"sync"
	"time"
)

// strangers logs what those do who have not said, or not proved, who they are. Whoever can reach the port
// can cause such lines, so only so many are written in a time; the others are counted. The zero value is
// ready.
type strangers struct {
	mu     sync.Mutex
	since  time.Time // begin of the present period
	said   int       // lines written in it
	unsaid int       // and not written
}

const (
	strangersPeriod = 10 * time.Second
	strangersLines  = 20 // in a period
)

func (s *strangers) warn(log *slog.Logger, msg string, args ...any) {
	ok, before := s.allows(time.Now())
	if !ok {
		return
	}
	if before > 0 {
		args = append(args, "not_logged_before", before)
	}
	log.Warn(msg, args...)
}

// allows counts a line, and says whether it is to be written and how many of the period before were not.
func (s *strangers) allows(now time.Time) (ok bool, before int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Sub(s.since) >= strangersPeriod {
		before = s.unsaid
		s.since, s.said, s.unsaid = now, 0, 0
	}
	if s.said == strangersLines {
		s.unsaid++
		return false, 0
	}
	s.said++
	return true, before
}
