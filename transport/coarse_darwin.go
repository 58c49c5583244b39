package transport

// coarseTimers says that timers are not: nothing here makes them so.
func coarseTimers() bool { return false }
