package transport

import (
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestNobodyHoldsAThreadWhereTimersAreCoarse(t *testing.T) {
	runtime.LockOSThread() // slack is the thread's
	defer runtime.UnlockOSThread()
	before, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
	if err != nil {
		t.Skip("the system does not tell how late timers are:", err)
	}
	defer unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(before), 0, 0, 0)
	for _, c := range []struct {
		slack time.Duration
		want  int
	}{
		{usualSlack, runtime.GOMAXPROCS(0) / 2},
		{2 * time.Millisecond, 0},
	} {
		if err := unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(c.slack), 0, 0, 0); err != nil {
			t.Fatal(err)
		}
		if e := newEndpoint(Config{}); int(e.mayHold) != c.want {
			t.Errorf("with timers that are up to %s late %d goroutines may wait with their threads, want %d", c.slack, e.mayHold, c.want)
		}
	}
}
