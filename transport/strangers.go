package transport

import (
	"log/slog"
	"time"

	"github.com/orrery-ai/orrery/internal/lograte"
)

// strangers logs what those do who have not said, or not proved, who they are. Whoever can reach the port
// can cause such lines, so only so many are written in a time; the others are counted. The zero value is
// ready.
type strangers struct{ lines lograte.Limit }

const (
	strangersPeriod = 10 * time.Second
	strangersLines  = 20 // in a period
)

func (s *strangers) warn(log *slog.Logger, msg string, args ...any) {
	ok, before := s.lines.Allow(time.Now(), strangersPeriod, strangersLines)
	if !ok {
		return
	}
	if before > 0 {
		args = append(args, "not_logged_before", before)
	}
	log.Warn(msg, args...)
}
