package main

import (
	"log/slog"
	"os"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// timerSlack is how much later than asked for the system may wake a thread of a process with coarse timers.
	timerSlack = 2 * time.Millisecond
	usualSlack = 50 * time.Microsecond
)

// coarsenTimers has the system wake threads of this process no more than about every two milliseconds for the sake of
// time. The runtime has a thread that looks after the others. Each time that a process has had nothing to do, which is
// between any two steps of a node in pipeline, it does so every 20 µs at first, and on a virtual machine, where waking
// takes as long, with a core each, that was a third of a node's time. What has come does not wait for time, and deadlines
// may be late by so much.
//
// Threads inherit it from the one that starts them, and the runtime starts that one first: so the program begins again, once.
func coarsenTimers(log *slog.Logger) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	slack, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
	if err != nil || time.Duration(slack) > usualSlack {
		return
	}
	self, err := os.Executable()
	if err == nil {
		err = unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(timerSlack), 0, 0, 0)
	}
	if err == nil {
		err = syscall.Exec(self, os.Args, os.Environ())
	}
	log.Debug("timers stay as fine as they are", "err", err)
}
