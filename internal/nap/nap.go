// Package nap is for who polls something that ends within microseconds or milliseconds, such as the work of a GPU, and should
// neither take a core all the time nor find out late.
//
// Go's own sleep is no help: a thread that sleeps for less than a millisecond may do so in a poll of the network, whose time is whole milliseconds.
package nap

import "time"

// Spin is how long a Watch polls before it naps between polls, and how long before and after the time at which it expects the end.
const Spin = 300 * time.Microsecond

// Watch says when to nap while something is polled that comes again and again, and takes about as long as the last time. The zero value expects nothing.
type Watch struct {
	took    time.Duration // the last time
	running time.Duration // when it was last seen not to have ended
}

// Naps reports whether there is time for a nap, if what is watched has run for so long and goes on.
func (w *Watch) Naps(running time.Duration) bool {
	w.Ran(running)
	return running > Spin && (running < w.took-Spin || running > w.took+Spin)
}

// Ran says that it had not ended after so long.
func (w *Watch) Ran(running time.Duration) { w.running = running }

// Ended says that it has ended. It took as long as it was last seen to run: after that a nap may have gone on for longer than it did.
func (w *Watch) Ended() { w.took, w.running = w.running, 0 }
