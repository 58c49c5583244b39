package nap

import (
	"time"

	"golang.org/x/sys/unix"
)

// For sleeps for about so long: as much longer as the system takes to wake a thread, with coarse timers up to those. A signal may cut it short.
func For(d time.Duration) {
	rest := unix.NsecToTimespec(int64(d))
	_ = unix.Nanosleep(&rest, nil) // cut short or not, the caller looks again
}
