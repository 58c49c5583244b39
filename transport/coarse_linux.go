package transport

import (
	"time"

	"golang.org/x/sys/unix"
)

// usualSlack is how late the system wakes a thread for the sake of time unless it was told otherwise.
const usualSlack = 50 * time.Microsecond

// coarseTimers says whether this thread, from which others inherit that, may be woken later than usual.
func coarseTimers() bool {
	slack, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
	return err == nil && time.Duration(slack) > usualSlack
}
