package gpu

import "time"

// Fencer is a [Queue] that tells how far it has come.
type Fencer interface {
	Queue
	// Fence marks the end of what was given so far. At most two fences may not have been forgotten by Reach.
	Fence()
	// Reached reports whether everything before the first fence has run, or has failed. It does not wait.
	Reached() bool
	// Reach returns when everything before the first fence has run, with the first error if there was one, or at the deadline with a
	// *TimeoutError, and forgets the fence.
	Reach(deadline time.Time) error
}

// MostFences is how many fences may not have been forgotten.
const MostFences = 2
